/*-------------------------------------------------------------------------
 *
 * kafka.h
 *		The record source: a librdkafka consumer with a static assignment.
 *
 * Floor 3.  Behind it, kafka_internal.h is the only file that includes
 * rdkafka.h (for the files kafka*.c).  All of it runs in
 * our own worker processes (checked), on their main thread but for
 * cdc_kafka_read, and a process has at most one handle, with a second client
 * in it for questions that somebody waits for.  librdkafka's threads
 * never run our code but pure-C callbacks: connect_cb enforces
 * cdc_sink.allowed_brokers, ssl_cert_verify_cb notes why OpenSSL refused a
 * certificate, and on_request_sent looks for exchanged logs (kafka_watch.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_KAFKA_H
#define CDC_KAFKA_H

#include "batch.h"
#include "event.h"
#include "properties.h"

typedef struct CdcKafka CdcKafka;

typedef struct CdcKafkaConfig
{
	int			nproperties;
	CdcKafkaProperty *properties;
	const char *allowed_brokers;	/* cdc_sink.allowed_brokers, or "" */
	const char *group;			/* group.id: option consumer_group, or a
								 * synthetic one; nothing joins it */
	int			queue_kbytes;	/* bound of the fetch queue */
} CdcKafkaConfig;

/* A partition and a place in it. */
typedef struct CdcTopicPartition
{
	const char *topic;
	int32		partition;
	int32		part;			/* caller's index, handed back with events */
	int64		offset;			/* in: where to start, or a time in ms; out:
								 * result of a question */
	int			error;			/* out: 0, or librdkafka's code */
} CdcTopicPartition;

typedef enum CdcKafkaEventType
{
	CDC_KAFKA_NONE,				/* queue is empty */
	CDC_KAFKA_RECORD,			/* event->record; its bytes are the arena's */
	CDC_KAFKA_EOF,				/* part has been read up to offset (the next
								 * one to come, past control records) */
	CDC_KAFKA_OUT_OF_RANGE,		/* part's position is not in the log */
	CDC_KAFKA_PARTITION_ERROR,	/* part: topic or authorization error */
	CDC_KAFKA_DOUBT,			/* part's log may be another one now, behind
								 * what was returned of it */
	CDC_KAFKA_ERROR				/* of the client as a whole */
} CdcKafkaEventType;

typedef struct CdcKafkaEvent
{
	CdcKafkaEventType type;
	int32		part;
	int64		offset;
	CdcRecord	record;
	bool		transient;		/* retried by librdkafka itself */
	bool		outage;			/* no broker was connected before this event */
	char		reason[CDC_REASON_LEN]; /* state_reason word */
	char		message[CDC_MESSAGE_LEN];
} CdcKafkaEvent;

/* How the connection is, from events and log lines seen so far. */
typedef struct CdcKafkaStatus
{
	bool		contact;		/* a broker answered since open */
	bool		connected;		/* and none of the errors below since */
	char		reason[CDC_REASON_LEN]; /* connecting, broker_down,
										 * auth_error, tls_error,
										 * broker_not_allowed,
										 * oversized_response */
	char		message[CDC_MESSAGE_LEN];
} CdcKafkaStatus;

/* A topic as metadata tells it. */
typedef struct CdcTopicInfo
{
	const char *topic;			/* as asked */
	int32		npartitions;	/* 0: missing or not readable */
	int			error;
	char		reason[CDC_REASON_LEN]; /* topic_missing,
										 * topic_not_authorized, ... */
} CdcTopicInfo;

/*
 * Registers the bounded destruction of the handle at exit, and that a process
 * which opened one ends by _exit.  Call it before connecting to the database,
 * so that the open transaction is aborted first; cdc_kafka_open calls it
 * where that was not done.
 */
extern void cdc_kafka_register_exit(void);

/*
 * Opens the handle.  Errors of
 * the configuration are ereport'ed (HV00D or 22023) and never print values.
 */
extern CdcKafka *cdc_kafka_open(const CdcKafkaConfig *config);
/* Destroys the handle, at most 2 s; idempotent; never raises. */
extern void cdc_kafka_close(CdcKafka *kafka);
/*
 * Non-blocking eventfd, readable whenever events may be waiting; it stays so
 * until cdc_kafka_poll has returned CDC_KAFKA_NONE.  Never read it.
 */
extern int	cdc_kafka_wakeup_fd(CdcKafka *kafka);
/*
 * In ms, how long it may take until a broker has answered, or is known to
 * fail, with the time to connect.
 */
extern int	cdc_kafka_answer_ms(CdcKafka *kafka);
/* In ms, how long a fetch that failed is not repeated. */
extern int	cdc_kafka_error_backoff_ms(CdcKafka *kafka);

/* Adds partitions to the assignment, each at its explicit offset. */
extern void cdc_kafka_add(CdcKafka *kafka, const CdcTopicPartition *parts, int n);
/* Takes partitions out; records of theirs still queued are dropped. */
extern void cdc_kafka_remove(CdcKafka *kafka, const CdcTopicPartition *parts, int n);

/*
 * Takes the next event, without waiting.  A record's bytes stand in
 * librdkafka's message, which is the arena's own from then on, and may
 * outlive the handle.  Log events are handled inside.
 */
extern CdcKafkaEventType cdc_kafka_poll(CdcKafka *kafka, CdcArena *arena,
										CdcKafkaEvent *event);
/*
 * The same for a record alone: false where the queue is empty or something
 * stands in it that cdc_kafka_poll must see first.  Calls nothing of the
 * server and raises nothing, so a thread of ours may call it while the
 * worker's own thread leaves the handle alone (but for closing it).
 */
extern bool cdc_kafka_read(CdcKafka *kafka, CdcArena *arena, CdcRecord *record);
extern void cdc_kafka_status(CdcKafka *kafka, CdcKafkaStatus *status);
/*
 * What keeps one partition from being read though other brokers are there:
 * a text that lasts as long as nothing else is called, and *reason; or NULL.
 */
extern const char *cdc_kafka_partition_trouble(CdcKafka *kafka,
											   const char *topic,
											   int32 number,
											   const char **reason);
/* Is any broker failing?  Only an answer tells that it no longer does. */
extern bool cdc_kafka_has_failed_brokers(CdcKafka *kafka);
/* The leaders of all assigned partitions have answered. */
extern void cdc_kafka_all_answered(CdcKafka *kafka);

/*
 * Questions to the brokers.  Each waits at most timeout_ms, in slices with
 * CHECK_FOR_INTERRUPTS between them, and returns false when it ran out.
 */
extern bool cdc_kafka_topics(CdcKafka *kafka, CdcTopicInfo *topics, int n,
							 int timeout_ms);
/* every topic of the cluster: palloc'd array */
extern bool cdc_kafka_all_topics(CdcKafka *kafka, CdcTopicInfo **topics, int *n,
								 int timeout_ms);
/* the brokers of the cluster, "host:port": palloc'd array */
extern bool cdc_kafka_brokers(CdcKafka *kafka, char ***brokers, int *n,
							  int timeout_ms);
typedef enum CdcOffsetQuestion
{
	CDC_OFFSET_BEGINNING,
	CDC_OFFSET_END,				/* last stable offset */
	CDC_OFFSET_AT_TIME			/* first record at or after parts[].offset
								 * (ms); the end where there is none */
} CdcOffsetQuestion;
extern bool cdc_kafka_offsets(CdcKafka *kafka, CdcTopicPartition *parts, int n,
							  CdcOffsetQuestion question, int timeout_ms);
/*
 * The same, but for times, by a second client, for who waits for the answer:
 * it does not stand behind a fetch that waits for records.  False where that
 * client has none, within a second: then the first is to be asked.
 */
extern bool cdc_kafka_topics_now(CdcKafka *kafka, CdcTopicInfo *topics, int n);
extern bool cdc_kafka_offsets_now(CdcKafka *kafka, CdcTopicPartition *parts,
								  int n, CdcOffsetQuestion question);
/*
 * Once a turn: looks after the second client, and closes it when it was not
 * used for a while.  ERROR where it got an answer that cannot be read.
 */
extern void cdc_kafka_rest(CdcKafka *kafka);
/* Watermarks as the last fetch told them; false where none is known. */
extern bool cdc_kafka_watermarks(CdcKafka *kafka, const char *topic,
								 int32 partition, int64 *low, int64 *high);
/*
 * Publishes offsets to the group of the handle, without waiting for anything.
 * False, and nothing is done, while the answer to the last ones is to come.
 */
extern bool cdc_kafka_commit(CdcKafka *kafka, const CdcTopicPartition *parts,
							 int n, const char *metadata);
typedef enum CdcCommitAnswer
{
	CDC_COMMIT_IDLE,			/* nothing was asked */
	CDC_COMMIT_PENDING,
	CDC_COMMIT_DONE,
	CDC_COMMIT_FAILED			/* cdc_kafka_group_error tells why */
} CdcCommitAnswer;
/* Takes the answer, waiting at most timeout_ms for it. */
extern CdcCommitAnswer cdc_kafka_commit_answer(CdcKafka *kafka, int timeout_ms);
/* What the brokers have against the group, "": nothing; owned by the handle. */
extern const char *cdc_kafka_group_error(CdcKafka *kafka);

/* Text of librdkafka's code, as in CdcTopicPartition.error; static. */
extern const char *cdc_kafka_error_text(int code);
/*
 * librdkafka's version, a warning about it (NULL: none), and what it was
 * built with (palloc'd).
 */
extern const char *cdc_kafka_library_version(void);
extern const char *cdc_kafka_library_warning(void);
extern char *cdc_kafka_library_features(void);
/* As last reported; NULL until known; valid until the next call. */
extern const char *cdc_kafka_cluster_id(CdcKafka *kafka);

#endif							/* CDC_KAFKA_H */
