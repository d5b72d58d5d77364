/*-------------------------------------------------------------------------
 *
 * consumer_group.c
 *		Committed positions, published to a consumer group for lag tools.
 *
 * Floor 9.  After the local commit and never read back: cdc_sink.position is
 * the truth.  So whatever fails here is told and tried again later, and holds
 * nothing up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "consumer.h"

/* shortest time between two commits to the group */
#define PUBLISH_MS			1000
/* the same after one that failed */
#define FAILED_MS			10000
/* the broker forgets a group's offsets when nothing is committed for days */
#define REPEAT_MS			(60 * 60 * 1000)

/* Are positions published at all? */
static bool
is_published(const CdcConsumer *consumer)
{
	return consumer->subscription->options.consumer_group != NULL;
}

/* Makes room for the positions of all partitions; -1: to be published. */
static void
grow_positions(CdcConsumer *consumer)
{
	CdcGroup   *group = &consumer->group;
	int			n = consumer->pipeline->nparts;

	if (n <= group->npositions)
		return;
	group->positions = group->positions == NULL ?
		MemoryContextAlloc(consumer->context, n * sizeof(int64)) :
		repalloc(group->positions, n * sizeof(int64));
	while (group->npositions < n)
		group->positions[group->npositions++] = -1;
}

/* Is there a partition whose position the group does not know? */
static bool
is_behind(const CdcConsumer *consumer)
{
	const CdcPipeline *pipeline = consumer->pipeline;
	const CdcGroup *group = &consumer->group;

	for (int i = 0; i < pipeline->nparts; i++)
		if (i >= group->npositions ||
			group->positions[i] != pipeline->parts[i]->next_offset)
			return true;
	return false;
}

/* Has all positions published again. */
static void
forget_positions(CdcGroup *group)
{
	for (int i = 0; i < group->npositions; i++)
		group->positions[i] = -1;
}

/* Sends the positions that the group does not know. */
static void
send_positions(CdcConsumer *consumer, TimestampTz now)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcGroup   *group = &consumer->group;
	CdcTopicPartition *list;
	char		origin[64];
	int			n = 0;

	grow_positions(consumer);
	list = palloc(Max(pipeline->nparts, 1) * sizeof(CdcTopicPartition));
	for (int i = 0; i < pipeline->nparts; i++)
	{
		const CdcPartition *part = pipeline->parts[i];

		if (group->positions[i] == part->next_offset)
			continue;
		list[n++] = (CdcTopicPartition) {part->topic, part->partition, i,
		part->next_offset, 0};
		group->positions[i] = part->next_offset;
	}
	/* two databases that write to one group can be told apart by it */
	snprintf(origin, sizeof(origin), "cdc_sink " UINT64_FORMAT "/%u",
			 GetSystemIdentifier(), MyDatabaseId);
	group->next = TimestampTzPlusMilliseconds(now, PUBLISH_MS);
	if (!cdc_kafka_commit(consumer->kafka, list, n, origin))
		forget_positions(group);
	pfree(list);
}

/* Logs what the brokers have against the group. */
static void
log_error(CdcConsumer *consumer)
{
	const char *error = cdc_kafka_group_error(consumer->kafka);

	if (error[0] == '\0' ||
		!cdc_complaint_is_new(&consumer->group.complaint, error))
		return;
	ereport(LOG,
			(errmsg("could not publish positions of subscription \"%s\" to consumer group \"%s\": %s",
					consumer->subscription->name,
					consumer->subscription->options.consumer_group, error),
			 errdetail("Records are applied all the same.")));
}

/* cdc_consumer_publish_group: see consumer.h. */
void
cdc_consumer_publish_group(CdcConsumer *consumer)
{
	CdcGroup   *group = &consumer->group;
	TimestampTz now;

	if (!is_published(consumer))
		return;
	now = GetCurrentTimestamp();
	switch (cdc_kafka_commit_answer(consumer->kafka, 0))
	{
		case CDC_COMMIT_PENDING:
			log_error(consumer);
			return;
		case CDC_COMMIT_FAILED:
			forget_positions(group);
			group->next = TimestampTzPlusMilliseconds(now, FAILED_MS);
			break;
		case CDC_COMMIT_DONE:
			group->complaint.text[0] = '\0';
			break;
		case CDC_COMMIT_IDLE:
			break;
	}
	log_error(consumer);
	if (now >= group->repeat)
	{
		forget_positions(group);
		group->repeat = TimestampTzPlusMilliseconds(now, REPEAT_MS);
	}
	if (now >= group->next && is_behind(consumer))
		send_positions(consumer, now);
}

/* cdc_consumer_publish_last: see consumer.h. */
void
cdc_consumer_publish_last(CdcConsumer *consumer, int timeout_ms)
{
	CdcGroup   *group = &consumer->group;

	if (!is_published(consumer) || !is_behind(consumer) ||
		cdc_kafka_group_error(consumer->kafka)[0] != '\0')
		return;
	if (cdc_kafka_commit_answer(consumer->kafka, timeout_ms) == CDC_COMMIT_PENDING)
		return;
	group->next = 0;
	send_positions(consumer, GetCurrentTimestamp());
	(void) cdc_kafka_commit_answer(consumer->kafka, timeout_ms);
	log_error(consumer);
}

/* cdc_consumer_group_due: see consumer.h. */
long
cdc_consumer_group_due(const CdcConsumer *consumer)
{
	TimestampTz now;

	if (!is_published(consumer) || !is_behind(consumer))
		return -1;
	now = GetCurrentTimestamp();
	/* an answer to come holds the next one up: look for it now and then */
	return now >= consumer->group.next ? PUBLISH_MS :
		TimestampDifferenceMilliseconds(now, consumer->group.next) + 1;
}
