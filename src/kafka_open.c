/*-------------------------------------------------------------------------
 *
 * kafka_open.c
 *		Beginning and end of the Kafka client.
 *
 * Floor 3.  The one hard thing is the end of a process: a live TLS client at
 * exit() can crash the server, an object still held makes the destruction
 * hang, and a broker that is gone makes it slow.  So whatever is held is
 * reachable from cdc_open_kafka, the destruction runs in a helper thread that
 * is waited for at most 2 s, and a process that ever opened a handle leaves
 * by _exit().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "kafka_internal.h"

/* longest wait for the destruction of a handle */
#define CLOSE_TIMEOUT_MS	2000
/* bound of the fetch queue where the caller sets none */
#define DEFAULT_QUEUE_KBYTES 32768
/* parts of the queue after which the fetchers are woken */
#define WAKE_PARTS			4

CdcKafka   *cdc_open_kafka;

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
	/* questions wait behind an idle fetch: wait_for_catchup is as slow as this */
	{"fetch.wait.max.ms", "250", false},
	{"fetch.max.bytes", "16777216", false},
	/* larger answers cost the broker and the client less a record */
	{"max.partition.fetch.bytes", "4194304", false},
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
free_rules(ConnectRules *rules)
{
	cdc_brokers_free(rules->allowed);
	pthread_mutex_destroy(&rules->mutex);
	free(rules);
}

void
cdc_kafka_close(CdcKafka *kafka)
{
	if (kafka == NULL || kafka != cdc_open_kafka || kafka->pid != getpid())
		return;
	cdc_open_kafka = NULL;
	cdc_kafka_release_event(kafka);
	cdc_kafka_release_question(kafka);
	if (kafka->commits != NULL)
		rd_kafka_queue_destroy(kafka->commits);
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
	cdc_kafka_close(cdc_open_kafka);
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
 * connect_cb, on librdkafka's threads.  Connects like the library itself,
 * unless the address is not allowed.
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

/* What OpenSSL's code of a certificate error means, in a user's words. */
static const char *
certificate_problem(int x509_error)
{
	switch (x509_error)
	{
		case 9:
			return "the broker's certificate is not yet valid";
		case 10:
			return "the broker's certificate has expired";
		case 2:
		case 18:
		case 19:
		case 20:
		case 21:
			return "the broker's certificate is signed by no authority in ssl.ca.pem";
		case 23:
			return "the broker's certificate has been revoked";
		case 62:
		case 64:
			return "the broker's certificate is for another host name";
		default:
			return "the broker's certificate is not accepted";
	}
}

/*
 * ssl_cert_verify_cb, on librdkafka's threads.  Decides nothing: it keeps the
 * reason, which the library does not pass on, and repeats OpenSSL's verdict.
 */
static int
note_certificate(rd_kafka_t *rk, const char *name, int32_t id, int *x509_error,
				 int depth, const char *certificate, size_t size,
				 char *text, size_t text_size, void *opaque)
{
	ConnectRules *rules = opaque;

	if (*x509_error == 0)
		return 1;
	pthread_mutex_lock(&rules->mutex);
	rules->certificate_problem = certificate_problem(*x509_error);
	pthread_mutex_unlock(&rules->mutex);
	strlcpy(text, certificate_problem(*x509_error), text_size);
	return 0;
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
static int
queue_kbytes(const CdcKafkaConfig *config)
{
	int			kbytes = config->queue_kbytes > 0 ?
		config->queue_kbytes : DEFAULT_QUEUE_KBYTES;

	for (int i = 0; i < config->nproperties; i++)
	{
		if (strcmp(config->properties[i].name,
				   "queued.max.messages.kbytes") == 0)
			kbytes = Min(kbytes, Max(atoi(config->properties[i].value), 1));
	}
	return kbytes;
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
	char		kbytes[16];

	set_fixed(conf, default_properties, lengthof(default_properties));
	for (int i = 0; i < config->nproperties; i++)
		set_property(conf, config->properties[i].name,
					 config->properties[i].value, false,
					 config->properties[i].secret);
	snprintf(kbytes, sizeof(kbytes), "%d", queue_kbytes(config));
	set_property(conf, "queued.max.messages.kbytes", kbytes, false, false);
	/* assign() asks for a group, though nothing joins it */
	set_property(conf, "group.id", config->group, false, false);
	set_fixed(conf, forced_properties, lengthof(forced_properties));
	rd_kafka_conf_set_opaque(conf, rules);
	rd_kafka_conf_set_connect_cb(conf, connect_if_allowed);
	/* refused only by a library without TLS, which needs none */
	(void) rd_kafka_conf_set_ssl_cert_verify_cb(conf, note_certificate);
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
	if (cdc_open_kafka != NULL)
		elog(ERROR, "a Kafka client is open already");
	check_mechanism(config);
	cdc_kafka_register_exit();
	if (warning != NULL)
		ereport(WARNING, (errmsg("%s", warning)));

	kafka = make_kafka();
	kafka->rules = make_rules(config->allowed_brokers);
	ever_opened = true;
	kafka->rk = make_client(config, kafka->rules);
	kafka->wake_bytes = INT64CONST(1024) * queue_kbytes(config) / WAKE_PARTS;
	rd_kafka_poll_set_consumer(kafka->rk);
	kafka->queue = rd_kafka_queue_get_consumer(kafka->rk);
	cdc_open_kafka = kafka;
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
