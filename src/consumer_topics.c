/*-------------------------------------------------------------------------
 *
 * consumer_topics.c
 *		Topics and partitions of a subscription: found, given a position, taken.
 *
 * Floor 9.  The one hard thing is where a partition starts: its stored
 * position, and nothing else.  A topic that is met for the first time gets
 * positions for all its partitions in one transaction, from start_position;
 * partitions (or topics) that appear later start at their beginning, since
 * everything in them came after the subscription.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/memutils.h"

#include "consumer.h"
#include "oneshot.h"
#include "position.h"

#define METADATA_MS			10000
#define METADATA_MISSING_MS 500
#define QUESTION_MS			5000

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
