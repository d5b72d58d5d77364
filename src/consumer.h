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
	int32		seen;			/* how many it had when last looked at */
	bool		claimed;		/* its stored positions were taken */
	int			nanchored;		/* partitions whose log can be recognised, */
	int32	   *anchored;		/* whoever consumes them */
	bool		met;			/* the table knows that we looked for it */
	char		reason[CDC_REASON_LEN]; /* why there is none */
	char		hint[CDC_HINT_LEN]; /* put_off: the error */
	bool		put_off;		/* a transient error came when it was taken */
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
	TimestampTz next_sweep_look;	/* for rows of key changes, among several */
	int			ntopics;
	CdcTopicState *topics;
	CdcPartitionStatus *published;	/* by partition, as last reported */
	TimestampTz *eof_times;		/* by partition: when it last reached its end */
	CdcStandstill *standstills; /* by partition */
	int			npublished;		/* length of these three */
	int			nunplaced;		/* partitions without a place in shared memory:
								 * nobody can wait for them */
	TimestampTz next_metadata;
	TimestampTz next_ends;
	TimestampTz ends_asked;		/* when they were last asked for */
	TimestampTz ends_time;		/* when ends were last learned; 0: never */
	bool		outage;			/* something broke; topics and cluster were not
								 * looked at since */
	TimestampTz next_siblings;
	TimestampTz next_warning;	/* of retention */
	int			unanswered_topics;	/* such questions in a row without an answer */
	int			unanswered_ends;	/* the same of those somebody waits for */
	uint64		request_asked;	/* last wait_for_catchup whose ends are known */
	uint64		request_served; /* last wait_for_catchup that was answered */
	CdcKafkaStatus status;
	CdcGroup	group;
	bool		received;		/* records came in this turn */
	bool		emptied;		/* the client held no more at the last pull */
	TimestampTz abandoned_at;	/* the last client of which nothing came; 0: none */
	int			patience;		/* with the next one, in ms */
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
 * Closes the client, after the pipeline, whose records keep it alive; the
 * consumer is then only good for being closed, or the old one of another.
 */
extern void cdc_consumer_end_client(CdcConsumer *consumer);
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
/*
 * How long a question may take, in ms, of which so many in a row were not
 * answered: not long then, as partitions of other brokers wait meanwhile.
 */
extern int	cdc_consumer_patience(int unanswered);
/* Brings the client's assignment in line with the partitions' modes. */
extern void cdc_consumer_assign(CdcConsumer *consumer);
/* Once a turn: looks after the logs, stops what is lost, and assigns. */
extern void cdc_consumer_tend(CdcConsumer *consumer);
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
/* A partition's log begins at low now. */
extern void cdc_consumer_note_low(CdcPartition *part, int64 low);

/* --- consumer_pull.c --- */

/* while records flow, how long until the ends are asked for, in ms */
#define CDC_ENDS_MS 1000
/* Takes records from the client until its queue is empty or a batch is full. */
extern void cdc_consumer_pull(CdcConsumer *consumer);
/*
 * One step of the pipeline, while a thread reads the next batch, unless it is
 * tried again.
 */
extern CdcStep cdc_consumer_step(CdcConsumer *consumer, bool again);

/* --- consumer_topics.c --- */

/*
 * Asks which cluster answers; false where it is not that of the partition,
 * which is lost then.
 */
extern bool cdc_consumer_check_cluster(CdcConsumer *consumer, CdcPartition *part);

/* --- consumer_lost.c --- */

/*
 * Nothing more is taken of a partition; when what was read is applied, it
 * stops with this reason.  The first call counts.  Texts are copied.
 */
extern void cdc_consumer_lose(CdcConsumer *consumer, CdcPartition *part,
							  const char *reason, const char *message,
							  const char *hint);
/* The same, if the log does not hold the position: that is asked then. */
extern void cdc_consumer_lose_range(CdcConsumer *consumer, CdcPartition *part);
/* The same for a topic that is another one than that which was read. */
extern void cdc_consumer_lose_topic(CdcConsumer *consumer, CdcPartition *part,
									const char *message);
/* Stops, resets or tries again the partitions that have come so far. */
extern void cdc_consumer_settle_losses(CdcConsumer *consumer);

/* --- consumer_stalled.c --- */

/*
 * A partition of which nothing came for long although the broker has more;
 * NULL: none.  Once a turn, right after the pull: what comes later is not
 * known to it.
 */
extern const CdcPartition *cdc_consumer_stalled(CdcConsumer *consumer);
/*
 * Ends the client for that partition's sake, as cdc_consumer_end_client, and
 * says so in the log.
 */
extern void cdc_consumer_abandon(CdcConsumer *consumer, const CdcPartition *part);

/* --- consumer_anchor.c --- */

/*
 * A partition is going to be assigned: what it has to show first, and the
 * offset to begin at.
 */
extern int64 cdc_consumer_begin_check(CdcConsumer *consumer, CdcPartition *part);
/*
 * Assigns a partition anew, so that it is checked again; events of it that
 * were not taken yet are delivered again.
 */
extern void cdc_consumer_doubt(CdcConsumer *consumer, CdcPartition *part);
/*
 * The same unless it is being checked, or there is nothing to check: for what
 * is told again and again.
 */
extern void cdc_consumer_recheck(CdcConsumer *consumer, CdcPartition *part);
/* Assigns all of them anew. */
extern void cdc_consumer_doubt_all(CdcConsumer *consumer);
/*
 * A record, or the end of the log, of a partition whose check is not NONE:
 * may it be taken?
 */
extern bool cdc_consumer_check_record(CdcConsumer *consumer, CdcPartition *part,
									  const CdcRecord *record);
extern bool cdc_consumer_check_eof(CdcConsumer *consumer, CdcPartition *part,
								   int64 offset);
/* Is any partition still being checked? */
extern bool cdc_consumer_checking(const CdcConsumer *consumer);
/*
 * Lets partitions begin of which nothing is known, once those of their topic
 * of which something is known were found to be what they were.
 */
extern void cdc_consumer_look_at_siblings(CdcConsumer *consumer);
/* Does any partition wait for that?  Then look again after CDC_SIBLINGS_MS. */
#define CDC_SIBLINGS_MS 400
extern bool cdc_consumer_waits(const CdcConsumer *consumer);

#endif							/* CDC_CONSUMER_H */
