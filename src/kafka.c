/*-------------------------------------------------------------------------
 *
 * kafka.c
 *		The record source: a librdkafka consumer with a static assignment.
 *
 * Floor 3.  The only file that includes rdkafka.h.  The one hard thing is
 * the end of a process: a live TLS client at exit() can crash the server, an
 * object still held makes the destruction hang, and a broker that is gone
 * makes it slow.  So whatever is held is reachable from open_kafka, the
 * destruction runs in a helper thread that is waited for at most 2 s, and a
 * process that ever opened a handle leaves by _exit().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "brokers.h"
#include "kafka.h"

/* longest wait for the destruction of a handle */
#define CLOSE_TIMEOUT_MS	2000
/* bound of the fetch queue where the caller sets none */
#define DEFAULT_QUEUE_KBYTES 32768
/* a question's slices: what a cancel may have to wait for */
#define FIRST_SLICE_MS		200
#define LONGEST_SLICE_MS	1000
/* while the connection is bad: how often to look whether a broker is back */
#define PROBE_INTERVAL_MS	500
/* a refused broker is reported this long after its last attempt */
#define REFUSAL_LASTS_MS	15000
/* a broken connection replaces a reason this long after it was seen */
#define REASON_LASTS_MS		5000

/*
 * What connect_cb may touch on librdkafka's threads; malloc'ed, and never
 * freed before the handle is known to be destroyed.
 */
typedef struct ConnectRules
{
	CdcBrokerList *allowed;
	pthread_mutex_t mutex;		/* guards the rest */
	uint64		refusals;
	char		refused[256];	/* last one, "name (address)" */
} ConnectRules;

typedef struct PartitionKey
{
	const char *topic;			/* interned in CdcKafka.topics */
	int64		partition;		/* int64: no padding in a hash key */
} PartitionKey;

/* An assigned partition. */
typedef struct Partition
{
	PartitionKey key;
	int32		part;
	int64		expected;		/* records before it are dropped */
	bool		halted;			/* librdkafka skipped something: nothing more
								 * may be delivered until it is added anew */
} Partition;

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
	ConnectRules *rules;
	uint64		refusals_seen;
	TimestampTz refused_at;
	char	   *cluster_id;
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
	int			nasked;
	rd_kafka_topic_t **asked;
	rd_kafka_topic_partition_list_t *list;
	/* how the connection is */
	CdcKafkaStatus status;		/* reason "": no error since the last answer */
	TimestampTz reason_at;
	TimestampTz probed_at;
};

static CdcKafka *open_kafka;
static bool exit_registered;
static bool ever_opened;

/* What cdc_sink decides; librdkafka must know all but the optional ones. */
typedef struct FixedProperty
{
	const char *name;
	const char *value;
	bool		optional;		/* newer than librdkafka 2.0.2 */
} FixedProperty;

/* Set before the user's own values, which may replace them. */
static const FixedProperty default_properties[] = {
	{"isolation.level", "read_committed", false},
	/* reaching this limit stops fetching for 1 s; kbytes bound the memory */
	{"queued.min.messages", "10000000", false},
	{"fetch.queue.backoff.ms", "10", true},
	{"fetch.max.bytes", "16777216", false},
	{"fetch.error.backoff.ms", "200", false},
	{"topic.metadata.refresh.interval.ms", "10000", false},
	{"reconnect.backoff.ms", "100", false},
	{"reconnect.backoff.max.ms", "2000", false},
	{"socket.timeout.ms", "30000", false},
	{"socket.connection.setup.timeout.ms", "10000", false},
	{"socket.keepalive.enable", "true", false},
	{"client.id", "cdc_sink", false},
};

/* Set after them, because correctness hangs on them. */
static const FixedProperty forced_properties[] = {
	{"auto.offset.reset", "error", false},
	{"enable.auto.commit", "false", false},
	{"enable.auto.offset.store", "false", false},
	{"enable.partition.eof", "true", false},
	{"check.crcs", "true", false},
	{"allow.auto.create.topics", "false", false},
	{"ssl.endpoint.identification.algorithm", "https", false},
	{"enable.ssl.certificate.verification", "true", false},
	{"enable.metrics.push", "false", true},
	{"statistics.interval.ms", "0", false},
	{"log.queue", "true", false},
	{"log_level", "5", false},
};

/* --------------------------------------------------------------------
 * The end of a handle
 * --------------------------------------------------------------------
 */

/* What the helper thread needs; leaked where it does not come back. */
typedef struct Destruction
{
	rd_kafka_t *rk;
	sem_t		done;
} Destruction;

static void *
destruction_main(void *arg)
{
	Destruction *destruction = arg;

	/* the consumer is in no group: there is nothing to leave */
	rd_kafka_destroy_flags(destruction->rk,
						   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	sem_post(&destruction->done);
	return NULL;
}

/* Starts the thread with every signal blocked: handlers are the server's. */
static bool
start_destruction(Destruction *destruction)
{
	sigset_t	all;
	sigset_t	before;
	pthread_t	thread;
	bool		started;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&thread, NULL, destruction_main,
							 destruction) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		pthread_detach(thread);
	return started;
}

/* Waits for the helper thread, at most CLOSE_TIMEOUT_MS; never raises. */
static bool
await_destruction(Destruction *destruction)
{
	struct timespec until;
	int			rc;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CLOSE_TIMEOUT_MS / 1000;
	do
		rc = sem_timedwait(&destruction->done, &until);
	while (rc != 0 && errno == EINTR);
	return rc == 0;
}

/*
 * Destroys a handle.  Returns false where it was not finished in time: then
 * librdkafka's threads still run and nothing that they use may be freed.
 */
static bool
destroy_bounded(rd_kafka_t *rk)
{
	Destruction *destruction = malloc(sizeof(*destruction));
	bool		finished;

	if (destruction == NULL)
		return false;
	destruction->rk = rk;
	if (sem_init(&destruction->done, 0, 0) != 0)
		return false;
	finished = start_destruction(destruction) &&
		await_destruction(destruction);
	if (finished)
	{
		sem_destroy(&destruction->done);
		free(destruction);
	}
	return finished;
}

static void
release_event(CdcKafka *kafka)
{
	if (kafka->event != NULL)
		rd_kafka_event_destroy(kafka->event);
	kafka->event = NULL;
	kafka->message = NULL;
}

/* Frees what a question to the brokers holds. */
static void
release_question(CdcKafka *kafka)
{
	while (kafka->nasked > 0)
		rd_kafka_topic_destroy(kafka->asked[--kafka->nasked]);
	if (kafka->asked != NULL)
		pfree(kafka->asked);
	kafka->asked = NULL;
	if (kafka->list != NULL)
		rd_kafka_topic_partition_list_destroy(kafka->list);
	kafka->list = NULL;
}

static void
free_rules(ConnectRules *rules)
{
	cdc_brokers_free(rules->allowed);
	pthread_mutex_destroy(&rules->mutex);
	free(rules);
}

void
cdc_kafka_close(CdcKafka *kafka)
{
	if (kafka == NULL || kafka != open_kafka || kafka->pid != getpid())
		return;
	open_kafka = NULL;
	release_event(kafka);
	release_question(kafka);
	rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(kafka->queue);
	if (destroy_bounded(kafka->rk))
		free_rules(kafka->rules);
	if (kafka->fd >= 0)
	{
		close(kafka->fd);
		ReleaseExternalFD();
	}
	MemoryContextDelete(kafka->context);
}

/* before_shmem_exit callback */
static void
close_at_exit(int code, Datum arg)
{
	cdc_kafka_close(open_kafka);
}

/*
 * on_proc_exit callback: leaves without exit(), whose handlers would tear
 * down OpenSSL under threads that may still run.  Shared memory has been
 * cleaned up by now, so the postmaster sees an ordinary exit.
 */
static void
exit_without_handlers(int code, Datum arg)
{
	if (ever_opened)
		_exit(code);
}

void
cdc_kafka_register_exit(void)
{
	if (exit_registered)
		return;
	exit_registered = true;
	before_shmem_exit(close_at_exit, (Datum) 0);
	on_proc_exit(exit_without_handlers, (Datum) 0);
}

/* --------------------------------------------------------------------
 * Opening
 * --------------------------------------------------------------------
 */

/*
 * connect_cb: the only code of ours on librdkafka's threads.  Connects like
 * the library itself, unless the address is not allowed.
 */
static int
connect_if_allowed(int sock, const struct sockaddr *address, int length,
				   const char *name, void *opaque)
{
	ConnectRules *rules = opaque;

	if (!cdc_brokers_allow(rules->allowed, name, address))
	{
		pthread_mutex_lock(&rules->mutex);
		rules->refusals++;
		strlcpy(rules->refused, name, sizeof(rules->refused));
		pthread_mutex_unlock(&rules->mutex);
		return EACCES;
	}
	if (connect(sock, address, length) == 0 || errno == EINPROGRESS)
		return 0;
	return errno;
}

static ConnectRules *
make_rules(const char *allowed_brokers)
{
	ConnectRules *rules = malloc(sizeof(*rules));
	char	   *problem = NULL;

	if (rules == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	memset(rules, 0, sizeof(*rules));
	rules->allowed = cdc_brokers_parse(allowed_brokers ? allowed_brokers : "",
									   &problem);
	if (rules->allowed == NULL)
	{
		free(rules);
		if (problem == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid entry \"%s\" in cdc_sink.allowed_brokers",
						problem),
				 errhint("Write host, host:port, address/length or address/length:port, separated by commas.")));
	}
	pthread_mutex_init(&rules->mutex, NULL);
	return rules;
}

/*
 * Sets one property.  On error destroys conf and raises; the library's text
 * is passed on only where it cannot hold a secret.
 */
static void
set_property(rd_kafka_conf_t *conf, const char *name, const char *value,
			 bool optional, bool secret)
{
	char		text[CDC_MESSAGE_LEN] = "";
	rd_kafka_conf_res_t result;

	/* the text may be left over even on success: only the code counts */
	result = rd_kafka_conf_set(conf, name, value, text, sizeof(text));
	if (result == RD_KAFKA_CONF_OK ||
		(result == RD_KAFKA_CONF_UNKNOWN && optional))
		return;
	rd_kafka_conf_destroy(conf);
	if (result == RD_KAFKA_CONF_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("librdkafka %s does not know property \"%s\"",
						rd_kafka_version_str(), name)));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("librdkafka refused the value of property \"%s\"", name),
			 secret ? 0 : errdetail("%s", text)));
}

static void
set_fixed(rd_kafka_conf_t *conf, const FixedProperty *properties, int n)
{
	for (int i = 0; i < n; i++)
		set_property(conf, properties[i].name, properties[i].value,
					 properties[i].optional, false);
}

/* The fetch queue's bound: the caller's, or less where the user wants so. */
static void
set_queue_bound(rd_kafka_conf_t *conf, const CdcKafkaConfig *config)
{
	int			kbytes = config->queue_kbytes > 0 ?
		config->queue_kbytes : DEFAULT_QUEUE_KBYTES;
	char		text[16];

	for (int i = 0; i < config->nproperties; i++)
	{
		if (strcmp(config->properties[i].name,
				   "queued.max.messages.kbytes") == 0)
			kbytes = Min(kbytes, Max(atoi(config->properties[i].value), 1));
	}
	snprintf(text, sizeof(text), "%d", kbytes);
	set_property(conf, "queued.max.messages.kbytes", text, false, false);
}

/* ERROR where a login is asked for without naming the mechanism. */
static void
check_mechanism(const CdcKafkaConfig *config)
{
	bool		sasl = false;
	bool		mechanism = false;
	bool		bootstrap = false;

	for (int i = 0; i < config->nproperties; i++)
	{
		const CdcKafkaProperty *property = &config->properties[i];

		if (strcmp(property->name, "security.protocol") == 0)
			sasl = pg_strncasecmp(property->value, "sasl_", 5) == 0;
		else if (strncmp(property->name, "sasl.mechanism", 14) == 0)
			mechanism = true;
		else if (strcmp(property->name, "bootstrap.servers") == 0)
			bootstrap = property->value[0] != '\0';
	}
	if (!bootstrap)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("server option \"bootstrap.servers\" is missing")));
	/* the library's default is GSSAPI, which runs commands */
	if (sasl && !mechanism)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"sasl.mechanism\" is missing"),
				 errhint("With a sasl_ security protocol set it to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")));
}

static rd_kafka_conf_t *
make_conf(const CdcKafkaConfig *config, ConnectRules *rules)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set_fixed(conf, default_properties, lengthof(default_properties));
	for (int i = 0; i < config->nproperties; i++)
		set_property(conf, config->properties[i].name,
					 config->properties[i].value, false,
					 config->properties[i].secret);
	set_queue_bound(conf, config);
	/* assign() asks for a group, though nothing joins it */
	set_property(conf, "group.id", config->group, false, false);
	set_fixed(conf, forced_properties, lengthof(forced_properties));
	rd_kafka_conf_set_opaque(conf, rules);
	rd_kafka_conf_set_connect_cb(conf, connect_if_allowed);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_FETCH |
							 RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
	return conf;
}

/* Makes the client, or frees rules and raises. */
static rd_kafka_t *
make_client(const CdcKafkaConfig *config, ConnectRules *rules)
{
	rd_kafka_conf_t *conf;
	rd_kafka_t *volatile rk = NULL;
	char		text[CDC_MESSAGE_LEN];

	PG_TRY();
	{
		conf = make_conf(config, rules);
		rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
		if (rk == NULL)
		{
			bool		resource = rd_kafka_last_error() ==
				RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;

			rd_kafka_conf_destroy(conf);
			ereport(ERROR,
					(errcode(resource ? ERRCODE_INSUFFICIENT_RESOURCES :
							 ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
					 errmsg("could not create the Kafka client"),
					 errdetail("%s", text)));
		}
	}
	PG_CATCH();
	{
		free_rules(rules);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return rk;
}

/* Allocates the struct, with an empty assignment. */
static CdcKafka *
make_kafka(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "cdc_sink Kafka client",
												  ALLOCSET_DEFAULT_SIZES);
	CdcKafka   *kafka = MemoryContextAllocZero(context, sizeof(*kafka));
	HASHCTL		control = {0};

	kafka->context = context;
	kafka->pid = getpid();
	kafka->fd = -1;
	control.keysize = sizeof(PartitionKey);
	control.entrysize = sizeof(Partition);
	control.hcxt = context;
	kafka->partitions = hash_create("cdc_sink partitions", 64, &control,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return kafka;
}

/*
 * The eventfd that wakes the worker.  It starts readable: events that were
 * queued before librdkafka knew the descriptor would wake nobody.
 */
static void
open_wakeup(CdcKafka *kafka)
{
	const uint64 one = 1;

	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not reserve a file descriptor: %m")));
	kafka->fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	if (kafka->fd < 0)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create an eventfd: %m")));
	}
	rd_kafka_queue_io_event_enable(kafka->queue, kafka->fd, &one,
								   sizeof(one));
}

CdcKafka *
cdc_kafka_open(const CdcKafkaConfig *config)
{
	CdcKafka   *kafka;
	const char *warning = cdc_kafka_library_warning();

	if (MyBackendType != B_BG_WORKER)
		elog(ERROR, "librdkafka may only run in a worker of cdc_sink");
	if (open_kafka != NULL)
		elog(ERROR, "a Kafka client is open already");
	check_mechanism(config);
	cdc_kafka_register_exit();
	if (warning != NULL)
		ereport(WARNING, (errmsg("%s", warning)));

	kafka = make_kafka();
	kafka->rules = make_rules(config->allowed_brokers);
	ever_opened = true;
	kafka->rk = make_client(config, kafka->rules);
	rd_kafka_poll_set_consumer(kafka->rk);
	kafka->queue = rd_kafka_queue_get_consumer(kafka->rk);
	open_kafka = kafka;
	rd_kafka_set_log_queue(kafka->rk, kafka->queue);
	open_wakeup(kafka);
	return kafka;
}

int
cdc_kafka_wakeup_fd(CdcKafka *kafka)
{
	return kafka->fd;
}

const char *
cdc_kafka_library_version(void)
{
	return rd_kafka_version_str();
}

const char *
cdc_kafka_library_warning(void)
{
	int			version = rd_kafka_version();

	/* hexadecimal MM.mm.rr.xx */
	if (version < 0x02040000 || version >= 0x020a0100)
		return NULL;
	return "librdkafka 2.4.0 to 2.10.0 can corrupt the memory of its process when a topic is deleted and created again; use another release";
}

char *
cdc_kafka_library_features(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		text[1024] = "";
	size_t		size = sizeof(text);

	if (rd_kafka_conf_get(conf, "builtin.features", text, &size) !=
		RD_KAFKA_CONF_OK)
		text[0] = '\0';
	rd_kafka_conf_destroy(conf);
	return pstrdup(text);
}

/* --------------------------------------------------------------------
 * Assignment
 * --------------------------------------------------------------------
 */

/* Our lasting copy of a topic's name. */
static const char *
intern_topic(CdcKafka *kafka, const char *topic)
{
	for (int i = 0; i < kafka->ntopics; i++)
	{
		if (strcmp(kafka->topics[i], topic) == 0)
			return kafka->topics[i];
	}
	if (kafka->ntopics == kafka->max_topics)
	{
		int			room = kafka->max_topics == 0 ? 16 : kafka->max_topics * 2;

		kafka->topics = kafka->topics == NULL ?
			MemoryContextAlloc(kafka->context, room * sizeof(char *)) :
			repalloc(kafka->topics, room * sizeof(char *));
		kafka->max_topics = room;
	}
	kafka->topics[kafka->ntopics] = MemoryContextStrdup(kafka->context, topic);
	return kafka->topics[kafka->ntopics++];
}

static Partition *
find_partition(CdcKafka *kafka, const char *topic, int32 partition,
			   HASHACTION action)
{
	PartitionKey key = {intern_topic(kafka, topic), partition};

	return hash_search(kafka->partitions, &key, action, NULL);
}

/* Forgets which topic objects the library uses: they may change now. */
static void
forget_aliases(CdcKafka *kafka)
{
	kafka->naliases = 0;
	kafka->last_rkt = NULL;
	kafka->last_partition = NULL;
}

/* Our name of librdkafka's topic object. */
static const char *
topic_of(CdcKafka *kafka, const rd_kafka_topic_t *rkt)
{
	const char *topic;

	for (int i = 0; i < kafka->naliases; i++)
	{
		if (kafka->aliases[i].rkt == rkt)
			return kafka->aliases[i].topic;
	}
	topic = intern_topic(kafka, rd_kafka_topic_name(rkt));
	if (kafka->naliases == kafka->max_aliases)
	{
		int			room = kafka->max_aliases == 0 ? 16 : kafka->max_aliases * 2;

		kafka->aliases = kafka->aliases == NULL ?
			MemoryContextAlloc(kafka->context, room * sizeof(TopicAlias)) :
			repalloc(kafka->aliases, room * sizeof(TopicAlias));
		kafka->max_aliases = room;
	}
	kafka->aliases[kafka->naliases].rkt = rkt;
	kafka->aliases[kafka->naliases++].topic = topic;
	return topic;
}

/* The assigned partition of a message, or NULL. */
static Partition *
partition_of(CdcKafka *kafka, const rd_kafka_message_t *message)
{
	Partition  *partition = kafka->last_partition;

	/* records come in runs of one partition */
	if (kafka->last_rkt == message->rkt && partition != NULL &&
		partition->key.partition == message->partition)
		return partition;
	partition = find_partition(kafka, topic_of(kafka, message->rkt),
							   message->partition, HASH_FIND);
	kafka->last_rkt = message->rkt;
	kafka->last_partition = partition;
	return partition;
}

/* Raises what librdkafka answered to a change of the assignment. */
static void
check_assignment(rd_kafka_error_t *error, const char *what)
{
	char		text[CDC_MESSAGE_LEN];

	if (error == NULL)
		return;
	strlcpy(text, rd_kafka_error_string(error), sizeof(text));
	rd_kafka_error_destroy(error);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("could not %s partitions", what),
			 errdetail("%s", text)));
}

/* Puts the partitions of an array into kafka->list. */
static void
make_list(CdcKafka *kafka, const CdcTopicPartition *parts, int n)
{
	release_question(kafka);
	kafka->list = rd_kafka_topic_partition_list_new(n);
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(kafka->list, parts[i].topic,
										  parts[i].partition)->offset =
			parts[i].offset;
}

void
cdc_kafka_add(CdcKafka *kafka, const CdcTopicPartition *parts, int n)
{
	rd_kafka_error_t *error;

	if (n == 0)
		return;
	forget_aliases(kafka);
	make_list(kafka, parts, n);
	for (int i = 0; i < n; i++)
	{
		Partition  *partition;

		Assert(parts[i].offset >= 0);
		partition = find_partition(kafka, parts[i].topic, parts[i].partition,
								   HASH_ENTER);
		partition->part = parts[i].part;
		partition->expected = parts[i].offset;
		partition->halted = false;
	}
	error = rd_kafka_incremental_assign(kafka->rk, kafka->list);
	release_question(kafka);
	check_assignment(error, "assign");
}

void
cdc_kafka_remove(CdcKafka *kafka, const CdcTopicPartition *parts, int n)
{
	rd_kafka_error_t *error;

	if (n == 0)
		return;
	forget_aliases(kafka);
	make_list(kafka, parts, n);
	for (int i = 0; i < n; i++)
		find_partition(kafka, parts[i].topic, parts[i].partition, HASH_REMOVE);
	error = rd_kafka_incremental_unassign(kafka->rk, kafka->list);
	release_question(kafka);
	check_assignment(error, "unassign");
}

/* --------------------------------------------------------------------
 * How the connection is
 * --------------------------------------------------------------------
 */

/* A broker answered. */
static void
note_answer(CdcKafka *kafka)
{
	kafka->status.contact = true;
	if (kafka->status.reason[0] != '\0')
	{
		kafka->status.reason[0] = '\0';
		kafka->status.message[0] = '\0';
	}
}

static void
note_trouble(CdcKafka *kafka, const char *reason, const char *message)
{
	strlcpy(kafka->status.reason, reason, CDC_REASON_LEN);
	strlcpy(kafka->status.message, message, CDC_MESSAGE_LEN);
	kafka->reason_at = GetCurrentTimestamp();
}

/* Takes up what connect_cb has refused since the last look. */
static void
note_refusals(CdcKafka *kafka)
{
	ConnectRules *rules = kafka->rules;
	char		refused[sizeof(rules->refused)];
	uint64		refusals;

	pthread_mutex_lock(&rules->mutex);
	refusals = rules->refusals;
	strlcpy(refused, rules->refused, sizeof(refused));
	pthread_mutex_unlock(&rules->mutex);
	if (refusals > kafka->refusals_seen)
	{
		kafka->refusals_seen = refusals;
		kafka->refused_at = GetCurrentTimestamp();
	}
	/* other brokers may answer meanwhile: the refusal still stands */
	if (refusals > 0 &&
		!TimestampDifferenceExceeds(kafka->refused_at, GetCurrentTimestamp(),
									REFUSAL_LASTS_MS))
	{
		char		message[CDC_MESSAGE_LEN];

		snprintf(message, sizeof(message),
				 "broker %s is not in cdc_sink.allowed_brokers", refused);
		note_trouble(kafka, "broker_not_allowed", message);
	}
}

/*
 * The state_reason of an error of the client as a whole; NULL: nothing that
 * a user need know, or another of its errors says it better.
 */
static const char *
client_reason(CdcKafka *kafka, rd_kafka_resp_err_t code, const char *text)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
		case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
			return "auth_error";
		case RD_KAFKA_RESP_ERR__SSL:
			return "tls_error";
		case RD_KAFKA_RESP_ERR__BAD_MSG:
			return strstr(text, "receive.message.max.bytes") != NULL ?
				"oversized_response" : NULL;
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
			/* the error that brought the last one down tells more */
			return kafka->status.reason[0] == '\0' ? "broker_down" : NULL;
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__RESOLVE:
		case RD_KAFKA_RESP_ERR__TIMED_OUT:
			/* one broker of several; before the first contact it counts */
			if (kafka->status.contact && kafka->status.reason[0] == '\0')
				return NULL;
			if (kafka->status.reason[0] != '\0' &&
				strcmp(kafka->status.reason, "broker_down") != 0 &&
				!TimestampDifferenceExceeds(kafka->reason_at,
											GetCurrentTimestamp(),
											REASON_LASTS_MS))
				return NULL;
			return "broker_down";
		default:
			return NULL;
	}
}

/*
 * Looks whether a broker is connected while the status is bad: librdkafka
 * announces failures, but not that it is connected again, and an idle topic
 * brings no event.  A metadata request without waiting tells by its code.
 */
static void
probe(CdcKafka *kafka)
{
	const struct rd_kafka_metadata *metadata = NULL;
	TimestampTz now;
	rd_kafka_resp_err_t code;

	if (kafka->status.contact && kafka->status.reason[0] == '\0')
		return;
	now = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(kafka->probed_at, now, PROBE_INTERVAL_MS))
		return;
	kafka->probed_at = now;
	code = rd_kafka_metadata(kafka->rk, 0, NULL, &metadata, 0);
	if (metadata != NULL)
		rd_kafka_metadata_destroy(metadata);
	/* _TRANSPORT: no broker is up; _TIMED_OUT: one is, and has been asked */
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR ||
		code == RD_KAFKA_RESP_ERR__TIMED_OUT)
		note_answer(kafka);
}

void
cdc_kafka_status(CdcKafka *kafka, CdcKafkaStatus *status)
{
	note_refusals(kafka);
	*status = kafka->status;
	status->connected = status->contact && status->reason[0] == '\0';
	if (!status->connected && status->reason[0] == '\0')
		strlcpy(status->reason, "connecting", CDC_REASON_LEN);
}

/* --------------------------------------------------------------------
 * Events
 * --------------------------------------------------------------------
 */

/* The next event of the queue, or NULL; keeps the eventfd truthful. */
static rd_kafka_event_t *
next_event(CdcKafka *kafka)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(kafka->queue, 0);
	uint64		count;

	if (event != NULL)
		return event;
	/*
	 * Empty: let the next event make the descriptor readable again.  One
	 * that came in between was counted by what has just been read, and more
	 * may stand behind it.
	 */
	if (read(kafka->fd, &count, sizeof(count)) != sizeof(count))
		return NULL;
	event = rd_kafka_queue_poll(kafka->queue, 0);
	if (event != NULL)
	{
		count = 1;
		if (write(kafka->fd, &count, sizeof(count)) != sizeof(count))
			elog(WARNING, "could not write to eventfd: %m");
	}
	return event;
}

/* Copies bytes, or marks them as a Kafka null; false: out of memory. */
static bool
copy_bytes(CdcArena *arena, CdcBytes *out, const void *data, size_t len)
{
	out->len = (int32) len;
	out->data = data == NULL ? NULL : cdc_arena_copy(arena, data, len);
	return data == NULL || out->data != NULL;
}

static bool
copy_headers(CdcArena *arena, CdcRecord *record,
			 const rd_kafka_message_t *message)
{
	rd_kafka_headers_t *headers;
	size_t		n;

	record->nheaders = 0;
	record->headers = NULL;
	if (rd_kafka_message_headers(message, &headers) !=
		RD_KAFKA_RESP_ERR_NO_ERROR)
		return true;			/* it has none */
	n = rd_kafka_header_cnt(headers);
	record->headers = cdc_arena_alloc(arena, Max(n, 1) * sizeof(CdcHeader));
	if (record->headers == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
	{
		CdcHeader  *header = &record->headers[i];
		const char *name;
		const void *value;
		size_t		size;

		if (rd_kafka_header_get_all(headers, i, &name, &value, &size) !=
			RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		header->name = cdc_arena_copy(arena, name, strlen(name));
		if (header->name == NULL ||
			!copy_bytes(arena, &header->value, value, size))
			return false;
		record->nheaders++;
	}
	return true;
}

/*
 * Turns the message at hand into event->record.  Leaves event->type alone
 * where the record is of no partition of ours or before the wanted offset.
 * Out of memory raises and keeps the message for the next call.
 */
static void
take_record(CdcKafka *kafka, CdcArena *arena, CdcKafkaEvent *event)
{
	const rd_kafka_message_t *message = kafka->message;
	Partition  *partition = partition_of(kafka, message);
	CdcRecord  *record = &event->record;
	rd_kafka_timestamp_type_t type;

	if (partition == NULL || partition->halted ||
		message->offset < partition->expected)
		return;
	record->topic = partition->key.topic;
	record->partition = message->partition;
	record->part = partition->part;
	record->offset = message->offset;
	record->ts_ms = rd_kafka_message_timestamp(message, &type);
	if (!copy_bytes(arena, &record->key, message->key, message->key_len) ||
		!copy_bytes(arena, &record->value, message->payload, message->len) ||
		!copy_headers(arena, record, message))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("A record of %zu bytes could not be copied.",
						   message->len + message->key_len)));
	partition->expected = message->offset + 1;
	event->type = CDC_KAFKA_RECORD;
	event->part = partition->part;
	event->offset = message->offset;
	note_answer(kafka);
}

/*
 * The state_reason of an error of one topic or partition.  *halts is set
 * where librdkafka goes on behind records that it did not deliver.
 */
static const char *
partition_reason(rd_kafka_resp_err_t code, bool *halts)
{
	*halts = false;
	switch (code)
	{
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
			return "topic_missing";
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			return "topic_not_authorized";
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
			return "record_too_large";
		case RD_KAFKA_RESP_ERR__BAD_MSG:
		case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
		case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
		case RD_KAFKA_RESP_ERR__PARTIAL:
		case RD_KAFKA_RESP_ERR_INVALID_MSG:
			*halts = true;
			return "corrupt_record";
		default:
			return "partition_error";
	}
}

/* An error that names a topic, perhaps without a partition. */
static void
take_partition_error(CdcKafka *kafka, CdcKafkaEvent *event,
					 const rd_kafka_topic_partition_t *where,
					 rd_kafka_resp_err_t code, const char *text)
{
	Partition  *partition = find_partition(kafka, where->topic,
										   where->partition, HASH_FIND);
	bool		halts;
	const char *reason;

	if (partition == NULL || partition->halted)
		return;
	event->part = partition->part;
	event->offset = where->offset;
	strlcpy(event->message, text, CDC_MESSAGE_LEN);
	if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF)
	{
		/* before the wanted offset: left over from an earlier assignment */
		if (where->offset < partition->expected)
			return;
		partition->expected = where->offset;
		event->type = CDC_KAFKA_EOF;
		note_answer(kafka);
		return;
	}
	if (code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
	{
		if (where->offset < partition->expected)
			return;
		partition->halted = true;
		event->type = CDC_KAFKA_OUT_OF_RANGE;
		strlcpy(event->reason, "offset_out_of_range", CDC_REASON_LEN);
		note_answer(kafka);
		return;
	}
	reason = partition_reason(code, &halts);
	partition->halted = halts;
	event->type = CDC_KAFKA_PARTITION_ERROR;
	event->transient = !halts;
	strlcpy(event->reason, reason, CDC_REASON_LEN);
}

/* An error of the client as a whole. */
static void
take_client_error(CdcKafka *kafka, CdcKafkaEvent *event,
				  rd_kafka_resp_err_t code, const char *text)
{
	const char *reason = client_reason(kafka, code, text);

	if (code == RD_KAFKA_RESP_ERR__FATAL)
		reason = "client_fatal";
	if (reason == NULL)
	{
		ereport(DEBUG1,
				(errmsg_internal("librdkafka: %s: %s",
								 rd_kafka_err2name(code), text)));
		return;
	}
	note_trouble(kafka, reason, text);
	event->type = CDC_KAFKA_ERROR;
	event->transient = code != RD_KAFKA_RESP_ERR__FATAL;
	strlcpy(event->reason, reason, CDC_REASON_LEN);
	strlcpy(event->message, text, CDC_MESSAGE_LEN);
}

static void
take_error(CdcKafka *kafka, CdcKafkaEvent *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(kafka->event);
	const char *text = rd_kafka_event_error_string(kafka->event);
	rd_kafka_topic_partition_t *where =
		rd_kafka_event_topic_partition(kafka->event);

	if (where != NULL)
	{
		take_partition_error(kafka, event, where, code, text);
		rd_kafka_topic_partition_destroy(where);
		return;
	}
	/* the group is a name only: whether we may use it does not matter */
	if (code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
		return;
	take_client_error(kafka, event, code, text);
}

static void
take_log(CdcKafka *kafka)
{
	const char *facility;
	const char *text;
	int			level;

	if (rd_kafka_event_log(kafka->event, &facility, &text, &level) == 0)
		ereport(DEBUG1,
				(errmsg_internal("librdkafka: %s: %s", facility, text)));
}

CdcKafkaEventType
cdc_kafka_poll(CdcKafka *kafka, CdcArena *arena, CdcKafkaEvent *event)
{
	Assert(kafka == open_kafka && kafka->pid == getpid());
	event->type = CDC_KAFKA_NONE;
	event->part = -1;
	event->offset = -1;
	event->transient = false;
	event->reason[0] = '\0';
	event->message[0] = '\0';
	while (event->type == CDC_KAFKA_NONE)
	{
		/* a message may be left from a call that ran out of memory */
		if (kafka->event == NULL)
			kafka->event = next_event(kafka);
		if (kafka->event == NULL)
		{
			probe(kafka);
			break;
		}
		switch (rd_kafka_event_type(kafka->event))
		{
			case RD_KAFKA_EVENT_FETCH:
				if (kafka->message == NULL)
					kafka->message = rd_kafka_event_message_next(kafka->event);
				if (kafka->message != NULL)
					take_record(kafka, arena, event);
				break;
			case RD_KAFKA_EVENT_ERROR:
				take_error(kafka, event);
				break;
			case RD_KAFKA_EVENT_LOG:
				take_log(kafka);
				break;
			default:
				break;
		}
		release_event(kafka);
		if (event->type == CDC_KAFKA_NONE)
			CHECK_FOR_INTERRUPTS();
	}
	return event->type;
}

/* --------------------------------------------------------------------
 * Questions
 * --------------------------------------------------------------------
 */

/* Time that a question may take, cut into slices. */
typedef struct Deadline
{
	TimestampTz until;
	int			slice;			/* ms */
} Deadline;

static void
start_deadline(Deadline *deadline, int timeout_ms)
{
	deadline->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout_ms);
	deadline->slice = FIRST_SLICE_MS;
}

/*
 * The next slice in ms, or 0 when time is up.  Slices grow, so that a slow
 * broker can answer within one: an answer that comes later is lost.
 */
static int
next_slice(Deadline *deadline)
{
	long		left;
	int			slice;

	CHECK_FOR_INTERRUPTS();
	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   deadline->until);
	slice = (int) Min(left, deadline->slice);
	deadline->slice = Min(deadline->slice * 2, LONGEST_SLICE_MS);
	return slice;
}

/*
 * Asks for metadata of the topics in kafka->asked, or of all.  NULL when
 * time is up; the caller destroys the result.
 */
static const struct rd_kafka_metadata *
ask_metadata(CdcKafka *kafka, bool all, int timeout_ms)
{
	Deadline	deadline;
	int			slice;

	start_deadline(&deadline, timeout_ms);
	while ((slice = next_slice(&deadline)) > 0)
	{
		const struct rd_kafka_metadata *metadata;

		if (rd_kafka_metadata(kafka->rk, all, NULL, &metadata, slice) ==
			RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			note_answer(kafka);
			return metadata;
		}
	}
	return NULL;
}

/* Fills one answer from what metadata says of a topic (NULL: nothing). */
static void
fill_topic(CdcTopicInfo *info, const struct rd_kafka_metadata_topic *found)
{
	bool		halts;

	info->npartitions = 0;
	info->error = found == NULL ? RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART :
		found->err;
	info->reason[0] = '\0';
	if (info->error == 0)
	{
		info->npartitions = found->partition_cnt;
		return;
	}
	if (info->error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
		strlcpy(info->reason, "topic_unavailable", CDC_REASON_LEN);
	else
		strlcpy(info->reason, partition_reason(info->error, &halts),
				CDC_REASON_LEN);
}

static const struct rd_kafka_metadata_topic *
search_topic(const struct rd_kafka_metadata *metadata, const char *topic)
{
	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		if (strcmp(metadata->topics[i].topic, topic) == 0)
			return &metadata->topics[i];
	}
	return NULL;
}

bool
cdc_kafka_topics(CdcKafka *kafka, CdcTopicInfo *topics, int n, int timeout_ms)
{
	const struct rd_kafka_metadata *metadata;

	if (n == 0)
		return true;
	/* a handle makes a topic known, and only known topics are asked for */
	release_question(kafka);
	kafka->asked = MemoryContextAlloc(kafka->context, n * sizeof(*kafka->asked));
	for (int i = 0; i < n; i++)
	{
		rd_kafka_topic_t *rkt = rd_kafka_topic_new(kafka->rk, topics[i].topic,
												   NULL);

		if (rkt != NULL)		/* else no topic can have this name */
			kafka->asked[kafka->nasked++] = rkt;
	}
	metadata = ask_metadata(kafka, false, timeout_ms);
	release_question(kafka);
	if (metadata == NULL)
		return false;
	for (int i = 0; i < n; i++)
		fill_topic(&topics[i], search_topic(metadata, topics[i].topic));
	rd_kafka_metadata_destroy(metadata);
	return true;
}

bool
cdc_kafka_all_topics(CdcKafka *kafka, CdcTopicInfo **topics, int *n,
					 int timeout_ms)
{
	const struct rd_kafka_metadata *metadata = ask_metadata(kafka, true,
															timeout_ms);

	if (metadata == NULL)
		return false;
	/* nothing below may raise while the answer is held: no such allocation */
	*topics = palloc_extended((Size) Max(metadata->topic_cnt, 1) *
							  sizeof(CdcTopicInfo), MCXT_ALLOC_NO_OOM);
	*n = 0;
	for (int i = 0; *topics != NULL && i < metadata->topic_cnt; i++)
	{
		CdcTopicInfo *info = &(*topics)[i];
		size_t		size = strlen(metadata->topics[i].topic) + 1;
		char	   *name = palloc_extended(size, MCXT_ALLOC_NO_OOM);

		if (name == NULL)
			break;
		memcpy(name, metadata->topics[i].topic, size);
		info->topic = name;
		fill_topic(info, &metadata->topics[i]);
		(*n)++;
	}
	if (*topics == NULL || *n < metadata->topic_cnt)
	{
		rd_kafka_metadata_destroy(metadata);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	rd_kafka_metadata_destroy(metadata);
	return true;
}

/* Does the library say that asking again may help? */
static bool
is_passing(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
		code == RD_KAFKA_RESP_ERR__TRANSPORT ||
		code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
		code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
		code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
		code == RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE ||
		code == RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
}

/*
 * Asks for the offsets of n partitions, whose parts[].offset is the question
 * in librdkafka's form.  An error of one partition spoils the whole answer,
 * so the question is halved until the culprit is alone.  False: time is up.
 */
static bool
ask_offsets(CdcKafka *kafka, CdcTopicPartition *parts, int n,
			Deadline *deadline)
{
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
	int			slice;

	while (is_passing(code))
	{
		slice = next_slice(deadline);
		if (slice == 0)
			return false;
		make_list(kafka, parts, n);
		code = rd_kafka_offsets_for_times(kafka->rk, kafka->list, slice);
	}
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR && n > 1)
		return ask_offsets(kafka, parts, n / 2, deadline) &&
			ask_offsets(kafka, parts + n / 2, n - n / 2, deadline);
	note_answer(kafka);
	for (int i = 0; i < n; i++)
	{
		const rd_kafka_topic_partition_t *answer = &kafka->list->elems[i];

		parts[i].error = code != RD_KAFKA_RESP_ERR_NO_ERROR ? code :
			answer->err;
		parts[i].offset = parts[i].error == 0 ? answer->offset : -1;
	}
	release_question(kafka);
	return true;
}

/* Where no record is at or after a time, the answer is the end. */
static bool
ask_missing_ends(CdcKafka *kafka, CdcTopicPartition *parts, int n,
				 Deadline *deadline)
{
	for (int i = 0; i < n; i++)
	{
		if (parts[i].error != 0 || parts[i].offset >= 0)
			continue;
		parts[i].offset = RD_KAFKA_OFFSET_END;
		if (!ask_offsets(kafka, &parts[i], 1, deadline))
			return false;
	}
	return true;
}

bool
cdc_kafka_offsets(CdcKafka *kafka, CdcTopicPartition *parts, int n,
				  CdcOffsetQuestion question, int timeout_ms)
{
	Deadline	deadline;

	if (n == 0)
		return true;
	start_deadline(&deadline, timeout_ms);
	for (int i = 0; i < n; i++)
	{
		if (question == CDC_OFFSET_BEGINNING)
			parts[i].offset = RD_KAFKA_OFFSET_BEGINNING;
		else if (question == CDC_OFFSET_END)
			parts[i].offset = RD_KAFKA_OFFSET_END;
	}
	return ask_offsets(kafka, parts, n, &deadline) &&
		ask_missing_ends(kafka, parts, n, &deadline);
}

bool
cdc_kafka_watermarks(CdcKafka *kafka, const char *topic, int32 partition,
					 int64 *low, int64 *high)
{
	return rd_kafka_get_watermark_offsets(kafka->rk, topic, partition, low,
										  high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
		*low >= 0 && *high >= 0;
}

const char *
cdc_kafka_cluster_id(CdcKafka *kafka)
{
	char	   *id;

	if (kafka->cluster_id != NULL)
		return kafka->cluster_id;
	id = rd_kafka_clusterid(kafka->rk, 0);
	if (id == NULL)
		return NULL;
	kafka->cluster_id = MemoryContextStrdup(kafka->context, id);
	rd_kafka_mem_free(kafka->rk, id);
	return kafka->cluster_id;
}
