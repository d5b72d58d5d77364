/*-------------------------------------------------------------------------
 *
 * consumer_pull.c
 *		Records and events from the client into the pipeline.
 *
 * Floor 9.  Called by worker.c and run_batches.c.  The one hard thing: while
 * a large batch is applied, a thread reads the next one, so that records come
 * in two ways, in the same order; what is no record waits for the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "consumer.h"

/* An event that is no record. */
static void
handle_event(CdcConsumer *consumer, const CdcKafkaEvent *event)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcPartition *part = event->part >= 0 && event->part < pipeline->nparts ?
		pipeline->parts[event->part] : NULL;

	if (part)
		part->heard = true;
	switch (event->type)
	{
		case CDC_KAFKA_EOF:
			if (part && part->check != CDC_CHECK_NONE &&
				!cdc_consumer_check_eof(consumer, part, event->offset))
				break;
			cdc_pipeline_eof(pipeline, event->part, event->offset);
			if (part)
				part->reason[0] = '\0';
			break;
		case CDC_KAFKA_OUT_OF_RANGE:
			if (part)
				cdc_consumer_lose_range(consumer, part);
			break;
		case CDC_KAFKA_PARTITION_ERROR:
			/* the client has halted it, too */
			if (part && !event->transient)
				cdc_consumer_lose(consumer, part, event->reason, event->message,
								  "See to the topic at the broker; cdc_sink.set_position passes what is lost.");
			else if (part && part->mode == CDC_PARTITION_ACTIVE)
			{
				strlcpy(part->reason, event->reason, sizeof(part->reason));
				strlcpy(part->hint, event->message, sizeof(part->hint));
			}
			if (part && event->transient)
				cdc_consumer_recheck(consumer, part);
			consumer->next_metadata = 0;
			break;
		case CDC_KAFKA_DOUBT:
			if (part)
				cdc_consumer_doubt(consumer, part);
			consumer->outage = true;
			break;
		case CDC_KAFKA_ERROR:	/* cdc_kafka_status tells */
		case CDC_KAFKA_RECORD:
		case CDC_KAFKA_NONE:
			break;
	}
}

/*
 * Is a record that was read to be put?  Notes that it came, and names its
 * topic by the pipeline's own copy.
 */
static bool
want_record(void *arg, CdcRecord *record)
{
	CdcConsumer *consumer = arg;
	CdcPartition *part = consumer->pipeline->parts[record->part];

	record->topic = part->topic;
	part->heard = true;
	if (part->check != CDC_CHECK_NONE &&
		!cdc_consumer_check_record(consumer, part, record))
		return false;
	if (part->mode == CDC_PARTITION_ACTIVE)
		part->reason[0] = '\0';
	if (!consumer->active)
		consumer->next_ends = Min(consumer->next_ends,
								  TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
															  CDC_ENDS_MS));
	consumer->received = consumer->active = true;
	return true;
}

/* Is the open batch older than batch_interval_ms? */
static bool
batch_is_old(const CdcPipeline *pipeline)
{
	return pipeline->fresh_since != 0 &&
		TimestampDifferenceExceeds(pipeline->fresh_since, GetCurrentTimestamp(),
								   pipeline->subscription->options.batch_interval_ms);
}

/* cdc_consumer_pull: see consumer.h. */
void
cdc_consumer_pull(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;
	int64		room = cdc_pipeline_hold_room(pipeline);
	CdcKafkaEvent event;
	int			n = 0;

	/*
	 * Half a batch, read while the last one was applied, is worth a
	 * transaction: to take more holds up the thread, which would read on.
	 */
	consumer->emptied = false;
	if (cdc_pipeline_full(pipeline, 2))
		return;
	while (!cdc_pipeline_full(pipeline, 1))
	{
		CdcKafkaEventType type = cdc_kafka_poll(consumer->kafka, &pipeline->arena,
												&event);

		/* what came since is of a new connection, and is asked for again */
		if (event.outage)
		{
			cdc_consumer_doubt_all(consumer);
			if (type == CDC_KAFKA_RECORD || type == CDC_KAFKA_EOF)
				continue;
		}
		if (type == CDC_KAFKA_NONE)
		{
			consumer->emptied = true;
			break;
		}
		if (type == CDC_KAFKA_RECORD)
		{
			if (!want_record(consumer, &event.record))
				continue;
			cdc_pipeline_put(pipeline, &event.record);
			/* more of it is not wanted, cdc_consumer_assign */
			if (cdc_partition_held_bytes(pipeline->parts[event.record.part]) >= room)
				break;
		}
		else
			handle_event(consumer, &event);
		/* the clock costs more than a record */
		if ((++n & 255) != 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (batch_is_old(pipeline))
			break;
	}
}

/* read of CdcAheadSource. */
static bool
read_record(void *arg, CdcArena *arena, CdcRecord *record)
{
	return cdc_kafka_read(arg, arena, record);
}

/* cdc_consumer_step: see consumer.h. */
CdcStep
cdc_consumer_step(CdcConsumer *consumer, bool again)
{
	CdcPipeline *pipeline = consumer->pipeline;
	const CdcRecord *records;
	CdcStep		step;
	int			n;

	/*
	 * What fails, or waits for held partitions to have their turn, stays in
	 * memory: no more is read on top of it each time.
	 */
	if (pipeline->ahead == NULL || again || pipeline->held_turn)
		return cdc_pipeline_step(pipeline);
	cdc_pipeline_read_ahead(pipeline, read_record, consumer->kafka);
	step = cdc_pipeline_step(pipeline);
	n = cdc_ahead_stop(pipeline->ahead, &records);
	if (n > 0)
		cdc_pipeline_put_read(pipeline, records, n, want_record, consumer);
	return step;
}
