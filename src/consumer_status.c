/*-------------------------------------------------------------------------
 *
 * consumer_status.c
 *		What a consumer is doing, for the views and for those who wait.
 *
 * Floor 9.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "consumer.h"

/* a partition that was at its end this long ago is still called streaming */
#define STREAMING_MS 5000
/* a high watermark comes a little ahead of the records: only one that lasts
 * this long tells of an open transaction */
#define STANDSTILL_MS 1000
/* a partition that is behind is close to the beginning of its log where less
 * than this part of the log lies before its position */
#define HEADROOM_PART 10
/* how often the server's log says so */
#define WARNING_MS 600000

/* Makes room for the published states of all partitions. */
static void
grow_published(CdcConsumer *consumer)
{
	int			n = consumer->pipeline->nparts;
	CdcPartitionStatus *published;
	TimestampTz *eof_times;
	CdcStandstill *standstills;

	if (n <= consumer->npublished)
		return;
	published = MemoryContextAllocZero(consumer->context, n * sizeof(CdcPartitionStatus));
	eof_times = MemoryContextAllocZero(consumer->context, n * sizeof(TimestampTz));
	standstills = MemoryContextAllocZero(consumer->context, n * sizeof(CdcStandstill));
	if (consumer->npublished > 0)
	{
		memcpy(published, consumer->published,
			   consumer->npublished * sizeof(CdcPartitionStatus));
		memcpy(eof_times, consumer->eof_times,
			   consumer->npublished * sizeof(TimestampTz));
		memcpy(standstills, consumer->standstills,
			   consumer->npublished * sizeof(CdcStandstill));
		pfree(consumer->published);
		pfree(consumer->eof_times);
		pfree(consumer->standstills);
	}
	consumer->published = published;
	consumer->eof_times = eof_times;
	consumer->standstills = standstills;
	consumer->npublished = n;
}

/* State of an active partition by how far it has come. */
static CdcState
progress_state(CdcConsumer *consumer, const CdcPartition *part, TimestampTz now)
{
	if (part->eof_offset >= 0 && part->next_offset >= part->eof_offset &&
		part->next_offset >= part->end_offset)
	{
		consumer->eof_times[part->index] = now;
		return CDC_STATE_STREAMING;
	}
	if (consumer->eof_times[part->index] != 0 &&
		!TimestampDifferenceExceeds(consumer->eof_times[part->index], now,
									STREAMING_MS))
		return CDC_STATE_STREAMING;
	if (part->eof_offset < 0 && part->progress == 0)
		return CDC_STATE_STARTING;
	return CDC_STATE_CATCHING_UP;
}

/*
 * Does the partition stand before records of an open transaction?  high is
 * the high watermark that came with the last answer to a fetch; the broker
 * delivers up to the last stable offset only.
 */
static bool
waits_for_transaction(CdcConsumer *consumer, const CdcPartition *part,
					  int64 high, TimestampTz now)
{
	CdcStandstill *standstill = &consumer->standstills[part->index];

	/* what came since the end was read waits for something else */
	if (part->eof_offset < 0 || part->next_offset != part->eof_offset ||
		part->read_offset != part->eof_offset || high <= part->next_offset ||
		part->end_offset > part->next_offset)
	{
		standstill->since = 0;
		return false;
	}
	if (standstill->since == 0 || standstill->offset != part->next_offset)
	{
		standstill->since = now;
		standstill->offset = part->next_offset;
	}
	return TimestampDifferenceExceeds(standstill->since, now, STANDSTILL_MS);
}

/* cdc_consumer_note_low: see consumer.h. */
void
cdc_consumer_note_low(CdcPartition *part, int64 low)
{
	TimestampTz now = GetCurrentTimestamp();

	if (part->low_first < 0 || low < part->low_watermark)
	{
		part->low_first = low;
		part->low_first_time = part->low_moved = now;
	}
	else if (low > part->low_watermark)
		part->low_moved = now;
	part->low_watermark = low;
}

/*
 * Time in ms until the log begins behind the position, if that stood still
 * and retention went on as since the first look; -1: unknown, or longer than
 * anybody lives.
 */
static int64
retention_ms(const CdcPartition *part)
{
	int64		ms = (part->low_moved - part->low_first_time) / 1000;
	int64		gone = part->low_watermark - part->low_first;

	double		left;

	if (part->low_first < 0 || gone <= 0 || ms <= 0)
		return -1;
	left = (double) Max(part->next_offset - part->low_watermark, 0) * ms / gone;
	return left > CDC_MAX_TIME_MS ? -1 : (int64) left;
}

/* May retention take records before they are applied? */
static bool
is_near_retention(const CdcPartition *part, int64 end)
{
	return part->low_watermark > 0 && part->next_offset < end &&
		part->next_offset >= part->low_watermark &&
		part->next_offset - part->low_watermark <
		(end - part->low_watermark) / HEADROOM_PART;
}

/* Says so in the server's log, now and then. */
static void
warn_of_retention(CdcConsumer *consumer, const CdcPartition *part, int64 end)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < consumer->next_warning)
		return;
	consumer->next_warning = TimestampTzPlusMilliseconds(now, WARNING_MS);
	ereport(LOG,
			(errmsg("retention may overtake subscription \"%s\": partition %d of topic \"%s\" is at offset " INT64_FORMAT ", its log holds " INT64_FORMAT " to " INT64_FORMAT,
					consumer->subscription->name, part->partition, part->topic,
					part->next_offset, part->low_watermark, end),
			 errhint("Raise the topic's retention, or repair what holds the partition up.")));
}

/* Is the error one of waiting rather than of failing? */
static bool
is_waiting(const char *reason)
{
	return strcmp(reason, "topic_missing") == 0 || strcmp(reason, "lock") == 0;
}

/* Fills the state of one partition. */
static void
partition_status(CdcConsumer *consumer, CdcPartition *part,
				 TimestampTz now, CdcPartitionStatus *status)
{
	int64		low;
	int64		high = -1;
	const char *reason;
	const char *trouble;

	memset(status, 0, sizeof(*status));
	status->pid = MyProcPid;
	status->next_offset = part->next_offset;
	status->end_offset = part->end_offset;
	status->high_watermark = -1;
	if (cdc_kafka_watermarks(consumer->kafka, part->topic, part->partition,
							 &low, &high) && part->assigned)
		cdc_consumer_note_low(part, low);
	status->low_watermark = part->low_watermark;
	status->retention_ms = retention_ms(part);
	status->anchor = part->anchor_state;
	if (part->check == CDC_CHECK_ANCHOR || part->check == CDC_CHECK_GAP)
		status->anchor = CDC_ANCHOR_CHECKING;
	/* begun without one, and read without interruption since */
	else if (part->check == CDC_CHECK_NONE && part->assigned &&
			 part->anchor_state == CDC_ANCHOR_NONE && part->anchor.offset >= 0)
		status->anchor = CDC_ANCHOR_VERIFIED;
	status->end_request = consumer->request_served;
	status->last_ts_ms = part->last_ts_ms;
	status->mapping_disabled = part->disabled;
	strlcpy(status->reason, part->reason, sizeof(status->reason));
	strlcpy(status->hint, part->hint, sizeof(status->hint));
	if (part->disabled)
	{
		status->state = CDC_STATE_DISABLED;
		strlcpy(status->reason, "mapping_disabled", sizeof(status->reason));
	}
	else if (part->mode == CDC_PARTITION_STOPPED)
		status->state = CDC_STATE_STOPPED;
	else if (part->mode == CDC_PARTITION_HELD)
		status->state = CDC_STATE_WAITING;
	else if (part->reason[0])
		status->state = is_waiting(part->reason) ? CDC_STATE_WAITING :
			CDC_STATE_RETRYING;
	else if (consumer->status.connected &&
			 (trouble = cdc_kafka_partition_trouble(consumer->kafka, part->topic,
													part->partition, &reason)) != NULL)
	{
		status->state = CDC_STATE_RETRYING;
		strlcpy(status->reason, reason, sizeof(status->reason));
		strlcpy(status->hint, trouble, sizeof(status->hint));
	}
	else if (waits_for_transaction(consumer, part, high, now))
	{
		status->state = CDC_STATE_WAITING;
		strlcpy(status->reason, "waiting_for_transaction", sizeof(status->reason));
		strlcpy(status->hint, "A producer has not ended its transaction; at the latest its transaction.timeout.ms does.",
				sizeof(status->hint));
	}
	else
	{
		status->state = progress_state(consumer, part, now);
		status->hint[0] = '\0';
		/* only where the end that was last asked for has been passed */
		if (part->next_offset > part->end_offset)
			status->high_watermark = high;
	}
	if (is_near_retention(part, Max(part->end_offset, high)))
	{
		warn_of_retention(consumer, part, Max(part->end_offset, high));
		if (status->hint[0] == '\0')
			strlcpy(status->hint, "The position is close to the beginning of the log: retention may remove records before they are applied. Raise the topic's retention, or repair what holds the partition up.",
					sizeof(status->hint));
	}
}

/* Takes a state that is worse than the one at hand. */
static void
worsen(CdcState *worst, char *reason, char *hint, CdcState state,
	   const char *new_reason, const char *new_hint)
{
	if (state <= *worst)
		return;
	*worst = state;
	strlcpy(reason, new_reason, CDC_REASON_LEN);
	strlcpy(hint, new_hint, CDC_HINT_LEN);
}

/* What of a consumer as a whole is worse than its partitions. */
static void
overall_status(CdcConsumer *consumer, CdcState *worst, char *reason,
			   char *hint)
{
	const CdcKafkaStatus *status = &consumer->status;

	if (consumer->ntopics == 0)
		worsen(worst, reason, hint, CDC_STATE_WAITING, "no_mapping",
			   "Map a topic to a table with cdc_sink.add_mapping.");
	for (int i = 0; i < consumer->ntopics; i++)
		if (consumer->topics[i].reason[0])
		{
			char		text[CDC_HINT_LEN];

			if (consumer->topics[i].put_off)
				snprintf(text, sizeof(text), "The positions of topic \"%s\" cannot be claimed; that is tried again by itself: %s",
						 consumer->topics[i].topic, consumer->topics[i].hint);
			else
				snprintf(text, sizeof(text), "Topic \"%s\" is not there or may not be read; it is looked for again by itself.",
						 consumer->topics[i].topic);
			worsen(worst, reason, hint, is_waiting(consumer->topics[i].reason) ?
				   CDC_STATE_WAITING : CDC_STATE_RETRYING,
				   consumer->topics[i].reason, text);
		}
	if (!status->connected && status->reason[0] &&
		strcmp(status->reason, "connecting") != 0)
		worsen(worst, reason, hint, CDC_STATE_RETRYING, status->reason,
			   status->message);
	else if (!status->contact)
		worsen(worst, reason, hint, CDC_STATE_STARTING, "connecting", "");
}

/* Where nothing else is to be said: what the library's release is known for. */
static void
warn_of_library(char *hint)
{
	const char *warning = cdc_kafka_library_warning();

	if (hint[0] == '\0' && warning != NULL)
		snprintf(hint, CDC_HINT_LEN, "%s.", warning);
}

/* Where nothing else is to be said: that the group does not hear from us. */
static void
warn_of_group(CdcConsumer *consumer, char *hint)
{
	const char *group = consumer->subscription->options.consumer_group;
	const char *error = cdc_kafka_group_error(consumer->kafka);

	if (hint[0] == '\0' && group != NULL && error[0] != '\0')
		snprintf(hint, CDC_HINT_LEN, "Positions are not published to consumer group \"%s\": %s",
				 group, error);
}

/* Reports the state of a partition where it has changed, or had no place. */
static void
report(CdcConsumer *consumer, int i, const CdcPartitionStatus *status)
{
	const CdcPartition *part = consumer->pipeline->parts[i];
	CdcPartitionStatus *published = &consumer->published[i];

	if (memcmp(status, published, sizeof(*status)) == 0)
		return;
	*published = *status;
	if (cdc_partition_report(part->topic, part->partition, status))
		return;
	published->pid = 0;			/* to be reported again */
	consumer->nunplaced++;
}

/*
 * cdc_consumer_publish: see consumer.h.  reason and hint have CDC_REASON_LEN
 * and CDC_HINT_LEN bytes.
 */
CdcState
cdc_consumer_publish(CdcConsumer *consumer, char *reason, char *hint)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcState	worst = CDC_STATE_STREAMING;
	TimestampTz now = GetCurrentTimestamp();

	reason[0] = hint[0] = '\0';
	consumer->nunplaced = 0;
	grow_published(consumer);
	cdc_kafka_status(consumer->kafka, &consumer->status);
	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];
		CdcPartitionStatus status;
		TimestampTz time = consumer->published[i].watermark_time;

		partition_status(consumer, part, now, &status);
		/* a watermark carries the time it was learned */
		status.watermark_time = part->end_serial != 0 &&
			part->end_serial == pipeline->ends_serial ? Max(time, consumer->ends_time) : time;
		if (status.high_watermark > consumer->published[i].high_watermark)
			status.watermark_time = now;
		report(consumer, i, &status);
		if (!part->disabled)
			worsen(&worst, reason, hint, status.state, status.reason, status.hint);
	}
	overall_status(consumer, &worst, reason, hint);
	if (consumer->nunplaced > 0)
	{
		char		text[CDC_HINT_LEN];

		snprintf(text, sizeof(text), "Shared memory has no place for the states of %d partitions, which are consumed, but not shown nor waited for. Increase cdc_sink.max_workers and restart the server.",
				 consumer->nunplaced);
		worsen(&worst, reason, hint, CDC_STATE_WAITING, "no_partition_slot", text);
	}
	warn_of_group(consumer, hint);
	warn_of_library(hint);
	return worst;
}
