/*-------------------------------------------------------------------------
 *
 * kafka.c
 *		The record source: events of the Kafka consumer.
 *
 * Floor 3.  The one hard thing: no record may be skipped or delivered twice
 * by an assignment that changes while records are queued, so each partition
 * knows the offset it expects, and librdkafka's word for "I left something
 * out" halts it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"

#include "kafka_internal.h"
#include "value.h"

/* what librdkafka keeps of a message beside its bytes, about */
#define MESSAGE_BYTES	512

/* see cdc_kafka_records_taken; a thread of ours counts, too */
static int64 taken = 0;

int64
cdc_kafka_records_taken(void)
{
	return __atomic_load_n(&taken, __ATOMIC_RELAXED);
}

void
cdc_kafka_release_event(CdcKafka *kafka)
{
	if (kafka->event != NULL)
		rd_kafka_event_destroy(kafka->event);
	kafka->event = NULL;
	kafka->message = NULL;
}

/*
 * The next event of the queue, or NULL; keeps the eventfd truthful.  Calls
 * nothing of the server.
 */
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
		/* fails only where the descriptor is readable already */
		if (write(kafka->fd, &count, sizeof(count)) != sizeof(count))
			return event;
	}
	return event;
}

/* CdcRelease of an event that was taken. */
static void
release_taken(void *event)
{
	rd_kafka_event_destroy(event);
	__atomic_fetch_sub(&taken, 1, __ATOMIC_RELAXED);
}

/*
 * read_headers of a record of ours: librdkafka makes them when it is asked,
 * an object each, and they live as long as the message.
 */
static bool
read_headers(CdcRecord *record, CdcArena *arena)
{
	static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
	rd_kafka_headers_t *found = NULL;
	CdcHeader  *headers;
	size_t		n = 0;

	/* a thread of ours may ask for those of the same message */
	pthread_mutex_lock(&making);
	if (rd_kafka_message_headers(record->message, &found) == RD_KAFKA_RESP_ERR_NO_ERROR)
		n = rd_kafka_header_cnt(found);
	pthread_mutex_unlock(&making);
	headers = cdc_arena_alloc(arena, Max(n, 1) * sizeof(CdcHeader));
	if (headers == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
	{
		const void *value;
		size_t		size;

		if (rd_kafka_header_get_all(found, i, &headers[i].name, &value, &size) !=
			RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			n = i;
			break;
		}
		headers[i].value.data = value;
		headers[i].value.len = (int32) size;
	}
	record->headers = headers;
	record->nheaders = (int32) n;
	record->source = NULL;
	return true;
}

static const CdcRecordSource record_source = {read_headers};

/* Is the message at hand to be delivered for the partition (NULL: none)? */
static bool
is_expected(const CdcKafka *kafka, const Partition *partition)
{
	return partition != NULL && !partition->halted &&
		kafka->message->offset >= partition->expected;
}

/*
 * Gives the event at hand to the arena, with its message, which is expected,
 * and moves the partition on.  False, with nothing changed: out of memory.
 */
static bool
take_message(CdcKafka *kafka, Partition *partition, CdcArena *arena,
			 CdcRecord *record)
{
	const rd_kafka_message_t *message = kafka->message;
	size_t		size = message->len + message->key_len;
	rd_kafka_timestamp_type_t type;

	/* counted, so that many small ones that nobody wants are bounded, too */
	if (!cdc_arena_own(arena, kafka->event, size + MESSAGE_BYTES, release_taken))
		return false;
	__atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
	kafka->event = NULL;
	kafka->message = NULL;
	record->topic = partition->key.topic;
	record->partition = message->partition;
	record->part = partition->part;
	record->offset = message->offset;
	record->ts_ms = rd_kafka_message_timestamp(message, &type);
	record->key.data = message->key;
	record->key.len = (int32) message->key_len;
	cdc_value_cut(arena, record, message->payload, message->len);
	record->nheaders = 0;
	record->headers = NULL;
	record->source = &record_source;
	record->message = (void *) message;
	partition->expected = message->offset + 1;
	kafka->drained += size;
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
	Partition  *partition = cdc_kafka_partition_of(kafka, message);

	if (!is_expected(kafka, partition))
		return;
	if (!take_message(kafka, partition, arena, &event->record))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while reading a record")));
	event->type = CDC_KAFKA_RECORD;
	event->part = partition->part;
	event->offset = event->record.offset;
	cdc_kafka_note_answer(kafka);
	if (kafka->nfailed > 0)
		cdc_kafka_broker_answered(kafka, rd_kafka_message_broker_id(message));
}

/* Wakes the fetchers when a part of the queue was taken. */
static void
look_at_drained(CdcKafka *kafka)
{
	if (kafka->drained < kafka->wake_bytes)
		return;
	kafka->drained = 0;
	cdc_kafka_wake_fetchers(kafka);
}

/*
 * Reads on to the next record of a partition that is known; false where
 * something else comes first.
 */
static bool
read_record(CdcKafka *kafka, CdcArena *arena, CdcRecord *record)
{
	for (;;)
	{
		const rd_kafka_message_t *message;
		bool		expected;

		if (kafka->event == NULL)
			kafka->event = next_event(kafka);
		if (kafka->event == NULL ||
			rd_kafka_event_type(kafka->event) != RD_KAFKA_EVENT_FETCH)
			return false;
		if (kafka->message == NULL)
			kafka->message = rd_kafka_event_message_next(kafka->event);
		message = kafka->message;
		if (message == NULL || !cdc_kafka_knows_topic(kafka, message->rkt) ||
			cdc_kafka_has_doubts(kafka))
			return false;
		expected = is_expected(kafka, cdc_kafka_partition_of(kafka, message));
		if (expected && !take_message(kafka, kafka->last_partition, arena, record))
			return false;
		cdc_kafka_release_event(kafka);
		look_at_drained(kafka);
		if (expected)
			return true;
	}
}

bool
cdc_kafka_read(CdcKafka *kafka, CdcArena *arena, CdcRecord *record)
{
	bool		found = false;

	pthread_mutex_lock(&cdc_kafka_reading);
	/* an answer that ends a trouble is for cdc_kafka_poll to note */
	if (kafka == cdc_open_kafka && kafka->nfailed == 0 &&
		kafka->status.contact && kafka->status.reason[0] == '\0')
		found = read_record(kafka, arena, record);
	pthread_mutex_unlock(&cdc_kafka_reading);
	return found;
}

const char *
cdc_kafka_partition_reason(rd_kafka_resp_err_t code, bool *halts)
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
	Partition  *partition = cdc_kafka_find_partition(kafka, where->topic,
													 where->partition);
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
		cdc_kafka_note_answer(kafka);
		cdc_kafka_broker_answered(kafka, partition->leader);
		return;
	}
	if (code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
	{
		if (where->offset < partition->expected)
			return;
		partition->halted = true;
		event->type = CDC_KAFKA_OUT_OF_RANGE;
		strlcpy(event->reason, "offset_out_of_range", CDC_REASON_LEN);
		cdc_kafka_note_answer(kafka);
		return;
	}
	reason = cdc_kafka_partition_reason(code, &halts);
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
	const char *reason = cdc_kafka_client_reason(kafka, code, text);
	const char *more;

	if (code == RD_KAFKA_RESP_ERR__TRANSPORT ||
		code == RD_KAFKA_RESP_ERR__RESOLVE ||
		code == RD_KAFKA_RESP_ERR__TIMED_OUT)
		cdc_kafka_broker_failed(kafka, text, false);
	else if (reason != NULL && strcmp(reason, "oversized_response") == 0)
		cdc_kafka_broker_failed(kafka, text, true);
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		event->outage = true;
	if (code == RD_KAFKA_RESP_ERR__FATAL)
		reason = "client_fatal";
	if (reason == NULL)
	{
		ereport(DEBUG1,
				(errmsg_internal("librdkafka: %s: %s",
								 rd_kafka_err2name(code), text)));
		return;
	}
	more = cdc_kafka_explanation(kafka, reason, text);
	snprintf(event->message, CDC_MESSAGE_LEN, "%s%s%s", more,
			 more[0] != '\0' ? ": " : "", text);
	cdc_kafka_note_trouble(kafka, reason, event->message);
	event->type = CDC_KAFKA_ERROR;
	event->transient = code != RD_KAFKA_RESP_ERR__FATAL;
	strlcpy(event->reason, reason, CDC_REASON_LEN);
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
	/* the group is only written to: whether we may is no matter of reading */
	if (code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
	{
		cdc_kafka_note_group_error(kafka, text);
		return;
	}
	take_client_error(kafka, event, code, text);
}

/* cdc_kafka_is_malformed: see kafka_internal.h. */
bool
cdc_kafka_is_malformed(rd_kafka_event_t *event)
{
	const char *facility;
	const char *text;
	int			level;

	return rd_kafka_event_log(event, &facility, &text, &level) == 0 &&
		strncmp(facility, "PROTO", 5) == 0;
}

void
cdc_kafka_take_log(rd_kafka_event_t *event, bool *tainted)
{
	const char *facility;
	const char *text;
	char		detail[CDC_MESSAGE_LEN];
	int			level;

	if (rd_kafka_event_log(event, &facility, &text, &level) != 0)
		return;
	ereport(DEBUG1,
			(errmsg_internal("librdkafka: %s: %s", facility, text)));
	if (!cdc_kafka_is_malformed(event))
		return;
	strlcpy(detail, text, sizeof(detail));
	*tainted = true;
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("a broker sent an answer that cannot be read"),
			 errdetail_internal("%s", detail),
			 errhint("The worker starts anew. If this stays, see what stands between it and the brokers.")));
}

CdcKafkaEventType
cdc_kafka_poll(CdcKafka *kafka, CdcArena *arena, CdcKafkaEvent *event)
{
	Assert(kafka == cdc_open_kafka && kafka->pid == getpid());
	event->type = CDC_KAFKA_NONE;
	event->part = -1;
	event->offset = -1;
	event->transient = false;
	event->outage = false;
	event->reason[0] = '\0';
	event->message[0] = '\0';
	while (event->type == CDC_KAFKA_NONE)
	{
		/* one may be left from a call that ran out of memory, or had a doubt */
		if (kafka->event == NULL)
			kafka->event = next_event(kafka);
		/* only then, for it may have come with the doubt */
		event->part = cdc_kafka_take_doubt(kafka);
		if (event->part >= 0)
		{
			event->type = CDC_KAFKA_DOUBT;
			break;
		}
		if (kafka->event == NULL)
		{
			cdc_kafka_probe(kafka);
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
				cdc_kafka_take_log(kafka->event, &kafka->tainted);
				break;
			default:
				break;
		}
		cdc_kafka_release_event(kafka);
		if (event->type == CDC_KAFKA_NONE)
			CHECK_FOR_INTERRUPTS();
	}
	look_at_drained(kafka);
	return event->type;
}
