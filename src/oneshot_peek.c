/*-------------------------------------------------------------------------
 *
 * oneshot_peek.c
 *		What a one-shot worker does for its caller: show records.
 *
 * Floor 9.  Runs in the worker only; touches no table.  Reads from where the
 * caller wants to what was the end at the beginning, and sorts by time, for
 * a broker delivers one partition after the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "decode_api.h"
#include "errors.h"
#include "kafka.h"
#include "oneshot_internal.h"
#include "value.h"

/* gives up waiting for records after this time without any */
#define SILENCE_TIMEOUT_MS	5000
/* keeps at most this much */
#define PEEK_BYTES			((size_t) 64 * 1024 * 1024)


/* A partition that is being read. */
typedef struct PeekPartition
{
	int64		next;
	int64		end;
	int			count;
	bool		done;
} PeekPartition;

typedef struct Peek
{
	CdcKafka   *kafka;
	CdcArena	arena;			/* of all records */
	size_t		bytes;			/* of their keys and values */
	int			max_records;
	bool		newest;			/* of more records keep the last ones */
	int			nparts;
	PeekPartition *parts;
	int			nopen;			/* partitions not done */
	int			nrecords;
	CdcRecord  *records;
} Peek;

/* Where to begin in a partition. */
static int64
peek_start(const CdcPartitionEnds *ends, const CdcPlace *place, int max_records)
{
	int64		start = ends->offset;

	if (place->kind == CDC_PLACE_LATEST)
		start = ends->end - max_records;
	else if (place->kind == CDC_PLACE_RELATIVE)
		start = (place->number < 0 ? ends->end : ends->low) + place->number;
	return Max(start, ends->low);
}

/* Adds the partitions that have something to show. */
static void
start_reading(Peek *peek, const CdcPartitionEnds *ends, const CdcPlace *place)
{
	peek->parts = palloc0(peek->nparts * sizeof(PeekPartition));
	for (int i = 0; i < peek->nparts; i++)
	{
		PeekPartition *part = &peek->parts[i];
		CdcTopicPartition added = {
			.topic = ends[i].topic,.partition = ends[i].partition,.part = i
		};

		part->next = added.offset = peek_start(&ends[i], place,
											   peek->max_records);
		part->end = ends[i].end;
		part->done = part->next >= part->end;
		if (part->done)
			continue;
		peek->nopen++;
		cdc_kafka_add(peek->kafka, &added, 1);
	}
}

static void
keep_record(Peek *peek, const CdcRecord *record)
{
	PeekPartition *part = &peek->parts[record->part];

	/* the newest are known at the end only; of the oldest these are enough */
	if (part->done)
		return;
	if (peek->nrecords % 64 == 0)
	{
		Size		size = (peek->nrecords + 64) * sizeof(CdcRecord);

		peek->records = peek->records == NULL ? palloc(size) :
			repalloc(peek->records, size);
	}
	peek->records[peek->nrecords++] = *record;
	peek->bytes += cdc_record_bytes(record);
	part->next = record->offset + 1;
	part->count++;
	if (part->next >= part->end ||
		(part->count >= peek->max_records && !peek->newest))
	{
		part->done = true;
		peek->nopen--;
	}
}

/* Takes one event; ERROR for what will not pass by itself. */
static void
take_event(Peek *peek, const CdcKafkaEvent *event)
{
	switch (event->type)
	{
		case CDC_KAFKA_RECORD:
			keep_record(peek, &event->record);
			break;
		case CDC_KAFKA_EOF:
			if (!peek->parts[event->part].done)
				peek->nopen--;
			peek->parts[event->part].done = true;
			break;
		case CDC_KAFKA_OUT_OF_RANGE:
		case CDC_KAFKA_PARTITION_ERROR:
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_EXCEPTION),
					 errmsg("could not read the topic: %s", event->reason),
					 errdetail("%s", event->message)));
			break;
		default:
			break;
	}
}

/* Reads until every partition is done, or nothing comes for a while. */
static void
read_records(Peek *peek)
{
	while (peek->nopen > 0 && peek->bytes < PEEK_BYTES)
	{
		CdcKafkaEvent event;
		int			rc;

		if (cdc_kafka_poll(peek->kafka, &peek->arena, &event) !=
			CDC_KAFKA_NONE)
		{
			take_event(peek, &event);
			continue;
		}
		rc = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE |
							   WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							   cdc_kafka_wakeup_fd(peek->kafka),
							   SILENCE_TIMEOUT_MS, PG_WAIT_EXTENSION);
		if (rc & WL_LATCH_SET)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (rc & WL_TIMEOUT)
			break;
	}
}

/* qsort: by time, then partition and offset. */
static int
compare_records(const void *a, const void *b)
{
	const CdcRecord *x = a;
	const CdcRecord *y = b;

	if (x->ts_ms != y->ts_ms)
		return x->ts_ms < y->ts_ms ? -1 : 1;
	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Text of bytes, or NULL with *problem set where they are none. */
static char *
bytes_text(const CdcBytes *bytes, const char *name, const char **problem)
{
	if (bytes->data == NULL)
		return NULL;
	if (!pg_verify_mbstr(PG_UTF8, bytes->data, bytes->len, true))
	{
		*problem = psprintf("%s is not valid UTF-8 text", name);
		return NULL;
	}
	return pnstrdup(bytes->data, bytes->len);
}

/* Headers as JSON text: an array of {name, value}. */
static char *
headers_text(const CdcRecord *record)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < record->nheaders; i++)
	{
		const CdcHeader *header = &record->headers[i];
		CdcBytes	name = {header->name, (int32) strlen(header->name)};
		const char *problem = NULL;
		char	   *text = bytes_text(&name, "name", &problem);
		char	   *value = bytes_text(&header->value, "value", &problem);

		appendStringInfoString(&json, i > 0 ? ", {\"name\": " : "{\"name\": ");
		escape_json(&json, text ? text : "");
		appendStringInfoString(&json, ", \"value\": ");
		if (value == NULL)
			appendStringInfoString(&json, "null");
		else
			escape_json(&json, value);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

static const char *
kind_text(CdcKind kind)
{
	static const char *const names[] = {
		[CDC_KIND_CHANGE] = "change",[CDC_KIND_TOMBSTONE] = "tombstone",
		[CDC_KIND_EMPTY] = "empty",[CDC_KIND_HEARTBEAT] = "heartbeat",
		[CDC_KIND_TRANSACTION] = "transaction",
		[CDC_KIND_SCHEMA_CHANGE] = "schema_change",
		[CDC_KIND_NOTIFICATION] = "notification",
		[CDC_KIND_SIGNAL] = "signal",[CDC_KIND_MESSAGE] = "message"
	};

	return names[kind];
}

/* schema.table of the source block, as far as it is there. */
static char *
relation_text(const CdcEvent *event)
{
	if (event->source_table.data == NULL)
		return NULL;
	if (event->source_schema.data == NULL)
		return pnstrdup(event->source_table.data, event->source_table.len);
	return psprintf("%.*s.%.*s",
					event->source_schema.len, event->source_schema.data,
					event->source_table.len, event->source_table.data);
}

/* Sends one record with what it decodes to. */
static void
emit_record(CdcDecodeState *decode, CdcArena *arena, const CdcRecord *record)
{
	CdcEvent	event = {0};
	CdcRecord	whole = *record;
	const char *problem = NULL;
	const char *values[10] = {0};

	if (!cdc_decoder_debezium.decode(decode, record, arena, &event) ||
		(record->start.data != NULL && !cdc_value_join(arena, record, &whole.value)) ||
		!cdc_record_read_headers(&whole, arena))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	values[0] = psprintf("%d", record->partition);
	values[1] = psprintf(INT64_FORMAT, record->offset);
	values[2] = cdc_record_time_text(record->ts_ms);
	values[3] = headers_text(&whole);
	values[4] = bytes_text(&record->key, "key", &problem);
	values[5] = bytes_text(&whole.value, "value", &problem);
	if (event.error == NULL)
	{
		values[6] = kind_text(event.kind);
		if (event.op != CDC_OP_NONE)
			values[7] = psprintf("%c", event.op);
		values[8] = relation_text(&event);
		values[9] = problem;
	}
	else if (event.error->field != NULL)
		values[9] = psprintf("%s: %s", event.error->field,
							 event.error->message);
	else
		values[9] = event.error->message;
	cdc_oneshot_emit(values, lengthof(values));
}

/* Sends the records that were asked for, in order of time. */
static void
emit_records(Peek *peek)
{
	CdcSourceSettings settings;
	CdcDecodeState *decode;
	int			n = Min(peek->nrecords, peek->max_records);
	int			first = peek->newest ? peek->nrecords - n : 0;

	if (peek->nrecords > 1)
		qsort(peek->records, peek->nrecords, sizeof(CdcRecord),
			  compare_records);
	cdc_source_defaults(&settings);
	decode = cdc_decoder_debezium.open(&settings);
	if (decode == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	for (int i = first; i < first + n; i++)
		emit_record(decode, &peek->arena, &peek->records[i]);
	cdc_decoder_debezium.close(decode);
}

void
cdc_job_peek(StringInfo request)
{
	CdcKafkaConfig config;
	Peek	   *peek = palloc0(sizeof(Peek));
	CdcPartitionEnds *ends;
	CdcPlace	place;
	char	   *topic;
	int32		partition;

	peek->kafka = cdc_job_open(request, &config);
	topic = cdc_request_get_text(request);
	partition = (int32) cdc_request_get_int(request);
	cdc_request_get_place(request, &place);
	peek->max_records = (int) cdc_request_get_int(request);
	peek->newest = place.kind == CDC_PLACE_LATEST;
	cdc_job_require_contact(peek->kafka);
	ends = cdc_job_find_places(peek->kafka, topic, partition, &place, &peek->nparts);
	start_reading(peek, ends, &place);
	read_records(peek);
	emit_records(peek);
}
