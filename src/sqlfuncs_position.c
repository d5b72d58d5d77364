/*-------------------------------------------------------------------------
 *
 * sqlfuncs_position.c
 *		set_position.
 *
 * Floor 9.  The hard thing: a position outside what the topic holds would
 * stop the partition, or worse, skip silently; so the brokers are asked for
 * every partition before any row is written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "notify.h"
#include "oneshot.h"
#include "position.h"
#include "shmem.h"
#include "sqlargs.h"

extern PGDLLEXPORT Datum cdc_sink_set_position(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_skip_record(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(cdc_sink_set_position);
PG_FUNCTION_INFO_V1(cdc_sink_skip_record);

/* Refuses while a worker may move the positions. */
static void
check_idle(const CdcSubscriptionRow *row)
{
	if (row->enabled && !row->restored)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subscription \"%s\" is enabled", NameStr(row->name)),
				 errhint("Call disable_subscription first.")));
	if (cdc_subscription_attached(row->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a worker of subscription \"%s\" is still running",
						NameStr(row->name)),
				 errhint("Call disable_subscription with wait => true.")));
}

/* Topics with a mapping, each once; the mappings are ordered by topic. */
static int
mapped_topics(const CdcSubscription *subscription, const char **topics)
{
	int			n = 0;

	for (int i = 0; i < subscription->nmappings; i++)
	{
		const char *topic = subscription->mappings[i].topic;

		if (n == 0 || strcmp(topics[n - 1], topic) != 0)
			topics[n++] = topic;
	}
	return n;
}

/* The topics that argument 1 means: one, or all that are mapped. */
static const char **
wanted_topics(FunctionCallInfo fcinfo, const CdcSubscription *subscription,
			  int *n)
{
	const char **topics = palloc((subscription->nmappings + 1) * sizeof(char *));
	char	   *wanted = cdc_arg_text(fcinfo, 1);

	*n = mapped_topics(subscription, topics);
	if (*n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subscription \"%s\" has no mapping", subscription->name),
				 errhint("Call add_mapping first.")));
	if (wanted == NULL)
		return topics;
	for (int i = 0; i < *n; i++)
	{
		if (strcmp(topics[i], wanted) == 0)
		{
			topics[0] = wanted;
			*n = 1;
			return topics;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("topic \"%s\" is not mapped by subscription \"%s\"",
					wanted, subscription->name)));
}

/* Present position of a partition; 22023 where it has none. */
static int64
present_offset(const CdcPartitionEnds *part, const CdcPositionRow *rows, int n)
{
	for (int i = 0; i < n; i++)
		if (rows[i].partition == part->partition &&
			strcmp(rows[i].topic, part->topic) == 0)
			return rows[i].next_offset;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("partition %d of topic \"%s\" has no position to count from",
					part->partition, part->topic),
			 errhint("Give earliest, latest, an offset or a time-stamp.")));
}

/* Refuses an offset outside what the partition holds. */
static void
check_range(const CdcPartitionEnds *part, int64 offset)
{
	if (offset < part->low || offset > part->end)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("offset " INT64_FORMAT " is outside partition %d of topic \"%s\"",
						offset, part->partition, part->topic),
				 errdetail("The partition holds offsets from " INT64_FORMAT
						   " on and ends at " INT64_FORMAT ".",
						   part->low, part->end)));
}

/*
 * set_position(subscription, topic, partition, new_position): while the
 * brokers are asked the subscription stays locked, so that nobody enables it
 * meanwhile.
 */
Datum
cdc_sink_set_position(PG_FUNCTION_ARGS)
{
	CdcSubscriptionRow row;
	CdcSubscription *subscription;
	CdcPlace	place;
	CdcPositionRow *present;
	CdcPartitionEnds *parts;
	const char **topics;
	int			ntopics;
	int			npresent;
	int			nparts;

	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_arg_require(fcinfo, 3, "new_position");
	/* inside, -1 stands for all of them */
	if (!PG_ARGISNULL(2) && PG_GETARG_INT32(2) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition must not be negative"),
				 errhint("NULL stands for all partitions.")));
	cdc_shmem_require();
	cdc_subscription_lock(cdc_arg_name(fcinfo, 0), &row);
	cdc_place_parse(cdc_arg_text(fcinfo, 3), &place);
	check_idle(&row);
	subscription = cdc_catalog_load(row.id);
	topics = wanted_topics(fcinfo, subscription, &ntopics);

	parts = cdc_oneshot_positions(subscription, topics, ntopics,
								  PG_ARGISNULL(2) ? -1 : PG_GETARG_INT32(2),
								  &place, &nparts);
	npresent = cdc_catalog_positions(&row, &present);
	for (int i = 0; i < nparts; i++)
	{
		CdcPositionRow position;

		position.topic = parts[i].topic;
		position.partition = parts[i].partition;
		position.next_offset = parts[i].offset;
		if (place.kind == CDC_PLACE_RELATIVE)
			position.next_offset += present_offset(&parts[i], present, npresent);
		check_range(&parts[i], position.next_offset);
		cdc_catalog_set_position(&row, &position);
		/* of a topic as a whole, what it has no more goes */
		if (PG_ARGISNULL(2) &&
			(i + 1 == nparts || strcmp(parts[i + 1].topic, parts[i].topic) != 0))
			cdc_catalog_delete_partitions(&row, parts[i].topic,
										  parts[i].partition + 1);
	}
	PG_RETURN_VOID();
}

/*
 * skip_record(subscription, topic, partition, offset, note): the worker looks
 * at the position again, and so tries a stopped partition, too.
 */
Datum
cdc_sink_skip_record(PG_FUNCTION_ARGS)
{
	CdcSubscriptionRow row;
	char	   *topic;
	int32		partition;
	int64		offset;
	int64		next;

	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_arg_require(fcinfo, 1, "topic");
	cdc_arg_require(fcinfo, 2, "partition");
	cdc_arg_require(fcinfo, 3, "offset");
	cdc_subscription_lock(cdc_arg_name(fcinfo, 0), &row);
	topic = cdc_arg_text(fcinfo, 1);
	partition = PG_GETARG_INT32(2);
	offset = PG_GETARG_INT64(3);
	if (offset < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("offset must not be negative")));
	next = cdc_position_arm_skip(NameStr(row.name), topic, partition, offset,
								 cdc_arg_text(fcinfo, 4));
	if (next < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" has no position in partition %d of topic \"%s\"",
						NameStr(row.name), partition, topic)));
	if (next > offset)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the record at offset " INT64_FORMAT " of topic \"%s\", partition %d has already been applied or passed over",
						offset, topic, partition),
				 errdetail("The partition is at offset " INT64_FORMAT ".", next)));
	cdc_notify_at_commit(row.id);
	PG_RETURN_VOID();
}
