/*-------------------------------------------------------------------------
 *
 * publisher.h
 *		Dead letters, published to the subscription's dead_letter_topic.
 *
 * Floor 9.  Of a worker; outlives changes of its subscription.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_PUBLISHER_H
#define CDC_PUBLISHER_H

#include "consumer.h"
#include "kafka_produce.h"

/* A letter on its way. */
typedef struct CdcPosted
{
	int64		id;
	int64		attempts;
	enum
	{
		CDC_POSTED_SENT,
		CDC_POSTED_DELIVERED,
		CDC_POSTED_FAILED
	}			state;
} CdcPosted;

typedef struct CdcPublisher
{
	CdcProducer *producer;		/* NULL: nothing was published lately */
	char	   *connection;		/* fingerprint of its settings, or NULL;
								 * TopMemoryContext */
	CdcArena	arena;			/* of one letter */
	/* sent in this step; TopMemoryContext */
	int			nposted;
	int			maxposted;
	CdcPosted  *posted;
	int			nopen;			/* of them, SENT */
	int64		bytes;
	/* delivered, and the table does not know yet; TopMemoryContext */
	int			nmarks;
	int			maxmarks;
	CdcPosted  *marks;
	TimestampTz mark_at;
	/* one round looks at all unpublished letters, in the order of their ids */
	bool		looking;		/* a round is under way, or to begin */
	int64		after;			/* letters up to this id were looked at */
	int			failures;		/* of this round */
	int			refused;		/* of this step, by the library itself */
	int			waiting;		/* letters that the last round left behind */
	TimestampTz look_at;		/* not before */
	int			backoff_ms;
	TimestampTz used_at;		/* when the producer was last of use */
	char		error[CDC_MESSAGE_LEN]; /* why the last letter failed; "" */
	CdcComplaint complaint;
	int			nparts;			/* partitions whose letters were looked for */
} CdcPublisher;

/* The subscription was loaded anew: all unpublished letters are looked for. */
extern void cdc_publisher_restart(CdcPublisher *publisher);
/*
 * Does what can be done without waiting: takes deliveries, notes them in the
 * table, sends letters.  Errors are logged and tried again later.
 */
extern void cdc_publisher_turn(CdcPublisher *publisher, CdcConsumer *consumer);
/* Time in ms until it has something to do; -1: nothing. */
extern long cdc_publisher_due(const CdcPublisher *publisher);
/* Waits at most timeout_ms until all letters are published. */
extern void cdc_publisher_flush(CdcPublisher *publisher, CdcConsumer *consumer,
								int timeout_ms);
/* Tells, in CDC_HINT_LEN bytes and where it is "", what is not published. */
extern void cdc_publisher_hint(const CdcPublisher *publisher,
							   const CdcConsumer *consumer, char *hint);

#endif							/* CDC_PUBLISHER_H */
