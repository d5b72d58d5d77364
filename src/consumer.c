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
#include "catalog_server.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "consumer.h"
#include "guc.h"
#include "moved.h"
#include "oneshot.h"

#define LOOK_MS				50
#define ENDS_IDLE_MS		10000
#define ENDS_ACTIVE_US		INT64CONST(60000000)
/* while a broker fails: only an answer tells that it is back */
#define ENDS_FAILED_MS		3000
#define QUESTION_MS			5000
/* longer than a question waits behind an idle fetch, fetch.wait.max.ms */
#define HURRIED_MS			1000
#define GATHERED_MS			10000
/* how often one of several workers looks for old rows of key changes */
#define SWEEP_LOOK_MS		300000

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

/* cdc_consumer_end_client: see consumer.h. */
void
cdc_consumer_end_client(CdcConsumer *consumer)
{
	if (consumer->pipeline)
		cdc_pipeline_free(consumer->pipeline);
	consumer->pipeline = NULL;
	if (consumer->kafka)
		cdc_kafka_close(consumer->kafka);
	consumer->kafka = NULL;
}

/* cdc_consumer_close ends the client and frees everything. */
void
cdc_consumer_close(CdcConsumer *consumer)
{
	cdc_consumer_end_client(consumer);
	MemoryContextDelete(consumer->context);
}

/* Gives the new consumer the client of old, or a new one. */
static void
take_client(CdcConsumer *consumer, CdcConsumer *old, CdcKafkaConfig *config)
{
	if (old && old->kafka && strcmp(old->connection, consumer->connection) == 0)
	{
		unassign_all(old);
		consumer->kafka = old->kafka;
		consumer->request_asked = old->request_asked;
		consumer->request_served = old->request_served;
		old->kafka = NULL;
		return;
	}
	if (old)
		cdc_consumer_end_client(old);
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

/*
 * Forgets the states of topics that are not mapped any more: nobody would
 * publish others.
 */
static void
forget_unmapped(const CdcConsumer *consumer)
{
	CdcPartitionEntry *entries = NULL;
	int			size = 0;
	int			n = cdc_my_slot == NULL ? 0 :
		cdc_partitions_copy(MyDatabaseId, cdc_my_slot->subid, &entries, &size);

	for (int i = 0; i < n; i++)
	{
		bool		mapped = false;

		for (int t = 0; t < consumer->ntopics; t++)
			mapped |= strcmp(consumer->topics[t].topic, entries[i].key.topic) == 0;
		if (!mapped)
			cdc_partition_forget(entries[i].key.topic, entries[i].key.partition);
	}
	if (entries)
		pfree(entries);
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
	consumer->abandoned_at = old ? old->abandoned_at : 0;
	consumer->patience = old ? old->patience : 0;
	PG_TRY();
	{
		found = load(consumer, subid, even_disabled, &config);
		if (found)
		{
			take_client(consumer, old, &config);
			forget_unmapped(consumer);
		}
	}
	PG_CATCH();
	{
		cdc_consumer_close(consumer);
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
	cdc_consumer_close(consumer);
	return NULL;
}

/* Should the client deliver this partition now? */
static bool
is_wanted(const CdcPartition *part, int64 room)
{
	if (part->stale || part->disabled || part->mode == CDC_PARTITION_STOPPED ||
		part->loss || part->gone_since != 0 || part->waits)
		return false;
	/*
	 * What is held back must not fill the memory.  A queue that was full is
	 * read on behind when there is room again for more than a few records.
	 */
	return cdc_partition_held_bytes(part) < room / (part->assigned ? 1 : 2);
}

/* cdc_consumer_assign: see consumer.h. */
void
cdc_consumer_assign(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcTopicPartition *add = palloc(Max(pipeline->nparts, 1) * sizeof(CdcTopicPartition));
	int64		room = cdc_pipeline_hold_room(pipeline);
	int			nadd = 0;

	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];
		CdcTopicPartition tp = {part->topic, part->partition, part->index, 0, 0};

		if (is_wanted(part, room) == part->assigned)
			continue;
		if (part->assigned)
		{
			cdc_kafka_remove(consumer->kafka, &tp, 1);
			if (part->loss == NULL)
				part->check = CDC_CHECK_NONE;
		}
		else
		{
			tp.offset = cdc_consumer_begin_check(consumer, part);
			add[nadd++] = tp;
		}
		part->assigned = !part->assigned;
	}
	if (nadd > 0)
		cdc_kafka_add(consumer->kafka, add, nadd);
	pfree(add);
}

/* cdc_consumer_tend: see consumer.h. */
void
cdc_consumer_tend(CdcConsumer *consumer)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now >= consumer->next_siblings)
	{
		cdc_consumer_look_at_siblings(consumer);
		consumer->next_siblings = TimestampTzPlusMilliseconds(now, LOOK_MS);
	}
	/* without a broker a question would only hold everything up */
	cdc_kafka_status(consumer->kafka, &consumer->status);
	if (consumer->outage && consumer->status.connected)
	{
		consumer->outage = false;
		consumer->next_metadata = 0;
	}
	cdc_consumer_settle_losses(consumer);
	cdc_consumer_assign(consumer);
	cdc_kafka_rest(consumer->kafka);
}

/* Asks for beginnings or ends; now: somebody waits for the answer. */
static bool
ask_offsets(CdcConsumer *consumer, CdcTopicPartition *parts, int n,
			CdcOffsetQuestion question, int timeout_ms, bool now)
{
	return (now && cdc_kafka_offsets_now(consumer->kafka, parts, n, question)) ||
		cdc_kafka_offsets(consumer->kafka, parts, n, question, timeout_ms);
}

/*
 * Asks where the logs begin that nobody reads, for retention goes on there,
 * too.  Each answer to a fetch tells it of the others.
 */
static void
learn_beginnings(CdcConsumer *consumer, bool now)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcTopicPartition *low = palloc(pipeline->nparts * sizeof(CdcTopicPartition));
	int			n = 0;

	for (int i = 0; i < pipeline->nparts; i++)
		if (!pipeline->parts[i]->assigned && pipeline->parts[i]->gone_since == 0)
			low[n++] = (CdcTopicPartition) {pipeline->parts[i]->topic,
		pipeline->parts[i]->partition, i, 0, 0};
	if (ask_offsets(consumer, low, n, CDC_OFFSET_BEGINNING, HURRIED_MS, now))
		for (int i = 0; i < n; i++)
			if (low[i].error == 0)
				cdc_consumer_note_low(pipeline->parts[low[i].part], low[i].offset);
	pfree(low);
}

/* cdc_consumer_patience: see consumer.h. */
int
cdc_consumer_patience(int unanswered)
{
	/* now and then a slow broker has its time */
	return unanswered % 20 == 0 ? QUESTION_MS : HURRIED_MS;
}

/* cdc_consumer_learn_ends: see consumer.h. */
bool
cdc_consumer_learn_ends(CdcConsumer *consumer, bool now)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcTopicPartition *ends;
	int			n = 0;
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
	consumer->next_ends = TimestampTzPlusMilliseconds(time, CDC_ENDS_MS);
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
		if (pipeline->parts[i]->gone_since == 0)
			ends[n++] = (CdcTopicPartition) {pipeline->parts[i]->topic,
		pipeline->parts[i]->partition, i, 0, 0};
	answered = ask_offsets(consumer, ends, n, CDC_OFFSET_END,
						   now ? cdc_consumer_patience(consumer->unanswered_ends) : HURRIED_MS,
						   now);
	if (answered || now)
		consumer->unanswered_ends = answered ? 0 : consumer->unanswered_ends + 1;
	if (answered)
	{
		pipeline->ends_serial++;
		consumer->ends_time = GetCurrentTimestamp();
		for (int i = 0; i < n; i++)
		{
			CdcPartition *part = pipeline->parts[ends[i].part];

			if (ends[i].error == 0)
			{
				part->end_offset = ends[i].offset;
				part->end_serial = pipeline->ends_serial;
				if (ends[i].offset < part->read_offset && !part->disabled)
					cdc_consumer_lose_range(consumer, part);
			}
			else
				answered = false;
		}
		cdc_pipeline_ends_learned(pipeline);
		if (answered)
			cdc_kafka_all_answered(consumer->kafka);
		learn_beginnings(consumer, now);
	}
	else
		consumer->next_ends = TimestampTzPlusMilliseconds(time, 5 * CDC_ENDS_MS);
	pfree(ends);
	return answered;
}

/*
 * Do rows of key changes wait in vain?  They may go only where all partitions
 * are in one worker's sight (hold.c), so worker 0 of several looks for them
 * now and then, when it has nothing else to do.
 */
static bool
sweep_wanted(CdcConsumer *consumer)
{
	const CdcPipeline *pipeline = consumer->pipeline;
	TimestampTz now = GetCurrentTimestamp();
	bool		waiting;

	if (consumer->worker_no != 0 || now < consumer->next_sweep_look)
		return false;
	for (int i = 0; i < pipeline->nparts; i++)
		if (pipeline->parts[i]->next_offset < pipeline->parts[i]->end_offset)
			return false;
	consumer->next_sweep_look = TimestampTzPlusMilliseconds(now, SWEEP_LOOK_MS);
	StartTransactionCommand();
	waiting = cdc_moved_waits(consumer->subscription->name,
							  TimestampTzPlusMilliseconds(now, -CDC_MOVED_KEEP_MS));
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	return waiting;
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
	if (!consumer->gathered && (pipeline->gather_wanted || sweep_wanted(consumer)))
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
	consumer->next_siblings = Min(consumer->next_siblings, now);
	consumer->next_sweep_look = Min(consumer->next_sweep_look, now);
	consumer->next_warning = Min(consumer->next_warning, now);
	consumer->abandoned_at = Min(consumer->abandoned_at, now);
	consumer->pipeline->fresh_since = Min(consumer->pipeline->fresh_since, now);
	for (int i = 0; i < consumer->pipeline->nparts; i++)
	{
		CdcPartition *part = consumer->pipeline->parts[i];

		part->gone_since = Min(part->gone_since, now);
		part->waits_since = Min(part->waits_since, now);
		part->silent_since = Min(part->silent_since, now);
		if (part->loss)
			part->loss->not_before = Min(part->loss->not_before, now);
	}
}
