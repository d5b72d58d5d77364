/*-------------------------------------------------------------------------
 *
 * run_batches.c
 *		Body of cdc_sink.run_batches: a subscription applied by hand.
 *
 * Floor 10.  Runs in a one-shot worker for which the caller waits; what the
 * apply worker would show in the views is raised here instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "consumer.h"
#include "oneshot.h"
#include "publisher.h"
#include "session.h"

#define LAST_PUBLISH_MS	2000
#define LAST_LETTERS_MS	10000

/* Have all partitions reached the ends that stood at the start? */
static bool
reached(const CdcPipeline *pipeline, const int64 *goals, int ngoals)
{
	for (int i = 0; i < ngoals; i++)
	{
		const CdcPartition *part = pipeline->parts[i];

		if (!part->disabled &&
			(part->next_offset < goals[i] || part->check != CDC_CHECK_NONE ||
			 part->gone_since != 0))
			return false;
	}
	return true;
}

/* ERROR in the caller of run_batches: why a partition stopped. */
static void
raise_stop(const CdcPipeline *pipeline)
{
	for (int i = 0; i < pipeline->nparts; i++)
	{
		const CdcPartition *part = pipeline->parts[i];

		if (part->mode != CDC_PARTITION_STOPPED)
			continue;
		ereport(ERROR,
				(errcode(part->sqlstate ? part->sqlstate : ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition %d of topic \"%s\" is stopped at offset " INT64_FORMAT ": %s",
						part->partition, part->topic, part->next_offset,
						part->message[0] ? part->message : part->reason),
				 part->detail[0] ? errdetail_internal("%s", part->detail) : 0,
				 errhint("%s", part->hint)));
	}
}

/* Does any mapping of the topic count? */
static bool
is_enabled(const CdcConsumer *consumer, const char *topic)
{
	const CdcSubscription *sub = consumer->subscription;

	for (int i = 0; i < sub->nmappings; i++)
		if (sub->mappings[i].options.enabled &&
			strcmp(sub->mappings[i].topic, topic) == 0)
			return true;
	return false;
}

/*
 * ERROR in the caller of run_batches where a topic is not there, or the
 * brokers said nothing of it: nothing was applied of it then.
 */
static void
raise_missing(CdcConsumer *consumer)
{
	for (int i = 0; i < consumer->ntopics; i++)
	{
		const CdcTopicState *topic = &consumer->topics[i];

		if ((topic->claimed && topic->reason[0] == '\0') ||
			!is_enabled(consumer, topic->topic))
			continue;
		cdc_kafka_status(consumer->kafka, &consumer->status);
		if (topic->reason[0])
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("topic \"%s\" cannot be read: %s", topic->topic,
							topic->reason)));
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the brokers said nothing of topic \"%s\": %s",
						topic->topic, consumer->status.reason[0] ?
						consumer->status.reason : "no answer"),
				 consumer->status.message[0] ?
				 errdetail_internal("%s", consumer->status.message) : 0));
	}
}

/* One turn of run_batches; false when nothing moved. */
static bool
batch_turn(CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;
	CdcStep		step;

	(void) cdc_consumer_discover(consumer, false);
	cdc_consumer_pull(consumer);
	step = cdc_pipeline_step(pipeline);
	if (step == CDC_STEP_RETRY)
		cdc_failure_throw(pipeline->failure);
	if (step == CDC_STEP_FENCED)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("subscription \"%s\" is consumed by another worker",
						consumer->subscription->name)));
	(void) cdc_consumer_learn_ends(consumer, false);
	cdc_consumer_tend(consumer);
	raise_stop(pipeline);
	return step == CDC_STEP_DONE;
}

/* Waits until the client has something, or a question may be due. */
static void
wait_for_records(CdcConsumer *consumer)
{
	static uint32 wait_event = 0;

	(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE |
							 WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 cdc_kafka_wakeup_fd(consumer->kafka), 100,
							 cdc_compat_wait_event(&wait_event, "CdcSinkBatches"));
	ResetLatch(MyLatch);
}

/*
 * cdc_worker_run_batches: see oneshot.h.
 */
void
cdc_worker_run_batches(int64 subid, int max_batches, int64 timeout_ms)
{
	CdcConsumer *consumer;
	CdcPublisher publisher = {0};
	TimestampTz start = GetCurrentTimestamp();
	int64	   *goals;
	int			ngoals;
	int			done = 0;

	StartTransactionCommand();
	cdc_session_pin();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	consumer = cdc_consumer_open(subid, 0, 1, true, NULL);
	if (consumer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription does not exist any more")));
	StartTransactionCommand();
	cdc_session_apply_options(consumer->subscription);
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	(void) cdc_consumer_discover(consumer, true);
	if (!cdc_consumer_learn_ends(consumer, true))
	{
		cdc_kafka_status(consumer->kafka, &consumer->status);
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the brokers did not say where the topics end"),
				 errdetail_internal("%s", consumer->status.message)));
	}
	/* before anything is applied: what the questions have shown */
	cdc_consumer_tend(consumer);
	raise_stop(consumer->pipeline);
	raise_missing(consumer);
	ngoals = consumer->pipeline->nparts;
	goals = palloc(Max(ngoals, 1) * sizeof(int64));
	for (int i = 0; i < ngoals; i++)
		goals[i] = consumer->pipeline->parts[i]->end_offset;
	while (!reached(consumer->pipeline, goals, ngoals) &&
		   (max_batches < 0 || done < max_batches) &&
		   (timeout_ms < 0 ||
			!TimestampDifferenceExceeds(start, GetCurrentTimestamp(), timeout_ms)))
	{
		CHECK_FOR_INTERRUPTS();
		if (batch_turn(consumer))
			done++;
		else
			wait_for_records(consumer);
	}
	/* a new client has yet to find the group's coordinator */
	cdc_consumer_publish_last(consumer, LAST_PUBLISH_MS);
	cdc_publisher_restart(&publisher);
	cdc_publisher_flush(&publisher, consumer, LAST_LETTERS_MS);
	cdc_consumer_close(consumer);
}
