/*-------------------------------------------------------------------------
 *
 * pipeline.c
 *		Records in, transactions out.
 *
 * Floor 8.  Holds what was read and not yet applied, and chooses the work of
 * the next transaction: fresh records and held ones that have a new chance,
 * in turn; else positions that may move behind control records.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "decode.h"
#include "guc.h"
#include "pipeline_internal.h"
#include "policy.h"
#include "value.h"

/* what each queue of held records may take: two chunks of its arena */
#define LEAST_ROOM	(2 * 1024 * 1024)

/*
 * cdc_pipeline_create makes the pipeline of a subscription, in a context
 * under parent.  subscription must live as long.  Malloc memory hangs on it:
 * call cdc_pipeline_free.
 */
CdcPipeline *
cdc_pipeline_create(MemoryContext parent, const CdcSubscription *subscription)
{
	MemoryContext context = AllocSetContextCreate(parent, "cdc_sink pipeline",
												  ALLOCSET_DEFAULT_SIZES);
	CdcPipeline *pipeline = MemoryContextAllocZero(context, sizeof(CdcPipeline));

	pipeline->context = context;
	pipeline->batch_context = AllocSetContextCreate(context, "cdc_sink batch",
													ALLOCSET_DEFAULT_SIZES);
	pipeline->subscription = subscription;
	pipeline->decoder = cdc_decoder_find("debezium");
	pipeline->decode = pipeline->decoder->open(&subscription->source);
	if (pipeline->decode == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while opening the decoder")));
	pipeline->relmap = cdc_relmap_create(context, subscription);
	pipeline->topic_partitions = MemoryContextAllocZero(context, Max(subscription->nmappings, 1) *
														sizeof(int32));
	pipeline->roots = MemoryContextAllocZero(context, Max(subscription->nmappings, 1) *
											 sizeof(Oid));
	return pipeline;
}

/* cdc_pipeline_decode_ahead: see pipeline.h. */
void
cdc_pipeline_decode_ahead(CdcPipeline *pipeline)
{
	pipeline->ahead = cdc_ahead_create(pipeline->decoder,
									   &pipeline->subscription->source,
									   cdc_guc_memory_limit * (size_t) 1024 / 24);
}

/* cdc_pipeline_free gives back everything, malloc memory included. */
void
cdc_pipeline_free(CdcPipeline *pipeline)
{
	for (int i = 0; i < pipeline->nparts; i++)
	{
		cdc_arena_free(&pipeline->parts[i]->arena);
		free(pipeline->parts[i]->queue);
		free(pipeline->parts[i]->hold_source);
		cdc_gate_free_places(pipeline->parts[i]);
	}
	cdc_ahead_free(pipeline->ahead);
	cdc_arena_free(&pipeline->arena);
	cdc_arena_free(&pipeline->event_arena);
	pipeline->decoder->close(pipeline->decode);
	MemoryContextDelete(pipeline->context);
}

/* Finds the mappings of a topic; they stand next to each other. */
static void
find_mappings(const CdcSubscription *subscription, CdcPartition *part)
{
	for (int i = 0; i < subscription->nmappings; i++)
		if (strcmp(subscription->mappings[i].topic, part->topic) == 0)
		{
			if (part->nmappings++ == 0)
				part->mappings = &subscription->mappings[i];
			part->disabled |= !subscription->mappings[i].options.enabled;
		}
}

/* cdc_pipeline_add_partition: see pipeline.h. */
CdcPartition *
cdc_pipeline_add_partition(CdcPipeline *pipeline, const char *topic,
						   int32 partition, int64 next_offset)
{
	MemoryContext old = MemoryContextSwitchTo(pipeline->context);
	CdcPartition *part = palloc0(sizeof(CdcPartition));

	part->topic = pstrdup(topic);
	part->partition = partition;
	part->index = pipeline->nparts;
	part->next_offset = part->read_offset = next_offset;
	part->eof_offset = part->low_watermark = part->end_offset = -1;
	part->last_ts_ms = part->skip_offset = part->combined_at = -1;
	part->anchor.offset = part->low_first = -1;
	find_mappings(pipeline->subscription, part);
	if ((pipeline->nparts & (pipeline->nparts - 1)) == 0)
		pipeline->parts = pipeline->nparts == 0 ? palloc(sizeof(CdcPartition *)) :
			repalloc(pipeline->parts, pipeline->nparts * 2 * sizeof(CdcPartition *));
	pipeline->parts[pipeline->nparts++] = part;
	/* another worker may have written letters of it */
	cdc_policy_forget(pipeline);
	MemoryContextSwitchTo(old);
	return part;
}

/* cdc_pipeline_partition: see pipeline.h. */
CdcPartition *
cdc_pipeline_partition(CdcPipeline *pipeline, const char *topic,
					   int32 partition)
{
	for (int i = 0; i < pipeline->nparts; i++)
		if (pipeline->parts[i]->partition == partition &&
			strcmp(pipeline->parts[i]->topic, topic) == 0)
			return pipeline->parts[i];
	return NULL;
}

/*
 * Takes a record into the next transaction or into the queue of its
 * partition, or drops it; true where it became the last fresh one.
 */
static bool
take_record(CdcPipeline *pipeline, const CdcRecord *record)
{
	CdcPartition *part = pipeline->parts[record->part];

	if (record->offset < part->read_offset ||
		part->mode == CDC_PARTITION_STOPPED || part->stale || part->disabled)
		return false;
	part->read_offset = record->offset + 1;
	if (part->mode == CDC_PARTITION_HELD)
	{
		cdc_partition_hold_record(part, record);
		pipeline->changes++;
		return false;
	}
	if (pipeline->nfresh == pipeline->maxfresh)
	{
		int			n = Max(1024, pipeline->maxfresh * 2);

		pipeline->fresh = pipeline->fresh == NULL ?
			MemoryContextAlloc(pipeline->context, n * sizeof(CdcRecord)) :
			repalloc_huge(pipeline->fresh, n * sizeof(CdcRecord));
		pipeline->maxfresh = n;
	}
	pipeline->fresh[pipeline->nfresh++] = *record;
	pipeline->fresh_bytes += cdc_record_bytes(record);
	pipeline->fresh_cost += cdc_record_cost(record);
	if (pipeline->fresh_since == 0)
		pipeline->fresh_since = GetCurrentTimestamp();
	return true;
}

/* cdc_pipeline_put: see pipeline.h. */
void
cdc_pipeline_put(CdcPipeline *pipeline, const CdcRecord *record)
{
	if (take_record(pipeline, record) && pipeline->ahead != NULL)
		cdc_ahead_put(pipeline->ahead, record);
}

/* cdc_pipeline_put_read: see pipeline.h. */
void
cdc_pipeline_put_read(CdcPipeline *pipeline, const CdcRecord *records, int n,
					  bool (*wanted) (void *arg, CdcRecord *record), void *arg)
{
	int			before = pipeline->nfresh;
	bool		keep = before == 0;

	for (int i = 0; i < n; i++)
	{
		CdcRecord	record = records[i];

		/* one that is left out makes the others stand elsewhere */
		keep &= wanted(arg, &record) && take_record(pipeline, &record);
	}
	cdc_ahead_turn(pipeline->ahead, &pipeline->arena, keep);
	if (!keep)
		for (int i = before; i < pipeline->nfresh; i++)
			cdc_ahead_put(pipeline->ahead, &pipeline->fresh[i]);
}

/* What the records of a batch may cost: two are in memory. */
static int64
batch_cost(void)
{
	return cdc_guc_memory_limit * INT64CONST(1024) / 12;
}

/* cdc_pipeline_read_ahead: see pipeline.h. */
void
cdc_pipeline_read_ahead(CdcPipeline *pipeline,
						bool (*read) (void *arg, CdcArena *arena, CdcRecord *record),
						void *arg)
{
	const CdcOptions *options = &pipeline->subscription->options;
	CdcAheadSource source = {read, arg, options->batch_rows,
		options->batch_bytes, batch_cost()};

	cdc_ahead_read(pipeline->ahead, &source);
}

/* cdc_pipeline_eof: see pipeline.h. */
void
cdc_pipeline_eof(CdcPipeline *pipeline, int p, int64 offset)
{
	CdcPartition *part = pipeline->parts[p];

	if (part->mode == CDC_PARTITION_STOPPED || offset < part->read_offset)
		return;
	if (part->eof_offset != offset && part->mode == CDC_PARTITION_HELD)
		pipeline->changes++;
	part->read_offset = offset;
	part->eof_offset = offset;
}

/* Bytes that the queues of all held partitions may take. */
static int64
held_memory(void)
{
	return cdc_guc_memory_limit * INT64CONST(1024) / 4;
}

/* cdc_pipeline_full: see pipeline.h. */
bool
cdc_pipeline_full(const CdcPipeline *pipeline, int parts)
{
	const CdcOptions *options = &pipeline->subscription->options;

	return (int64) pipeline->nfresh * parts >= options->batch_rows ||
		pipeline->fresh_bytes * parts >= options->batch_bytes ||
		pipeline->fresh_cost * parts >= batch_cost() ||
		/* what went into queues, as copies, stays there until the next step */
		(int64) pipeline->arena.total >= held_memory();
}

/*
 * cdc_pipeline_hold_room: see pipeline.h.  A quarter of the memory is for all
 * queues together, but each has room to go on.
 */
int64
cdc_pipeline_hold_room(const CdcPipeline *pipeline)
{
	int			nheld = 0;

	for (int i = 0; i < pipeline->nparts; i++)
		nheld += pipeline->parts[i]->mode == CDC_PARTITION_HELD;
	return Max(held_memory() / Max(nheld, 1), LEAST_ROOM);
}

/* Can a position move behind control records, with nothing to apply? */
static bool
positions_behind(const CdcPipeline *pipeline)
{
	for (int i = 0; i < pipeline->nparts; i++)
	{
		const CdcPartition *part = pipeline->parts[i];

		if (part->mode == CDC_PARTITION_ACTIVE && !part->stale &&
			!part->disabled && part->nqueue == 0 &&
			part->read_offset > part->next_offset)
			return true;
	}
	return false;
}

/* cdc_pipeline_forget_read: see pipeline_internal.h. */
void
cdc_pipeline_forget_read(CdcPipeline *pipeline)
{
	if (pipeline->ahead != NULL)
		cdc_ahead_reset(pipeline->ahead);
	cdc_arena_reset(&pipeline->arena);
}

/* All fresh records, as a list; NULL where there are none. */
static const CdcRecord **
pick_fresh(const CdcPipeline *pipeline, int *nrecords)
{
	int			n = pipeline->nfresh;
	const CdcRecord **records;

	*nrecords = n;
	if (n == 0)
		return NULL;
	records = palloc_extended(n * sizeof(CdcRecord *), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
		records[i] = &pipeline->fresh[i];
	return records;
}

/*
 * Works on held partitions where it is their turn, else on fresh records.  An
 * attempt that changes nothing about fresh records leaves them as they are,
 * with what the thread decodes of them.
 */
static CdcStep
take_turn(CdcPipeline *pipeline)
{
	const CdcRecord **records = NULL;
	bool		together = false;
	bool		fresh = false;
	CdcStep		step = CDC_STEP_IDLE;
	int			n = 0;

	if (pipeline->nfresh == 0 || pipeline->held_turn)
		records = cdc_hold_pick(pipeline, &n, &together);
	pipeline->held_turn = false;
	if (records == NULL)
	{
		records = pick_fresh(pipeline, &n);
		fresh = records != NULL;
	}
	if (records != NULL || pipeline->sweep || positions_behind(pipeline))
		step = cdc_attempt(pipeline, records, n, fresh, together);
	if (step == CDC_STEP_DONE && fresh)
		pipeline->held_turn = cdc_hold_any(pipeline);
	if (step == CDC_STEP_RETRY && !fresh)
		cdc_hold_again(pipeline, records, n, together);
	return step;
}

/*
 * cdc_pipeline_step: see pipeline.h.  What it allocates lives in
 * batch_context until the next step.
 */
CdcStep
cdc_pipeline_step(CdcPipeline *pipeline)
{
	MemoryContext old;
	CdcStep		step;

	MemoryContextReset(pipeline->batch_context);
	pipeline->failure = NULL;
	old = MemoryContextSwitchTo(pipeline->batch_context);
	/* what was read went into queues, or was dropped */
	if (pipeline->nfresh == 0 && pipeline->arena.current != NULL)
		cdc_pipeline_forget_read(pipeline);
	step = take_turn(pipeline);
	MemoryContextSwitchTo(old);
	return step;
}

/* cdc_pipeline_ends_learned: see pipeline.h. */
void
cdc_pipeline_ends_learned(CdcPipeline *pipeline)
{
	pipeline->ends_wanted = false;
	pipeline->changes++;
	cdc_hold_check_sweep(pipeline);
}

/* cdc_pipeline_resume: see pipeline.h. */
void
cdc_pipeline_resume(CdcPipeline *pipeline, bool data_errors)
{
	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];

		if (part->mode == CDC_PARTITION_STOPPED &&
			(data_errors || part->error_class == CDC_ERROR_CONFIGURATION))
		{
			cdc_partition_release(part);
			cdc_partition_rewind(part);
		}
	}
}
