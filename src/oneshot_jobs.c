/*-------------------------------------------------------------------------
 *
 * oneshot_jobs.c
 *		What a one-shot worker does for its caller: check a server, find
 *		positions.
 *
 * Floor 9.  Runs in the worker only; touches no table.  The one hard thing:
 * a broker that cannot be reached must end in the reason, not in a time-out,
 * so failures that will not go away by themselves end the wait at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "brokers.h"
#include "kafka.h"
#include "oneshot_internal.h"

/* for the first answer of a broker, and for each later question */
#define CONTACT_TIMEOUT_MS	6000
#define CONTACT_SLICE_MS	300
#define QUESTION_TIMEOUT_MS	10000

/* --------------------------------------------------------------------
 * Connecting
 * --------------------------------------------------------------------
 */

CdcKafka *
cdc_job_open(StringInfo request, CdcKafkaConfig *config)
{
	CdcKafka   *kafka;

	cdc_request_get_config(request, config);
	kafka = cdc_kafka_open(config);
	cdc_properties_wipe(config->properties, config->nproperties);
	return kafka;
}

/* Takes what is in the queue, for the status only. */
static void
serve_events(CdcKafka *kafka)
{
	static CdcArena arena;
	CdcKafkaEvent event;

	while (cdc_kafka_poll(kafka, &arena, &event) != CDC_KAFKA_NONE)
		cdc_arena_reset(&arena);
}

/* Will waiting not help? */
static bool
is_final(const CdcKafkaStatus *status)
{
	return strcmp(status->reason, "auth_error") == 0 ||
		strcmp(status->reason, "tls_error") == 0 ||
		strcmp(status->reason, "broker_not_allowed") == 0;
}

/*
 * Waits until a broker answers, and lists the brokers.  False: none did;
 * *status says why.
 */
static bool
make_contact(CdcKafka *kafka, char ***brokers, int *nbrokers,
			 CdcKafkaStatus *status)
{
	for (int waited = 0; waited < CONTACT_TIMEOUT_MS;
		 waited += CONTACT_SLICE_MS)
	{
		if (cdc_kafka_brokers(kafka, brokers, nbrokers, CONTACT_SLICE_MS))
			return true;
		serve_events(kafka);
		cdc_kafka_status(kafka, status);
		if (is_final(status))
			break;
	}
	return false;
}

void
cdc_job_require_contact(CdcKafka *kafka)
{
	CdcKafkaStatus status;
	char	  **brokers;
	int			n;

	if (!make_contact(kafka, &brokers, &n, &status))
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to Kafka: %s", status.reason),
				 status.message[0] ? errdetail("%s", status.message) : 0));
}

static void
no_answer(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("the Kafka brokers did not answer within %d s",
					QUESTION_TIMEOUT_MS / 1000)));
}

/* Number of partitions of a topic; ERROR where it has none for us. */
static int
count_partitions(CdcKafka *kafka, const char *topic)
{
	CdcTopicInfo info = {.topic = topic};

	if (!cdc_kafka_topics(kafka, &info, 1, QUESTION_TIMEOUT_MS))
		no_answer();
	if (info.npartitions == 0)
		ereport(ERROR,
				(errcode(strcmp(info.reason, "topic_not_authorized") == 0 ?
						 ERRCODE_INSUFFICIENT_PRIVILEGE :
						 ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" cannot be read: %s", topic, info.reason),
				 errdetail("%s", cdc_kafka_error_text(info.error))));
	return info.npartitions;
}

/* Asks for offsets; ERROR where the answer for any partition is one. */
static void
ask_offsets(CdcKafka *kafka, CdcTopicPartition *parts, int n,
			CdcOffsetQuestion question)
{
	if (!cdc_kafka_offsets(kafka, parts, n, question, QUESTION_TIMEOUT_MS))
		no_answer();
	for (int i = 0; i < n; i++)
	{
		if (parts[i].error != 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_EXCEPTION),
					 errmsg("could not learn offsets of partition %d of topic \"%s\"",
							parts[i].partition, parts[i].topic),
					 errdetail("%s", cdc_kafka_error_text(parts[i].error))));
	}
}

CdcPartitionEnds *
cdc_job_find_places(CdcKafka *kafka, char *topic, int32 partition,
			const CdcPlace *place, int *n)
{
	int			npartitions = count_partitions(kafka, topic);
	int			first = partition < 0 ? 0 : partition;
	CdcTopicPartition *parts;
	CdcPartitionEnds *ends;

	if (partition >= npartitions)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" has no partition %d", topic, partition),
				 errdetail("It has %d partitions.", npartitions)));
	*n = partition < 0 ? npartitions : 1;
	parts = palloc0(*n * sizeof(CdcTopicPartition));
	ends = palloc0(*n * sizeof(CdcPartitionEnds));
	for (int i = 0; i < *n; i++)
	{
		parts[i].topic = ends[i].topic = topic;
		parts[i].partition = ends[i].partition = first + i;
	}
	ask_offsets(kafka, parts, *n, CDC_OFFSET_BEGINNING);
	for (int i = 0; i < *n; i++)
		ends[i].low = ends[i].offset = parts[i].offset;
	ask_offsets(kafka, parts, *n, CDC_OFFSET_END);
	for (int i = 0; i < *n; i++)
		ends[i].end = parts[i].offset;
	if (place->kind == CDC_PLACE_TIME)
	{
		for (int i = 0; i < *n; i++)
			parts[i].offset = place->number;
		ask_offsets(kafka, parts, *n, CDC_OFFSET_AT_TIME);
	}
	for (int i = 0; i < *n; i++)
	{
		if (place->kind == CDC_PLACE_LATEST)
			ends[i].offset = ends[i].end;
		else if (place->kind == CDC_PLACE_TIME)
			/* a record of an open transaction is not to be jumped over */
			ends[i].offset = Min(parts[i].offset, ends[i].end);
		else if (place->kind != CDC_PLACE_EARLIEST)
			ends[i].offset = place->number;
	}
	pfree(parts);
	return ends;
}

/* --------------------------------------------------------------------
 * Jobs
 * --------------------------------------------------------------------
 */

void
cdc_job_positions(StringInfo request)
{
	CdcKafkaConfig config;
	CdcKafka   *kafka = cdc_job_open(request, &config);
	CdcPlace	place;
	int32		partition = (int32) cdc_request_get_int(request);
	int			ntopics;

	cdc_request_get_place(request, &place);
	ntopics = (int) cdc_request_get_int(request);
	cdc_job_require_contact(kafka);
	for (int i = 0; i < ntopics; i++)
	{
		char	   *topic = cdc_request_get_text(request);
		int			n;
			CdcPartitionEnds *ends = cdc_job_find_places(kafka, topic, partition,
													 &place, &n);

		for (int j = 0; j < n; j++)
		{
			const char *values[5] = {
				topic, psprintf("%d", ends[j].partition),
				psprintf(INT64_FORMAT, ends[j].low),
				psprintf(INT64_FORMAT, ends[j].end),
				psprintf(INT64_FORMAT, ends[j].offset)
			};

			cdc_oneshot_emit(values, lengthof(values));
		}
	}
}

/* Sends one line of check_server. */
static void
emit_check(const char *item, bool ok, const char *detail)
{
	const char *values[3] = {item, ok ? "true" : "false", detail};

	cdc_oneshot_emit(values, lengthof(values));
}

static bool
has_protocol(const CdcKafkaConfig *config, const char *word)
{
	for (int i = 0; i < config->nproperties; i++)
	{
		if (strcmp(config->properties[i].name, "security.protocol") == 0)
			return strcasestr(config->properties[i].value, word) != NULL;
	}
	return false;
}

/* Certificate and login, as far as the outcome tells something of them. */
static void
check_credentials(const CdcKafkaConfig *config, bool contact,
				  const CdcKafkaStatus *status)
{
	bool		tls_error = !contact && strcmp(status->reason, "tls_error") == 0;
	bool		auth_error = !contact &&
		strcmp(status->reason, "auth_error") == 0;

	if (has_protocol(config, "ssl") && (contact || tls_error || auth_error))
		emit_check("certificate", !tls_error,
				   tls_error ? status->message : "certificate and host name accepted");
	if (has_protocol(config, "sasl") && (contact || auth_error))
		emit_check("login", contact, contact ? "accepted" : status->message);
}

/* One line for each broker that the cluster names. */
static void
check_brokers(const CdcKafkaConfig *config, char **brokers, int n)
{
	char	   *problem;
	CdcBrokerList *allowed = cdc_brokers_parse(config->allowed_brokers,
											   &problem);

	for (int i = 0; i < n; i++)
	{
		bool		ok = allowed != NULL &&
			cdc_brokers_allow_name(allowed, brokers[i]);

		emit_check("broker", ok,
				   ok ? brokers[i] :
				   psprintf("%s is not in cdc_sink.allowed_brokers",
							brokers[i]));
	}
	if (allowed != NULL)
		cdc_brokers_free(allowed);
}

void
cdc_job_check_server(StringInfo request)
{
	CdcKafkaConfig config;
	CdcKafka   *kafka = cdc_job_open(request, &config);
	const char *warning = cdc_kafka_library_warning();
	CdcKafkaStatus status = {0};
	CdcTopicInfo *topics;
	char	  **brokers;
	int			n;
	bool		contact;

	emit_check("library", warning == NULL,
			   psprintf("librdkafka %s%s%s", cdc_kafka_library_version(),
						warning ? ": " : "", warning ? warning : ""));
	emit_check("features", true, cdc_kafka_library_features());
	contact = make_contact(kafka, &brokers, &n, &status);
	emit_check("connection", contact,
			   contact ? psprintf("connected, %d brokers", n) :
			   psprintf("%s: %s", status.reason, status.message));
	check_credentials(&config, contact, &status);
	if (!contact)
		return;
	check_brokers(&config, brokers, n);
	emit_check("cluster", true, cdc_kafka_cluster_id(kafka));
	if (cdc_kafka_all_topics(kafka, &topics, &n, QUESTION_TIMEOUT_MS))
		emit_check("topics", true, psprintf("%d visible", n));
	else
		emit_check("topics", false, "no answer");
}
