/*-------------------------------------------------------------------------
 *
 * kafka_internal.h
 *		What the files of the record source share.
 *
 * Floor 3.  The only place that includes rdkafka.h, and included by
 * the files kafka*.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_KAFKA_INTERNAL_H
#define CDC_KAFKA_INTERNAL_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "brokers.h"
#include "debug_fail.h"
#include "kafka.h"

/* A partition whose fetches are watched. */
typedef struct Watched
{
	const char *topic;			/* interned in CdcKafka.topics */
	int32		partition;
	int32		part;
	int64		high;			/* high watermark last seen; -1: none */
	bool		doubt;			/* perhaps another log, and nobody was told yet */
} Watched;

/* kafka_watch.c's own. */
typedef struct Watch
{
	pthread_mutex_t mutex;		/* guards the rest */
	int			fd;				/* of the handle; -1: it has none */
	bool		hooked;			/* the client calls the watch */
	int64		interval_us;	/* longest time between two looks */
	int64		looked_us;		/* last time, by the monotonic clock */
	int			n;
	Watched    *parts;
	bool		unknown;		/* some have no watermark */
	bool		doubts;			/* some are in doubt; read without the mutex */
} Watch;

/*
 * What librdkafka's threads share with the handle, by our callbacks; malloc'ed,
 * and never freed before the handle is known to be destroyed.
 */
typedef struct ClientShared
{
	CdcBrokerList *allowed;
	pthread_mutex_t mutex;		/* guards the next three */
	uint64		refusals;
	char		refused[256];	/* name of the last one, "host:port" */
	const char *certificate_problem;	/* of the last one refused, static */
	Watch		watch;
} ClientShared;

typedef struct PartitionKey
{
	const char *topic;			/* interned in CdcKafka.topics */
	int64		partition;		/* int64: no padding in a hash key */
} PartitionKey;

#define LEADER_UNKNOWN	(-2)	/* not asked yet */
#define LEADER_NONE		(-1)

/* An assigned partition. */
typedef struct Partition
{
	PartitionKey key;
	int32		part;
	int64		expected;		/* records before it are dropped */
	int32		leader;			/* as metadata last told it, or LEADER_... */
	bool		halted;			/* librdkafka skipped something: nothing more
								 * may be delivered until it is added anew */
	int			watched;		/* index in the watch; -1: not there yet */
} Partition;

/* A broker whose connection broke, and from which nothing came since. */
typedef struct FailedBroker
{
	int32		number;
	TimestampTz since;
	bool		unreadable;		/* its answers to a fetch cannot be taken:
								 * other answers do not end that */
	char		message[CDC_MESSAGE_LEN];	/* librdkafka's last one */
} FailedBroker;

/* librdkafka's topic object and our name of it */
typedef struct TopicAlias
{
	const rd_kafka_topic_t *rkt;
	const char *topic;
} TopicAlias;

struct CdcKafka
{
	MemoryContext context;		/* of this struct and all it points to */
	pid_t		pid;
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;	/* consumer queue; logs and errors too */
	int			fd;				/* eventfd; counts as an external FD */
	ClientShared *shared;
	uint64		refusals_seen;
	TimestampTz refused_at;
	char	   *cluster_id;
	/* a second client, for questions that somebody waits for; kafka_asker.c */
	char	   *allowed_brokers;
	rd_kafka_conf_t *settings;	/* a copy of the consumer's */
	rd_kafka_t *asker;			/* NULL: none is open */
	ClientShared *asker_shared;
	rd_kafka_queue_t *asker_queue;	/* its errors and log lines */
	TimestampTz asker_used;		/* when it was last asked */
	TimestampTz asker_failed;	/* when it last gave no answer; 0: never */
	/* publishing to a consumer group */
	rd_kafka_queue_t *commits;	/* answers; NULL: nothing was published yet */
	bool		committing;		/* an answer is to come */
	char		group_error[CDC_MESSAGE_LEN];	/* the last one's; "": none */
	/* assignment */
	int			ntopics;
	int			max_topics;
	char	  **topics;			/* interned names, kept until close: records
								 * of a batch point to them */
	HTAB	   *partitions;
	int			naliases;		/* forgotten at each change of assignment */
	int			max_aliases;
	TopicAlias *aliases;
	const rd_kafka_topic_t *last_rkt;	/* of last_partition */
	Partition  *last_partition;
	/* held objects, freed at exit before the handle */
	rd_kafka_event_t *event;
	const rd_kafka_message_t *message;	/* of event */
	int64		drained;		/* bytes of records since the last wake-up */
	int64		wake_bytes;		/* bytes after which to wake the fetchers */
	int			nasked;
	rd_kafka_topic_t **asked;
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_topic_partition_list_t *assigned;	/* all partitions; or NULL */
	/* how the connection is */
	CdcKafkaStatus status;		/* reason "": no error since the last answer */
	bool		tainted;		/* the library failed to read an answer: its state
								 * is not to be relied on any more */
	TimestampTz reason_at;
	TimestampTz probed_at;
	int			nfailed;
	FailedBroker failed[8];
};

/* the consumer of this process, or NULL */
extern CdcKafka *cdc_open_kafka;
/* held while a thread of ours reads from it, and while it is closed */
extern pthread_mutex_t cdc_kafka_reading;

/* --- kafka_conf.c --- */

/*
 * Makes a client and what it shares with us; ereports HV00D, 22023 or
 * class 53, with nothing left behind.  copy: NULL, or where to put a copy of
 * its settings, without the interceptors; the client's own have lost the
 * private key, which librdkafka overwrites when it has read it.
 */
extern rd_kafka_t *cdc_kafka_make_client(const CdcKafkaConfig *config,
										 bool producer, ClientShared **shared,
										 rd_kafka_conf_t **copy);
/*
 * Makes a consumer of these settings that is in no group and whose fetches
 * nobody watches, with its own shared part.  NULL where librdkafka cannot;
 * ERROR where memory is short.
 */
extern rd_kafka_t *cdc_kafka_make_asker(const rd_kafka_conf_t *copy,
										const char *allowed_brokers,
										ClientShared **shared);
extern void cdc_kafka_free_shared(ClientShared *shared);
/* The fetch queue's bound: the caller's, or less where the user wants so. */
extern int	cdc_kafka_queue_kbytes(const CdcKafkaConfig *config);

/* --- kafka_open.c --- */

/* From now on the process leaves by _exit. */
extern void cdc_kafka_prepare_exit(void);
typedef struct CdcDestruction CdcDestruction;
/*
 * Begins to destroy a client and what it shares in a thread.  With wait, the
 * result is for cdc_kafka_await_destructions; else NULL.
 */
extern CdcDestruction *cdc_kafka_start_destruction(rd_kafka_t *rk,
												   ClientShared *shared,
												   bool wait);
/* Waits for them, at most 2 s in all; NULL entries are passed over. */
extern void cdc_kafka_await_destructions(CdcDestruction **destructions, int n);

/* --- kafka_produce.c --- */

/* Begins to destroy the producer, if there is one, as above; never raises. */
extern CdcDestruction *cdc_producer_begin_close(bool wait);

/* --- kafka.c --- */

/*
 * Records that were taken, of any client, and are not released yet: each
 * keeps its client from being destroyed.
 */
extern int64 cdc_kafka_records_taken(void);
/* Frees the event at hand and its message. */
extern void cdc_kafka_release_event(CdcKafka *kafka);
/*
 * Takes a log line.  One that tells of an answer which is malformed ends the
 * worker by an ERROR: the library goes on, but after some of them its counts
 * of references are wrong (seen with 2.0.2), which would abort a later
 * destruction; so the client is marked as one not to be destroyed.
 */
extern void cdc_kafka_take_log(rd_kafka_event_t *event, bool *tainted);
/* Does a log line tell of such an answer? */
extern bool cdc_kafka_is_malformed(rd_kafka_event_t *event);
/*
 * The state_reason of an error of one topic or partition.  *halts is set
 * where librdkafka goes on behind records that it did not deliver.
 */
extern const char *cdc_kafka_partition_reason(rd_kafka_resp_err_t code,
											  bool *halts);

/* --- kafka_assign.c --- */

/* The assigned partition, or NULL. */
extern Partition *cdc_kafka_find_partition(CdcKafka *kafka, const char *topic,
										   int32 partition);
/*
 * The assigned partition of a message, or NULL.  Calls nothing of the server
 * where the topic is known.
 */
extern Partition *cdc_kafka_partition_of(CdcKafka *kafka,
										 const rd_kafka_message_t *message);
/* Was a message of this topic seen since the assignment changed? */
extern bool cdc_kafka_knows_topic(const CdcKafka *kafka,
								  const rd_kafka_topic_t *rkt);

/* --- kafka_watch.c --- */

extern void cdc_kafka_watch_init(Watch *watch);
extern void cdc_kafka_watch_free(Watch *watch);
/* Has a client that is made of conf call the watch; then it is hooked. */
extern void cdc_kafka_watch_hook(rd_kafka_conf_t *conf, Watch *watch);
/* The handle's descriptor is to be woken, until cdc_kafka_watch_end. */
extern void cdc_kafka_watch_begin(CdcKafka *kafka);
extern void cdc_kafka_watch_end(CdcKafka *kafka);
/*
 * Watches what kafka->partitions holds now; ERROR where memory is short.
 * librdkafka must know all of that.
 */
extern void cdc_kafka_watch_assigned(CdcKafka *kafka);
/* Raises doubt about a partition, or about all that a broker leads. */
extern void cdc_kafka_doubt(CdcKafka *kafka, const Partition *partition);
extern void cdc_kafka_doubt_leader(CdcKafka *kafka, int32 broker);
/*
 * Is a partition in doubt?  Whoever took an event from the queue must ask
 * before using it.  Any thread may.
 */
extern bool cdc_kafka_has_doubts(const CdcKafka *kafka);
/* The part of one that is, which is forgotten; -1: none. */
extern int32 cdc_kafka_take_doubt(CdcKafka *kafka);

/* --- kafka_trouble.c --- */

/* A broker answered: clears the reason of the status. */
extern void cdc_kafka_note_answer(CdcKafka *kafka);
/* Something is wrong with the connection; reason is a state_reason. */
extern void cdc_kafka_note_trouble(CdcKafka *kafka, const char *reason,
								   const char *message);
/*
 * The state_reason of an error of the client as a whole, a static word; NULL:
 * nothing that a user need know.
 */
extern const char *cdc_kafka_client_reason(CdcKafka *kafka,
										   rd_kafka_resp_err_t code,
										   const char *text);
/* What more is known of such an error: "" or a static text. */
extern const char *cdc_kafka_explanation(CdcKafka *kafka, const char *reason,
										 const char *text);
/* Looks whether a broker is back, now and then, while the status is bad. */
extern void cdc_kafka_probe(CdcKafka *kafka);
/*
 * An error text of librdkafka that may name a broker: it counts as failed.
 * unreadable: by answers to a fetch that the client does not take.
 */
extern void cdc_kafka_broker_failed(CdcKafka *kafka, const char *text,
									bool unreadable);
/* Something came from a broker. */
extern void cdc_kafka_broker_answered(CdcKafka *kafka, int32 number);
/* Does a topic's metadata name the leaders that are known, if they are? */
extern bool cdc_kafka_same_leaders(CdcKafka *kafka,
								   const struct rd_kafka_metadata_topic *topic);
/* Keeps who leads the assigned partitions of a topic. */
extern void cdc_kafka_note_leaders(CdcKafka *kafka,
								   const struct rd_kafka_metadata_topic *topic);

/* --- kafka_asker.c --- */

/*
 * Closes the second client, if it is open, without waiting for that; never
 * raises.
 */
extern void cdc_kafka_end_asker(CdcKafka *kafka);

/* --- kafka_ask.c --- */

/*
 * cdc_kafka_topics and cdc_kafka_offsets, which ask the client rk.  Where
 * topics have other leaders than the consumer knows, only its own answers.
 */
extern bool cdc_kafka_ask_topics(CdcKafka *kafka, rd_kafka_t *rk,
								 CdcTopicInfo *topics, int n, int timeout_ms);
extern bool cdc_kafka_ask_offsets(CdcKafka *kafka, rd_kafka_t *rk,
								  CdcTopicPartition *parts, int n,
								  CdcOffsetQuestion question, int timeout_ms);

/* Puts the partitions of an array, with their offsets, into kafka->list. */
extern void cdc_kafka_make_list(CdcKafka *kafka,
								const CdcTopicPartition *parts, int n);
/* Frees what a question to the brokers holds: topic handles and the list. */
extern void cdc_kafka_release_question(CdcKafka *kafka);
/*
 * Wakes the brokers' threads, which may sleep although the queue has room.
 * Calls nothing of the server.
 */
extern void cdc_kafka_wake_fetchers(CdcKafka *kafka);

/* --- kafka_commit.c --- */

/* Keeps what the brokers have against the group. */
extern void cdc_kafka_note_group_error(CdcKafka *kafka, const char *text);

#endif							/* CDC_KAFKA_INTERNAL_H */
