/*-------------------------------------------------------------------------
 *
 * kafka_trouble.c
 *		How the connection is: of the client as a whole, and of single
 *		brokers, with the partitions that hang on them.
 *
 * Floor 3.  The one hard thing: librdkafka tells when a connection breaks,
 * but not when it is there again, and partitions of a broker that is gone
 * look as if nothing came.  So a broker counts as failing from its error until
 * something came from it: a record, an end of a partition, or ends that all
 * brokers were asked for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "kafka_internal.h"

/* while the connection is bad: how often to look whether a broker is back */
#define PROBE_INTERVAL_MS	500
/* a refused broker is reported this long after its last attempt */
#define REFUSAL_LASTS_MS	15000
/* a broken connection replaces a reason this long after it was seen */
#define REASON_LASTS_MS		5000
/* a connection that comes again within this time was no trouble */
#define TROUBLE_SHOWS_MS	1000

/* --------------------------------------------------------------------
 * Single brokers
 * --------------------------------------------------------------------
 */

/*
 * The number in "host:port/7: text", as librdkafka names a broker in its
 * errors; -1 where there is none ("host:port/bootstrap: ...").
 */
static int32
broker_of_text(const char *text)
{
	const char *slash = strchr(text, '/');
	char	   *end;
	long		number;

	if (slash == NULL || slash[1] < '0' || slash[1] > '9')
		return -1;
	number = strtol(slash + 1, &end, 10);
	return *end == ':' ? (int32) number : -1;
}

void
cdc_kafka_broker_failed(CdcKafka *kafka, const char *text, bool unreadable)
{
	int32		number = broker_of_text(text);
	FailedBroker *broker = NULL;

	if (number < 0)
		return;
	for (int i = 0; i < kafka->nfailed && broker == NULL; i++)
		if (kafka->failed[i].number == number)
			broker = &kafka->failed[i];
	if (broker == NULL)
	{
		/* more brokers at once than there is room for: those tell enough */
		if (kafka->nfailed == lengthof(kafka->failed))
			return;
		broker = &kafka->failed[kafka->nfailed++];
		broker->number = number;
		broker->since = GetCurrentTimestamp();
		broker->unreadable = false;
		/* who knows what was done to its logs meanwhile */
		cdc_kafka_doubt_leader(kafka, number);
	}
	/* the next connection breaks for the same reason, which it does not tell */
	if (broker->unreadable && !unreadable)
		return;
	broker->unreadable = unreadable;
	strlcpy(broker->message, text, CDC_MESSAGE_LEN);
}

void
cdc_kafka_broker_answered(CdcKafka *kafka, int32 number)
{
	for (int i = 0; i < kafka->nfailed; i++)
		if (kafka->failed[i].number == number)
		{
			kafka->failed[i] = kafka->failed[--kafka->nfailed];
			return;
		}
}

bool
cdc_kafka_has_failed_brokers(CdcKafka *kafka)
{
	return kafka->nfailed > 0;
}

void
cdc_kafka_all_answered(CdcKafka *kafka)
{
	int			left = 0;

	for (int i = 0; i < kafka->nfailed; i++)
		if (kafka->failed[i].unreadable)
			kafka->failed[left++] = kafka->failed[i];
	kafka->nfailed = left;
}

bool
cdc_kafka_same_leaders(CdcKafka *kafka,
					   const struct rd_kafka_metadata_topic *topic)
{
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		const struct rd_kafka_metadata_partition *found = &topic->partitions[i];
		const Partition *partition = cdc_kafka_find_partition(kafka, topic->topic,
															  found->id);

		if (partition != NULL && partition->leader != LEADER_UNKNOWN &&
			partition->leader != (found->leader < 0 ? LEADER_NONE : found->leader))
			return false;
	}
	return true;
}

void
cdc_kafka_note_leaders(CdcKafka *kafka,
					   const struct rd_kafka_metadata_topic *topic)
{
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		const struct rd_kafka_metadata_partition *found = &topic->partitions[i];
		Partition  *partition = cdc_kafka_find_partition(kafka, topic->topic,
														 found->id);

		if (partition == NULL)
			continue;
		/* an error that the leader before answered may have been dropped */
		if (partition->leader != LEADER_UNKNOWN && partition->leader != found->leader)
			cdc_kafka_doubt(kafka, partition);
		partition->leader = found->leader < 0 ? LEADER_NONE : found->leader;
	}
}

const char *
cdc_kafka_partition_trouble(CdcKafka *kafka, const char *topic,
							int32 number, const char **reason)
{
	Partition  *partition = cdc_kafka_find_partition(kafka, topic, number);

	if (partition == NULL || partition->leader == LEADER_UNKNOWN)
		return NULL;
	if (partition->leader == LEADER_NONE)
	{
		*reason = "topic_unavailable";
		return "The partition has no leader.";
	}
	for (int i = 0; i < kafka->nfailed; i++)
	{
		const FailedBroker *broker = &kafka->failed[i];

		if (broker->number != partition->leader ||
			(!broker->unreadable &&
			 !TimestampDifferenceExceeds(broker->since, GetCurrentTimestamp(),
										 TROUBLE_SHOWS_MS)))
			continue;
		*reason = broker->unreadable ? "oversized_response" : "broker_down";
		return broker->message;
	}
	return NULL;
}

/* --------------------------------------------------------------------
 * The client as a whole
 * --------------------------------------------------------------------
 */

void
cdc_kafka_note_answer(CdcKafka *kafka)
{
	kafka->status.contact = true;
	if (kafka->status.reason[0] != '\0')
	{
		kafka->status.reason[0] = '\0';
		kafka->status.message[0] = '\0';
	}
}

void
cdc_kafka_note_trouble(CdcKafka *kafka, const char *reason, const char *message)
{
	strlcpy(kafka->status.reason, reason, CDC_REASON_LEN);
	strlcpy(kafka->status.message, message, CDC_MESSAGE_LEN);
	kafka->reason_at = GetCurrentTimestamp();
}

/* Takes up what connect_cb has refused since the last look. */
static void
note_refusals(CdcKafka *kafka)
{
	ClientShared *shared = kafka->shared;
	char		refused[sizeof(shared->refused)];
	uint64		refusals;

	pthread_mutex_lock(&shared->mutex);
	refusals = shared->refusals;
	strlcpy(refused, shared->refused, sizeof(refused));
	pthread_mutex_unlock(&shared->mutex);
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
		cdc_kafka_note_trouble(kafka, "broker_not_allowed", message);
	}
}

/*
 * The state_reason of an error of the client as a whole; NULL: nothing that
 * a user need know, or another of its errors says it better.
 */
const char *
cdc_kafka_client_reason(CdcKafka *kafka, rd_kafka_resp_err_t code, const char *text)
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
			/* the broker refuses a client certificate after the handshake */
			if (strstr(text, "SSL alert") != NULL)
				return "tls_error";
			/* FALLTHROUGH */
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
void
cdc_kafka_probe(CdcKafka *kafka)
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
	/*
	 * Topics in use, or all: without any in use the library would name those
	 * it asked for in vain before, and let the broker create them.
	 */
	code = rd_kafka_metadata(kafka->rk,
							 hash_get_num_entries(kafka->partitions) == 0,
							 NULL, &metadata, 0);
	if (metadata != NULL)
		rd_kafka_metadata_destroy(metadata);
	/* _TRANSPORT: no broker is up; _TIMED_OUT: one is, and has been asked */
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR ||
		code == RD_KAFKA_RESP_ERR__TIMED_OUT)
		cdc_kafka_note_answer(kafka);
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

/*
 * What more is known of an error than librdkafka's text says: "" or a static
 * text to put before it.
 */
const char *
cdc_kafka_explanation(CdcKafka *kafka, const char *reason, const char *text)
{
	const char *problem;

	/* 2.6.1 mended the final message, which Kafka 4.0 began to check */
	if (strcmp(reason, "auth_error") == 0 && strstr(text, "SCRAM") != NULL &&
		rd_kafka_version() < 0x02060100)
		return "to Kafka 4.0 or later, librdkafka before 2.6.1 cannot log in by SCRAM";
	if (strstr(text, "certificate verify failed") == NULL)
		return "";
	pthread_mutex_lock(&kafka->shared->mutex);
	problem = kafka->shared->certificate_problem;
	pthread_mutex_unlock(&kafka->shared->mutex);
	return problem != NULL ? problem : "";
}
