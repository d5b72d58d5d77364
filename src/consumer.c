/*-------------------------------------------------------------------------
 *
 * consumer.c
 *		From the subscription's row to records in the pipeline.
 *
 * Floor 9.  Called by worker.c and run_batches.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "consumer.h"
#include "guc.h"
#include "oneshot.h"
#include "position.h"

#define ENDS_MS				1000
#define ENDS_IDLE_MS		10000
#define ENDS_ACTIVE_US		INT64CONST(60000000)
/* while a broker fails: only an answer tells that it is back */
#define ENDS_FAILED_MS		3000
#define QUESTION_MS			5000
#define GATHERED_MS			10000

/* Fingerprint of the client's settings: a new client where it differs. */
static char *
connection_fingerprint(const CdcKafkaConfig *config)
{
	uint64		hash = 0;

	for (int i = 0; i < config->nproperties; i++)
	{
		const CdcKafkaProperty *p = &config->properties[i];

		hash = hash_combine64(hash, hash_bytes_extended((const unsigned char *) p->name,
														strlen(p->name), 1));
		hash = hash_combine64(hash, hash_bytes_extended((const unsigned char *) p->value,
														strlen(p->value), 2));
	}
	hash = hash_combine64(hash, hash_bytes_extended((const unsigned char *) config->allowed_brokers,
													strlen(config->allowed_brokers), 3));
	hash = hash_combine64(hash, hash_bytes_extended((const unsigned char *) config->group,
													strlen(config->group), 4));
	return psprintf(UINT64_FORMAT "/%d", hash, config->queue_kbytes);
}

/* Collects the topics of the mappings. */
static void
collect_topics(CdcConsumer *consumer)
{
	const CdcSubscription *sub = consumer->subscription;

	consumer->topics = palloc0(Max(sub->nmappings, 1) * sizeof(CdcTopicState));
	for (int i = 0; i < sub->nmappings; i++)
		if (i == 0 || strcmp(sub->mappings[i].topic, sub->mappings[i - 1].topic) != 0)
			consumer->topics[consumer->ntopics++].topic = sub->mappings[i].topic;
}

/*
 * Loads subscription and client settings into the consumer, in one
 * transaction.  False where there is nothing to consume.
 */
static bool
load(CdcConsumer *consumer, int64 subid, bool even_disabled,
	 CdcKafkaConfig *config)
{
	CdcSubscription *sub;

	StartTransactionCommand();
	MemoryContextSwitchTo(consumer->context);
	sub = cdc_catalog_load(subid);
	if (sub != NULL && (even_disabled || (sub->enabled && !sub->restored)))
	{
		cdc_catalog_kafka_config(sub, config);
		consumer->subscription = sub;
		consumer->connection = connection_fingerprint(config);
		collect_topics(consumer);
		consumer->pipeline = cdc_pipeline_create(consumer->context, sub);
		consumer->pipeline->shared = consumer->nworkers > 1 && !consumer->gathered;
		cdc_pipeline_decode_ahead(consumer->pipeline);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(consumer->context);
	return consumer->subscription != NULL;
}

/* Takes every partition out of a client's assignment. */
static void
unassign_all(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;

	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];
		CdcTopicPartition tp = {part->topic, part->partition, part->index, 0, 0};

		if (part->assigned)
			cdc_kafka_remove(consumer->kafka, &tp, 1);
		part->assigned = false;
	}
}

/* Frees everything but the client. */
static void
free_consumer(CdcConsumer *consumer)
{
	if (consumer->pipeline)
		cdc_pipeline_free(consumer->pipeline);
	MemoryContextDelete(consumer->context);
}

/* cdc_consumer_close ends the client and frees everything. */
void
cdc_consumer_close(CdcConsumer *consumer)
{
	if (consumer->kafka)
		cdc_kafka_close(consumer->kafka);
	free_consumer(consumer);
}

/* Gives the new consumer the client of old, or a new one. */
static void
take_client(CdcConsumer *consumer, CdcConsumer *old, CdcKafkaConfig *config)
{
	if (old && old->kafka && strcmp(old->connection, consumer->connection) == 0)
	{
		unassign_all(old);
		consumer->kafka = old->kafka;
		consumer->request_served = old->request_served;
		old->kafka = NULL;
		return;
	}
	if (old && old->kafka)
		cdc_kafka_close(old->kafka);
	if (old)
		old->kafka = NULL;
	consumer->kafka = cdc_kafka_open(config);
	cdc_properties_wipe(config->properties, config->nproperties);
}

/* Loads the client's settings as they are now; raises where it cannot. */
static bool
has_connection(CdcConsumer *consumer)
{
	CdcKafkaConfig config;
	bool		same;

	StartTransactionCommand();
	cdc_catalog_kafka_config(consumer->subscription, &config);
	same = strcmp(connection_fingerprint(&config), consumer->connection) == 0;
	cdc_properties_wipe(config.properties, config.nproperties);
	CommitTransactionCommand();
	return same;
}

/* cdc_consumer_is_current: see consumer.h. */
bool
cdc_consumer_is_current(CdcConsumer *consumer, bool unreadable)
{
	bool		current = unreadable;

	PG_TRY();
	{
		current = has_connection(consumer);
	}
	PG_CATCH();
	{
		/* who opens the consumer is told; a file may just be written anew */
		AbortCurrentTransaction();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	return current;
}

/* cdc_consumer_open: see consumer.h. */
CdcConsumer *
cdc_consumer_open(int64 subid, int worker_no, int nworkers,
				  bool even_disabled, CdcConsumer *old)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "cdc_sink consumer",
												  ALLOCSET_DEFAULT_SIZES);
	CdcConsumer *consumer = MemoryContextAllocZero(context, sizeof(CdcConsumer));
	CdcKafkaConfig config;
	volatile bool found = false;

	memset(&config, 0, sizeof(config));
	consumer->context = context;
	consumer->worker_no = worker_no;
	consumer->nworkers = nworkers;
	consumer->gathered = nworkers > 1 && cdc_slot_gathered();
	consumer->gathered_at = GetCurrentTimestamp();
	PG_TRY();
	{
		found = load(consumer, subid, even_disabled, &config);
		if (found)
			take_client(consumer, old, &config);
	}
	PG_CATCH();
	{
		free_consumer(consumer);
		if (old)
			cdc_consumer_close(old);
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	if (old)
		cdc_consumer_close(old);
	if (found)
		return consumer;
	free_consumer(consumer);
	return NULL;
}

/* Should the client deliver this partition now? */
static bool
is_wanted(const CdcPartition *part)
{
	if (part->stale || part->disabled || part->mode == CDC_PARTITION_STOPPED)
		return false;
	/* what is held back must not fill the memory */
	return part->queue_bytes < (int64) cdc_guc_memory_limit * 1024 / 4;
}

/* cdc_consumer_assign: see consumer.h. */
void
cdc_consumer_assign(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcTopicPartition *add = palloc(Max(pipeline->nparts, 1) * sizeof(CdcTopicPartition));
	int			nadd = 0;

	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];
		CdcTopicPartition tp = {part->topic, part->partition, part->index,
		part->read_offset, 0};

		if (is_wanted(part) == part->assigned)
			continue;
		if (part->assigned)
			cdc_kafka_remove(consumer->kafka, &tp, 1);
		else
			add[nadd++] = tp;
		part->assigned = !part->assigned;
	}
	if (nadd > 0)
		cdc_kafka_add(consumer->kafka, add, nadd);
	pfree(add);
}

/* Stops a partition at its position for something that the broker said. */
static void
stop_by_broker(CdcConsumer *consumer, CdcPartition *part, const char *reason,
			   const char *message, const char *hint)
{
	CdcRecord	record = {.topic = part->topic, .partition = part->partition,
		.part = part->index, .offset = part->next_offset};
	CdcFailure	failure = {.class = CDC_ERROR_DATA,
		.sqlstate = ERRCODE_INVALID_PARAMETER_VALUE, .culprit = -1,
		.reason = reason, .message = unconstify(char *, message),
		.hint = unconstify(char *, hint)};

	cdc_pipeline_stop(consumer->pipeline, part, &record, &failure);
}

/* A position that the log does not hold: reset as the option says, or stop. */
static void
out_of_range(CdcConsumer *consumer, CdcPartition *part)
{
	CdcTopicPartition low = {part->topic, part->partition, 0, 0, 0};
	CdcTopicPartition end = low;
	bool		known = cdc_kafka_offsets(consumer->kafka, &low, 1, CDC_OFFSET_BEGINNING, 2000) &&
		cdc_kafka_offsets(consumer->kafka, &end, 1, CDC_OFFSET_END, 2000);

	if (known && part->next_offset >= low.offset && part->next_offset <= end.offset &&
		part->read_offset == part->next_offset)
	{
		/* the log has it after all: ask again for it */
		cdc_partition_rewind(part);
		part->assigned = false;
		return;
	}
	if (known && consumer->subscription->options.out_of_range_earliest)
	{
		StartTransactionCommand();
		cdc_position_store(consumer->subscription->name, part,
						   consumer->pipeline->generation, low.offset);
		CommitTransactionCommand();
		MemoryContextSwitchTo(TopMemoryContext);
		ereport(LOG,
				(errmsg("partition %d of topic \"%s\" goes on at its earliest offset " INT64_FORMAT " instead of " INT64_FORMAT,
						part->partition, part->topic, low.offset, part->next_offset)));
		part->next_offset = low.offset;
		if (part->skip_offset < low.offset)
			part->skip_offset = -1;
	}
	else
	{
		char	   *message = psprintf("offset " INT64_FORMAT " is not in the log", part->next_offset);
		char	   *hint = psprintf("Disable the subscription, read the table again or accept the loss, and call cdc_sink.set_position(%s, %s, %d, 'earliest').",
									quote_literal_cstr(consumer->subscription->name),
									quote_literal_cstr(part->topic), part->partition);

		if (known)
			message = psprintf("%s, which holds " INT64_FORMAT " to " INT64_FORMAT "; " INT64_FORMAT " offsets are gone",
							   message, low.offset, end.offset,
							   Max(low.offset - part->next_offset, 0));
		stop_by_broker(consumer, part, "offset_out_of_range", message, hint);
		pfree(message);
		pfree(hint);
	}
	cdc_partition_rewind(part);
	part->assigned = false;
}

/* An event that is no record. */
static void
handle_event(CdcConsumer *consumer, const CdcKafkaEvent *event)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcPartition *part = event->part >= 0 && event->part < pipeline->nparts ?
		pipeline->parts[event->part] : NULL;

	switch (event->type)
	{
		case CDC_KAFKA_EOF:
			cdc_pipeline_eof(pipeline, event->part, event->offset);
			if (part)
				part->reason[0] = '\0';
			break;
		case CDC_KAFKA_OUT_OF_RANGE:
			if (part && part->mode != CDC_PARTITION_STOPPED)
				out_of_range(consumer, part);
			break;
		case CDC_KAFKA_PARTITION_ERROR:
			if (part && part->mode != CDC_PARTITION_STOPPED && !event->transient)
			{
				/* the client has halted it, too */
				stop_by_broker(consumer, part, event->reason, event->message,
							   "See to the topic at the broker; cdc_sink.set_position passes what is lost.");
				cdc_partition_rewind(part);
			}
			else if (part && part->mode == CDC_PARTITION_ACTIVE)
			{
				strlcpy(part->reason, event->reason, sizeof(part->reason));
				strlcpy(part->hint, event->message, sizeof(part->hint));
			}
			consumer->next_metadata = 0;
			break;
		case CDC_KAFKA_ERROR:	/* cdc_kafka_status tells */
		case CDC_KAFKA_RECORD:
		case CDC_KAFKA_NONE:
			break;
	}
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
	CdcKafkaEvent event;
	int			n = 0;

	while (!cdc_pipeline_full(pipeline))
	{
		CdcKafkaEventType type = cdc_kafka_poll(consumer->kafka, &pipeline->arena,
												&event);

		if (type == CDC_KAFKA_NONE)
			break;
		if (type == CDC_KAFKA_RECORD)
		{
			CdcPartition *part = pipeline->parts[event.record.part];

			event.record.topic = part->topic;
			if (part->mode == CDC_PARTITION_ACTIVE)
				part->reason[0] = '\0';
			cdc_pipeline_put(pipeline, &event.record);
			if (!consumer->active)
				consumer->next_ends = Min(consumer->next_ends,
										  TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ENDS_MS));
			consumer->received = consumer->active = true;
		}
		else
			handle_event(consumer, &event);
		/* the clock costs more than a record */
		if ((++n & 255) == 0 && batch_is_old(pipeline))
			break;
	}
}

/* cdc_consumer_learn_ends: see consumer.h. */
bool
cdc_consumer_learn_ends(CdcConsumer *consumer, bool now)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcTopicPartition *ends;
	TimestampTz time = GetCurrentTimestamp();
	bool		answered;
	bool		failed;

	if (pipeline->nparts == 0)
		return true;
	failed = cdc_kafka_has_failed_brokers(consumer->kafka);
	if (failed)
		consumer->next_ends = Min(consumer->next_ends,
								  TimestampTzPlusMilliseconds(consumer->ends_asked, ENDS_FAILED_MS));
	if (!now && !pipeline->ends_wanted && time < consumer->next_ends)
		return false;
	/*
	 * The answer comes behind the fetch that waits for new records on the
	 * same connection, so nobody asks while records flow: the watermark that
	 * each fetch brings will do until then.
	 */
	consumer->next_ends = TimestampTzPlusMilliseconds(time, ENDS_MS);
	if (!now && !pipeline->ends_wanted && !failed && consumer->active &&
		time < consumer->ends_time + ENDS_ACTIVE_US)
	{
		consumer->active = false;
		return false;
	}
	if (!consumer->active)
		consumer->next_ends = TimestampTzPlusMilliseconds(time, ENDS_IDLE_MS);
	consumer->active = false;
	consumer->ends_asked = time;
	ends = palloc(pipeline->nparts * sizeof(CdcTopicPartition));
	for (int i = 0; i < pipeline->nparts; i++)
		ends[i] = (CdcTopicPartition) {pipeline->parts[i]->topic,
		pipeline->parts[i]->partition, i, 0, 0};
	answered = cdc_kafka_offsets(consumer->kafka, ends, pipeline->nparts,
								 CDC_OFFSET_END, now ? QUESTION_MS : 500);
	if (answered)
	{
		pipeline->ends_serial++;
		consumer->ends_time = GetCurrentTimestamp();
		for (int i = 0; i < pipeline->nparts; i++)
			if (ends[i].error == 0)
			{
				pipeline->parts[i]->end_offset = ends[i].offset;
				pipeline->parts[i]->end_serial = pipeline->ends_serial;
			}
			else
				answered = false;
		cdc_pipeline_ends_learned(pipeline);
		if (answered)
			cdc_kafka_all_answered(consumer->kafka);
	}
	else
		consumer->next_ends = TimestampTzPlusMilliseconds(time, 5 * ENDS_MS);
	pfree(ends);
	return answered;
}

/*
 * cdc_consumer_gather: see consumer.h.  Worker 0 gives the partitions back
 * when none was held for a while.
 */
void
cdc_consumer_gather(CdcConsumer *consumer)
{
	const CdcPipeline *pipeline = consumer->pipeline;

	if (consumer->nworkers <= 1)
		return;
	if (pipeline->gather_wanted && !consumer->gathered)
	{
		cdc_slot_gather(true);
		return;
	}
	if (!consumer->gathered || consumer->worker_no != 0)
		return;
	for (int i = 0; i < pipeline->nparts; i++)
		if (pipeline->parts[i]->mode == CDC_PARTITION_HELD)
			consumer->gathered_at = GetCurrentTimestamp();
	if (TimestampDifferenceExceeds(consumer->gathered_at, GetCurrentTimestamp(),
								   GATHERED_MS))
		cdc_slot_gather(false);
}

/* cdc_consumer_clock_back: see consumer.h. */
void
cdc_consumer_clock_back(CdcConsumer *consumer, TimestampTz now)
{
	consumer->next_metadata = Min(consumer->next_metadata, now);
	consumer->next_ends = Min(consumer->next_ends, now);
	consumer->gathered_at = Min(consumer->gathered_at, now);
	consumer->pipeline->fresh_since = Min(consumer->pipeline->fresh_since, now);
}
