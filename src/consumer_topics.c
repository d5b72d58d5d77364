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
#include "miscadmin.h"
#include "utils/memutils.h"

#include "consumer.h"
#include "oneshot.h"
#include "position.h"
#include "retry.h"

#define METADATA_MS			10000
#define METADATA_MISSING_MS 500
#define QUESTION_MS			5000
/* metadata of another broker may be behind: a partition is gone after this */
#define GONE_MS				5000

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
						   cdc_consumer_patience(consumer->unanswered_topics)))
		return false;
	if (place.kind == CDC_PLACE_EARLIEST)
		memcpy(start, low, n * sizeof(CdcTopicPartition));
	else if (!cdc_kafka_offsets(consumer->kafka, start, n,
								place.kind == CDC_PLACE_LATEST ? CDC_OFFSET_END :
								CDC_OFFSET_AT_TIME, cdc_consumer_patience(consumer->unanswered_topics)))
		return false;
	for (int i = 0; i < n; i++)
		if (low[i].error || start[i].error)
			return false;
	return true;
}

/*
 * A partition begins where its log does, and the log has lost its beginning:
 * rows that were not changed since will be missing.
 */
static void
note_shortened(const CdcConsumer *consumer, const CdcTopicPartition *low)
{
	ereport(LOG,
			(errmsg("subscription \"%s\" begins partition %d of topic \"%s\" at offset " INT64_FORMAT ": its log holds nothing before",
					consumer->subscription->name, low->partition, low->topic, low->offset),
			 errhint("Rows that no later record tells of are missing unless the table has them already: take a new snapshot, and keep topics for longer or compacted.")));
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
	bool		all = later || pg_strcasecmp(consumer->subscription->start_position, "earliest") == 0;

	topic->met = true;
	for (int i = 0; i < topic->npartitions; i++)
		if (!has_position(positions, npositions, topic->topic, i) &&
			cdc_position_create(name, topic->topic, i,
								later ? low[i].offset : start[i].offset,
								consumer->pipeline->cluster_id) &&
			all && low[i].offset > 0)
			note_shortened(consumer, &low[i]);
}

/* Claims a partition, if it is ours, and adds it. */
static void
claim_partition(CdcConsumer *consumer, const char *topic, int32 partition)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcPosition position;
	CdcPartition *part;

	if (!is_mine(consumer, topic, partition) ||
		cdc_pipeline_partition(pipeline, topic, partition))
		return;
	if (pipeline->generation == 0)
		pipeline->generation = cdc_position_new_generation();
	cdc_position_claim(consumer->subscription->name, topic, partition,
					   pipeline->generation, &position);
	part = cdc_pipeline_add_partition(pipeline, topic, partition,
									  position.next_offset);
	part->skip_offset = position.skip_offset;
	part->anchor = position.anchor;
	part->waits = part->anchor.offset < 0 && !part->disabled;
	part->waits_since = GetCurrentTimestamp();
	if (position.cluster_id)
		part->cluster_id = MemoryContextStrdup(pipeline->context, position.cluster_id);
}

/* Forgets the states of partitions that a topic and its positions have no more. */
static void
forget_partitions(const CdcTopicState *topic, const CdcPosition *positions,
				  int npositions)
{
	CdcPartitionEntry *entries = NULL;
	int			size = 0;
	int			n;

	if (cdc_my_slot == NULL)
		return;
	n = cdc_partitions_copy(MyDatabaseId, cdc_my_slot->subid, &entries, &size);
	for (int i = 0; i < n; i++)
		if (entries[i].key.partition >= topic->npartitions &&
			strcmp(entries[i].key.topic, topic->topic) == 0 &&
			!has_position(positions, npositions, topic->topic,
						  entries[i].key.partition))
			cdc_partition_forget(topic->topic, entries[i].key.partition);
	if (entries)
		pfree(entries);
}

/*
 * Claims the partitions of a topic that are ours and adds them; those that
 * have a position and are not there any more, too, for somebody must tell.
 */
static void
claim_partitions(CdcConsumer *consumer, CdcTopicState *topic,
				 const CdcPosition *positions, int npositions)
{
	topic->nanchored = 0;
	topic->anchored = MemoryContextAlloc(consumer->pipeline->context,
										 Max(npositions, 1) * sizeof(int32));
	for (int i = 0; i < npositions; i++)
	{
		if (strcmp(positions[i].topic, topic->topic) != 0)
			continue;
		if (positions[i].anchor.offset >= 0)
			topic->anchored[topic->nanchored++] = positions[i].partition;
		claim_partition(consumer, topic->topic, positions[i].partition);
	}
	topic->claimed = true;
	forget_partitions(topic, positions, npositions);
}

/* Does a position of a mapped topic belong to another cluster? */
static bool
has_foreign(const CdcConsumer *consumer, const CdcPosition *positions, int n)
{
	const char *cluster_id = consumer->pipeline->cluster_id;

	for (int i = 0; cluster_id != NULL && i < n; i++)
	{
		bool		mapped = false;

		for (int t = 0; t < consumer->ntopics; t++)
			mapped |= strcmp(consumer->topics[t].topic, positions[i].topic) == 0;
		if (mapped && positions[i].cluster_id != NULL &&
			strcmp(positions[i].cluster_id, cluster_id) != 0)
			return true;
	}
	return false;
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
	bool		foreign;
	int			n;

	StartTransactionCommand();
	MemoryContextSwitchTo(caller);
	n = cdc_position_load(consumer->subscription->name, &positions);
	for (int i = 0; i < topic->npartitions; i++)
		complete &= has_position(positions, n, topic->topic, i);
	/* partitions of another cluster are none of ours */
	foreign = !complete && has_foreign(consumer, positions, n);
	if (foreign)
		strlcpy(topic->reason, "cluster_changed", sizeof(topic->reason));
	complete |= foreign;
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	/* the network is asked outside of any transaction */
	if (!complete && !ask_starts(consumer, topic, low, start))
		return false;
	StartTransactionCommand();
	MemoryContextSwitchTo(caller);
	if (!complete)
	{
		n = cdc_position_load(consumer->subscription->name, &positions);
		create_positions(consumer, topic, positions, n, low, start);
		n = cdc_position_load(consumer->subscription->name, &positions);
	}
	claim_partitions(consumer, topic, positions, n);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	pfree(low);
	pfree(start);
	return true;
}

/* Takes back the partitions that a failed transaction has claimed. */
static void
unclaim_partitions(CdcPipeline *pipeline, int nparts)
{
	while (pipeline->nparts > nparts)
	{
		CdcPartition *part = pipeline->parts[--pipeline->nparts];

		if (part->cluster_id)
			pfree(unconstify(char *, part->cluster_id));
		pfree(part->topic);
		pfree(part);
	}
}

/*
 * The transaction that took a topic has failed: everything is as before, and
 * it is noted why.  Any error but a transient one is raised again.
 */
static void
put_off_topic(CdcConsumer *consumer, CdcTopicState *topic,
			  const CdcTopicState *before, int nparts)
{
	ErrorData  *error = CopyErrorData();

	if (cdc_error_classify(error->sqlerrcode) != CDC_ERROR_TRANSIENT)
		PG_RE_THROW();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	unclaim_partitions(consumer->pipeline, nparts);
	if (topic->anchored != NULL && topic->anchored != before->anchored)
		pfree(topic->anchored);
	*topic = *before;
	strlcpy(topic->reason, cdc_transient_reason(error->sqlerrcode),
			sizeof(topic->reason));
	cdc_error_copy(topic->hint, error->message, sizeof(topic->hint));
	if (!topic->put_off)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("subscription \"%s\" looks at topic \"%s\" again later: %s",
						consumer->subscription->name, topic->topic, error->message)));
	topic->put_off = true;
	FreeErrorData(error);
}

/*
 * Takes a topic, or meets one that is missing.  False where that must be
 * tried again: the brokers did not answer, or a row is locked.
 */
static bool
look_at_topic(CdcConsumer *consumer, CdcTopicState *topic, bool missing)
{
	MemoryContext context = CurrentMemoryContext;
	CdcTopicState before = *topic;
	int			nparts = consumer->pipeline->nparts;
	volatile bool done = false;

	PG_TRY();
	{
		if (missing)
			meet_missing(consumer, topic);
		else
			done = take_topic(consumer, topic);
		topic->put_off = topic->put_off && !done && !missing;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		put_off_topic(consumer, topic, &before, nparts);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done || missing;
}

/* Has a topic partitions of ours that the pipeline does not know? */
static bool
topic_is_taken(const CdcConsumer *consumer, const CdcTopicState *topic)
{
	if (!topic->claimed)
		return false;
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

/*
 * A partition that is not in its topic any more.  True once that is settled:
 * topics never lose partitions, so it is another topic of that name.
 */
static bool
note_gone(CdcConsumer *consumer, CdcPartition *part, int32 npartitions)
{
	TimestampTz now = GetCurrentTimestamp();
	char	   *message;

	if (part->mode == CDC_PARTITION_STOPPED || part->loss || part->disabled)
		return true;
	message = psprintf("topic \"%s\" has %d partitions now, and partition %d is not among them",
					   part->topic, npartitions, part->partition);
	if (part->gone_since == 0)
		part->gone_since = now;
	if (TimestampDifferenceExceeds(part->gone_since, now, GONE_MS))
	{
		cdc_consumer_lose_topic(consumer, part, message);
		return true;
	}
	strlcpy(part->reason, "topic_missing", sizeof(part->reason));
	strlcpy(part->hint, message, sizeof(part->hint));
	return false;
}

/*
 * Compares the partitions of a topic with what it had.  False where it must
 * soon be looked at again.
 */
static bool
watch_count(CdcConsumer *consumer, CdcTopicState *topic, int32 npartitions)
{
	CdcPipeline *pipeline = consumer->pipeline;
	bool		changed = topic->seen != npartitions && topic->seen > 0;
	bool		complete = true;

	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];

		if (strcmp(part->topic, topic->topic) != 0)
			continue;
		if (changed)
			cdc_consumer_recheck(consumer, part);
		if (npartitions > 0 && part->partition >= npartitions)
			complete &= note_gone(consumer, part, npartitions);
		else
			part->gone_since = 0;
	}
	topic->seen = npartitions;
	return complete;
}

/*
 * Takes up which cluster has answered; partitions whose positions belong to
 * another one cannot go on.
 */
static void
look_at_cluster(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;
	const char *id = cdc_kafka_cluster_id(consumer->kafka);

	if (id == NULL)
		return;
	/* the old name stays: partitions may point to it */
	if (pipeline->cluster_id == NULL || strcmp(pipeline->cluster_id, id) != 0)
		pipeline->cluster_id = MemoryContextStrdup(pipeline->context, id);
	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];
		char	   *message;

		if (part->cluster_id == NULL || part->loss || part->disabled ||
			part->mode == CDC_PARTITION_STOPPED ||
			strcmp(part->cluster_id, id) == 0)
			continue;
		message = psprintf("topic \"%s\", partition %d was applied up to offset " INT64_FORMAT " from Kafka cluster %s, and now cluster %s answers",
						   part->topic, part->partition, part->next_offset,
						   part->cluster_id, id);
		cdc_consumer_lose(consumer, part, "cluster_changed", message,
						  "Correct bootstrap.servers or what it resolves to. If the change is meant, disable the subscription and set all its positions with cdc_sink.set_position, which accepts the cluster.");
		pfree(message);
	}
}

/* cdc_consumer_check_cluster: see consumer.h. */
bool
cdc_consumer_check_cluster(CdcConsumer *consumer, CdcPartition *part)
{
	CdcTopicInfo info = {.topic = part->topic};

	if (cdc_kafka_topics(consumer->kafka, &info, 1, QUESTION_MS))
		look_at_cluster(consumer);
	return part->loss == NULL;
}

/* Have topics other numbers of partitions than when they were last looked at? */
static bool
has_news(const CdcConsumer *consumer, const CdcTopicInfo *infos)
{
	for (int i = 0; i < consumer->ntopics; i++)
		if (infos[i].npartitions != consumer->topics[i].seen)
			return true;
	return false;
}

/* cdc_consumer_discover: see consumer.h. */
bool
cdc_consumer_discover(CdcConsumer *consumer, bool now)
{
	TimestampTz time = GetCurrentTimestamp();
	MemoryContext old;
	CdcTopicInfo *infos;
	bool		complete;
	bool		all_there = true;

	if (consumer->ntopics == 0 || (!now && time < consumer->next_metadata))
		return true;
	old = MemoryContextSwitchTo(consumer->pipeline->batch_context);
	infos = palloc0(consumer->ntopics * sizeof(CdcTopicInfo));
	for (int i = 0; i < consumer->ntopics; i++)
		infos[i].topic = consumer->topics[i].topic;
	/* news are for the client that is to read them */
	complete = now &&
		cdc_kafka_topics_now(consumer->kafka, infos, consumer->ntopics) &&
		!has_news(consumer, infos);
	if (!complete)
		complete = cdc_kafka_topics(consumer->kafka, infos, consumer->ntopics,
									cdc_consumer_patience(consumer->unanswered_topics));
	if (complete)
		look_at_cluster(consumer);
	for (int i = 0; complete && i < consumer->ntopics; i++)
	{
		CdcTopicState *topic = &consumer->topics[i];

		topic->npartitions = Max(topic->npartitions, infos[i].npartitions);
		note_partitions(consumer, topic);
		strlcpy(topic->reason, infos[i].npartitions > 0 ? "" : infos[i].reason,
				sizeof(topic->reason));
		if (infos[i].npartitions == 0 && topic->npartitions == 0)
			(void) look_at_topic(consumer, topic, true);
		else if (!topic_is_taken(consumer, topic))
			complete &= look_at_topic(consumer, topic, false);
		all_there &= watch_count(consumer, topic, infos[i].npartitions);
	}
	consumer->unanswered_topics = complete ? 0 : consumer->unanswered_topics + 1;
	look_at_cluster(consumer);
	MemoryContextSwitchTo(old);
	complete &= all_there;
	for (int i = 0; i < consumer->ntopics; i++)
		if (consumer->topics[i].reason[0])
			complete = false;
	consumer->next_metadata = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  complete ? METADATA_MS : METADATA_MISSING_MS);
	cdc_consumer_look_at_siblings(consumer);
	cdc_consumer_settle_losses(consumer);
	cdc_consumer_assign(consumer);
	return complete;
}
