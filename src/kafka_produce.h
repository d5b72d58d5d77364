/*-------------------------------------------------------------------------
 *
 * kafka_produce.h
 *		The record sink: a librdkafka producer.
 *
 * Floor 3.  As kafka.h: only in our own workers, on their main thread, at
 * most one a process, destroyed before the process ends.  Nothing here waits
 * for a broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_KAFKA_PRODUCE_H
#define CDC_KAFKA_PRODUCE_H

#include "kafka.h"

typedef struct CdcProducer CdcProducer;

/* What became of a record. */
typedef struct CdcDelivery
{
	int			number;			/* as given to cdc_producer_send */
	int			error;			/* 0: delivered; else cdc_kafka_error_text */
} CdcDelivery;

/* Opens it; errors as those of cdc_kafka_open. */
extern CdcProducer *cdc_producer_open(const CdcKafkaConfig *config);
/*
 * Destroys it, in the background: nobody waits.  What was not delivered is
 * dropped.  NULL is allowed.
 */
extern void cdc_producer_close(CdcProducer *producer);

/*
 * Queues a record with more headers behind its own; all is copied.  Topic,
 * partition and offset of the record are not looked at.  Returns 0, or an
 * error, and then there will be no delivery; never raises.
 */
extern int	cdc_producer_send(CdcProducer *producer, const char *topic,
							  const CdcRecord *record, const CdcHeader *more,
							  int nmore, int number);
/* Takes the next delivery; false: none is there now. */
extern bool cdc_producer_poll(CdcProducer *producer, CdcDelivery *delivery);
/* What the connection last complained of, or ""; owned by the producer. */
extern const char *cdc_producer_complaint(CdcProducer *producer);

#endif							/* CDC_KAFKA_PRODUCE_H */
