/*-------------------------------------------------------------------------
 *
 * kafka_commit.c
 *		Publishing positions to a consumer group, for tools that show lag.
 *
 * Floor 3.  Nothing here is ever read back.  The hard thing is to never wait:
 * while the group's coordinator is unknown, librdkafka keeps a commit for up
 * to its session.timeout.ms, so one is under way at a time, its answer comes
 * to a queue of its own, and nobody has to look at it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "kafka_internal.h"

bool
cdc_kafka_commit(CdcKafka *kafka, const CdcTopicPartition *parts, int n,
				 const char *metadata)
{
	rd_kafka_resp_err_t code;

	if (kafka->committing || n == 0)
		return false;
	if (kafka->commits == NULL)
		kafka->commits = rd_kafka_queue_new(kafka->rk);
	cdc_kafka_make_list(kafka, parts, n);
	for (int i = 0; i < n; i++)
	{
		/* freed with the list; without memory for it the text is left out */
		kafka->list->elems[i].metadata = strdup(metadata);
		kafka->list->elems[i].metadata_size =
			kafka->list->elems[i].metadata ? strlen(metadata) : 0;
	}
	code = cdc_debug_kafka() ? RD_KAFKA_RESP_ERR__FAIL :
		rd_kafka_commit_queue(kafka->rk, kafka->list, kafka->commits, NULL,
							  NULL);
	cdc_kafka_release_question(kafka);
	kafka->committing = code == RD_KAFKA_RESP_ERR_NO_ERROR;
	if (!kafka->committing)
		cdc_kafka_note_group_error(kafka, rd_kafka_err2str(code));
	return kafka->committing;
}

/* The first error of an answer: of the whole, or of one partition. */
static rd_kafka_resp_err_t
answer_error(rd_kafka_event_t *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_event_topic_partition_list(event);

	for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && list != NULL &&
		 i < list->cnt; i++)
		code = list->elems[i].err;
	return code;
}

CdcCommitAnswer
cdc_kafka_commit_answer(CdcKafka *kafka, int timeout_ms)
{
	rd_kafka_event_t *event;
	rd_kafka_resp_err_t code;

	if (!kafka->committing)
		return CDC_COMMIT_IDLE;
	event = rd_kafka_queue_poll(kafka->commits, timeout_ms);
	if (event == NULL)
		return CDC_COMMIT_PENDING;
	code = answer_error(event);
	rd_kafka_event_destroy(event);
	kafka->committing = false;
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		kafka->group_error[0] = '\0';
		return CDC_COMMIT_DONE;
	}
	cdc_kafka_note_group_error(kafka, rd_kafka_err2str(code));
	return CDC_COMMIT_FAILED;
}

void
cdc_kafka_note_group_error(CdcKafka *kafka, const char *text)
{
	strlcpy(kafka->group_error, text, sizeof(kafka->group_error));
}

const char *
cdc_kafka_group_error(CdcKafka *kafka)
{
	return kafka->group_error;
}
