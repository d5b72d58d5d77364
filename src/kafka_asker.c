/*-------------------------------------------------------------------------
 *
 * kafka_asker.c
 *		The second client of a consumer: questions that somebody waits for.
 *
 * Floor 3.  A question to a broker stands behind the fetch before it on the
 * same connection, and where nothing happens a fetch takes fetch.wait.max.ms.
 * So whoever waits is answered by connections of their own, which are closed
 * when they were not used for a while.  Where they fail, or the consumer's
 * own are in trouble, those answer, later.
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
#define ANSWER_MS		1000
/* it stays open for so long after it was used */
#define KEEP_MS			15000
/* and is not tried again for so long after it gave no answer */
#define FAILED_MS		10000

/* Opens it.  False where it cannot be opened, or is not to be asked now. */
static bool
open_asker(CdcKafka *kafka)
{
	TimestampTz now = GetCurrentTimestamp();

	/* no fetch is under way; or see to the trouble first */
	if (kafka->assigned == NULL || kafka->nfailed > 0 ||
		!kafka->status.contact || kafka->status.reason[0] != '\0' ||
		!TimestampDifferenceExceeds(kafka->asker_failed, now, FAILED_MS))
		return false;
	kafka->asker_used = now;
	if (kafka->asker != NULL)
		return true;
	if (!cdc_debug_kafka())
		kafka->asker = cdc_kafka_make_asker(kafka->rk, kafka->allowed_brokers,
											&kafka->asker_shared);
	if (kafka->asker == NULL)
		return false;
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
		/* may raise, and then no client of the process is destroyed any more */
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG)
			cdc_kafka_take_log(event, &kafka->tainted);
		rd_kafka_event_destroy(event);
	}
}

/* Is it connected to the cluster whose records the consumer reads? */
static bool
is_same_cluster(CdcKafka *kafka)
{
	const char *ours = cdc_kafka_cluster_id(kafka);
	char	   *its = rd_kafka_clusterid(kafka->asker, 0);
	bool		same = ours != NULL && its != NULL && strcmp(ours, its) == 0;

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
cdc_kafka_topics_now(CdcKafka *kafka, CdcTopicInfo *topics, int n,
					 int timeout_ms)
{
	if (open_asker(kafka) &&
		is_good(kafka, cdc_kafka_ask_topics(kafka, kafka->asker, topics, n,
											ANSWER_MS)))
		return true;
	return cdc_kafka_topics(kafka, topics, n, timeout_ms);
}

bool
cdc_kafka_ends_now(CdcKafka *kafka, CdcTopicPartition *parts, int n,
				   int timeout_ms)
{
	if (open_asker(kafka) &&
		is_good(kafka, cdc_kafka_ask_offsets(kafka, kafka->asker, parts, n,
											 CDC_OFFSET_END, ANSWER_MS)))
		return true;
	return cdc_kafka_offsets(kafka, parts, n, CDC_OFFSET_END, timeout_ms);
}

void
cdc_kafka_rest(CdcKafka *kafka)
{
	if (kafka->asker != NULL &&
		TimestampDifferenceExceeds(kafka->asker_used, GetCurrentTimestamp(),
								   KEEP_MS))
		cdc_kafka_end_asker(kafka);
}

/* cdc_kafka_end_asker: see kafka_internal.h. */
void
cdc_kafka_end_asker(CdcKafka *kafka)
{
	if (kafka->asker == NULL)
		return;
	cdc_kafka_release_question(kafka);
	rd_kafka_queue_destroy(kafka->asker_queue);
	(void) cdc_kafka_start_destruction(kafka->asker, kafka->asker_shared, false);
	kafka->asker = NULL;
}
