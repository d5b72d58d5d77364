/*-------------------------------------------------------------------------
 *
 * consumer_lost.c
 *		Partitions that the source can deliver no more of.
 *
 * Floor 9.  The log does not hold the position, or is another one, or is
 * broken.  The one hard thing: what was read before that is good, and may be
 * nowhere else any more.  So a loss is only noted, nothing more is taken of
 * the partition, and when all that was read is applied it stops, is reset to
 * the earliest record, or begins again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "consumer.h"
#include "position.h"

/* for the answer where a log begins and ends, and until it is asked again */
#define QUESTION_MS		2000
#define ASK_AGAIN_MS	1000

/*
 * Nothing more is taken of a partition; false where that was so before.  The
 * caller fills part->loss.
 */
static bool
begin_loss(CdcConsumer *consumer, CdcPartition *part)
{
	if (part->loss || part->mode == CDC_PARTITION_STOPPED)
		return false;
	part->loss = MemoryContextAllocZero(consumer->pipeline->context, sizeof(CdcLoss));
	part->check = CDC_CHECK_LOST;
	return true;
}

static void
end_loss(CdcPartition *part)
{
	if (part->loss)
		pfree(part->loss);
	part->loss = NULL;
	part->check = CDC_CHECK_NONE;
}

/* cdc_consumer_lose: see consumer.h. */
void
cdc_consumer_lose(CdcConsumer *consumer, CdcPartition *part,
				  const char *reason, const char *message, const char *hint)
{
	if (!begin_loss(consumer, part))
		return;
	strlcpy(part->loss->reason, reason, sizeof(part->loss->reason));
	strlcpy(part->loss->message, message, sizeof(part->loss->message));
	strlcpy(part->loss->hint, hint, sizeof(part->loss->hint));
}

/* cdc_consumer_lose_range: see consumer.h. */
void
cdc_consumer_lose_range(CdcConsumer *consumer, CdcPartition *part)
{
	/* a fetch at the anchor failed: the position may yet be in the log */
	bool		at_anchor = part->check == CDC_CHECK_ANCHOR;

	if (!begin_loss(consumer, part))
		return;
	part->loss->out_of_range = true;
	part->anchor_gone = at_anchor;
}

/* cdc_consumer_lose_topic: see consumer.h. */
void
cdc_consumer_lose_topic(CdcConsumer *consumer, CdcPartition *part,
						const char *message)
{
	CdcPipeline *pipeline = consumer->pipeline;
	char	   *hint = psprintf("The topic was created anew, truncated or replaced. Disable the subscription and call cdc_sink.set_position(%s, %s, NULL, 'earliest') to apply what is there now, or another position.",
								quote_literal_cstr(pipeline->subscription->name),
								quote_literal_cstr(part->topic));

	cdc_consumer_lose(consumer, part, "topic_recreated", message, hint);
	/* partitions of the topic that know nothing of a log before are of the new one */
	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *other = pipeline->parts[i];

		if (strcmp(other->topic, part->topic) == 0 && other->anchor.offset < 0 &&
			other->read_offset == other->next_offset && other->progress == 0)
			cdc_consumer_lose(consumer, other, "topic_recreated", message, hint);
	}
	pfree(hint);
}

/* Stops a partition at its position for something that the broker said. */
static void
stop_by_broker(CdcConsumer *consumer, CdcPartition *part, const char *reason,
			   char *message, char *hint)
{
	CdcRecord	record = {.topic = part->topic, .partition = part->partition,
		.part = part->index, .offset = part->next_offset};
	CdcFailure	failure = {.class = CDC_ERROR_DATA,
		.sqlstate = ERRCODE_INVALID_PARAMETER_VALUE, .culprit = -1,
		.reason = reason, .message = message, .hint = hint};

	cdc_pipeline_stop(consumer->pipeline, part, &record, &failure);
	cdc_partition_rewind(part);
}

/* Moves the position to the beginning of the log, as the option says. */
static void
go_to_earliest(CdcConsumer *consumer, CdcPartition *part, int64 low)
{
	CdcAnchor	none = {.offset = -1};

	StartTransactionCommand();
	cdc_position_store(consumer->subscription->name, part,
					   consumer->pipeline->generation, low, &none,
					   part->cluster_id ? part->cluster_id : consumer->pipeline->cluster_id);
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	ereport(LOG,
			(errmsg("partition %d of topic \"%s\" goes on at its earliest offset " INT64_FORMAT " instead of " INT64_FORMAT,
					part->partition, part->topic, low, part->next_offset)));
	part->next_offset = low;
	part->anchor = none;
	if (part->skip_offset < low)
		part->skip_offset = -1;
	cdc_partition_rewind(part);
}

/* Stops a partition whose position the log does not hold. */
static void
stop_out_of_range(CdcConsumer *consumer, CdcPartition *part, int64 low,
				  int64 end)
{
	char	   *message;
	char	   *hint = psprintf("Disable the subscription, read the table again or accept the loss, and call cdc_sink.set_position(%s, %s, %d, 'earliest').",
								quote_literal_cstr(consumer->subscription->name),
								quote_literal_cstr(part->topic), part->partition);

	if (part->next_offset > end)
		message = psprintf("offset " INT64_FORMAT " is not in the log, which holds " INT64_FORMAT " to " INT64_FORMAT ": " INT64_FORMAT " offsets that were applied are not there, the topic was created anew or truncated",
						   part->next_offset, low, end, part->next_offset - end);
	else
		message = psprintf("offset " INT64_FORMAT " is not in the log, which holds " INT64_FORMAT " to " INT64_FORMAT "; " INT64_FORMAT " offsets are gone",
						   part->next_offset, low, end, low - part->next_offset);
	stop_by_broker(consumer, part, "offset_out_of_range", message, hint);
	part->end_offset = end;
	pfree(message);
	pfree(hint);
}

/*
 * A position that the log may not hold: ask, then try again, reset or stop.
 * False where the brokers did not answer.
 */
static bool
settle_range(CdcConsumer *consumer, CdcPartition *part)
{
	CdcTopicPartition low = {part->topic, part->partition, 0, 0, 0};
	CdcTopicPartition end = low;

	if (!cdc_kafka_offsets(consumer->kafka, &low, 1, CDC_OFFSET_BEGINNING, QUESTION_MS) ||
		!cdc_kafka_offsets(consumer->kafka, &end, 1, CDC_OFFSET_END, QUESTION_MS) ||
		low.error != 0 || end.error != 0)
		return false;
	cdc_consumer_note_low(part, low.offset);
	if (part->next_offset >= low.offset && part->next_offset <= end.offset)
	{
		/* the log has it after all: ask again for it */
		part->anchor_gone &= part->anchor.offset < low.offset;
		cdc_partition_rewind(part);
		return true;
	}
	part->anchor_gone = false;
	/* the log of another cluster tells nothing */
	if (!cdc_consumer_check_cluster(consumer, part))
		return true;
	if (consumer->subscription->options.out_of_range_earliest)
		go_to_earliest(consumer, part, low.offset);
	else
		stop_out_of_range(consumer, part, low.offset, end.offset);
	return true;
}

/* Takes a partition out of the client's assignment, if it is there. */
static void
unassign(CdcConsumer *consumer, CdcPartition *part)
{
	CdcTopicPartition tp = {part->topic, part->partition, part->index, 0, 0};

	if (part->assigned)
		cdc_kafka_remove(consumer->kafka, &tp, 1);
	part->assigned = false;
}

/* cdc_consumer_settle_losses: see consumer.h. */
void
cdc_consumer_settle_losses(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;

	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];
		CdcLoss		loss;

		/* a held partition may wait for long: what it holds back is let go */
		if (part->loss == NULL || GetCurrentTimestamp() < part->loss->not_before ||
			(part->mode != CDC_PARTITION_HELD && part->read_offset != part->next_offset))
			continue;
		/* to be asked for when a broker is there */
		if (part->loss->out_of_range && !consumer->status.connected)
			continue;
		unassign(consumer, part);
		loss = *part->loss;
		end_loss(part);
		if (part->mode == CDC_PARTITION_STOPPED)
			continue;
		if (part->mode == CDC_PARTITION_HELD)
		{
			cdc_partition_release(part);
			cdc_partition_rewind(part);
		}
		if (loss.out_of_range && !settle_range(consumer, part))
		{
			cdc_consumer_lose_range(consumer, part);
			part->loss->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ASK_AGAIN_MS);
		}
		else if (loss.out_of_range)
			continue;
		else if (strcmp(loss.reason, "topic_recreated") != 0 ||
				 cdc_consumer_check_cluster(consumer, part))
			stop_by_broker(consumer, part, loss.reason, loss.message, loss.hint);
	}
}
