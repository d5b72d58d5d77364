/*-------------------------------------------------------------------------
 *
 * kafka_conf.c
 *		How a Kafka client is set up, and what its threads may call.
 *
 * Floor 3.  For the consumer, its second client and the producer.  The one
 * hard thing: what a user sets must decide neither correctness nor whom we
 * connect to, so our values come last, and each connection passes
 * connect_if_allowed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "miscadmin.h"

#include "kafka_internal.h"

/* bound of the fetch queue where the caller sets none */
#define DEFAULT_QUEUE_KBYTES 32768
/* how late timers of librdkafka's threads may be, in ns */
#define TIMER_SLACK_NS		10000000UL
/* bytes of an answer to a fetch; librdkafka wants 1000000 at least */
#define SMALLEST_FETCH		(1024 * 1024)
#define LARGEST_FETCH		(3 * 1024 * 1024)

/* What cdc_sink decides; librdkafka must know all but the optional ones. */
typedef struct FixedProperty
{
	const char *name;
	const char *value;
	bool		optional;		/* newer than librdkafka 2.0.2 */
	enum
	{
		BOTH,
		CONSUMER,
		PRODUCER
	}			client;			/* whose it is */
} FixedProperty;

/* Set before the user's own values, which may replace them. */
static const FixedProperty default_properties[] = {
	{"isolation.level", "read_committed", false, CONSUMER},
	/* reaching this limit stops fetching for 1 s; kbytes bound the memory */
	{"queued.min.messages", "10000000", false, CONSUMER},
	{"fetch.queue.backoff.ms", "10", true, CONSUMER},
	/* a question waits behind an idle fetch, and so does a partition that is added */
	{"fetch.wait.max.ms", "500", false, CONSUMER},
	{"topic.metadata.refresh.interval.ms", "10000", false, BOTH},
	{"reconnect.backoff.ms", "100", false, BOTH},
	{"reconnect.backoff.max.ms", "2000", false, BOTH},
	{"socket.timeout.ms", "30000", false, BOTH},
	{"socket.connection.setup.timeout.ms", "10000", false, BOTH},
	{"socket.keepalive.enable", "true", false, BOTH},
	{"client.id", "cdc_sink", false, BOTH},
	/* as Kafka's own producer: a key goes to the same partition */
	{"partitioner", "murmur2_random", false, PRODUCER},
};

/* Set after them, because correctness hangs on them. */
static const FixedProperty forced_properties[] = {
	{"auto.offset.reset", "error", false, CONSUMER},
	{"enable.auto.commit", "false", false, CONSUMER},
	{"enable.auto.offset.store", "false", false, CONSUMER},
	{"enable.partition.eof", "true", false, CONSUMER},
	{"check.crcs", "true", false, CONSUMER},
	{"allow.auto.create.topics", "false", false, CONSUMER},
	{"ssl.endpoint.identification.algorithm", "https", false, BOTH},
	{"enable.ssl.certificate.verification", "true", false, BOTH},
	{"enable.metrics.push", "false", true, BOTH},
	{"statistics.interval.ms", "0", false, BOTH},
	{"log.queue", "true", false, BOTH},
	{"log_level", "5", false, BOTH},
	{"acks", "all", false, PRODUCER},
	/* what was not delivered is sent again by us */
	{"message.timeout.ms", "15000", false, PRODUCER},
	/* how long a record may be is the broker's to say */
	{"message.max.bytes", "1000000000", false, PRODUCER},
};

void
cdc_kafka_free_shared(ClientShared *shared)
{
	cdc_brokers_free(shared->allowed);
	cdc_kafka_watch_free(&shared->watch);
	pthread_mutex_destroy(&shared->mutex);
	free(shared);
}

/*
 * connect_cb, on librdkafka's threads.  Connects like the library itself,
 * unless the address is not allowed.
 */
static int
connect_if_allowed(int sock, const struct sockaddr *address, int length,
				   const char *name, void *opaque)
{
	ClientShared *shared = opaque;

	if (!cdc_brokers_allow(shared->allowed, name, address))
	{
		pthread_mutex_lock(&shared->mutex);
		shared->refusals++;
		strlcpy(shared->refused, name, sizeof(shared->refused));
		pthread_mutex_unlock(&shared->mutex);
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
	ClientShared *shared = opaque;

	if (*x509_error == 0)
		return 1;
	pthread_mutex_lock(&shared->mutex);
	shared->certificate_problem = certificate_problem(*x509_error);
	pthread_mutex_unlock(&shared->mutex);
	strlcpy(text, certificate_problem(*x509_error), text_size);
	return 0;
}

static ClientShared *
make_shared(const char *allowed_brokers)
{
	ClientShared *shared = malloc(sizeof(*shared));
	char	   *problem = NULL;

	if (shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	memset(shared, 0, sizeof(*shared));
	shared->allowed = cdc_brokers_parse(allowed_brokers ? allowed_brokers : "",
									   &problem);
	if (shared->allowed == NULL)
	{
		free(shared);
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
	pthread_mutex_init(&shared->mutex, NULL);
	cdc_kafka_watch_init(&shared->watch);
	return shared;
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
	result = cdc_debug_kafka() ? RD_KAFKA_CONF_INVALID :
		rd_kafka_conf_set(conf, name, value, text, sizeof(text));
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
set_fixed(rd_kafka_conf_t *conf, const FixedProperty *properties, int n,
		  bool producer)
{
	for (int i = 0; i < n; i++)
		if (properties[i].client != (producer ? CONSUMER : PRODUCER))
			set_property(conf, properties[i].name, properties[i].value,
						 properties[i].optional, false);
}

int
cdc_kafka_queue_kbytes(const CdcKafkaConfig *config)
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

static void
set_number(rd_kafka_conf_t *conf, const char *name, int value)
{
	char		text[16];

	snprintf(text, sizeof(text), "%d", value);
	set_property(conf, name, text, false, false);
}

/*
 * How much one answer may bring: much, for that costs broker and client less
 * a record, but the queue overshoots its bound by as much, and by several
 * times as much where records are compressed.
 */
static void
set_fetch_sizes(rd_kafka_conf_t *conf, int kbytes)
{
	int64		bytes = kbytes * INT64CONST(1024) / 3;

	bytes = Min(Max(bytes, SMALLEST_FETCH), LARGEST_FETCH);
	set_number(conf, "fetch.max.bytes", (int) bytes);
	set_number(conf, "max.partition.fetch.bytes", (int) bytes);
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
make_conf(const CdcKafkaConfig *config, ClientShared *shared, bool producer)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	int			kbytes = cdc_kafka_queue_kbytes(config);

	set_fixed(conf, default_properties, lengthof(default_properties), producer);
	if (!producer)
		set_fetch_sizes(conf, kbytes);
	for (int i = 0; i < config->nproperties; i++)
		set_property(conf, config->properties[i].name,
					 config->properties[i].value, false,
					 config->properties[i].secret);
	if (!producer)
	{
		set_number(conf, "queued.max.messages.kbytes", kbytes);
		/* assign() asks for a group, though nothing joins it */
		set_property(conf, "group.id", config->group, false, false);
		cdc_kafka_watch_hook(conf, &shared->watch);
	}
	set_fixed(conf, forced_properties, lengthof(forced_properties), producer);
	rd_kafka_conf_set_opaque(conf, shared);
	rd_kafka_conf_set_connect_cb(conf, connect_if_allowed);
	/* refused only by a library without TLS, which needs none */
	(void) rd_kafka_conf_set_ssl_cert_verify_cb(conf, note_certificate);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG |
							 (producer ? RD_KAFKA_EVENT_DR :
							  RD_KAFKA_EVENT_FETCH));
	return conf;
}

/*
 * Makes the client.  librdkafka's main thread rounds the time to its next
 * timer down to milliseconds and spins through the rest, each second; threads
 * inherit how late a timer may be, so theirs may be as late as that.
 */
static rd_kafka_t *
new_client(rd_kafka_conf_t *conf, bool producer, char *text, size_t size)
{
	int			slack = prctl(PR_GET_TIMERSLACK);
	rd_kafka_t *rk;

	(void) prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	rk = rd_kafka_new(producer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf,
					  text, size);
	(void) prctl(PR_SET_TIMERSLACK, (unsigned long) Max(slack, 0));
	return rk;
}

/*
 * Frees what rd_kafka_new did not take.  Before 2.13 it has freed the
 * interceptors where it failed, and they would be freed again: then the rest
 * is left.
 */
static void
free_refused(rd_kafka_conf_t *conf, bool hooked)
{
	if (!hooked || rd_kafka_version() >= 0x020d0000)
		rd_kafka_conf_destroy(conf);
}

rd_kafka_t *
cdc_kafka_make_client(const CdcKafkaConfig *config, bool producer,
					  ClientShared **shared, rd_kafka_conf_t **copy)
{
	rd_kafka_conf_t *conf;
	rd_kafka_t *volatile rk = NULL;
	char		text[CDC_MESSAGE_LEN] = "";

	if (MyBackendType != B_BG_WORKER)
		elog(ERROR, "librdkafka may only run in a worker of cdc_sink");
	check_mechanism(config);
	*shared = make_shared(config->allowed_brokers);
	PG_TRY();
	{
		bool		injected = cdc_debug_kafka();

		conf = make_conf(config, *shared, producer);
		cdc_kafka_prepare_exit();
		if (copy != NULL)
			*copy = rd_kafka_conf_dup(conf);
		if (!injected)
			rk = new_client(conf, producer, text, sizeof(text));
		if (rk == NULL)
		{
			bool		resource = rd_kafka_last_error() ==
				RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;

			free_refused(conf, !producer && !injected);
			ereport(ERROR,
					(errcode(resource ? ERRCODE_INSUFFICIENT_RESOURCES :
							 ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
					 errmsg("could not create the Kafka client"),
					 errdetail("%s", text)));
		}
		if (!producer && !(*shared)->watch.hooked)
		{
			rd_kafka_destroy(rk);
			elog(ERROR, "librdkafka does not let its fetches be watched");
		}
	}
	PG_CATCH();
	{
		if (copy != NULL && *copy != NULL)
			rd_kafka_conf_destroy(*copy);
		cdc_kafka_free_shared(*shared);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return rk;
}

rd_kafka_t *
cdc_kafka_make_asker(const rd_kafka_conf_t *copy, const char *allowed_brokers,
					 ClientShared **shared)
{
	rd_kafka_conf_t *conf;
	rd_kafka_t *asker;
	char		text[CDC_MESSAGE_LEN];

	*shared = make_shared(allowed_brokers);
	conf = rd_kafka_conf_dup(copy);
	rd_kafka_conf_set_opaque(conf, *shared);
	/* without a group there is no thread for its coordinator */
	if (rd_kafka_conf_set(conf, "group.id", "", text, sizeof(text)) != RD_KAFKA_CONF_OK ||
		(asker = new_client(conf, false, text, sizeof(text))) == NULL)
	{
		/* a copy has no interceptors: see free_refused */
		rd_kafka_conf_destroy(conf);
		cdc_kafka_free_shared(*shared);
		return NULL;
	}
	return asker;
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
