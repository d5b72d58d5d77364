/*-------------------------------------------------------------------------
 *
 * consumer_stalled.c
 *		Partitions of which nothing comes although there is more.
 *
 * Floor 9.  librdkafka may ask the wrong broker for ever: where the leader
 * of a partition moves away and back before the first move is done, every
 * release so far stays with the broker in between, and takes the refusals for
 * a follower.  Nothing short of a new client helps, so the owner of the
 * consumer opens one.
 *
 * The one hard thing: silence has good reasons, too.  A partition counts as
 * silent only while its broker is not known to be in trouble, the last stable
 * offset is known to lie behind what was read, and the client holds nothing
 * that was not taken.  Then an answer to a fetch comes within the time that
 * any may take, but many large ones of other partitions may come before: so
 * after each new client the next silence may last twice as long.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "consumer.h"

/* a silence counts that is longer than an answer may take by this */
#define MARGIN_MS			8000
/* the longest that is waited for */
#define LONGEST_SILENCE_MS	600000
/* stalls that lie further apart have nothing to do with each other */
#define CALM_MS				3600000

/* Has the broker more of a partition than was read, or the anchor to show? */
static bool
is_owed(CdcConsumer *consumer, const CdcPartition *part)
{
	const char *reason;

	if (!part->assigned || part->loss)
		return false;
	if (part->check == CDC_CHECK_NONE && part->end_offset <= part->read_offset)
		return false;
	return cdc_kafka_partition_trouble(consumer->kafka, part->topic,
									   part->partition, &reason) == NULL;
}

/* The silence that is borne now, in ms. */
static int
patience(const CdcConsumer *consumer)
{
	return Max(consumer->patience, cdc_kafka_answer_ms(consumer->kafka) + MARGIN_MS);
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

/* cdc_consumer_abandon: see consumer.h. */
void
cdc_consumer_abandon(CdcConsumer *consumer, const CdcPartition *part)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		again = !TimestampDifferenceExceeds(consumer->abandoned_at, now, CALM_MS);

	ereport(LOG,
			(errmsg("partition %d of topic \"%s\" has records up to offset " INT64_FORMAT ", but nothing came behind offset " INT64_FORMAT " for %ld s: connecting anew",
					part->partition, part->topic, part->end_offset, part->read_offset,
					TimestampDifferenceMilliseconds(part->silent_since, now) / 1000)));
	consumer->patience = again ? Min(2 * patience(consumer), LONGEST_SILENCE_MS) : 0;
	consumer->abandoned_at = now;
	cdc_kafka_close(consumer->kafka);
	consumer->kafka = NULL;
}
