/*-------------------------------------------------------------------------
 *
 * consumer_anchor.c
 *		Is the log still the one that was read?
 *
 * Floor 9.  A topic that was deleted and created anew, a log that was cut
 * after an unclean election, another cluster behind the same address: each
 * answers a fetch by offset as if nothing had happened.  So the client never
 * begins at the next record but at the one read last, whose fingerprint is
 * known (that costs no question of its own), and nothing is taken before it
 * has been seen.  That is done at every assignment, and the partition is
 * assigned anew after anything behind which the log may have been exchanged:
 * a fetch that was answered by an error, a lost connection, a topic that was
 * missing or came back with other partitions, a high watermark that fell
 * (kafka_watch.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "consumer.h"

/* behind an anchor that was found, this many offsets are read again at most */
#define GAP_OFFSETS		1000
/* within this time, and that before a failed fetch is repeated, another worker
 * has noticed that a log was exchanged: the longest fetch, a check */
#define NOTICE_MS		2000

/* The anchor of what was read last, applied or not. */
static void
find_anchor(const CdcPipeline *pipeline, const CdcPartition *part,
			CdcAnchor *anchor)
{
	*anchor = part->anchor;
	if (part->read_offset == part->next_offset)
		return;
	for (int i = pipeline->nfresh - 1; i >= 0; i--)
		if (pipeline->fresh[i].part == part->index)
		{
			cdc_anchor_make(anchor, &pipeline->fresh[i]);
			return;
		}
	if (part->nqueue > 0)
		cdc_anchor_make(anchor, &part->queue[part->nqueue - 1]);
}

/* The anchor is not there: legal, but not everything could be checked. */
static void
note_unverified(CdcPartition *part)
{
	part->anchor_state = CDC_ANCHOR_UNVERIFIED;
	ereport(LOG,
			(errmsg("partition %d of topic \"%s\" goes on at offset " INT64_FORMAT " unverified",
					part->partition, part->topic, part->read_offset),
			 errdetail("The record at offset " INT64_FORMAT ", the last one before, is not in the log any more.",
					   part->checked.offset)));
}

/* cdc_consumer_begin_check: see consumer.h. */
int64
cdc_consumer_begin_check(CdcConsumer *consumer, CdcPartition *part)
{
	part->check = CDC_CHECK_NONE;
	find_anchor(consumer->pipeline, part, &part->checked);
	if (part->checked.offset < 0)
		return part->read_offset;
	if (part->anchor_gone)
	{
		part->anchor_gone = false;
		note_unverified(part);
		return part->read_offset;
	}
	part->check = CDC_CHECK_ANCHOR;
	return part->checked.offset;
}

/* Gives a partition to the client at an offset, instead of where it is. */
static void
assign_at(CdcConsumer *consumer, CdcPartition *part, int64 offset)
{
	CdcTopicPartition tp = {part->topic, part->partition, part->index, offset, 0};

	cdc_kafka_remove(consumer->kafka, &tp, 1);
	cdc_kafka_add(consumer->kafka, &tp, 1);
}

/* cdc_consumer_doubt: see consumer.h. */
void
cdc_consumer_doubt(CdcConsumer *consumer, CdcPartition *part)
{
	if (part->assigned && part->check != CDC_CHECK_LOST &&
		part->mode != CDC_PARTITION_STOPPED)
		assign_at(consumer, part, cdc_consumer_begin_check(consumer, part));
}

/* cdc_consumer_recheck: see consumer.h. */
void
cdc_consumer_recheck(CdcConsumer *consumer, CdcPartition *part)
{
	CdcAnchor	anchor;

	find_anchor(consumer->pipeline, part, &anchor);
	if (part->check == CDC_CHECK_NONE && anchor.offset >= 0)
		cdc_consumer_doubt(consumer, part);
}

/* cdc_consumer_doubt_all: see consumer.h. */
void
cdc_consumer_doubt_all(CdcConsumer *consumer)
{
	for (int i = 0; i < consumer->pipeline->nparts; i++)
		cdc_consumer_doubt(consumer, consumer->pipeline->parts[i]);
	/* the cluster, too, when a broker is there to be asked */
	consumer->outage = true;
}

/* The record where the anchor should be is another one. */
static void
other_record(CdcConsumer *consumer, CdcPartition *part, const CdcRecord *record)
{
	const char *then = cdc_record_time_text(part->checked.ts_ms);
	const char *now = cdc_record_time_text(record->ts_ms);
	char	   *message;

	if (record->offset == part->checked.offset)
		message = psprintf("topic \"%s\", partition %d has at offset " INT64_FORMAT " another record than the one that was applied (of %s, now of %s)",
						   part->topic, part->partition, record->offset,
						   then ? then : "no time", now ? now : "no time");
	else
		message = psprintf("topic \"%s\", partition %d has a record at offset " INT64_FORMAT ", where none was when it was applied up to offset " INT64_FORMAT,
						   part->topic, part->partition, record->offset,
						   part->next_offset);
	cdc_consumer_lose_topic(consumer, part, message);
	pfree(message);
}

/* All that lies before read_offset was as it should be. */
static void
end_check(CdcPartition *part)
{
	if (part->check == CDC_CHECK_ANCHOR)
		note_unverified(part);
	part->check = CDC_CHECK_NONE;
}

/* cdc_consumer_check_record: see consumer.h. */
bool
cdc_consumer_check_record(CdcConsumer *consumer, CdcPartition *part,
						  const CdcRecord *record)
{
	if (part->check == CDC_CHECK_LOST)
		return false;
	if (part->check == CDC_CHECK_ANCHOR && record->offset == part->checked.offset)
	{
		if (!cdc_anchor_matches(&part->checked, record))
		{
			other_record(consumer, part, record);
			return false;
		}
		part->anchor_state = CDC_ANCHOR_VERIFIED;
		part->check = record->offset + 1 < part->read_offset ?
			CDC_CHECK_GAP : CDC_CHECK_NONE;
		/* a long gap (aborted records) is not read again */
		if (part->read_offset - record->offset > GAP_OFFSETS)
		{
			part->check = CDC_CHECK_NONE;
			assign_at(consumer, part, part->read_offset);
		}
		return false;
	}
	if (record->offset < part->read_offset)
	{
		other_record(consumer, part, record);
		return false;
	}
	end_check(part);
	return true;
}

/* cdc_consumer_check_eof: see consumer.h. */
bool
cdc_consumer_check_eof(CdcConsumer *consumer, CdcPartition *part, int64 offset)
{
	if (part->check == CDC_CHECK_LOST)
		return false;
	if (offset < part->read_offset)
	{
		cdc_consumer_lose_range(consumer, part);
		part->anchor_gone = false;
		return false;
	}
	end_check(part);
	return true;
}

/* cdc_consumer_checking: see consumer.h. */
bool
cdc_consumer_checking(const CdcConsumer *consumer)
{
	for (int i = 0; i < consumer->pipeline->nparts; i++)
		if (consumer->pipeline->parts[i]->check != CDC_CHECK_NONE)
			return true;
	return cdc_consumer_waits(consumer);
}

/* --- partitions of which nothing is known --- */

/* What a partition of the topic says of it, by its published state. */
typedef enum Sibling
{
	SIBLING_FINE,
	SIBLING_UNKNOWN,			/* not looked yet */
	SIBLING_OTHER_LOG			/* the topic was created anew */
} Sibling;

static Sibling
judge_sibling(const CdcPartitionEntry *entries, int nentries,
			  const char *topic, int32 partition)
{
	for (int i = 0; i < nentries; i++)
	{
		const CdcPartitionStatus *status = &entries[i].status;

		if (entries[i].key.partition != partition ||
			strcmp(entries[i].key.topic, topic) != 0)
			continue;
		if (status->state != CDC_STATE_STOPPED)
			return status->anchor == CDC_ANCHOR_VERIFIED ||
				status->anchor == CDC_ANCHOR_UNVERIFIED ? SIBLING_FINE : SIBLING_UNKNOWN;
		if (strcmp(status->reason, "topic_recreated") == 0 ||
			(strcmp(status->reason, "offset_out_of_range") == 0 &&
			 status->next_offset > status->end_offset))
			return SIBLING_OTHER_LOG;
		return SIBLING_FINE;
	}
	return SIBLING_UNKNOWN;
}

/* The same of a partition in this process. */
static Sibling
judge_own_sibling(const CdcPartition *part)
{
	if (part->mode == CDC_PARTITION_STOPPED)
		return strcmp(part->reason, "topic_recreated") == 0 ||
			(strcmp(part->reason, "offset_out_of_range") == 0 &&
			 part->next_offset > part->end_offset) ? SIBLING_OTHER_LOG : SIBLING_FINE;
	/* one whose queue is full is not assigned, and may wait for the new one */
	if (part->mode == CDC_PARTITION_HELD && part->check == CDC_CHECK_NONE)
		return SIBLING_FINE;
	return part->check != CDC_CHECK_NONE || !part->assigned ? SIBLING_UNKNOWN : SIBLING_FINE;
}

/*
 * Looks at all partitions of a topic on which a new one waits.  Another
 * worker may be about to notice that the log is another one.
 */
static Sibling
judge_topic(CdcConsumer *consumer, const CdcPartition *part,
			const CdcTopicState *topic, const CdcPartitionEntry *entries,
			int nentries)
{
	bool		early = !TimestampDifferenceExceeds(part->waits_since,
													GetCurrentTimestamp(), NOTICE_MS +
													cdc_kafka_error_backoff_ms(consumer->kafka));
	Sibling		result = SIBLING_FINE;

	for (int i = 0; i < topic->nanchored; i++)
	{
		const CdcPartition *own = cdc_pipeline_partition(consumer->pipeline, topic->topic,
														 topic->anchored[i]);
		Sibling		sibling = own ? judge_own_sibling(own) :
			judge_sibling(entries, nentries, topic->topic, topic->anchored[i]);

		result = Max(result, sibling);
		if (own == NULL && early)
			result = Max(result, SIBLING_UNKNOWN);
	}
	return result;
}

/* cdc_consumer_waits: see consumer.h. */
bool
cdc_consumer_waits(const CdcConsumer *consumer)
{
	for (int i = 0; i < consumer->pipeline->nparts; i++)
		if (consumer->pipeline->parts[i]->waits)
			return true;
	return false;
}

/* cdc_consumer_look_at_siblings: see consumer.h. */
void
cdc_consumer_look_at_siblings(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcPartitionEntry *entries = NULL;
	int			nentries = -1;
	int			size = 0;

	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];

		for (int t = 0; part->waits && t < consumer->ntopics; t++)
		{
			Sibling		sibling;

			if (strcmp(consumer->topics[t].topic, part->topic) != 0)
				continue;
			if (nentries < 0)
				nentries = cdc_my_slot == NULL ? 0 :
					cdc_partitions_copy(MyDatabaseId, cdc_my_slot->subid, &entries, &size);
			sibling = judge_topic(consumer, part, &consumer->topics[t], entries, nentries);
			part->waits = sibling == SIBLING_UNKNOWN;
			if (sibling == SIBLING_OTHER_LOG)
				cdc_consumer_lose_topic(consumer, part, "other partitions of the topic show that it was created anew");
			break;
		}
	}
	if (entries)
		pfree(entries);
}
