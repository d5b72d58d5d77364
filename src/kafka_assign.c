/*-------------------------------------------------------------------------
 *
 * kafka_assign.c
 *		Which partitions the Kafka consumer reads, and whose a message is.
 *
 * Floor 3.  Records point to topic names, so each name is kept once until the
 * client is closed.  librdkafka's topic objects are known by their address,
 * which is only good as long as the assignment does not change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "kafka_internal.h"

/* Our lasting copy of a topic's name. */
static const char *
intern_topic(CdcKafka *kafka, const char *topic)
{
	for (int i = 0; i < kafka->ntopics; i++)
	{
		if (strcmp(kafka->topics[i], topic) == 0)
			return kafka->topics[i];
	}
	if (kafka->ntopics == kafka->max_topics)
	{
		int			room = kafka->max_topics == 0 ? 16 : kafka->max_topics * 2;

		kafka->topics = kafka->topics == NULL ?
			MemoryContextAlloc(kafka->context, room * sizeof(char *)) :
			repalloc(kafka->topics, room * sizeof(char *));
		kafka->max_topics = room;
	}
	kafka->topics[kafka->ntopics] = MemoryContextStrdup(kafka->context, topic);
	return kafka->topics[kafka->ntopics++];
}

static Partition *
find_partition(CdcKafka *kafka, const char *topic, int32 partition,
			   HASHACTION action)
{
	PartitionKey key = {intern_topic(kafka, topic), partition};

	return hash_search(kafka->partitions, &key, action, NULL);
}

Partition *
cdc_kafka_find_partition(CdcKafka *kafka, const char *topic, int32 partition)
{
	return find_partition(kafka, topic, partition, HASH_FIND);
}

/* Forgets which topic objects the library uses: they may change now. */
static void
forget_aliases(CdcKafka *kafka)
{
	kafka->naliases = 0;
	kafka->last_rkt = NULL;
	kafka->last_partition = NULL;
}

/* Our name of librdkafka's topic object; NULL where it was not seen yet. */
static const char *
find_alias(const CdcKafka *kafka, const rd_kafka_topic_t *rkt)
{
	for (int i = 0; i < kafka->naliases; i++)
	{
		if (kafka->aliases[i].rkt == rkt)
			return kafka->aliases[i].topic;
	}
	return NULL;
}

/* cdc_kafka_knows_topic: see kafka_internal.h. */
bool
cdc_kafka_knows_topic(const CdcKafka *kafka, const rd_kafka_topic_t *rkt)
{
	return rkt == kafka->last_rkt || find_alias(kafka, rkt) != NULL;
}

/* The same, which makes one. */
static const char *
topic_of(CdcKafka *kafka, const rd_kafka_topic_t *rkt)
{
	const char *topic = find_alias(kafka, rkt);

	if (topic != NULL)
		return topic;
	topic = intern_topic(kafka, rd_kafka_topic_name(rkt));
	if (kafka->naliases == kafka->max_aliases)
	{
		int			room = kafka->max_aliases == 0 ? 16 : kafka->max_aliases * 2;

		kafka->aliases = kafka->aliases == NULL ?
			MemoryContextAlloc(kafka->context, room * sizeof(TopicAlias)) :
			repalloc(kafka->aliases, room * sizeof(TopicAlias));
		kafka->max_aliases = room;
	}
	kafka->aliases[kafka->naliases].rkt = rkt;
	kafka->aliases[kafka->naliases++].topic = topic;
	return topic;
}

/* cdc_kafka_partition_of: see kafka_internal.h. */
Partition *
cdc_kafka_partition_of(CdcKafka *kafka, const rd_kafka_message_t *message)
{
	Partition  *partition = kafka->last_partition;

	/* records come in runs of one partition */
	if (kafka->last_rkt == message->rkt && partition != NULL &&
		partition->key.partition == message->partition)
		return partition;
	partition = find_partition(kafka, topic_of(kafka, message->rkt),
							   message->partition, HASH_FIND);
	kafka->last_rkt = message->rkt;
	kafka->last_partition = partition;
	return partition;
}

/* Lists the assigned partitions, for cdc_kafka_wake_fetchers. */
static void
list_assigned(CdcKafka *kafka)
{
	HASH_SEQ_STATUS all;
	Partition  *partition;

	if (kafka->assigned != NULL)
		rd_kafka_topic_partition_list_destroy(kafka->assigned);
	kafka->assigned = rd_kafka_topic_partition_list_new(
		(int) hash_get_num_entries(kafka->partitions));
	hash_seq_init(&all, kafka->partitions);
	while ((partition = hash_seq_search(&all)) != NULL)
		rd_kafka_topic_partition_list_add(kafka->assigned, partition->key.topic,
										  (int32) partition->key.partition);
}

/* Changes the assignment by kafka->list, or raises what librdkafka says. */
static void
change_assignment(CdcKafka *kafka, bool add)
{
	char		text[CDC_MESSAGE_LEN] = "";
	bool		failed = cdc_debug_kafka();

	if (!add)
		cdc_kafka_watch_assigned(kafka);
	if (!failed)
	{
		rd_kafka_error_t *error = add ?
			rd_kafka_incremental_assign(kafka->rk, kafka->list) :
			rd_kafka_incremental_unassign(kafka->rk, kafka->list);

		if (error != NULL)
		{
			failed = true;
			strlcpy(text, rd_kafka_error_string(error), sizeof(text));
			rd_kafka_error_destroy(error);
		}
	}
	cdc_kafka_release_question(kafka);
	list_assigned(kafka);
	if (add)
		cdc_kafka_watch_assigned(kafka);
	if (failed)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not %s partitions", add ? "assign" : "unassign"),
				 errdetail("%s", text)));
}

void
cdc_kafka_add(CdcKafka *kafka, const CdcTopicPartition *parts, int n)
{
	if (n == 0)
		return;
	forget_aliases(kafka);
	cdc_kafka_make_list(kafka, parts, n);
	for (int i = 0; i < n; i++)
	{
		Partition  *partition;

		Assert(parts[i].offset >= 0);
		partition = find_partition(kafka, parts[i].topic, parts[i].partition,
								   HASH_ENTER);
		partition->part = parts[i].part;
		partition->expected = parts[i].offset;
		partition->halted = false;
		partition->leader = LEADER_UNKNOWN;
		partition->watched = -1;
	}
	change_assignment(kafka, true);
}

/* Is the event at hand, a record or an error, of this partition? */
static bool
is_at_hand(CdcKafka *kafka, const CdcTopicPartition *part)
{
	rd_kafka_topic_partition_t *where;
	bool		same;

	if (kafka->event == NULL)
		return false;
	if (rd_kafka_event_type(kafka->event) == RD_KAFKA_EVENT_FETCH)
	{
		if (kafka->message == NULL)
			kafka->message = rd_kafka_event_message_next(kafka->event);
		return kafka->message != NULL &&
			kafka->message->partition == part->partition &&
			strcmp(rd_kafka_topic_name(kafka->message->rkt), part->topic) == 0;
	}
	if (rd_kafka_event_type(kafka->event) != RD_KAFKA_EVENT_ERROR)
		return false;
	where = rd_kafka_event_topic_partition(kafka->event);
	if (where == NULL)
		return false;
	same = where->partition == part->partition &&
		strcmp(where->topic, part->topic) == 0;
	rd_kafka_topic_partition_destroy(where);
	return same;
}

void
cdc_kafka_remove(CdcKafka *kafka, const CdcTopicPartition *parts, int n)
{
	if (n == 0)
		return;
	forget_aliases(kafka);
	cdc_kafka_make_list(kafka, parts, n);
	for (int i = 0; i < n; i++)
	{
		find_partition(kafka, parts[i].topic, parts[i].partition, HASH_REMOVE);
		/* librdkafka drops only what is still in its queue */
		if (is_at_hand(kafka, &parts[i]))
			cdc_kafka_release_event(kafka);
	}
	change_assignment(kafka, false);
}
