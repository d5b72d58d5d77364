/*-------------------------------------------------------------------------
 *
 * apply.c
 *		A range of events becomes changes of tables.
 *
 * Floor 7.  A batch is applied as one range; where that fails on one of its
 * events, it is applied again in subtransactions around halves, quarters, …
 * until the culprit is alone, so that a bad event never takes good ones with
 * it.  Where the error says which event it was (a value that could not be
 * converted), the range is cut there at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "apply.h"
#include "coalesce.h"
#include "role.h"
#include "shmem.h"

/*
 * Routes the events of a range that are not left out; returns the number of
 * changes, and adds to *skipped the events that ask for none.
 */
static int
route_range(CdcApply *apply, CdcRoleScope *role, int lo, int hi,
			CdcChange *changes, uint64 *skipped)
{
	CdcRouter	router;
	int			n = 0;

	cdc_route_begin(&router, apply->relmap, role, apply->parts);
	for (int i = lo; i < hi; i++)
	{
		if (apply->left_out(apply->arg, i))
			continue;
		if (apply->decode)
			apply->decode(apply->arg, i);
		cdc_route_event(&router, &apply->events[i], &changes[n]);
		if (changes[n].action == CDC_ACTION_SKIP)
			(*skipped)++;
		else if (changes[n].action == CDC_ACTION_NOOP)
			changes[n].rel->work.noop++;
		else
			n++;
	}
	return n;
}

/* Forgets the counts of an earlier range that failed. */
static void
clear_work(CdcRelmap *relmap)
{
	for (CdcRelation *rel = relmap->relations; rel; rel = rel->next)
		memset(&rel->work, 0, sizeof(rel->work));
}

/* Adds one set of counts to another. */
static void
add_counts(CdcTableCounts *to, const CdcTableCounts *from)
{
	to->inserted += from->inserted;
	to->updated += from->updated;
	to->deleted += from->deleted;
	to->truncated += from->truncated;
	to->noop += from->noop;
	to->dead_letters += from->dead_letters;
	to->update_missing += from->update_missing;
	to->delete_missing += from->delete_missing;
}

/* run of CdcApplyContext. */
static void
apply_run(const CdcApplyContext *context, const CdcRun *run)
{
	CHECK_FOR_INTERRUPTS();
	cdc_role_become(context->role, run->rel);
	cdc_error_position.relation = run->rel->name;
	cdc_error_position.record = context->only_record;
	if (run->rel->mapping->options.mode == CDC_MODE_APPEND)
		cdc_applier_append.apply(context, run);
	else
		cdc_applier_upsert.apply(context, run);
	cdc_error_position_reset();
}

/* fetch of CdcApplyContext. */
static bool
fetch(const CdcApplyContext *context, CdcRelation *rel, CdcKey *key,
	  const CdcRow *key_row, CdcRow *row)
{
	cdc_role_become(context->role, rel);
	return cdc_upsert_fetch(rel, key, key_row, row);
}

/* take_kept of CdcApplyContext. */
static bool
take_kept(const CdcApplyContext *context, CdcChange *change)
{
	cdc_role_become(context->role, change->rel);
	return cdc_upsert_take_kept(change);
}

/*
 * cdc_apply_range: see apply.h.  Everything allocated on the way goes with
 * a context of its own.
 */
void
cdc_apply_range(CdcApply *apply, int lo, int hi)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "cdc_sink range",
												  ALLOCSET_DEFAULT_MINSIZE,
												  ALLOCSET_DEFAULT_INITSIZE,
												  8 * 1024 * 1024);
	MemoryContext old = MemoryContextSwitchTo(context);
	CdcRoleScope role;
	CdcChange  *changes;
	uint64		skipped = 0;
	int			n;

	clear_work(apply->relmap);
	cdc_role_begin(&role, apply->context.subscription, apply->own_transaction);
	changes = palloc_extended((hi - lo) * sizeof(CdcChange), MCXT_ALLOC_HUGE);
	n = route_range(apply, &role, lo, hi, changes, &skipped);
	apply->context.role = &role;
	apply->context.run = apply_run;
	apply->context.fetch = fetch;
	apply->context.take_kept = take_kept;
	apply->context.only_record = hi - lo == 1 ? apply->events[lo].record : NULL;
	cdc_coalesce(&apply->context, changes, n);
	cdc_role_end(&role);
	apply->skipped += skipped;
	for (CdcRelation *rel = apply->relmap->relations; rel; rel = rel->next)
	{
		add_counts(&rel->counts, &rel->work);
		memset(&rel->work, 0, sizeof(rel->work));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Index of the event whose record is at hand, or -1. */
static int
culprit_index(const CdcApply *apply)
{
	const CdcRecord *record = cdc_error_position.record;

	if (record == NULL)
		return -1;
	for (int i = 0; i < apply->nevents; i++)
		if (apply->events[i].record == record)
			return i;
	return -1;
}

/* Root of the relation that the error position names, or InvalidOid. */
static Oid
relation_at_hand(const CdcApply *apply)
{
	if (cdc_error_position.relation == NULL)
		return InvalidOid;
	for (CdcRelation *rel = apply->relmap->relations; rel; rel = rel->next)
		if (strcmp(rel->name, cdc_error_position.relation) == 0)
			return rel->root_relid;
	return InvalidOid;
}

static char *
copy_text(const char *text)
{
	return text ? pstrdup(text) : NULL;
}

/*
 * cdc_failure_make: see apply.h.  Whatever one value raises is a data error,
 * unless it is the state of the server that failed (out of memory, cancel).
 */
CdcFailure *
cdc_failure_make(const CdcApply *apply, const ErrorData *error)
{
	CdcFailure *failure = palloc0(sizeof(CdcFailure));

	failure->sqlstate = error->sqlerrcode;
	failure->class = cdc_error_class_of(error);
	if (cdc_error_position.in_value && failure->class != CDC_ERROR_TRANSIENT)
		failure->class = CDC_ERROR_DATA;
	failure->culprit = culprit_index(apply);
	failure->root_relid = relation_at_hand(apply);
	failure->message = copy_text(error->message);
	failure->detail = copy_text(error->detail);
	failure->hint = copy_text(error->hint);
	failure->context = copy_text(error->context);
	failure->relation = copy_text(cdc_error_position.relation);
	failure->field = copy_text(cdc_error_position.field);
	return failure;
}

/* cdc_failure_throw: see apply.h. */
void
cdc_failure_throw(const CdcFailure *failure)
{
	ereport(ERROR,
			(errcode(failure->sqlstate),
			 errmsg_internal("%s", failure->message),
			 failure->detail ? errdetail_internal("%s", failure->detail) : 0,
			 failure->hint ? errhint("%s", failure->hint) : 0));
}

/*
 * Applies [lo, hi) in a subtransaction.  NULL: done; else why not, with the
 * subtransaction rolled back and the memory context and resource owner put
 * back (spock leaked 4 kB a row where it was not).
 */
static CdcFailure *
try_range(CdcApply *apply, int lo, int hi)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	CdcFailure *volatile failure = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		cdc_apply_range(apply, lo, hi);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		failure = cdc_failure_make(apply, error);
		FreeErrorData(error);
		cdc_error_position_reset();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return failure;
}

/*
 * Applies [lo, hi), or its parts.  Recursion goes into first parts only,
 * so that its depth is the logarithm of the range however many culprits
 * there are.
 */
static void
isolate(CdcApply *apply, int lo, int hi)
{
	for (;;)
	{
		CdcFailure *failure;
		int			cut;

		while (lo < hi && apply->left_out(apply->arg, lo))
			lo++;
		if (lo >= hi)
			return;
		failure = try_range(apply, lo, hi);
		if (failure == NULL)
			return;
		if (failure->class == CDC_ERROR_TRANSIENT ||
			(failure->class == CDC_ERROR_INTERNAL && !apply->isolate_internal))
			cdc_failure_throw(failure);
		if (hi - lo == 1)
		{
			failure->culprit = lo;
			apply->culprit(apply->arg, lo, failure);
			return;
		}
		cut = (lo + hi) / 2;
		if (failure->culprit >= lo && failure->culprit < hi)
			cut = failure->culprit > lo ? failure->culprit : lo + 1;
		isolate(apply, lo, cut);
		lo = cut;
	}
}

/* cdc_apply_isolated: see apply.h. */
void
cdc_apply_isolated(CdcApply *apply)
{
	isolate(apply, 0, apply->nevents);
}

/*
 * cdc_apply_counts: see apply.h.
 */
void
cdc_apply_counts(CdcRelmap *relmap, bool committed)
{
	static const CdcTableCounts none = {0};

	for (CdcRelation *rel = relmap->relations; rel; rel = rel->next)
	{
		if (memcmp(&rel->counts, &none, sizeof(none)) == 0)
			continue;
		if (committed)
		{
			rel->counts.last_apply_time = GetCurrentTimestamp();
			cdc_table_count(rel->relid, &rel->counts);
			add_counts(&relmap->totals, &rel->counts);
		}
		memset(&rel->counts, 0, sizeof(rel->counts));
	}
}
