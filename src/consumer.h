/*-------------------------------------------------------------------------
 *
 * consumer.h
 *		A subscription being consumed by this process: the Kafka client, the
 *		pipeline, and what connects them.
 *
 * Floor 9.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CONSUMER_H
#define CDC_CONSUMER_H

#include "kafka.h"
#include "pipeline.h"
#include "shmem.h"

/* A mapped topic, as metadata last told it. */
typedef struct CdcTopicState
{
	const char *topic;			/* of the subscription's mapping */
	int32		npartitions;	/* as last seen; 0: missing or not readable */
	bool		met;			/* the table knows that we looked for it */
	char		reason[CDC_REASON_LEN]; /* why there is none */
} CdcTopicState;

/* A partition at its last stable offset, with records behind it. */
typedef struct CdcStandstill
{
	int64		offset;
	TimestampTz since;			/* 0: it moves, or nothing stands behind */
} CdcStandstill;

/* An error that is logged when it is new, and now and then while it stays. */
typedef struct CdcComplaint
{
	char		text[CDC_MESSAGE_LEN];	/* "": none */
	TimestampTz logged_at;
} CdcComplaint;

#define CDC_COMPLAINT_MS	(10 * 60 * 1000)

/* Is the error to be logged?  It counts as logged then. */
static inline bool
cdc_complaint_is_new(CdcComplaint *complaint, const char *text)
{
	TimestampTz now = GetCurrentTimestamp();

	if (strcmp(text, complaint->text) == 0 &&
		!TimestampDifferenceExceeds(complaint->logged_at, now, CDC_COMPLAINT_MS))
		return false;
	strlcpy(complaint->text, text, sizeof(complaint->text));
	complaint->logged_at = now;
	return true;
}

/* What was published to the consumer group; consumer_group.c. */
typedef struct CdcGroup
{
	int64	   *positions;		/* by partition; -1: to be published */
	int			npositions;
	TimestampTz next;			/* not before */
	TimestampTz repeat;			/* when all of them are published again */
	CdcComplaint complaint;
} CdcGroup;

typedef struct CdcConsumer
{
	MemoryContext context;		/* of the subscription as loaded */
	CdcSubscription *subscription;
	CdcPipeline *pipeline;
	CdcKafka   *kafka;
	char	   *connection;		/* fingerprint of the client's settings */
	int			worker_no;
	int			nworkers;
	bool		gathered;		/* worker 0 has all partitions, others none */
	TimestampTz gathered_at;	/* when that was last of use */
	int			ntopics;
	CdcTopicState *topics;
	CdcPartitionStatus *published;	/* by partition, as last reported */
	TimestampTz *eof_times;		/* by partition: when it last reached its end */
	CdcStandstill *standstills; /* by partition */
	int			npublished;		/* length of these three */
	TimestampTz next_metadata;
	TimestampTz next_ends;
	TimestampTz ends_asked;		/* when they were last asked for */
	TimestampTz ends_time;		/* when ends were last learned; 0: never */
	uint64		request_served; /* last wait_for_catchup that was answered */
	CdcKafkaStatus status;
	CdcGroup	group;
	bool		received;		/* records came in this turn */
	bool		active;			/* records came since ends were asked for */
} CdcConsumer;

/*
 * Loads the subscription and opens the client, or takes over the client of
 * old (which ends) where its settings are the same.  NULL where the
 * subscription is gone, disabled or restored.  Errors are raised; old is
 * closed then.
 */
extern CdcConsumer *cdc_consumer_open(int64 subid, int worker_no, int nworkers,
									  bool even_disabled, CdcConsumer *old);
extern void cdc_consumer_close(CdcConsumer *consumer);
/*
 * Has the client the settings that server, user mapping, secret files and
 * cdc_sink.allowed_brokers have now?  Reads them in a transaction of its own.
 * Where they cannot be read the answer is "unreadable".
 */
extern bool cdc_consumer_is_current(CdcConsumer *consumer, bool unreadable);

/*
 * Looks for topics and partitions when it is time (or now), makes and claims
 * their positions and adds them to the assignment.  False where the brokers
 * did not answer.
 */
extern bool cdc_consumer_discover(CdcConsumer *consumer, bool now);
/* Brings the client's assignment in line with the partitions' modes. */
extern void cdc_consumer_assign(CdcConsumer *consumer);
/* Takes records from the client until its queue is empty or a batch is full. */
extern void cdc_consumer_pull(CdcConsumer *consumer);
/* Asks for the ends of all partitions when that is due or wanted. */
extern bool cdc_consumer_learn_ends(CdcConsumer *consumer, bool now);
/*
 * Has all partitions gathered in worker 0 where partitions of several workers
 * must wait for each other, and shared again when that is over.
 */
extern void cdc_consumer_gather(CdcConsumer *consumer);
/*
 * Publishes committed positions to the consumer group where the option names
 * one, about once a second, without waiting.
 */
extern void cdc_consumer_publish_group(CdcConsumer *consumer);
/*
 * The same before the worker ends; waits at most timeout_ms for the answer to
 * what is under way, and as long for its own.
 */
extern void cdc_consumer_publish_last(CdcConsumer *consumer, int timeout_ms);
/* Time in ms until that is due again; -1: nothing is to be published. */
extern long cdc_consumer_group_due(const CdcConsumer *consumer);
/* Publishes partitions that changed; the worst state, with its reason. */
extern CdcState cdc_consumer_publish(CdcConsumer *consumer, char *reason,
									 char *hint);

/* The clock was set back to now: nothing is due later than now any more. */
extern void cdc_consumer_clock_back(CdcConsumer *consumer, TimestampTz now);

#endif							/* CDC_CONSUMER_H */
