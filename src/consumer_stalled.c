/*-------------------------------------------------------------------------
 *
 * consumer_stalled.c
 *		Partitions of which nothing comes although there is more.
 *
 * Floor 9.  librdkafka may ask the wrong broker for ever: where the leader
 * of a partition moves away and back before the first move is done, every
 * release so far stays with the broker in between, and takes it for a replica
 * that is preferred (upstream #5593).  Nothing short of a new client helps,
 * so the owner of the consumer opens one.
 *
 * The one hard thing: silence has good reasons, too.  A partition counts as
 * silent only while nothing is known that keeps it from being read, it is
 * known to have more than was read, and the client holds nothing that was
 * not taken.  An answer comes, or its broker is known to fail, within a time
 * that is known; but large answers of other partitions may come before, and
 * of aborted transactions there is nothing to be seen until their end.  So
 * the next silence may last twice as long.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "consumer.h"

/* a silence counts that is longer than an answer may take by this */
#define MARGIN_MS			5000
/* the longest that is waited for */
#define LONGEST_SILENCE_MS	600000
/* stalls that lie further apart have nothing to do with each other */
#define CALM_MS				3600000

/* Is there a reason for nothing to come, which is shown? */
static bool
is_explained(CdcConsumer *consumer, const CdcPartition *part)
{
	const char *reason;

	/* an error that the client hides from then on, or one that passes */
	if (part->mode == CDC_PARTITION_ACTIVE && part->reason[0] != '\0' &&
		strcmp(part->reason, "partition_error") != 0)
		return true;
	for (int i = 0; i < consumer->ntopics; i++)
		if (consumer->topics[i].reason[0] != '\0' &&
			strcmp(consumer->topics[i].topic, part->topic) == 0)
			return true;
	return cdc_kafka_partition_trouble(consumer->kafka, part->topic,
									   part->partition, &reason) != NULL;
}

/* Has the broker more of a partition than was read, or the anchor to show? */
static bool
is_owed(CdcConsumer *consumer, const CdcPartition *part)
{
	if (!part->assigned || part->loss)
		return false;
	if (part->check == CDC_CHECK_NONE && part->end_offset <= part->read_offset)
		return false;
	return !is_explained(consumer, part);
}

/* Was a client abandoned not long ago? */
static bool
is_calm(const CdcConsumer *consumer)
{
	return TimestampDifferenceExceeds(consumer->abandoned_at,
									  GetCurrentTimestamp(), CALM_MS);
}

/* The silence that is borne now, in ms. */
static int
patience(const CdcConsumer *consumer)
{
	int			least = cdc_kafka_answer_ms(consumer->kafka) + MARGIN_MS;

	return is_calm(consumer) ? least : Max(consumer->patience, least);
}

/* cdc_consumer_stalled: see consumer.h. */
const CdcPartition *
cdc_consumer_stalled(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];

		if (part->heard || !consumer->status.connected || !is_owed(consumer, part))
			part->silent_since = 0;
		/* what was not taken yet may be of this partition */
		else if (consumer->emptied && part->silent_since == 0)
			part->silent_since = now;
		else if (consumer->emptied &&
				 TimestampDifferenceExceeds(part->silent_since, now,
											patience(consumer)))
			return part;
		part->heard = false;
	}
	return NULL;
}

/* What of the partition does not come, for the log. */
static char *
owed_text(const CdcPartition *part)
{
	if (part->check != CDC_CHECK_NONE)
		return psprintf("the record at offset " INT64_FORMAT ", which was read last, did not come again",
						part->checked.offset);
	return psprintf("it has records up to offset " INT64_FORMAT ", but none came from offset " INT64_FORMAT " on",
					part->end_offset, part->read_offset);
}

/* cdc_consumer_abandon: see consumer.h. */
void
cdc_consumer_abandon(CdcConsumer *consumer, const CdcPartition *part)
{
	TimestampTz now = GetCurrentTimestamp();
	char	   *owed = owed_text(part);

	ereport(LOG,
			(errmsg("connecting anew for partition %d of topic \"%s\": %s for %ld s",
					part->partition, part->topic, owed,
					TimestampDifferenceMilliseconds(part->silent_since, now) / 1000)));
	pfree(owed);
	consumer->patience = Min(2 * patience(consumer), LONGEST_SILENCE_MS);
	consumer->abandoned_at = now;
	cdc_consumer_end_client(consumer);
}
