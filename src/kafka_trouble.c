/*-------------------------------------------------------------------------
 *
 * kafka_trouble.c
 *		What is known of single brokers: which of them fail, and which
 *		partitions hang on them.
 *
 * Floor 3.  The one hard thing: librdkafka tells when a connection breaks,
 * but not when it is there again, and partitions of a broker that is gone
 * look as if nothing came.  So a broker counts as failing from its error until
 * something came from it: a record, an end of a partition, or ends that all
 * brokers were asked for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "kafka_internal.h"

/* a connection that comes again within this time was no trouble */
#define TROUBLE_SHOWS_MS	1000

/*
 * The number in "host:port/7: text", as librdkafka names a broker in its
 * errors; -1 where there is none ("host:port/bootstrap: ...").
 */
static int32
broker_of_text(const char *text)
{
	const char *slash = strchr(text, '/');
	char	   *end;
	long		number;

	if (slash == NULL || slash[1] < '0' || slash[1] > '9')
		return -1;
	number = strtol(slash + 1, &end, 10);
	return *end == ':' ? (int32) number : -1;
}

void
cdc_kafka_broker_failed(CdcKafka *kafka, const char *text, bool unreadable)
{
	int32		number = broker_of_text(text);
	FailedBroker *broker = NULL;

	if (number < 0)
		return;
	for (int i = 0; i < kafka->nfailed && broker == NULL; i++)
		if (kafka->failed[i].number == number)
			broker = &kafka->failed[i];
	if (broker == NULL)
	{
		/* more brokers at once than there is room for: those tell enough */
		if (kafka->nfailed == lengthof(kafka->failed))
			return;
		broker = &kafka->failed[kafka->nfailed++];
		broker->number = number;
		broker->since = GetCurrentTimestamp();
		broker->unreadable = false;
	}
	/* the next connection breaks for the same reason, which it does not tell */
	if (broker->unreadable && !unreadable)
		return;
	broker->unreadable = unreadable;
	strlcpy(broker->message, text, CDC_MESSAGE_LEN);
}

void
cdc_kafka_broker_answered(CdcKafka *kafka, int32 number)
{
	for (int i = 0; i < kafka->nfailed; i++)
		if (kafka->failed[i].number == number)
		{
			kafka->failed[i] = kafka->failed[--kafka->nfailed];
			return;
		}
}

bool
cdc_kafka_has_failed_brokers(CdcKafka *kafka)
{
	return kafka->nfailed > 0;
}

void
cdc_kafka_all_answered(CdcKafka *kafka)
{
	int			left = 0;

	for (int i = 0; i < kafka->nfailed; i++)
		if (kafka->failed[i].unreadable)
			kafka->failed[left++] = kafka->failed[i];
	kafka->nfailed = left;
}

void
cdc_kafka_note_leaders(CdcKafka *kafka,
					   const struct rd_kafka_metadata_topic *topic)
{
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		const struct rd_kafka_metadata_partition *found = &topic->partitions[i];
		Partition  *partition = cdc_kafka_find_partition(kafka, topic->topic,
														 found->id);

		if (partition != NULL)
			partition->leader = found->leader < 0 ? LEADER_NONE : found->leader;
	}
}

const char *
cdc_kafka_partition_trouble(CdcKafka *kafka, const char *topic,
							int32 number, const char **reason)
{
	Partition  *partition = cdc_kafka_find_partition(kafka, topic, number);

	if (partition == NULL || partition->leader == LEADER_UNKNOWN)
		return NULL;
	if (partition->leader == LEADER_NONE)
	{
		*reason = "topic_unavailable";
		return "The partition has no leader.";
	}
	for (int i = 0; i < kafka->nfailed; i++)
	{
		const FailedBroker *broker = &kafka->failed[i];

		if (broker->number != partition->leader ||
			(!broker->unreadable &&
			 !TimestampDifferenceExceeds(broker->since, GetCurrentTimestamp(),
										 TROUBLE_SHOWS_MS)))
			continue;
		*reason = broker->unreadable ? "oversized_response" : "broker_down";
		return broker->message;
	}
	return NULL;
}
