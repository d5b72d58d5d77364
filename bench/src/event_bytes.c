/*-------------------------------------------------------------------------
 *
 * event_bytes.c
 *		Debezium's bytes for a change of a row: envelope, key, schemas,
 *		headers, as connector 3.6.1 with its default settings writes them.
 *
 * bench/run --check-generator compares them with what a real pipeline
 * writes, byte by byte.
 *
 *-------------------------------------------------------------------------
 */
#include "event_bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION "3.6.1.Final"

struct GenEvents
{
	const GenTable *table;
	const char *prefix;
	const char *database;
	char	   *value_head;		/* up to the payload; "" without a schema */
	char	   *key_head;
	size_t		value_head_len;
	size_t		key_head_len;
	const char *tail;			/* what closes the schema form */
	char	   *key;
	char	   *value;
	size_t		key_len;
};

/* Connect's description of a column, as a member list without braces. */
static const char *
schema_of(GenKind kind)
{
	switch (kind)
	{
		case GEN_KEY:
			return "\"type\":\"int64\",\"optional\":false";
		case GEN_INT8:
			return "\"type\":\"int64\",\"optional\":true";
		case GEN_INT4:
			return "\"type\":\"int32\",\"optional\":true";
		case GEN_INT2:
			return "\"type\":\"int16\",\"optional\":true";
		case GEN_NUMERIC:
			return "\"type\":\"bytes\",\"optional\":true,\"name\":\"org.apache.kafka.connect.data.Decimal\",\"version\":1,"
				"\"parameters\":{\"scale\":\"2\",\"connect.decimal.precision\":\"12\"}";
		case GEN_TIMESTAMPTZ:
			return "\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.time.ZonedTimestamp\",\"version\":1";
		case GEN_TIMESTAMP:
			return "\"type\":\"int64\",\"optional\":true,\"name\":\"io.debezium.time.MicroTimestamp\",\"version\":1";
		case GEN_DATE:
			return "\"type\":\"int32\",\"optional\":true,\"name\":\"io.debezium.time.Date\",\"version\":1";
		case GEN_BOOL:
			return "\"type\":\"boolean\",\"optional\":true";
		case GEN_FLOAT8:
			return "\"type\":\"double\",\"optional\":true";
		case GEN_UUID:
			return "\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Uuid\",\"version\":1";
		case GEN_TEXT:
			return "\"type\":\"string\",\"optional\":true";
	}
	return NULL;
}

static char *
put_row_schema(char *out, const GenEvents *events, const char *field)
{
	const GenTable *table = events->table;

	out += sprintf(out, "{\"type\":\"struct\",\"fields\":[");
	for (int i = 0; i < table->ncolumns; i++)
		out += sprintf(out, "%s{%s,\"field\":\"%s\"}", i ? "," : "",
					   schema_of(table->columns[i].kind), table->columns[i].name);
	return out + sprintf(out, "],\"optional\":true,\"name\":\"%s.public.%s.Value\",\"field\":\"%s\"}",
						 events->prefix, table->name, field);
}

/* The part of the envelope's schema that no table changes. */
static const char common_schema[] =
"{\"type\":\"struct\",\"fields\":["
"{\"type\":\"string\",\"optional\":false,\"field\":\"version\"},"
"{\"type\":\"string\",\"optional\":false,\"field\":\"connector\"},"
"{\"type\":\"string\",\"optional\":false,\"field\":\"name\"},"
"{\"type\":\"int64\",\"optional\":false,\"field\":\"ts_ms\"},"
"{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\",\"version\":1,\"parameters\":{\"allowed\":"
"\"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental\"},\"default\":\"false\",\"field\":\"snapshot\"},"
"{\"type\":\"string\",\"optional\":false,\"field\":\"db\"},"
"{\"type\":\"string\",\"optional\":true,\"field\":\"sequence\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_us\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ns\"},"
"{\"type\":\"string\",\"optional\":false,\"field\":\"schema\"},"
"{\"type\":\"string\",\"optional\":false,\"field\":\"table\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"txId\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"lsn\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"xmin\"},"
"{\"type\":\"string\",\"optional\":true,\"field\":\"origin\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"origin_lsn\"}"
"],\"optional\":false,\"name\":\"io.debezium.connector.postgresql.Source\",\"version\":1,\"field\":\"source\"},"
"{\"type\":\"struct\",\"fields\":["
"{\"type\":\"string\",\"optional\":false,\"field\":\"id\"},"
"{\"type\":\"int64\",\"optional\":false,\"field\":\"total_order\"},"
"{\"type\":\"int64\",\"optional\":false,\"field\":\"data_collection_order\"}"
"],\"optional\":true,\"name\":\"event.block\",\"version\":1,\"field\":\"transaction\"},"
"{\"type\":\"string\",\"optional\":false,\"field\":\"op\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ms\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_us\"},"
"{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ns\"}";

static void
make_heads(GenEvents *events)
{
	const char *table = events->table->name;
	char	   *out = events->value_head;

	out += sprintf(out, "{\"schema\":{\"type\":\"struct\",\"fields\":[");
	out = put_row_schema(out, events, "before");
	*out++ = ',';
	out = put_row_schema(out, events, "after");
	sprintf(out, ",%s],\"optional\":false,\"name\":\"%s.public.%s.Envelope\",\"version\":2},\"payload\":",
			common_schema, events->prefix, table);
	sprintf(events->key_head, "{\"schema\":{\"type\":\"struct\",\"fields\":[{%s,\"field\":\"id\"}],\"optional\":false,"
			"\"name\":\"%s.public.%s.Key\"},\"payload\":", schema_of(GEN_KEY), events->prefix, table);
}

GenEvents *
gen_events_open(const GenTable *table, bool schema, const char *prefix, const char *database)
{
	GenEvents  *events = calloc(1, sizeof(*events));

	events->table = table;
	events->prefix = prefix;
	events->database = database;
	events->value_head = calloc(1, GEN_ROW_MAX);
	events->key_head = calloc(1, GEN_ROW_MAX);
	events->value = malloc(3 * GEN_ROW_MAX);
	events->key = malloc(GEN_ROW_MAX);
	if (schema)
		make_heads(events);
	events->tail = schema ? "}" : "";
	events->value_head_len = strlen(events->value_head);
	events->key_head_len = strlen(events->key_head);
	memcpy(events->value, events->value_head, events->value_head_len);
	memcpy(events->key, events->key_head, events->key_head_len);
	return events;
}

/*
 * A row as JSON.  Of a deleted one only the key is known (REPLICA IDENTITY
 * DEFAULT), the rest is null because no column but the key is NOT NULL.
 */
static char *
put_row(char *out, const GenTable *table, const GenChange *change)
{
	*out++ = '{';
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (i > 0)
			*out++ = ',';
		*out++ = '"';
		out = stpcpy(out, table->columns[i].name);
		*out++ = '"';
		*out++ = ':';
		if (change->op == 'd' && table->columns[i].kind != GEN_KEY)
			out = stpcpy(out, "null");
		else
			out += gen_value_json(table, i, change->id, change->version, out);
	}
	*out++ = '}';
	return out;
}

static char *
put_number(char *out, int64_t value)
{
	char		digits[20];
	int			n = 0;

	do
		digits[n++] = (char) ('0' + value % 10);
	while ((value /= 10) != 0);
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

static char *
put_source(char *out, const GenEvents *events, const GenPlace *place)
{
	out = stpcpy(out, "\"source\":{\"version\":\"" VERSION "\",\"connector\":\"postgresql\",\"name\":\"");
	out = stpcpy(out, events->prefix);
	out = put_number(stpcpy(out, "\",\"ts_ms\":"), place->ts_us / 1000);
	out = stpcpy(stpcpy(out, ",\"snapshot\":\"false\",\"db\":\""), events->database);
	out = stpcpy(out, "\",\"sequence\":\"[");
	if (place->commit_lsn < 0)
		out = stpcpy(out, "null");
	else
		out = stpcpy(put_number(stpcpy(out, "\\\""), place->commit_lsn), "\\\"");
	out = put_number(stpcpy(out, ",\\\""), place->lsn);
	out = put_number(stpcpy(out, "\\\"]\",\"ts_us\":"), place->ts_us);
	out = put_number(stpcpy(out, ",\"ts_ns\":"), place->ts_us * 1000);
	out = stpcpy(stpcpy(out, ",\"schema\":\"public\",\"table\":\""), events->table->name);
	out = put_number(stpcpy(out, "\",\"txId\":"), place->txid);
	out = put_number(stpcpy(out, ",\"lsn\":"), place->lsn);
	return stpcpy(out, ",\"xmin\":null,\"origin\":null,\"origin_lsn\":null}");
}

void
gen_events_make(GenEvents *events, const GenChange *change, const GenPlace *place, GenRecord *record)
{
	char	   *out = events->value + events->value_head_len;
	char	   *key = events->key + events->key_head_len;

	out = stpcpy(out, "{\"before\":");
	if (change->op == 'd')
		out = stpcpy(put_row(out, events->table, change), ",\"after\":null,");
	else
	{
		out = put_row(stpcpy(out, "null,\"after\":"), events->table, change);
		*out++ = ',';
	}
	out = stpcpy(put_source(out, events, place), ",\"transaction\":null,\"op\":\"");
	*out++ = change->op;
	out = put_number(stpcpy(out, "\",\"ts_ms\":"), place->ts_ns / 1000000);
	out = put_number(stpcpy(out, ",\"ts_us\":"), place->ts_ns / 1000);
	out = put_number(stpcpy(out, ",\"ts_ns\":"), place->ts_ns);
	*out++ = '}';
	out = stpcpy(out, events->tail);

	key = put_number(stpcpy(key, "{\"id\":"), change->id);
	*key++ = '}';
	key = stpcpy(key, events->tail);

	record->value = events->value;
	record->value_len = (size_t) (out - events->value);
	record->key = events->key;
	record->key_len = events->key_len = (size_t) (key - events->key);
}

void
gen_events_tombstone(GenEvents *events, GenRecord *record)
{
	record->key = events->key;
	record->key_len = events->key_len;
	record->value = NULL;
	record->value_len = 0;
}

void
gen_events_headers(const char *prefix, const char *run_id, GenHeader headers[GEN_HEADERS])
{
	headers[0] = (GenHeader) {"__debezium.context.connectorLogicalName", prefix};
	headers[1] = (GenHeader) {"__debezium.context.taskId", "0"};
	headers[2] = (GenHeader) {"__debezium.context.connectorName", "postgresql"};
	headers[3] = (GenHeader) {"__debezium.context.runId", run_id};
}

void
gen_place_start(GenPlace *place)
{
	place->txid = 740;
	place->lsn = INT64_C(5368709120);
	place->commit_lsn = -1;
	place->ts_us = INT64_C(1788800000000000);
	place->ts_ns = place->ts_us * 1000 + 48411337;
}

/* Moves to event number (from 1); a commit lies between transactions. */
void
gen_place_next(GenPlace *place, int64_t number, int64_t tx_rows)
{
	place->lsn += 192;
	if (number > 1 && (number - 1) % tx_rows == 0)
	{
		place->commit_lsn = place->lsn;
		place->lsn += 56;
		place->txid++;
		place->ts_us += 213;
	}
	place->ts_ns += 21403;
}
