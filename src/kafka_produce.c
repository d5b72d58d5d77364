/*-------------------------------------------------------------------------
 *
 * kafka_produce.c
 *		The record sink: a librdkafka producer.
 *
 * Floor 3.  The hard thing is that it is one more client of a process whose
 * consumer must never wait: records are queued, deliveries polled, and the
 * end happens in a thread.  It connects as the consumer does, through the
 * same settings and rules (kafka_conf.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "kafka_internal.h"
#include "kafka_produce.h"

struct CdcProducer
{
	pid_t		pid;
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;	/* deliveries, errors, logs */
	ClientShared *shared;
	rd_kafka_event_t *event;	/* held: deliveries come several at a time */
	bool		tainted;		/* not to be destroyed: cdc_kafka_take_log */
	char		complaint[CDC_MESSAGE_LEN];
};

/* the producer of this process, or NULL */
static CdcProducer *open_producer;

CdcProducer *
cdc_producer_open(const CdcKafkaConfig *config)
{
	CdcProducer *producer;

	if (open_producer != NULL)
		elog(ERROR, "a Kafka producer is open already");
	producer = MemoryContextAllocZero(TopMemoryContext, sizeof(*producer));
	producer->pid = getpid();
	PG_TRY();
	{
		producer->rk = cdc_kafka_make_client(config, true, &producer->shared,
											 NULL);
	}
	PG_CATCH();
	{
		pfree(producer);
		PG_RE_THROW();
	}
	PG_END_TRY();
	producer->queue = rd_kafka_queue_get_main(producer->rk);
	open_producer = producer;
	rd_kafka_set_log_queue(producer->rk, producer->queue);
	return producer;
}

CdcDestruction *
cdc_producer_begin_close(bool wait)
{
	CdcProducer *producer = open_producer;
	CdcDestruction *destruction;

	if (producer == NULL || producer->pid != getpid())
		return NULL;
	open_producer = NULL;
	if (producer->tainted)
		return NULL;
	if (producer->event != NULL)
		rd_kafka_event_destroy(producer->event);
	/* what is still queued would be waited for */
	rd_kafka_purge(producer->rk, RD_KAFKA_PURGE_F_QUEUE |
				   RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
	rd_kafka_queue_destroy(producer->queue);
	destruction = cdc_kafka_start_destruction(producer->rk, producer->shared,
											  wait);
	pfree(producer);
	return destruction;
}

void
cdc_producer_close(CdcProducer *producer)
{
	if (producer != NULL && producer == open_producer)
		(void) cdc_producer_begin_close(false);
}

/* Adds headers; false: out of memory. */
static bool
add_headers(rd_kafka_headers_t *headers, const CdcHeader *list, int n)
{
	for (int i = 0; i < n; i++)
		if (rd_kafka_header_add(headers, list[i].name, -1, list[i].value.data,
								list[i].value.len) != RD_KAFKA_RESP_ERR_NO_ERROR)
			return false;
	return true;
}

int
cdc_producer_send(CdcProducer *producer, const char *topic,
				  const CdcRecord *record, const CdcHeader *more, int nmore,
				  int number)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(record->nheaders + nmore);
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__FAIL;

	if (!cdc_debug_kafka() &&
		add_headers(headers, record->headers, record->nheaders) &&
		add_headers(headers, more, nmore))
		code = rd_kafka_producev(producer->rk, RD_KAFKA_V_TOPIC(topic),
								 RD_KAFKA_V_KEY(record->key.data,
												(size_t) record->key.len),
								 RD_KAFKA_V_VALUE(unconstify(char *, record->value.data),
												  (size_t) record->value.len),
								 RD_KAFKA_V_HEADERS(headers),
								 /* 0: now */
								 RD_KAFKA_V_TIMESTAMP(Max(record->ts_ms, 0)),
								 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								 RD_KAFKA_V_OPAQUE((void *) (intptr_t) number),
								 RD_KAFKA_V_END);
	/* they are the message's once it is queued */
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_headers_destroy(headers);
	return code;
}

/* Takes one delivery of the event at hand; false: it has no more. */
static bool
take_delivery(CdcProducer *producer, CdcDelivery *delivery)
{
	const rd_kafka_message_t *message = rd_kafka_event_message_next(producer->event);

	if (message == NULL)
		return false;
	delivery->number = (int) (intptr_t) message->_private;
	delivery->error = message->err;
	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		producer->complaint[0] = '\0';
	return true;
}

bool
cdc_producer_poll(CdcProducer *producer, CdcDelivery *delivery)
{
	for (;;)
	{
		if (producer->event == NULL)
			producer->event = rd_kafka_queue_poll(producer->queue, 0);
		if (producer->event == NULL)
			return false;
		switch (rd_kafka_event_type(producer->event))
		{
			case RD_KAFKA_EVENT_DR:
				if (take_delivery(producer, delivery))
					return true;
				break;
			case RD_KAFKA_EVENT_ERROR:
				strlcpy(producer->complaint,
						rd_kafka_event_error_string(producer->event),
						sizeof(producer->complaint));
				break;
			case RD_KAFKA_EVENT_LOG:
				cdc_kafka_take_log(producer->event, &producer->tainted);
				break;
			default:
				break;
		}
		rd_kafka_event_destroy(producer->event);
		producer->event = NULL;
	}
}

const char *
cdc_producer_complaint(CdcProducer *producer)
{
	return producer->complaint;
}
