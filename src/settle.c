/*-------------------------------------------------------------------------
 *
 * settle.c
 *		After the commit of a batch: what became of its partitions.
 *
 * Floor 8.  The transaction cannot be taken back any more.  An ERROR here (no
 * memory for what is held back) ends the worker, and the next one starts from
 * the committed positions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "attempt_internal.h"
#include "moved.h"
#include "shmem.h"
#include "value.h"

/* a partition that stops again and again is logged so often */
#define LOG_MS 60000

/*
 * Is a line of the log due?  A partition that every DDL of the database has
 * try again stops again each time, at the same record and for the same reason.
 */
static bool
log_is_due(CdcPartition *part, int64 offset, const char *message)
{
	TimestampTz now = GetCurrentTimestamp();
	char		shown[CDC_MESSAGE_LEN];

	cdc_error_copy(shown, message, sizeof(shown));
	if (part->logged_at != 0 && part->logged_offset == offset &&
		strcmp(part->message, shown) == 0 &&
		!TimestampDifferenceExceeds(part->logged_at, now, LOG_MS))
		return false;
	part->logged_offset = offset;
	part->logged_at = now;
	return true;
}

/* cdc_pipeline_stop: see pipeline.h. */
void
cdc_pipeline_stop(CdcPipeline *pipeline, CdcPartition *part,
				  const CdcRecord *record, const CdcFailure *failure)
{
	bool		due = log_is_due(part, record->offset, failure->message);
	char	   *hint;

	part->mode = CDC_PARTITION_STOPPED;
	part->error_class = failure->class;
	part->sqlstate = failure->sqlstate;
	strlcpy(part->reason, failure->reason ? failure->reason :
			failure->class == CDC_ERROR_CONFIGURATION ? "configuration_error" :
			failure->class == CDC_ERROR_INTERNAL ? "internal_error" : "data_error",
			sizeof(part->reason));
	hint = psprintf("%s Then call cdc_sink.enable_subscription(%s).",
					failure->hint ? failure->hint :
					failure->class == CDC_ERROR_DATA ?
					"Repair the cause shown in pg_stat_cdc_sink_error, or pass the record with cdc_sink.skip_record." :
					"Repair the cause shown in pg_stat_cdc_sink_error.",
					quote_literal_cstr(pipeline->subscription->name));
	cdc_error_copy(part->hint, hint, sizeof(part->hint));
	cdc_error_copy(part->message, failure->message, sizeof(part->message));
	cdc_error_copy(part->detail, cdc_policy_detail(failure), sizeof(part->detail));
	cdc_policy_report(pipeline, record, failure, "stop", part->hint);
	if (due)
		ereport(LOG,
				(errcode(failure->sqlstate),
				 errmsg("partition %d of topic \"%s\" is stopped at offset " INT64_FORMAT ": %s",
						record->partition, record->topic, record->offset,
						failure->message),
				 part->detail[0] ? errdetail_internal("%s", part->detail) : 0,
				 errhint("%s", part->hint)));
}

/* Keeps what a held partition had read, from its culprit on. */
static void
keep_backlog(const CdcAttempt *attempt, CdcPartition *part)
{
	CdcPipeline *pipeline = attempt->pipeline;

	for (int i = 0; i < pipeline->nfresh; i++)
		if (pipeline->fresh[i].part == part->index &&
			pipeline->fresh[i].offset >= part->next_offset)
			cdc_partition_hold_record(part, &pipeline->fresh[i]);
}

/* Drops from a queue what was applied. */
static void
drop_applied(CdcPartition *part)
{
	int			n = 0;

	while (n < part->nqueue && part->queue[n].offset < part->next_offset)
		n++;
	if (n > 0)
		cdc_partition_drop(part, n);
}

/* After the commit: the outcome becomes the partition's state. */
static void
settle_partition(CdcAttempt *attempt, CdcPartition *part)
{
	CdcPipeline *pipeline = attempt->pipeline;
	const CdcOutcome *outcome = &attempt->outcomes[part->index];

	if (outcome->next_offset > part->next_offset)
	{
		part->progress = pipeline->progress;
		part->anchor = outcome->anchor;
		if (part->cluster_id == NULL)
			part->cluster_id = pipeline->cluster_id;
	}
	part->next_offset = outcome->next_offset;
	cdc_policy_skip_done(&attempt->passes, part);
	if (!outcome->stays)
	{
		drop_applied(part);
		if (outcome->last_offset < 0)
			return;
		if (part->mode == CDC_PARTITION_HELD)
		{
			if (part->nqueue == 0)
				cdc_partition_release(part);
			else
				part->runnable = true;
		}
		return;
	}
	if (outcome->cause != CDC_HOLD_NONE)
	{
		cdc_hold_before(pipeline, part, outcome->cause,
						outcome->failure->root_relid,
						&attempt->events[outcome->event]);
		if (attempt->fresh)
			keep_backlog(attempt, part);
		/* the event is one of the queue's */
		drop_applied(part);
	}
	else
	{
		cdc_pipeline_stop(pipeline, part, attempt->records[outcome->event],
						  outcome->failure);
		cdc_partition_rewind(part);
	}
}

/*
 * Did any position move, or any partition stop?  An attempt that only found
 * held partitions held again gives nobody a new chance.
 */
static bool
moved_on(const CdcAttempt *attempt)
{
	const CdcPipeline *pipeline = attempt->pipeline;

	for (int p = 0; p < pipeline->nparts; p++)
	{
		const CdcOutcome *outcome = &attempt->outcomes[p];

		if (outcome->next_offset > pipeline->parts[p]->next_offset ||
			(outcome->stays && outcome->cause == CDC_HOLD_NONE))
			return true;
	}
	return false;
}

/* Counts what took effect, and forgets what was tried. */
void
cdc_attempt_settle(CdcAttempt *attempt)
{
	CdcPipeline *pipeline = attempt->pipeline;

	if (moved_on(attempt))
	{
		pipeline->progress++;
		pipeline->changes++;
	}
	pipeline->nrecords = 0;
	pipeline->nbytes = 0;
	for (int i = 0; i < attempt->nrecords; i++)
	{
		const CdcRecord *record = attempt->records[i];

		if (cdc_attempt_stays(attempt, i))
			continue;
		pipeline->nrecords++;
		pipeline->nbytes += cdc_record_bytes(record);
		pipeline->parts[record->part]->last_ts_ms = record->ts_ms;
	}
	cdc_gate_note_places(pipeline, attempt->records, attempt->nrecords,
						 cdc_attempt_stays, attempt);
	cdc_slot_count(CDC_COUNT_SKIPPED, attempt->apply.skipped);
	pipeline->skipped += attempt->apply.skipped;
	cdc_policy_settle(&attempt->passes);
	for (int p = 0; p < pipeline->nparts; p++)
		settle_partition(attempt, pipeline->parts[p]);
	if (attempt->fresh)
	{
		pipeline->nfresh = 0;
		pipeline->fresh_bytes = pipeline->fresh_cost = 0;
		pipeline->fresh_since = 0;
		pipeline->internal_tries = 0;
	}
	else
		pipeline->held_tries = 0;
	if (pipeline->nfresh == 0)
		cdc_pipeline_forget_read(pipeline);
	if (pipeline->sweep)
		cdc_hold_swept(pipeline);
}
