/*-------------------------------------------------------------------------
 *
 * kafka_asker.c
 *		The second client of a consumer: questions that somebody waits for.
 *
 * Floor 3.  A question to a broker stands behind the fetch before it on the
 * same connection, and where nothing happens a fetch takes fetch.wait.max.ms.
 * So whoever waits is answered by connections of their own, which are closed
 * when they were not used for a while.  Where they fail, or the consumer's
 * own are in trouble, the caller asks those.
 *
 * The one hard thing: this client finds its cluster by itself.  Where
 * bootstrap.servers leads to another one meanwhile, its answers tell nothing
 * about the records of the first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "kafka_internal.h"

/* longest wait for its answer, with the time to connect */
#define ASKER_MS		1000
/* it stays open for so long after it was used */
#define KEEP_MS			15000
/* and is not tried again for so long after it gave no answer */
#define FAILED_MS		10000

/* Is it longer ago than ms?  A clock that was set back counts as that. */
static bool
is_past(TimestampTz since, int ms)
{
	TimestampTz now = GetCurrentTimestamp();

	return now < since || TimestampDifferenceExceeds(since, now, ms);
}

/* Opens it.  False where it cannot be opened, or is not to be asked now. */
static bool
open_asker(CdcKafka *kafka)
{
	/* no fetch is under way; or see to the trouble first */
	if (kafka->assigned == NULL || kafka->nfailed > 0 ||
		!kafka->status.contact || kafka->status.reason[0] != '\0' ||
		!is_past(kafka->asker_failed, FAILED_MS) ||
		cdc_kafka_cluster_id(kafka) == NULL)
		return false;
	kafka->asker_used = GetCurrentTimestamp();
	if (kafka->asker != NULL)
		return true;
	if (!cdc_debug_kafka())
		kafka->asker = cdc_kafka_make_asker(kafka->settings,
											kafka->allowed_brokers,
											&kafka->asker_shared);
	if (kafka->asker == NULL)
	{
		kafka->asker_failed = kafka->asker_used;
		return false;
	}
	kafka->asker_queue = rd_kafka_queue_get_main(kafka->asker);
	rd_kafka_set_log_queue(kafka->asker, kafka->asker_queue);
	return true;
}

/* Takes what it has to say beside answers: log lines count, errors do not. */
static void
take_events(CdcKafka *kafka)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(kafka->asker_queue, 0)) != NULL)
	{
		/* may raise, and then no client of the consumer is destroyed */
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG)
			cdc_kafka_take_log(event, &kafka->tainted);
		rd_kafka_event_destroy(event);
	}
}

/* Has it got an answer that it could not read?  Such a one is not destroyed. */
static bool
is_tainted(CdcKafka *kafka)
{
	rd_kafka_event_t *event;
	bool		tainted = false;

	while ((event = rd_kafka_queue_poll(kafka->asker_queue, 0)) != NULL)
	{
		tainted |= rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG &&
			cdc_kafka_is_malformed(event);
		rd_kafka_event_destroy(event);
	}
	return tainted;
}

/* cdc_kafka_end_asker: see kafka_internal.h. */
void
cdc_kafka_end_asker(CdcKafka *kafka)
{
	bool		tainted;

	if (kafka->asker == NULL)
		return;
	cdc_kafka_release_question(kafka);
	tainted = is_tainted(kafka);
	rd_kafka_queue_destroy(kafka->asker_queue);
	if (!tainted)
		(void) cdc_kafka_start_destruction(kafka->asker, kafka->asker_shared,
										   false);
	kafka->asker = NULL;
}

/* Is it connected to the cluster whose records the consumer reads? */
static bool
is_same_cluster(CdcKafka *kafka)
{
	char	   *its = rd_kafka_clusterid(kafka->asker, 0);
	bool		same = its != NULL &&
		strcmp(its, cdc_kafka_cluster_id(kafka)) == 0;

	if (its != NULL)
		rd_kafka_mem_free(kafka->asker, its);
	return same;
}

/* Was it answered by the right cluster?  Else it is closed. */
static bool
is_good(CdcKafka *kafka, bool answered)
{
	take_events(kafka);
	if (answered && is_same_cluster(kafka))
		return true;
	cdc_kafka_end_asker(kafka);
	kafka->asker_failed = GetCurrentTimestamp();
	return false;
}

bool
cdc_kafka_topics_now(CdcKafka *kafka, CdcTopicInfo *topics, int n)
{
	return open_asker(kafka) &&
		is_good(kafka, cdc_kafka_ask_topics(kafka, kafka->asker, topics, n,
											ASKER_MS));
}

bool
cdc_kafka_offsets_now(CdcKafka *kafka, CdcTopicPartition *parts, int n,
					  CdcOffsetQuestion question)
{
	/* a time would be lost with the first answer, and could not be asked again */
	Assert(question != CDC_OFFSET_AT_TIME);
	return n > 0 && open_asker(kafka) &&
		is_good(kafka, cdc_kafka_ask_offsets(kafka, kafka->asker, parts, n,
											 question, ASKER_MS));
}

void
cdc_kafka_rest(CdcKafka *kafka)
{
	if (kafka->asker == NULL)
		return;
	take_events(kafka);
	if (is_past(kafka->asker_used, KEEP_MS))
		cdc_kafka_end_asker(kafka);
}
