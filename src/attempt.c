/*-------------------------------------------------------------------------
 *
 * attempt.c
 *		One transaction: records are decoded and applied, positions move.
 *
 * Floor 8.  First the whole batch as it is.  Where that fails on the data or
 * on the configuration, a second transaction isolates the culprits; each
 * stops or holds its partition, and what stands before it commits.  A
 * transient error leaves everything as it was, for the next try.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "attempt_internal.h"
#include "constraints.h"
#include "guc.h"
#include "moved.h"
#include "order.h"
#include "position.h"
#include "shmem.h"

/* XX errors in a row before the culprit is looked for and stopped */
#define INTERNAL_TRIES 5

/* Makes room for the events; none is decoded yet. */
static void
prepare_events(CdcAttempt *attempt)
{
	int			n = Max(attempt->nrecords, 1);

	cdc_arena_reset(&attempt->pipeline->event_arena);
	attempt->events = palloc_extended(n * sizeof(CdcEvent), MCXT_ALLOC_HUGE);
	attempt->decoded = palloc0(n * sizeof(bool));
	for (int i = 0; i < attempt->nrecords; i++)
		attempt->events[i].record = attempt->records[i];
}

static void
fail_no_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory while decoding a batch")));
}

/* decode of CdcApply: one record, unless it was; ERROR 53200 on no memory. */
static void
decode_one(void *arg, int event)
{
	CdcAttempt *attempt = arg;
	CdcPipeline *pipeline = attempt->pipeline;

	if (attempt->decoded[event])
		return;
	if (attempt->fresh && pipeline->ahead != NULL &&
		cdc_ahead_take(pipeline->ahead, event, &attempt->events[event]))
	{
		attempt->events[event].record = attempt->records[event];
		attempt->decoded[event] = true;
		return;
	}
	if (attempt->recycle)
		cdc_arena_rewind(&pipeline->event_arena, attempt->mark);
	attempt->mark = cdc_arena_mark(&pipeline->event_arena);
	if (!pipeline->decoder->decode(pipeline->decode, attempt->records[event],
								   &pipeline->event_arena,
								   &attempt->events[event]))
		fail_no_memory();
	attempt->decoded[event] = true;
	attempt->recycle = !attempt->look_ahead &&
		attempt->events[event].newkey == NULL &&
		attempt->events[event].oldkey == NULL;
}

/* read_headers of CdcApplyContext; arg is the pipeline. */
static void
read_headers(void *arg, CdcEvent *event)
{
	CdcPipeline *pipeline = arg;

	if (!pipeline->decoder->read_headers(pipeline->decode, &pipeline->event_arena,
										 event))
		fail_no_memory();
}

/*
 * Must the events be known before the first is applied, and afterwards?
 * Otherwise each is decoded when it is routed, in the memory of the one
 * before: that stays in the cache.  A truncate has no key.
 */
static bool
must_look_ahead(const CdcAttempt *attempt)
{
	const CdcPipeline *pipeline = attempt->pipeline;

	if (cdc_policy_has_letters(pipeline) || cdc_policy_has_skips(pipeline))
		return true;
	for (int p = 0; p < pipeline->nparts; p++)
		if (pipeline->parts[p]->cause == CDC_HOLD_TRUNCATE)
			return true;
	for (int i = 0; i < attempt->nrecords; i++)
		if (attempt->records[i]->key.data == NULL &&
			attempt->records[i]->value.data != NULL)
			return true;
	return false;
}

/* Decodes every record, to stay until the attempt ends. */
static void
decode_all(CdcAttempt *attempt)
{
	if (!attempt->look_ahead)
	{
		cdc_arena_reset(&attempt->pipeline->event_arena);
		memset(attempt->decoded, 0, Max(attempt->nrecords, 1) * sizeof(bool));
	}
	attempt->look_ahead = true;
	attempt->recycle = false;
	for (int i = 0; i < attempt->nrecords; i++)
		decode_one(attempt, i);
}

/*
 * Puts records of several partitions into the order of the source, where it
 * is known: then nothing waits for a change that comes later in the batch.
 */
static void
order_by_source(CdcAttempt *attempt)
{
	int			n = attempt->nrecords;
	int		   *order = palloc(Max(n, 1) * sizeof(int));
	const CdcRecord **records = palloc(Max(n, 1) * sizeof(CdcRecord *));
	CdcEvent   *events = palloc_extended(Max(n, 1) * sizeof(CdcEvent),
										 MCXT_ALLOC_HUGE);

	cdc_order_merge(attempt->events, n, order);
	for (int i = 0; i < n; i++)
	{
		records[i] = attempt->records[order[i]];
		events[i] = attempt->events[order[i]];
	}
	attempt->records = records;
	attempt->events = events;
}

/* Is the event one at which its partition stays, or behind it? */
bool
cdc_attempt_stays(void *arg, int event)
{
	CdcAttempt *attempt = arg;
	const CdcOutcome *outcome = &attempt->outcomes[attempt->records[event]->part];

	return outcome->stays && event >= outcome->event;
}

/* Is the event not to be applied: behind such a one, or passed over? */
static bool
left_out(void *arg, int event)
{
	CdcAttempt *attempt = arg;

	return cdc_attempt_stays(arg, event) || cdc_policy_passed(&attempt->passes, event);
}

/* Why a failure of one record may be a matter of order, or NONE. */
static CdcHoldCause
hold_cause(const CdcPipeline *pipeline, const CdcPartition *part,
		   int64 offset, const CdcFailure *failure)
{
	const CdcOptions *options = &pipeline->subscription->options;
	bool		violation = failure->sqlstate == ERRCODE_UNIQUE_VIOLATION ||
		(failure->sqlstate == ERRCODE_FOREIGN_KEY_VIOLATION &&
		 (!options->replica_role || options->run_as_owner));

	if (failure->sqlstate == ERRCODE_CDC_HOLD_MOVED)
		return CDC_HOLD_MOVED_ROW;
	if (violation && !(part->hold_final && offset == part->hold_offset) &&
		cdc_hold_several(pipeline, failure->root_relid))
		return CDC_HOLD_VIOLATION;
	return CDC_HOLD_NONE;
}

/*
 * CdcApply's culprit: the event is passed over, or the partition stays
 * before it.
 */
static void
culprit(void *arg, int event, CdcFailure *failure)
{
	CdcAttempt *attempt = arg;
	int			part = attempt->records[event]->part;
	CdcOutcome *outcome = &attempt->outcomes[part];
	CdcHoldCause cause = hold_cause(attempt->pipeline,
									attempt->pipeline->parts[part],
									attempt->records[event]->offset, failure);

	if (cause == CDC_HOLD_NONE &&
		cdc_policy_pass(&attempt->passes, event, failure))
		return;
	outcome->stays = true;
	outcome->event = event;
	outcome->cause = cause;
	outcome->failure = failure;
}

/*
 * Does the attempt hold every record of the partition that was read?  Fresh
 * records are tried all at once; what of them waits is of active partitions.
 */
static bool
whole_backlog(const CdcAttempt *attempt, const CdcOutcome *outcome,
			  const CdcPartition *part)
{
	if (!attempt->fresh && attempt->pipeline->nfresh > 0 &&
		part->mode == CDC_PARTITION_ACTIVE)
		return false;
	return part->nqueue == 0 ||
		part->queue[part->nqueue - 1].offset <= outcome->last_offset;
}

/*
 * Moves the positions of all partitions, in the transaction at hand.  Where
 * nothing of a partition is left, its position goes behind control records
 * and gaps, to where the log was read.
 */
static void
store_positions(CdcAttempt *attempt)
{
	CdcPipeline *pipeline = attempt->pipeline;

	for (int i = 0; i < attempt->nrecords; i++)
	{
		CdcOutcome *outcome = &attempt->outcomes[attempt->records[i]->part];

		if (!cdc_attempt_stays(attempt, i))
		{
			outcome->last = attempt->records[i];
			outcome->next_offset = outcome->last->offset + 1;
		}
	}
	for (int p = 0; p < pipeline->nparts; p++)
	{
		CdcPartition *part = pipeline->parts[p];
		CdcOutcome *outcome = &attempt->outcomes[p];

		if (part->stale || part->disabled || part->mode == CDC_PARTITION_STOPPED)
			continue;
		if (outcome->stays)
			outcome->next_offset = Max(part->next_offset,
									   attempt->records[outcome->event]->offset);
		else if (whole_backlog(attempt, outcome, part))
			outcome->next_offset = part->read_offset;
		if (outcome->next_offset > part->next_offset)
		{
			/* one fingerprint a partition, not one a record */
			if (outcome->last)
				cdc_anchor_make(&outcome->anchor, outcome->last);
			cdc_position_store(pipeline->subscription->name, part,
							   pipeline->generation, outcome->next_offset,
							   &outcome->anchor,
							   part->cluster_id ? part->cluster_id : pipeline->cluster_id);
		}
		else
			outcome->next_offset = part->next_offset;
	}
}

/* Makes the outcomes of a new transaction. */
static void
begin_outcomes(CdcAttempt *attempt)
{
	memset(attempt->outcomes, 0,
		   Max(attempt->pipeline->nparts, 1) * sizeof(CdcOutcome));
	attempt->apply.skipped = 0;
	for (int p = 0; p < attempt->pipeline->nparts; p++)
	{
		attempt->outcomes[p].next_offset = attempt->pipeline->parts[p]->next_offset;
		attempt->outcomes[p].last_offset = -1;
		attempt->outcomes[p].anchor = attempt->pipeline->parts[p]->anchor;
	}
	for (int i = 0; i < attempt->nrecords; i++)
		attempt->outcomes[attempt->records[i]->part].last_offset = attempt->records[i]->offset;
}

/* The partition stays before an event, for a cause that is no failure. */
static void
stay_before(CdcAttempt *attempt, int event, CdcHoldCause cause, Oid root)
{
	CdcOutcome *outcome = &attempt->outcomes[attempt->records[event]->part];

	outcome->stays = true;
	outcome->event = event;
	outcome->cause = cause;
	outcome->failure = palloc0(sizeof(CdcFailure));
	outcome->failure->root_relid = root;
}

/* The truncate's order among the partitions cannot be told: a data error. */
static void
stop_truncate(CdcAttempt *attempt, int event)
{
	CdcOutcome *outcome = &attempt->outcomes[attempt->records[event]->part];

	stay_before(attempt, event, CDC_HOLD_NONE, InvalidOid);
	outcome->failure->class = CDC_ERROR_DATA;
	outcome->failure->sqlstate = ERRCODE_DATA_EXCEPTION;
	outcome->failure->reason = "truncate_order_unknown";
	outcome->failure->message = pstrdup("it is not known which changes of other partitions came before this truncate");
	outcome->failure->hint = pstrdup("Truncate the table by hand if that is right and pass the record with cdc_sink.skip_record, or set on_truncate to ignore.");
}

/*
 * Lets truncates of relations that several partitions feed wait for the
 * others, and the others' later changes for them (design.md 3.9).
 */
static void
gate_truncates(CdcAttempt *attempt)
{
	CdcPipeline *pipeline = attempt->pipeline;
	CdcGate    *gate = attempt->look_ahead ?
		cdc_gate_create(pipeline, attempt->events, attempt->nrecords) : NULL;

	if (gate == NULL)
		return;
	for (int i = 0; i < attempt->nrecords; i++)
	{
		Oid			root;

		if (left_out(attempt, i))
			continue;
		switch (cdc_gate_event(gate, &attempt->events[i], &root))
		{
			case CDC_GATE_OPEN:
				break;
			case CDC_GATE_WAIT:
				stay_before(attempt, i, CDC_HOLD_TRUNCATE, root);
				break;
			case CDC_GATE_UNKNOWN:
				stop_truncate(attempt, i);
				break;
		}
	}
}

/* Work of one transaction, whole or isolated. */
static void
transaction_body(CdcAttempt *attempt, bool isolated)
{
	CdcPipeline *pipeline = attempt->pipeline;

	begin_outcomes(attempt);
	cdc_hold_refresh_roots(pipeline);
	cdc_hold_find_kept(pipeline);
	cdc_policy_begin(&attempt->passes);
	gate_truncates(attempt);
	cdc_constraints_immediate();
	if (attempt->nrecords > 0)
	{
		if (isolated)
		{
			decode_all(attempt);
			cdc_apply_isolated(&attempt->apply);
		}
		else
			cdc_apply_range(&attempt->apply, 0, attempt->nrecords);
	}
	if (pipeline->sweep)
		cdc_moved_sweep(pipeline->subscription->name,
						TimestampTzPlusMilliseconds(pipeline->sweep_mark, -CDC_MOVED_KEEP_MS));
	cdc_policy_finish(&attempt->passes, cdc_attempt_stays, attempt);
	store_positions(attempt);
	cdc_debug_point("before_commit");
}

/*
 * Runs one transaction.  NULL: committed; else why not, in batch_context,
 * with the transaction aborted.
 */
static CdcFailure *
try_transaction(CdcAttempt *attempt, bool isolated)
{
	CdcPipeline *pipeline = attempt->pipeline;
	CdcFailure *volatile failure = NULL;

	cdc_position_fenced = false;
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		/* SPI wants one to stand behind those it takes for each statement */
		PushActiveSnapshot(GetTransactionSnapshot());
		pgstat_report_activity(STATE_RUNNING, "applying a batch");
		MemoryContextSwitchTo(pipeline->batch_context);
		transaction_body(attempt, isolated);
		PopActiveSnapshot();
		CommitTransactionCommand();
		cdc_debug_point("after_commit");
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(pipeline->batch_context);
		error = CopyErrorData();
		failure = cdc_failure_make(&attempt->apply, error);
		HOLD_INTERRUPTS();
		FlushErrorState();
		/* the error may have come while another was cleaned up after */
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
		cdc_error_position_reset();
		cdc_apply_counts(pipeline->relmap, false);
		cdc_policy_forget(pipeline);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(pipeline->batch_context);
	pgstat_report_activity(STATE_IDLE, NULL);
	return failure;
}

/* Tries whole, then isolated; what it was, as a step. */
static CdcStep
run_transactions(CdcAttempt *attempt)
{
	CdcPipeline *pipeline = attempt->pipeline;
	CdcFailure *failure = try_transaction(attempt, false);
	int		   *tries = attempt->fresh ? &pipeline->internal_tries :
		&pipeline->held_tries;
	bool		internal;

	if (failure == NULL)
		return CDC_STEP_DONE;
	if (cdc_position_fenced)
		return CDC_STEP_FENCED;
	pipeline->failure = failure;
	internal = failure->class == CDC_ERROR_INTERNAL;
	if (failure->class == CDC_ERROR_TRANSIENT ||
		(internal && ++*tries < INTERNAL_TRIES) ||
		attempt->nrecords == 0)
		return CDC_STEP_RETRY;
	attempt->apply.isolate_internal = internal;
	failure = try_transaction(attempt, true);
	if (failure == NULL)
		return CDC_STEP_DONE;
	pipeline->failure = failure;
	return cdc_position_fenced ? CDC_STEP_FENCED : CDC_STEP_RETRY;
}

/* cdc_attempt: see pipeline_internal.h. */
CdcStep
cdc_attempt(CdcPipeline *pipeline, const CdcRecord **records, int nrecords,
			bool fresh, bool together)
{
	CdcAttempt	attempt;
	CdcStep		step = CDC_STEP_DONE;

	memset(&attempt, 0, sizeof(attempt));
	attempt.pipeline = pipeline;
	attempt.records = records;
	attempt.nrecords = nrecords;
	attempt.fresh = fresh;
	attempt.outcomes = palloc(Max(pipeline->nparts, 1) * sizeof(CdcOutcome));
	prepare_events(&attempt);
	if (together || must_look_ahead(&attempt))
		decode_all(&attempt);
	if (together)
		order_by_source(&attempt);
	cdc_policy_init(&attempt.passes, pipeline, attempt.events, nrecords);
	attempt.apply.context.subscription = pipeline->subscription;
	attempt.apply.context.replace = together;
	attempt.apply.context.shared = pipeline->shared;
	attempt.apply.context.read_headers = read_headers;
	attempt.apply.context.others_pending = cdc_hold_others_pending;
	attempt.apply.context.arg = pipeline;
	attempt.apply.relmap = pipeline->relmap;
	attempt.apply.parts = pipeline->parts;
	attempt.apply.events = attempt.events;
	attempt.apply.nevents = nrecords;
	attempt.apply.decode = decode_one;
	attempt.apply.culprit = culprit;
	attempt.apply.left_out = left_out;
	attempt.apply.arg = &attempt;
	attempt.apply.own_transaction = true;
	if (pipeline->in_caller)
		transaction_body(&attempt, true);
	else
		step = run_transactions(&attempt);
	if (step == CDC_STEP_DONE)
	{
		cdc_attempt_settle(&attempt);
		cdc_apply_counts(pipeline->relmap, true);
	}
	return step;
}
