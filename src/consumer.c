/*-------------------------------------------------------------------------
 *
 * consumer.c
 *		From the subscription's row to records in the pipeline.
 *
 * Floor 9.  Called by worker.c.  The one hard thing is where a partition
 * starts: its stored position, and nothing else.  A topic that is met for
 * the first time gets positions for all its partitions in one transaction,
 * from start_position; partitions (or topics) that appear later start at
 * their beginning, since everything in them came after the subscription.
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

#define METADATA_MS			10000
#define METADATA_MISSING_MS 500
#define ENDS_MS				1000
#define ENDS_IDLE_MS		10000
#define ENDS_ACTIVE_US		INT64CONST(60000000)
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

/* Which worker of the subscription consumes a partition? */
static bool
is_mine(const CdcConsumer *consumer, const char *topic, int32 partition)
{
	uint32		hash;

	if (consumer->nworkers <= 1)
		return true;
	if (consumer->gathered)
		return consumer->worker_no == 0;
	hash = hash_bytes((const unsigned char *) topic, strlen(topic));
	return (hash + partition) % consumer->nworkers == (uint32) consumer->worker_no;
}

/* Does a partition without a position exist in this list? */
static bool
has_position(const CdcPosition *positions, int n, const char *topic,
			 int32 partition)
{
	for (int i = 0; i < n; i++)
		if ((partition < 0 || positions[i].partition == partition) &&
			strcmp(positions[i].topic, topic) == 0)
			return true;
	return false;
}

/*
 * Asks where partitions [0, n) of a topic begin, and where start_position
 * is in them.  False where the brokers did not answer.
 */
static bool
ask_starts(CdcConsumer *consumer, const CdcTopicState *topic,
		   CdcTopicPartition *low, CdcTopicPartition *start)
{
	CdcPlace	place;
	int			n = topic->npartitions;

	cdc_place_parse(consumer->subscription->start_position, &place);
	for (int i = 0; i < n; i++)
	{
		low[i] = (CdcTopicPartition) {topic->topic, i, i, 0, 0};
		start[i] = low[i];
		start[i].offset = place.number;
	}
	if (!cdc_kafka_offsets(consumer->kafka, low, n, CDC_OFFSET_BEGINNING,
						   QUESTION_MS))
		return false;
	if (place.kind == CDC_PLACE_EARLIEST)
		memcpy(start, low, n * sizeof(CdcTopicPartition));
	else if (!cdc_kafka_offsets(consumer->kafka, start, n,
								place.kind == CDC_PLACE_LATEST ? CDC_OFFSET_END :
								CDC_OFFSET_AT_TIME, QUESTION_MS))
		return false;
	for (int i = 0; i < n; i++)
		if (low[i].error || start[i].error)
			return false;
	return true;
}

/*
 * Makes positions for partitions of a topic that have none, in the
 * transaction at hand.  Every worker does so for all partitions, whoever
 * consumes them: the first one to lock the mapping decides.
 */
static void
create_positions(CdcConsumer *consumer, CdcTopicState *topic,
				 const CdcPosition *positions, int npositions,
				 const CdcTopicPartition *low, const CdcTopicPartition *start)
{
	const char *name = consumer->subscription->name;
	bool		later = cdc_position_meet_topic(name, topic->topic) ||
		has_position(positions, npositions, topic->topic, -1);

	topic->met = true;
	for (int i = 0; i < topic->npartitions; i++)
		if (!has_position(positions, npositions, topic->topic, i))
			cdc_position_create(name, topic->topic, i,
								later ? low[i].offset : start[i].offset);
}

/* Claims the partitions of a topic that are ours and adds them. */
static void
claim_partitions(CdcConsumer *consumer, const CdcTopicState *topic)
{
	CdcPipeline *pipeline = consumer->pipeline;

	if (pipeline->generation == 0)
		pipeline->generation = cdc_position_new_generation();
	for (int i = 0; i < topic->npartitions; i++)
	{
		int64		next;
		int64		skip;

		if (!is_mine(consumer, topic->topic, i) ||
			cdc_pipeline_partition(pipeline, topic->topic, i))
			continue;
		next = cdc_position_claim(consumer->subscription->name, topic->topic, i,
								  pipeline->generation, &skip);
		cdc_pipeline_add_partition(pipeline, topic->topic, i, next)->skip_offset = skip;
	}
}

/* A topic that is missing is met, too: what comes later starts at its beginning. */
static void
meet_missing(CdcConsumer *consumer, CdcTopicState *topic)
{
	if (topic->met)
		return;
	StartTransactionCommand();
	(void) cdc_position_meet_topic(consumer->subscription->name, topic->topic);
	CommitTransactionCommand();
	topic->met = true;
}

/* Partitions of a topic that are not consumed yet: positions, claim. */
static bool
take_topic(CdcConsumer *consumer, CdcTopicState *topic)
{
	CdcTopicPartition *low = palloc(topic->npartitions * sizeof(CdcTopicPartition));
	CdcTopicPartition *start = palloc(topic->npartitions * sizeof(CdcTopicPartition));
	MemoryContext caller = CurrentMemoryContext;
	CdcPosition *positions;
	bool		complete = true;
	int			n;

	StartTransactionCommand();
	n = cdc_position_load(consumer->subscription->name, &positions);
	for (int i = 0; i < topic->npartitions; i++)
		complete &= has_position(positions, n, topic->topic, i);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	/* the network is asked outside of any transaction */
	if (!complete && !ask_starts(consumer, topic, low, start))
		return false;
	StartTransactionCommand();
	if (!complete)
	{
		n = cdc_position_load(consumer->subscription->name, &positions);
		create_positions(consumer, topic, positions, n, low, start);
	}
	claim_partitions(consumer, topic);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	pfree(low);
	pfree(start);
	return true;
}

/* Has a topic partitions of ours that the pipeline does not know? */
static bool
topic_is_taken(const CdcConsumer *consumer, const CdcTopicState *topic)
{
	for (int i = 0; i < topic->npartitions; i++)
		if (is_mine(consumer, topic->topic, i) &&
			!cdc_pipeline_partition(consumer->pipeline, topic->topic, i))
			return false;
	return true;
}

/* Tells the pipeline how many partitions the mappings of a topic have. */
static void
note_partitions(CdcConsumer *consumer, const CdcTopicState *topic)
{
	const CdcSubscription *sub = consumer->subscription;

	for (int i = 0; i < sub->nmappings; i++)
		if (strcmp(sub->mappings[i].topic, topic->topic) == 0)
			consumer->pipeline->topic_partitions[i] = topic->npartitions;
}

/* cdc_consumer_discover: see consumer.h. */
bool
cdc_consumer_discover(CdcConsumer *consumer, bool now)
{
	TimestampTz time = GetCurrentTimestamp();
	MemoryContext old;
	CdcTopicInfo *infos;
	bool		complete = true;

	if (consumer->ntopics == 0 || (!now && time < consumer->next_metadata))
		return true;
	old = MemoryContextSwitchTo(consumer->pipeline->batch_context);
	infos = palloc0(consumer->ntopics * sizeof(CdcTopicInfo));
	for (int i = 0; i < consumer->ntopics; i++)
		infos[i].topic = consumer->topics[i].topic;
	complete = cdc_kafka_topics(consumer->kafka, infos, consumer->ntopics,
								QUESTION_MS);
	for (int i = 0; complete && i < consumer->ntopics; i++)
	{
		CdcTopicState *topic = &consumer->topics[i];

		topic->npartitions = Max(topic->npartitions, infos[i].npartitions);
		note_partitions(consumer, topic);
		strlcpy(topic->reason, infos[i].npartitions > 0 ? "" : infos[i].reason,
				sizeof(topic->reason));
		if (infos[i].npartitions == 0 && topic->npartitions == 0)
			meet_missing(consumer, topic);
		else if (!topic_is_taken(consumer, topic))
			complete &= take_topic(consumer, topic);
	}
	MemoryContextSwitchTo(old);
	for (int i = 0; i < consumer->ntopics; i++)
		if (consumer->topics[i].reason[0])
			complete = false;
	consumer->next_metadata = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  complete ? METADATA_MS : METADATA_MISSING_MS);
	cdc_consumer_assign(consumer);
	return complete;
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

/* A position that the log does not hold: reset as the option says, or stop. */
static void
out_of_range(CdcConsumer *consumer, CdcPartition *part)
{
	CdcTopicPartition low = {part->topic, part->partition, 0, 0, 0};
	CdcTopicPartition end = low;
	bool		known = cdc_kafka_offsets(consumer->kafka, &low, 1, CDC_OFFSET_BEGINNING, 2000) &&
		cdc_kafka_offsets(consumer->kafka, &end, 1, CDC_OFFSET_END, 2000);
	CdcErrorReport report;

	memset(&report, 0, sizeof(report));
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
		part->mode = CDC_PARTITION_STOPPED;
		part->error_class = CDC_ERROR_DATA;
		strlcpy(part->reason, "offset_out_of_range", sizeof(part->reason));
		snprintf(part->hint, sizeof(part->hint),
				 "Disable the subscription, read the table again or accept the loss, call cdc_sink.set_position(%s, %s, %d, 'earliest'), and enable it.",
				 quote_literal_cstr(consumer->subscription->name),
				 quote_literal_cstr(part->topic), part->partition);
		if (known)
			snprintf(report.message, sizeof(report.message),
					 "offset " INT64_FORMAT " is not in the log, which holds " INT64_FORMAT " to " INT64_FORMAT "; " INT64_FORMAT " offsets are gone",
					 part->next_offset, low.offset, end.offset,
					 Max(low.offset - part->next_offset, 0));
		else
			snprintf(report.message, sizeof(report.message),
					 "offset " INT64_FORMAT " is not in the log", part->next_offset);
		strlcpy(report.topic, part->topic, sizeof(report.topic));
		report.partition = part->partition;
		report.offset = part->next_offset;
		report.sqlstate = part->sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
		strlcpy(part->message, report.message, sizeof(part->message));
		part->detail[0] = '\0';
		strlcpy(report.hint, part->hint, sizeof(report.hint));
		report.attempts = 1;
		strlcpy(report.disposition, "stop", sizeof(report.disposition));
		report.subid = consumer->subscription->id;
		cdc_error_report(&report);
		ereport(LOG,
				(errmsg("partition %d of topic \"%s\" is stopped: %s",
						part->partition, part->topic, report.message),
				 errhint("%s", part->hint)));
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
			if (part && part->mode == CDC_PARTITION_ACTIVE)
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

	if (pipeline->nparts == 0)
		return true;
	if (!now && !pipeline->ends_wanted && time < consumer->next_ends)
		return false;
	/*
	 * The answer comes behind the fetch that waits for new records on the
	 * same connection, so nobody asks while records flow: the watermark that
	 * each fetch brings will do until then.
	 */
	consumer->next_ends = TimestampTzPlusMilliseconds(time, ENDS_MS);
	if (!now && !pipeline->ends_wanted && consumer->active &&
		time < consumer->ends_time + ENDS_ACTIVE_US)
	{
		consumer->active = false;
		return false;
	}
	if (!consumer->active)
		consumer->next_ends = TimestampTzPlusMilliseconds(time, ENDS_IDLE_MS);
	consumer->active = false;
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
