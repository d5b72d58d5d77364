/*-------------------------------------------------------------------------
 *
 * scan.c
 *		The scan worker: which subscriptions of one database should run?
 *
 * Floor 9.  A short-lived process that the launcher starts for a database;
 * it brings the slots of that database in line with cdc_sink.subscription
 * and exits.  The hard thing: it connects as a superuser to databases that
 * belong to anybody.  So it runs no SQL, and reads the table row by row only
 * after it has seen that the table is a member of the extension.  And it
 * must be in nobody's way: it waits for no lock longer than a moment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "launcher.h"
#include "options.h"
#include "shmem.h"

/* A scan gives up when it has waited this long for a lock. */
#define LOCK_TIMEOUT "500ms"

/* A row of cdc_sink.subscription, as far as it concerns the launcher. */
typedef struct CdcFound
{
	int64		id;
	NameData	name;
	Oid			owner;
	bool		enabled;		/* and made for this database of this cluster */
	int			workers;
	int			retry_backoff_ms;
	int			retry_backoff_max_ms;
} CdcFound;

/* What a scan has read. */
typedef struct CdcFoundList
{
	uint64		number;			/* last request for a scan before the reading */
	Oid			extension;		/* InvalidOid: not in this database */
	int			n;
	CdcFound   *found;
} CdcFoundList;

/*
 * --- reading ---
 */

/* Reads a column of the current row by its name; it must not be null. */
static Datum
column(Relation rel, TupleTableSlot *row, const char *name)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
	bool		isnull = true;
	Datum		value = (Datum) 0;

	if (attnum != InvalidAttrNumber)
		value = slot_getattr(row, attnum, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" of cdc_sink.subscription is missing or null",
						name),
				 errhint("Run ALTER EXTENSION cdc_sink UPDATE.")));
	return value;
}

/*
 * Sets *value from a member of the options, which may be a number or text.
 * What is no such number leaves the default: the row was checked when it was
 * written, and one bad row must not keep others from running.
 */
static void
option(Jsonb *options, const char *name, int *value)
{
	JsonbValue	v;
	char	   *text;
	long		number;
	char	   *end;

	if (!JB_ROOT_IS_OBJECT(options) ||
		getKeyJsonValueFromContainer(&options->root, name, strlen(name),
									 &v) == NULL)
		return;
	if (v.type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(v.val.numeric)));
	else if (v.type == jbvString)
		text = pnstrdup(v.val.string.val, v.val.string.len);
	else
		return;
	number = strtol(text, &end, 10);
	if (end != text && *end == '\0' && number > 0 && number <= INT_MAX)
		*value = (int) number;
}

/* Was the row written in this database of this cluster? */
static bool
is_at_home(Relation rel, TupleTableSlot *row)
{
	char	   *identifier;
	char		mine[32];

	identifier = DatumGetCString(DirectFunctionCall1(numeric_out,
													 column(rel, row, "system_identifier")));
	snprintf(mine, sizeof(mine), UINT64_FORMAT, GetSystemIdentifier());
	return strcmp(identifier, mine) == 0 &&
		DatumGetObjectId(column(rel, row, "database")) == MyDatabaseId;
}

/* Reads one row. */
static void
read_row(Relation rel, TupleTableSlot *row, CdcFound *found)
{
	Jsonb	   *options = DatumGetJsonbP(column(rel, row, "options"));
	CdcOptions	defaults;

	cdc_options_defaults(&defaults);
	memset(found, 0, sizeof(CdcFound));
	found->id = DatumGetInt64(column(rel, row, "id"));
	found->name = *DatumGetName(column(rel, row, "subscription"));
	found->owner = DatumGetObjectId(column(rel, row, "owner"));
	found->enabled = DatumGetBool(column(rel, row, "enabled")) &&
		is_at_home(rel, row);
	found->workers = defaults.workers;
	found->retry_backoff_ms = defaults.retry_backoff_ms;
	found->retry_backoff_max_ms = defaults.retry_backoff_max_ms;
	option(options, "workers", &found->workers);
	option(options, "retry_backoff_ms", &found->retry_backoff_ms);
	option(options, "retry_backoff_max_ms", &found->retry_backoff_max_ms);
}

/*
 * Opens cdc_sink.subscription if it is a table that belongs to the
 * extension; NULL otherwise.
 */
static Relation
open_subscription(Oid extension)
{
	Oid			schema = get_namespace_oid(CDC_SCHEMA, true);
	Oid			relid = InvalidOid;
	Relation	rel;

	if (OidIsValid(schema))
		relid = get_relname_relid("subscription", schema);
	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION ||
		getExtensionOfObject(RelationRelationId, relid) != extension)
		return NULL;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return NULL;
	/* it may have been another one before the lock */
	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		getExtensionOfObject(RelationRelationId, relid) != extension)
	{
		relation_close(rel, AccessShareLock);
		return NULL;
	}
	return rel;
}

/* Reads all rows, in the current transaction, into memory of the caller. */
static void
read_subscriptions(CdcFoundList *list)
{
	Relation	rel;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *row;
	int			size = 8;

	list->extension = get_extension_oid("cdc_sink", true);
	if (!OidIsValid(list->extension))
		return;
	rel = open_subscription(list->extension);
	if (rel == NULL)
		return;

	list->found = palloc(size * sizeof(CdcFound));
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	PushActiveSnapshot(snapshot);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	row = table_slot_create(rel, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		if (list->n == size)
		{
			size *= 2;
			list->found = repalloc(list->found, size * sizeof(CdcFound));
		}
		read_row(rel, row, &list->found[list->n++]);
	}
	ExecDropSingleTupleTableSlot(row);
	table_endscan(scan);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	relation_close(rel, AccessShareLock);
}

/*
 * --- bringing the slots in line; the lock is held exclusively ---
 */

static const CdcFound *
find_found(const CdcFoundList *list, int64 id)
{
	for (int i = 0; i < list->n; i++)
		if (list->found[i].id == id)
			return &list->found[i];
	return NULL;
}

/* Forgets subscriptions of this database that are gone. */
static void
forget_dropped(const CdcFoundList *list)
{
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->dboid == MyDatabaseId && slot->subid != 0 && !slot->stale &&
			(find_found(list, slot->subid) == NULL ||
			 slot->extension != list->extension))
			cdc_subscription_forget(MyDatabaseId, slot->subid);
	}
	for (int i = 0; i < CDC_MAX_ERRORS; i++)
	{
		CdcErrorReport *report = &cdc_shared->errors[i];

		if (report->dboid == MyDatabaseId && report->subid != 0 &&
			find_found(list, report->subid) == NULL)
			report->subid = 0;
	}
}

/* Returns the slot of one worker of a subscription, used or not, or NULL. */
static CdcSlot *
find_slot(int64 subid, int worker_no)
{
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->dboid == MyDatabaseId && slot->subid == subid &&
			slot->worker_no == worker_no)
			return slot;
	}
	return NULL;
}

/* Gives a free slot to a worker; the longest unused first.  NULL: none. */
static CdcSlot *
take_slot(int64 subid, int worker_no)
{
	CdcSlot    *best = NULL;

	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->in_use || slot->pid != 0)
			continue;
		if (best == NULL ||
			(best->subid != 0 &&
			 (slot->subid == 0 || slot->state_since < best->state_since)))
			best = slot;
	}
	if (best != NULL)
		cdc_slot_reset(best, MyDatabaseId, subid, worker_no);
	return best;
}

/* Puts a slot to use for an enabled subscription. */
static void
activate(CdcSlot *slot)
{
	slot->in_use = true;
	slot->generation++;
	slot->runs = 0;
	slot->fruitless = false;
}

/*
 * Lets the launcher start the worker at once: it is new, or a human has
 * changed what may have kept it from running.
 */
static void
start_anew(CdcSlot *slot)
{
	slot->delay_ms = 0;
	slot->next_start = 0;
	if (cdc_shared->enabled)	/* else the launcher says that it is not */
		cdc_slot_set_state(slot, CDC_STATE_STARTING, "", "", 0);
}

/* Brings one worker of an enabled subscription in line; false: no slot. */
static bool
enable_worker(const CdcFoundList *list, const CdcFound *found, int worker_no)
{
	CdcSlot    *slot = find_slot(found->id, worker_no);
	bool		is_new = slot == NULL || !slot->in_use;

	/* a worker of a subscription that is gone: again when it has exited */
	if (slot != NULL && slot->stale)
		return true;
	if (slot == NULL)
		slot = take_slot(found->id, worker_no);
	if (slot == NULL)
		return false;

	slot->extension = list->extension;
	/* what stopped it may have committed after the rows were read */
	if (slot->retired_by <= list->number)
		slot->retired = false;
	if (slot->pid != 0 && (slot->owner != found->owner ||
						   slot->nworkers != found->workers))
		slot->replaced = true;
	slot->owner = found->owner;
	slot->subscription = found->name;
	slot->nworkers = found->workers;
	slot->retry_backoff_ms = found->retry_backoff_ms;
	slot->retry_backoff_max_ms = found->retry_backoff_max_ms;
	if (is_new)
		activate(slot);
	if (slot->pid == 0 && (is_new || cdc_slot_is_behind(slot)))
		start_anew(slot);
	cdc_slot_update_stopping(slot);
	return true;
}

/* Retires the workers of a subscription from worker_no on. */
static void
retire_workers(int64 subid, int worker_no)
{
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->dboid == MyDatabaseId && slot->subid == subid &&
			slot->in_use && slot->worker_no >= worker_no)
		{
			slot->retired = true;
			cdc_slot_update_stopping(slot);
		}
	}
}

/* Brings all slots of this database in line; false: slots ran out. */
static bool
update_slots(const CdcFoundList *list)
{
	bool		enough = true;

	forget_dropped(list);
	for (int i = 0; i < list->n; i++)
	{
		const CdcFound *found = &list->found[i];
		int			workers = found->enabled ? found->workers : 0;

		retire_workers(found->id, workers);
		for (int n = 0; n < workers && enough; n++)
			enough = enable_worker(list, found, n);
	}
	return enough;
}

/*
 * --- the process ---
 */

/* Returns the database of a request. */
static Oid
requested_database(int index)
{
	Oid			dboid;

	if (index < 0 || index >= CDC_MAX_SCANS)
		elog(ERROR, "no scan request %d", index);
	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	dboid = cdc_shared->scans[index].dboid;
	LWLockRelease(cdc_shared->lock);
	return dboid;
}

/* Marks the request as answered. */
static void
answer(int index, bool enough)
{
	CdcScanRequest *request = &cdc_shared->scans[index];

	if (request->state == CDC_SCAN_RUNNING && request->dboid == MyDatabaseId)
		request->state = enough ? CDC_SCAN_NONE : CDC_SCAN_PARKED;
}

/*
 * The entry; its argument is the index of the request.  Ends with an error,
 * and the request unanswered, when a lock cannot be had: the launcher tries
 * again.  The isolation level is set because a default of "serializable,
 * deferrable" would wait for others.
 */
void
cdc_scan_main(Datum request_index)
{
	int			index = DatumGetInt32(request_index);
	MemoryContext context;
	CdcFoundList list = {0};

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(requested_database(index),
											  InvalidOid, 0);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	cdc_compat_no_transaction_timeout();

	context = CurrentMemoryContext;
	list.number = cdc_scan_last();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = true;
	XactDeferrable = false;
	MemoryContextSwitchTo(context);
	read_subscriptions(&list);
	CommitTransactionCommand();

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	answer(index, update_slots(&list));
	LWLockRelease(cdc_shared->lock);
	ConditionVariableBroadcast(&cdc_shared->scanned);
	cdc_launcher_wake();
	proc_exit(0);
}
