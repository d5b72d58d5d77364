/*-------------------------------------------------------------------------
 *
 * test_decode.c
 *		The decoder on records made by hand: every form, and what is none.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

static CdcSourceSettings settings;
static CdcDecodeState *state;
static CdcArena arena;
static CdcRecord record;
static CdcEvent event;
static const char *name;		/* of the record under test */

/* Starts anew with pairs of settings, a NULL ends them. */
static void
open_with(const char *const *pairs)
{
	const char *problem;

	if (state != NULL)
		cdc_decoder_debezium.close(state);
	cdc_arena_reset(&arena);
	cdc_source_defaults(&settings);
	for (; *pairs != NULL; pairs += 2)
		cdc_source_set(&settings, pairs[0], pairs[1], &problem);
	state = cdc_decoder_find("debezium")->open(&settings);
}

#define OPEN(...) open_with((const char *const[]) {__VA_ARGS__, NULL})
#define OPEN_DEFAULT() open_with((const char *const[]) {NULL})

static void
decode_record(void)
{
	if (!cdc_decoder_debezium.decode(state, &record, &arena, &event))
		abort();
}

static void
decode_bytes(const char *what, const char *key, CdcBytes value)
{
	name = what;
	memset(&record, 0, sizeof(record));
	record.topic = "t";
	record.key = unit_bytes(key);
	record.value = value;
	decode_record();
}

static void
decode(const char *what, const char *key, const char *value)
{
	decode_bytes(what, key, unit_bytes(value));
}

/* The event is a change with this op and these rows as raw text. */
static void
is_change(char op, const char *before, const char *after)
{
	bool		good = event.error == NULL && event.kind == CDC_KIND_CHANGE &&
		event.op == (CdcOp) op;

	unit_ok(good, "%s: change %c", name, op);
	if (!good)
		printf("# kind %s, op %c, error %s\n", unit_kind_name(event.kind),
			   event.op ? event.op : '-',
			   event.error ? event.error->message : "none");
	if (event.error != NULL)
		return;
	unit_is_text(event.before ? event.before->text : NULL,
				 event.before ? event.before->len : 0, before, "  before");
	unit_is_text(event.after ? event.after->text : NULL,
				 event.after ? event.after->len : 0, after, "  after");
}

static void
is_kind(CdcKind kind)
{
	unit_ok(event.error == NULL && event.kind == kind, "%s: %s", name,
			unit_kind_name(kind));
	if (event.error != NULL)
		printf("# error %s\n", event.error->message);
}

static void
is_error(const char *message, const char *field)
{
	if (event.error == NULL)
	{
		unit_ok(false, "%s: error", name);
		printf("# kind %s, op %c\n", unit_kind_name(event.kind),
			   event.op ? event.op : '-');
		return;
	}
	unit_is_text(event.error->message, strlen(event.error->message), message,
				 name);
	unit_is_text(event.error->field,
				 event.error->field ? strlen(event.error->field) : 0, field,
				 "  field");
}

static void
key_is(const char *text)
{
	unit_is_text(event.key ? event.key->text : NULL,
				 event.key ? event.key->len : 0, text, "  key");
}

#define SOURCE "\"source\":{\"name\":\"shop\",\"db\":\"sales\",\"sequence\":\"[\\\"90210\\\",\\\"90344\\\"]\"," \
	"\"schema\":\"public\",\"table\":\"stock\",\"ts_ms\":1788800000123,\"snapshot\":\"false\"}"
#define ENVELOPE(op, before, after) \
	"{\"before\":" before ",\"after\":" after "," SOURCE ",\"op\":" op ",\"ts_ms\":1}"
#define KEY "{\"id\":1}"
#define ROW "{\"id\":1,\"name\":\"a\"}"

static void
test_envelope(void)
{
	OPEN_DEFAULT();
	decode("c", KEY, ENVELOPE("\"c\"", "null", ROW));
	is_change('c', NULL, ROW);
	key_is(KEY);
	unit_ok(!event.flattened && !event.snapshot && event.row_schema == NULL,
			"  envelope, no snapshot, no schema");
	unit_is_text(event.source_name.data, event.source_name.len, "shop", "  name");
	unit_is_text(event.source_db.data, event.source_db.len, "sales", "  db");
	unit_is_text(event.source_schema.data, event.source_schema.len, "public",
				 "  schema");
	unit_is_text(event.source_table.data, event.source_table.len, "stock",
				 "  table");
	unit_is_int(event.source_ts_ms, 1788800000123, "  ts_ms");
	unit_ok(event.sequence[0].valid && event.sequence[0].value == 90210 &&
			event.sequence[1].valid && event.sequence[1].value == 90344,
			"  sequence");
	decode("r", KEY, ENVELOPE("\"r\"", "null", ROW));
	is_change('r', NULL, ROW);
	unit_ok(event.snapshot, "  a read is of a snapshot");
	decode("u", KEY, ENVELOPE("\"u\"", ROW, ROW));
	is_change('u', ROW, ROW);
	decode("d", KEY, ENVELOPE("\"d\"", ROW, "null"));
	is_change('d', ROW, NULL);
	decode("d, before null", KEY, ENVELOPE("\"d\"", "null", "null"));
	is_change('d', NULL, NULL);
	decode("t", NULL, ENVELOPE("\"t\"", "null", "null"));
	is_change('t', NULL, NULL);
	decode("m", "{\"prefix\":\"p\"}",
		   "{\"op\":\"m\",\"ts_ms\":1," SOURCE ",\"message\":{\"prefix\":\"p\",\"content\":\"\"}}");
	is_kind(CDC_KIND_MESSAGE);
	decode("unknown members", KEY,
		   "{\"x\":{\"op\":\"d\"}," SOURCE ",\"op\":\"c\",\"after\":" ROW ",\"before\":null,\"ts_zs\":[1]}");
	is_change('c', NULL, ROW);
	decode("without before and transaction", KEY,
		   "{\"op\":\"c\",\"source\":{},\"after\":" ROW "}");
	is_change('c', NULL, ROW);
	unit_ok(event.source_table.data == NULL && event.source_ts_ms == -1 &&
			!event.sequence[0].valid, "  an empty source block");
	decode("duplicate members", KEY,
		   "{\"op\":\"d\",\"op\":\"c\"," SOURCE ",\"after\":null,\"after\":" ROW "}");
	is_change('c', NULL, ROW);
	decode("MySQL", KEY,
		   "{\"op\":\"c\",\"source\":{\"db\":\"inv\",\"sequence\":null,\"table\":\"t\",\"snapshot\":true,\"file\":\"b.1\",\"pos\":4},\"after\":" ROW "}");
	is_change('c', NULL, ROW);
	unit_ok(event.source_schema.data == NULL && event.source_table.len == 1 &&
			event.snapshot, "  table without schema, boolean snapshot");
}

static void
test_envelope_errors(void)
{
	decode("op C", KEY, ENVELOPE("\"C\"", "null", ROW));
	is_error("unknown operation \"C\"", "op");
	decode("op x", KEY, ENVELOPE("\"x\"", "null", ROW));
	is_error("unknown operation \"x\"", "op");
	decode("op empty", KEY, ENVELOPE("\"\"", "null", ROW));
	is_error("unknown operation \"\"", "op");
	decode("op \\u0000", KEY, ENVELOPE("\"\\u0000\"", "null", ROW));
	is_error("unknown operation \"\"", "op");
	decode("op w", KEY, ENVELOPE("\"w\"", "null", ROW));
	is_error("unknown operation \"w\"", "op");
	decode("op 5", KEY, ENVELOPE("5", "null", ROW));
	is_error("operation of a change event is not a string", "op");
	decode("op null", KEY, ENVELOPE("null", "null", ROW));
	is_error("operation of a change event is not a string", "op");
	decode("no op", KEY, "{\"before\":null,\"after\":" ROW "," SOURCE "}");
	is_error("change event has no operation", "op");
	decode("no source", KEY, "{\"before\":null,\"after\":" ROW ",\"op\":\"c\"}");
	is_error("change event has no source block", "source");
	decode("long op", KEY,
		   ENVELOPE("\"cccccccccccccccccccccccccccccccccccccccccccccc\xC3\xA4\xC3\xA4\"", "null", ROW));
	is_error("unknown operation \"cccccccccccccccccccccccccccccccccccccccccccc...\"", "op");
	decode("c, after null", KEY, ENVELOPE("\"c\"", "null", "null"));
	is_error("\"after\" of an event with operation \"c\" is null", "after");
	decode("r, no after", KEY, "{\"op\":\"r\"," SOURCE "}");
	is_error("\"after\" of an event with operation \"r\" is absent", "after");
	decode("u, after array", KEY, ENVELOPE("\"u\"", "null", "[1]"));
	is_error("\"after\" of an event with operation \"u\" is an array", "after");
	decode("u, before string", KEY, ENVELOPE("\"u\"", "\"x\"", ROW));
	is_error("\"before\" of an event with operation \"u\" is a string", "before");
	decode("d, before array", KEY, ENVELOPE("\"d\"", "[]", "null"));
	is_error("\"before\" of an event with operation \"d\" is an array", "before");
	decode("d, after", KEY, ENVELOPE("\"d\"", "null", ROW));
	is_error("\"after\" of a delete is an object", "after");
}

static void
test_sequence(void)
{
	static const struct
	{
		const char *text;
		bool		valid[2];
	}			cases[] = {
		{"\"[null,\\\"5\\\"]\"", {false, true}},
		{"\"[\\\"5\\\",null]\"", {true, false}},
		{"\"[ \\\"5\\\" , \\\"6\\\" ]\"", {true, true}},
		{"[\"5\",\"6\"]", {true, true}},
		{"\"[\\\"18446744073709551615\\\",\\\"0\\\"]\"", {true, true}},
		{"\"[\\\"18446744073709551616\\\",\\\"0\\\"]\"", {false, false}},
		{"\"[\\\"5\\\"]\"", {false, false}},
		{"\"[\\\"5\\\",\\\"x\\\"]\"", {false, false}},
		{"\"[\\\"-5\\\",\\\"5\\\"]\"", {false, false}},
		{"\"[\\\"\\\",\\\"5\\\"]\"", {false, false}},
		{"\"\"", {false, false}},
		{"null", {false, false}},
		{"7", {false, false}},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char		value[512];

		snprintf(value, sizeof(value),
				 "{\"op\":\"c\",\"source\":{\"sequence\":%s},\"after\":" ROW "}",
				 cases[i].text);
		decode("sequence", KEY, value);
		unit_ok(event.sequence[0].valid == cases[i].valid[0] &&
				event.sequence[1].valid == cases[i].valid[1],
				"sequence %s", cases[i].text);
	}
}

static void
test_nulls(void)
{
	decode("null, null", NULL, NULL);
	is_kind(CDC_KIND_EMPTY);
	decode("key, null", KEY, NULL);
	is_kind(CDC_KIND_TOMBSTONE);
	key_is(KEY);
	unit_ok(!event.flattened, "  a Kafka null is no flattened row");
	decode("JSON null key, null", "null", NULL);
	is_kind(CDC_KIND_EMPTY);
	decode("key, JSON null", KEY, "null");
	is_kind(CDC_KIND_TOMBSTONE);
	unit_ok(event.flattened, "  a soft tombstone is a flattened row");
	decode("key, payload null", KEY,
		   "{\"schema\":{\"type\":\"struct\",\"fields\":[],\"optional\":true},\"payload\":null}");
	is_kind(CDC_KIND_TOMBSTONE);
	unit_ok(event.row_schema != NULL, "  with schema");
	decode("key, payload null, schema null", KEY,
		   "{\"schema\":null,\"payload\":null}");
	is_kind(CDC_KIND_TOMBSTONE);
	decode("no key, JSON null", NULL, "null");
	is_error("delete has neither a row nor a record key", NULL);
	decode("no key, d without old row", NULL, ENVELOPE("\"d\"", "null", "null"));
	is_error("delete has neither a row nor a record key", NULL);
	decode("no key, d with old row", NULL, ENVELOPE("\"d\"", ROW, "null"));
	is_change('d', ROW, NULL);
	decode("empty value", KEY, "");
	is_error("record value is not valid JSON", NULL);
	decode("null in a table called so", KEY, "\"null\"");
	is_error("record value is not a change event", NULL);
}

#define KEY_SCHEMA "{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,\"field\":\"id\"}],\"optional\":false,\"name\":\"k\"}"

static void
test_keys(void)
{
	static const char value[] = ENVELOPE("\"c\"", "null", ROW);

	decode("key with schema", "{\"schema\":" KEY_SCHEMA ",\"payload\":{\"id\":1}}", value);
	is_change('c', NULL, ROW);
	key_is(KEY);
	unit_ok(event.key_schema != NULL && event.key_schema->nfields == 1 &&
			event.row_schema == NULL, "  schema of the key only");
	decode("number as key", "7", value);
	key_is("7");
	unit_is_int(event.key->type, CDC_JSON_NUMBER, "  a number");
	decode("number with schema as key",
		   "{\"schema\":{\"type\":\"int64\",\"optional\":false},\"payload\":7}", value);
	key_is("7");
	unit_is_int(event.key_schema->type, CDC_CONNECT_INT64, "  an int64");
	decode("string with schema as key",
		   "{\"schema\":{\"type\":\"string\",\"optional\":false},\"payload\":\"a\"}", value);
	key_is("a");
	decode("JSON string as key", "\"a b\"", value);
	key_is("a b");
	decode("plain string as key", "a b", value);
	key_is("a b");
	unit_is_int(event.key->type, CDC_JSON_STRING, "  a string");
	decode("uuid as key", "0190f3c2-7d6e-7a10-8c00-000000000001", value);
	key_is("0190f3c2-7d6e-7a10-8c00-000000000001");
	decode("digits that are no JSON number", "007", value);
	key_is("007");
	decode("no key", NULL, value);
	is_change('c', NULL, ROW);
	key_is(NULL);
	decode("payload null as key", "{\"schema\":" KEY_SCHEMA ",\"payload\":null}", value);
	key_is(NULL);
	decode("columns called schema and payload",
		   "{\"schema\":\"s\",\"payload\":{\"a\":1}}", value);
	key_is("{\"schema\":\"s\",\"payload\":{\"a\":1}}");
	decode("schema without type", "{\"schema\":{},\"payload\":1}", value);
	key_is("{\"schema\":{},\"payload\":1}");
	decode("a third member", "{\"schema\":null,\"payload\":1,\"x\":2}", value);
	key_is("{\"schema\":null,\"payload\":1,\"x\":2}");
	decode("broken JSON key", "{\"id\":1", value);
	is_error("record key is not valid JSON", NULL);
	decode("broken JSON key of a truncate", "{\"id\":1",
		   ENVELOPE("\"t\"", "null", "null"));
	is_change('t', NULL, NULL);
	decode("array as key", "[1]", value);
	is_error("record key is an array", NULL);
	decode("key that does not fit its schema",
		   "{\"schema\":" KEY_SCHEMA ",\"payload\":1}", value);
	is_error("record key does not fit its schema", NULL);
	decode("key that is no UTF-8", "a\xFF", value);
	is_error("record key is neither JSON nor UTF-8 text", NULL);
	decode("unreadable key of a tombstone", "a\xFF", NULL);
	is_error("record key is neither JSON nor UTF-8 text", NULL);
}

#define ROW_FIELDS "[{\"type\":\"int32\",\"optional\":false,\"field\":\"id\"},{\"type\":\"string\",\"optional\":true,\"field\":\"name\"}]"
#define ENVELOPE_SCHEMA "{\"type\":\"struct\",\"fields\":[{\"type\":\"struct\",\"fields\":" ROW_FIELDS ",\"optional\":true,\"field\":\"before\"}," \
	"{\"type\":\"struct\",\"fields\":" ROW_FIELDS ",\"optional\":true,\"field\":\"after\"}],\"optional\":false}"
#define WRAPPED(schema, payload) "{\"schema\":" schema ",\"payload\":" payload "}"

static void
test_schema(void)
{
	const CdcSchema *first;
	static const char value[] =
		WRAPPED(ENVELOPE_SCHEMA, ENVELOPE("\"c\"", "null", ROW));

	decode("envelope with schema", KEY, value);
	is_change('c', NULL, ROW);
	first = event.row_schema;
	unit_ok(first != NULL && first->nfields == 2 &&
			strcmp(first->fields[1].field, "name") == 0 &&
			first->fields[1].type == CDC_CONNECT_STRING &&
			first->fields[1].optional && !first->fields[0].optional,
			"  schema of the row");
	cdc_arena_reset(&arena);
	decode("the same schema again", KEY,
		   WRAPPED(ENVELOPE_SCHEMA, ENVELOPE("\"u\"", "null", "{\"id\":2}")));
	is_change('u', NULL, "{\"id\":2}");
	unit_ok(event.row_schema == first, "  is the same pointer");
	decode("the same schema, spaced", KEY,
		   "{ \"schema\" : " ENVELOPE_SCHEMA " , \"payload\" : " ENVELOPE("\"d\"", ROW, "null") " }");
	is_change('d', ROW, NULL);
	unit_ok(event.row_schema == first, "  is the same pointer");
	decode("payload before schema", KEY,
		   "{\"payload\":" ENVELOPE("\"c\"", "null", ROW) ",\"schema\":" ENVELOPE_SCHEMA "}");
	is_change('c', NULL, ROW);
	unit_ok(event.row_schema == first, "  is the same pointer");
	decode("known schema, third member", KEY,
		   "{\"schema\":" ENVELOPE_SCHEMA ",\"payload\":" ENVELOPE("\"c\"", "null", ROW) ",\"x\":{}}");
	is_change('w', NULL, record.value.data ? event.after ? pnstrdup(record.value.data, record.value.len) : NULL : NULL);
	decode("known schema, payload twice", KEY,
		   "{\"schema\":" ENVELOPE_SCHEMA ",\"payload\":" ENVELOPE("\"c\"", "null", ROW) ",\"payload\":null}");
	unit_ok(event.error == NULL && event.after->nchildren == 3,
			"known schema, payload twice: three members");
	decode("known schema, cut", KEY,
		   "{\"schema\":" ENVELOPE_SCHEMA ",\"payload\":");
	is_error("record value is not valid JSON", NULL);
	decode("known schema, no closing brace", KEY,
		   "{\"schema\":" ENVELOPE_SCHEMA ",\"payload\":" ENVELOPE("\"c\"", "null", ROW));
	is_error("record value is not valid JSON", NULL);
	decode("known schema, text after it", KEY,
		   "{\"schema\":" ENVELOPE_SCHEMA ",\"payload\":" ENVELOPE("\"c\"", "null", ROW) "}}");
	is_error("record value is not valid JSON", NULL);
	decode("known schema, payload null", KEY, WRAPPED(ENVELOPE_SCHEMA, "null"));
	is_kind(CDC_KIND_TOMBSTONE);
	decode("known schema, payload 1", KEY, WRAPPED(ENVELOPE_SCHEMA, "1"));
	is_error("record value is not a change event", NULL);
	decode("another schema", KEY,
		   WRAPPED("{\"type\":\"struct\",\"fields\":[{\"type\":\"struct\",\"fields\":[],\"field\":\"after\"}]}",
				   ENVELOPE("\"c\"", "null", ROW)));
	is_change('c', NULL, ROW);
	unit_ok(event.row_schema != first && event.row_schema->nfields == 0,
			"  is another pointer");
	decode("the first schema again", KEY, value);
	unit_ok(event.row_schema == first, "the first schema is still known");
	decode("schema null", KEY, WRAPPED("null", ENVELOPE("\"c\"", "null", ROW)));
	is_change('c', NULL, ROW);
	unit_ok(event.row_schema == NULL, "  no schema");
	decode("flattened row with schema", KEY,
		   WRAPPED("{\"type\":\"struct\",\"fields\":" ROW_FIELDS "}", ROW));
	is_change('w', NULL, ROW);
	unit_ok(event.flattened && event.row_schema->nfields == 2, "  and its schema");
}

static void
test_schema_types(void)
{
	static const char schema[] = "{\"type\":\"struct\",\"fields\":["
		"{\"type\":\"bytes\",\"optional\":true,\"name\":\"org.apache.kafka.connect.data.Decimal\",\"version\":1,"
		"\"parameters\":{\"scale\":\"2\",\"connect.decimal.precision\":\"12\"},\"field\":\"a\",\"default\":\"AA==\"},"
		"{\"type\":\"array\",\"items\":{\"type\":\"float\",\"optional\":true},\"optional\":true,\"field\":\"b\"},"
		"{\"type\":\"map\",\"keys\":{\"type\":\"string\"},\"values\":{\"type\":\"double\",\"optional\":true},\"field\":\"c\"},"
		"{\"type\":\"boolean\",\"field\":\"d\\u00e9\"}]}";
	char		value[2048];
	const CdcSchema *row;

	snprintf(value, sizeof(value), "{\"schema\":%s,\"payload\":{\"a\":null}}", schema);
	decode("types of a schema", KEY, value);
	is_change('w', NULL, "{\"a\":null}");
	row = event.row_schema;
	unit_ok(row->nfields == 4 && row->fields[0].type == CDC_CONNECT_BYTES &&
			strcmp(row->fields[0].name, "org.apache.kafka.connect.data.Decimal") == 0 &&
			row->fields[0].nparams == 2 &&
			strcmp(row->fields[0].params[0].name, "scale") == 0 &&
			strcmp(row->fields[0].params[0].value, "2") == 0, "  decimal");
	unit_ok(row->fields[1].type == CDC_CONNECT_ARRAY &&
			row->fields[1].items->type == CDC_CONNECT_FLOAT, "  array");
	unit_ok(row->fields[2].type == CDC_CONNECT_MAP &&
			row->fields[2].keys->type == CDC_CONNECT_STRING &&
			row->fields[2].items->type == CDC_CONNECT_DOUBLE, "  map");
	unit_ok(strcmp(row->fields[3].field, "d\xC3\xA9") == 0 &&
			row->fields[3].field_len == 3, "  name with an escape");
}

static void
test_schema_errors(void)
{
	static const char *const cases[][2] = {
		{"{\"type\":\"int33\"}", "record value has a schema with an unknown type"},
		{"{\"type\":5}", "record value has a schema with an unknown type"},
		{"{\"type\":\"struct\"}", "record value has a schema with a struct that has no fields"},
		{"{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\"}]}",
		"record value has a schema with a field that has no name"},
		{"{\"type\":\"struct\",\"fields\":[7]}", "record value has a schema that is not an object"},
		{"{\"type\":\"array\"}",
		"record value has a schema with an array or map that does not say what is in it"},
		{"{\"type\":\"map\",\"keys\":{\"type\":\"string\"}}",
		"record value has a schema with an array or map that does not say what is in it"},
		{"{\"type\":\"string\",\"parameters\":{\"a\":[]}}",
		"record value has a schema with a parameter that is not a string"},
	};

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char		value[512];

		snprintf(value, sizeof(value), "{\"schema\":%s,\"payload\":%s}",
				 cases[i][0], ROW);
		decode(cases[i][0], KEY, value);
		is_error(cases[i][1], NULL);
	}
}

/* The cache of schemas is bounded, and what is in it stays. */
static void
test_schema_limit(void)
{
	int			n = 0;

	OPEN_DEFAULT();
	do
	{
		char		value[512];

		cdc_arena_reset(&arena);
		snprintf(value, sizeof(value),
				 "{\"schema\":{\"type\":\"struct\",\"name\":\"s%d\",\"fields\":[]},\"payload\":%s}",
				 n++, ROW);
		decode("many schemas", KEY, value);
	} while (event.error == NULL && n < 1000000);
	is_error("record value has a new schema, but there are too many already", NULL);
	unit_is_int(event.error->sqlstate, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "  SQLSTATE");
	decode("a schema that is known", KEY,
		   WRAPPED("{\"type\":\"struct\",\"name\":\"s0\",\"fields\":[]}", ROW));
	is_change('w', NULL, ROW);
	OPEN_DEFAULT();
}

#define UNWRAP "transforms", "unwrap", "transforms.unwrap.type", "io.debezium.transforms.ExtractNewRecordState"
#define MODE(mode) "transforms.unwrap.delete.tombstone.handling.mode", mode
#define ADD(fields) "transforms.unwrap.add.fields", fields

static void
test_flat(void)
{
	OPEN_DEFAULT();
	decode("flattened row", KEY, ROW);
	is_change('w', NULL, ROW);
	unit_ok(event.flattened, "  flattened");
	decode("__op c", KEY, "{\"id\":1,\"__op\":\"c\"}");
	is_change('c', NULL, "{\"id\":1,\"__op\":\"c\"}");
	decode("__op r", KEY, "{\"id\":1,\"__op\":\"r\"}");
	is_change('r', NULL, "{\"id\":1,\"__op\":\"r\"}");
	unit_ok(event.snapshot, "  of a snapshot");
	decode("__op d", KEY, "{\"id\":1,\"__op\":\"d\"}");
	is_change('d', "{\"id\":1,\"__op\":\"d\"}", NULL);
	decode("__op null", KEY, "{\"id\":1,\"__op\":null}");
	is_change('w', NULL, "{\"id\":1,\"__op\":null}");
	decode("__op x", KEY, "{\"id\":1,\"__op\":\"x\"}");
	is_error("unknown operation \"x\" in a row without envelope", "__op");
	decode("__deleted \"true\"", KEY, "{\"id\":1,\"__deleted\":\"true\"}");
	is_change('d', "{\"id\":1,\"__deleted\":\"true\"}", NULL);
	decode("__deleted true", KEY, "{\"id\":1,\"__deleted\":true,\"__op\":\"d\"}");
	is_change('d', "{\"id\":1,\"__deleted\":true,\"__op\":\"d\"}", NULL);
	decode("__deleted \"false\"", KEY, "{\"id\":1,\"__deleted\":\"false\",\"__op\":\"u\"}");
	is_change('u', NULL, "{\"id\":1,\"__deleted\":\"false\",\"__op\":\"u\"}");
	decode("__deleted false", KEY, "{\"id\":1,\"__deleted\":false}");
	is_change('w', NULL, "{\"id\":1,\"__deleted\":false}");
	decode("__deleted 1", KEY, "{\"id\":1,\"__deleted\":1}");
	is_error("\"__deleted\" is \"1\", neither true nor false", "__deleted");
	decode("__deleted against __op", KEY, "{\"id\":1,\"__deleted\":\"true\",\"__op\":\"u\"}");
	is_error("\"__deleted\" contradicts operation \"u\"", "__deleted");
	decode("empty object", KEY, "{}");
	is_error("record value is an empty object", NULL);
	decode("columns called like members", KEY,
		   "{\"op\":\"x\",\"before\":\"b\",\"after\":null,\"source\":\"s\",\"schema\":\"{}\",\"payload\":1}");
	is_change('w', NULL,
			  "{\"op\":\"x\",\"before\":\"b\",\"after\":null,\"source\":\"s\",\"schema\":\"{}\",\"payload\":1}");
	decode("columns schema and payload only", KEY,
		   "{\"schema\":\"x\",\"payload\":\"y\"}");
	is_change('w', NULL, "{\"schema\":\"x\",\"payload\":\"y\"}");
	decode("only ts_ms, no heartbeat's key", "{\"ts_ms\":1}", "{\"ts_ms\":1}");
	is_change('w', NULL, "{\"ts_ms\":1}");
}

static void
test_flat_settings(void)
{
	OPEN(UNWRAP, MODE("tombstone"));
	decode("__op is a column where add.fields lacks op", KEY,
		   "{\"id\":1,\"__op\":\"x\"}");
	is_change('w', NULL, "{\"id\":1,\"__op\":\"x\"}");
	decode("__deleted is a column in mode tombstone", KEY,
		   "{\"id\":1,\"__deleted\":\"true\"}");
	is_change('w', NULL, "{\"id\":1,\"__deleted\":\"true\"}");
	OPEN(UNWRAP, MODE("rewrite"), ADD("op,db:DB,schema,table,source.ts_ms,name"),
		 "transforms.unwrap.add.fields.prefix", "m_");
	decode("prefix does not touch __deleted", KEY,
		   "{\"id\":1,\"__deleted\":\"true\",\"m_op\":\"d\",\"m_DB\":\"b\",\"m_schema\":\"s\",\"m_table\":\"t\",\"m_source_ts_ms\":5,\"m_name\":\"n\",\"__op\":\"?\"}");
	unit_ok(event.error == NULL && event.op == CDC_OP_DELETE &&
			event.before != NULL && event.after == NULL, "%s", name);
	unit_ok(event.source_db.len == 1 && event.source_schema.data[0] == 's' &&
			event.source_table.data[0] == 't' && event.source_ts_ms == 5 &&
			event.source_name.data[0] == 'n', "  source from added fields");
	OPEN_DEFAULT();
}

static void
test_control(void)
{
	decode("heartbeat", "{\"serverName\":\"shop\"}", "{\"ts_ms\":1788800000000}");
	is_kind(CDC_KIND_HEARTBEAT);
	decode("BEGIN", "{\"id\":\"801:90210\"}",
		   "{\"status\":\"BEGIN\",\"id\":\"801:90210\",\"event_count\":null,\"data_collections\":null,\"ts_ms\":1}");
	is_kind(CDC_KIND_TRANSACTION);
	decode("END", "{\"id\":\"801:90500\"}",
		   "{\"status\":\"END\",\"id\":\"801:90500\",\"event_count\":2,\"data_collections\":[{\"data_collection\":\"public.a\",\"event_count\":2}],\"ts_ms\":1}");
	is_kind(CDC_KIND_TRANSACTION);
	decode("status of a row", KEY, "{\"status\":\"END\",\"id\":1,\"event_count\":2}");
	is_change('w', NULL, "{\"status\":\"END\",\"id\":1,\"event_count\":2}");
	decode("schema change", "{\"databaseName\":\"inv\"}",
		   "{\"source\":{\"db\":\"inv\",\"table\":\"t\"},\"ts_ms\":1,\"databaseName\":\"inv\",\"schemaName\":null,\"ddl\":\"create\",\"tableChanges\":[]}");
	is_kind(CDC_KIND_SCHEMA_CHANGE);
	decode("notification", "{\"id\":\"x\"}",
		   "{\"id\":\"x\",\"type\":\"STARTED\",\"aggregate_type\":\"Initial Snapshot\",\"additional_data\":null,\"timestamp\":1}");
	is_kind(CDC_KIND_NOTIFICATION);
	decode("signal", "shop",
		   "{\"type\":\"execute-snapshot\",\"data\":{\"data-collections\":[\"public.a\"]}}");
	is_kind(CDC_KIND_SIGNAL);
	decode("row of a signal table", "{\"id\":\"a\"}",
		   "{\"op\":\"c\"," SOURCE ",\"after\":{\"id\":\"a\",\"type\":\"log\",\"data\":\"{}\"}}");
	is_change('c', NULL, "{\"id\":\"a\",\"type\":\"log\",\"data\":\"{}\"}");
	decode("flattened row like a signal", "{\"id\":\"a\"}",
		   "{\"id\":\"a\",\"type\":\"log\",\"data\":{}}");
	is_change('w', NULL, "{\"id\":\"a\",\"type\":\"log\",\"data\":{}}");
	decode("control record with an unreadable key", "a\xFF",
		   "{\"status\":\"BEGIN\",\"id\":\"8\",\"event_count\":null}");
	is_kind(CDC_KIND_TRANSACTION);
}

#define CE(op, data) "{\"id\":\"x\",\"source\":\"/debezium/postgresql/shop\",\"specversion\":\"1.0\"," \
	"\"type\":\"io.debezium.connector.postgresql.DataChangeEvent\"," op \
	"\"iodebeziumname\":\"shop\",\"iodebeziumtsms\":\"1795410918355\",\"iodebeziumsnapshot\":\"last\"," \
	"\"iodebeziumsequence\":\"[null,\\\"895682688\\\"]\",\"iodebeziumschema\":\"public\",\"iodebeziumtable\":\"stock\"," \
	"\"iodebeziumtxId\":\"4081\",\"iodebeziumtxid\":null,\"data\":" data "}"
#define CE_OP(op) "\"iodebeziumop\":\"" op "\","

static void
test_cloudevents(void)
{
	decode("CloudEvent u", KEY, CE(CE_OP("u"), "{\"before\":null,\"after\":" ROW "}"));
	is_change('u', NULL, ROW);
	unit_ok(event.snapshot && event.source_ts_ms == 1795410918355 &&
			!event.sequence[0].valid && event.sequence[1].value == 895682688 &&
			event.source_table.len == 5, "  source from extension attributes");
	decode("CloudEvent d", KEY, CE(CE_OP("d"), "{\"before\":" ROW ",\"after\":null}"));
	is_change('d', ROW, NULL);
	decode("CloudEvent with schema in data", KEY,
		   CE(CE_OP("c"), WRAPPED(ENVELOPE_SCHEMA, "{\"before\":null,\"after\":" ROW "}")));
	is_change('c', NULL, ROW);
	unit_ok(event.row_schema != NULL, "  schema of the row");
	decode("CloudEvent m", KEY, CE(CE_OP("m"), "null"));
	is_kind(CDC_KIND_MESSAGE);
	decode("CloudEvent with unknown op", KEY, CE(CE_OP("X"), "{\"after\":" ROW "}"));
	is_error("unknown operation \"X\"", "iodebeziumop");
	decode("CloudEvent without op", KEY, CE("", "{\"after\":" ROW "}"));
	is_error("CloudEvent does not say its operation", "iodebeziumop");
	decode("CloudEvent with Avro data", KEY, CE(CE_OP("c"), "\"AAAAAAE=\""));
	is_error("\"data\" of a CloudEvent is not a JSON object", "data");
	decode("CloudEvent without row", KEY, CE(CE_OP("c"), "{\"before\":null,\"after\":null}"));
	is_error("\"after\" of an event with operation \"c\" is null", "after");
}

/* A value made to need much more memory than it has bytes. */
static void
test_too_many_values(void)
{
	const size_t len = 20 * 1000 * 1000;
	char	   *text = malloc(len);

	memset(text, '1', len);
	for (size_t i = 7; i < len - 3; i += 2)
		text[i] = ',';
	memcpy(text, "{\"a\":[", 6);
	memcpy(text + len - 2, "]}", 2);
	decode_bytes("ten million values", KEY, unit_bytes_len(text, len));
	is_error("record value is not valid JSON", NULL);
	unit_is_text(event.error->detail, strlen(event.error->detail),
				 "The JSON reader said: there are too many values in it.", "  detail");
	decode("a record after it", KEY, ROW);
	is_change('w', NULL, ROW);
	free(text);
}

static void
test_malformed(void)
{
	decode("number", KEY, "42");
	is_error("record value is not a change event", NULL);
	decode("array", KEY, "[{}]");
	is_error("record value is not a change event", NULL);
	decode("text", KEY, "hello");
	is_error("record value is not valid JSON", NULL);
	unit_is_int(event.error->sqlstate, ERRCODE_INVALID_JSON_TEXT, "  SQLSTATE");
	unit_is_text(event.error->detail, strlen(event.error->detail),
				 "The JSON reader said: expected a value.", "  detail");
	decode("two documents", KEY, ROW ROW);
	is_error("record value is not valid JSON", NULL);
	unit_is_text(event.error->detail, strlen(event.error->detail),
				 "At byte 19: text after the end of the value.", "  detail");
	decode("invalid UTF-8", KEY, "{\"a\":\"\xFF\"}");
	is_error("record value is not valid JSON", NULL);
	decode("byte order mark", KEY, "\xEF\xBB\xBF" ROW);
	is_error("record value is not valid JSON", NULL);
	decode_bytes("Avro", KEY, unit_bytes_len("\0\0\0\0\1\2\3", 7));
	is_error("record value is in the format of a schema registry (Avro, Protobuf), which is not supported yet", NULL);
	unit_is_int(event.error->sqlstate, ERRCODE_DATA_EXCEPTION, "  SQLSTATE");
	decode_bytes("four bytes that begin with zero", KEY, unit_bytes_len("\0\0\0\0", 4));
	is_error("record value is not valid JSON", NULL);
	name = "Avro key";
	record.key = unit_bytes_len("\0\0\0\0\1\2", 6);
	record.value = unit_bytes(ENVELOPE("\"c\"", "null", ROW));
	decode_record();
	is_error("record key is in the format of a schema registry (Avro, Protobuf), which is not supported yet", NULL);
	unit_ok(event.record == &record, "  the event still names its record");
}

/* Decodes a delete with this header; returns the key in it. */
static const CdcJsonNode *
header_key(const char *header, const char *value)
{
	CdcHeader	headers[3] = {
		{"__debezium.context.taskId", unit_bytes("0")},
		{header, unit_bytes(value)},
		{"other", {NULL, 0}}
	};

	memset(&record, 0, sizeof(record));
	record.topic = "t";
	record.key = unit_bytes(KEY);
	record.value = unit_bytes(ENVELOPE("\"d\"", ROW, "null"));
	record.headers = headers;
	record.nheaders = 3;
	decode_record();
	if (event.error != NULL)
		return NULL;
	return event.newkey ? event.newkey : event.oldkey;
}

static void
test_headers(void)
{
	static const char *const ignored[] = {"", "x", "Struct{id=30}", "[1]", "7", "{\"id\":", "\xFF", "null"};
	const CdcJsonNode *key = header_key("__debezium.newkey", "{\"id\":30}");

	unit_ok(key != NULL && key == event.newkey && event.oldkey == NULL, "new key");
	unit_is_text(key->text, key->len, "{\"id\":30}", "  its text");
	key = header_key("__debezium.oldkey", "{\"id\":29}");
	unit_ok(key != NULL && key == event.oldkey && event.newkey == NULL, "old key");
	key = header_key("__debezium.newkey", "{\"schema\":" KEY_SCHEMA ",\"payload\":{\"id\":30}}");
	unit_is_text(key->text, key->len, "{\"id\":30}", "new key with schema");
	key = header_key("__debezium.newkey", "{\"a\":\"x\ny\\\"\"}");
	unit_ok(key != NULL, "new key with a raw newline");
	key = cdc_json_member(key, "a");
	unit_is_text(key->text, key->len, "x\ny\"", "  its text");
	for (size_t i = 0; i < lengthof(ignored); i++)
		unit_ok(header_key("__debezium.newkey", ignored[i]) == NULL &&
				event.error == NULL && event.op == CDC_OP_DELETE,
				"header that is no key: %s", ignored[i]);
	unit_ok(header_key("__debezium.newkey", NULL) == NULL, "header that is null");
	unit_ok(header_key("__debezium.newkez", "{}") == NULL, "another header");
}

static int	headers_asked;

/* read_headers of a source: those that record.message points to. */
static bool
ask_headers(CdcRecord *asking, CdcArena *where)
{
	static CdcHeader header;

	headers_asked++;
	header = (CdcHeader) {"__debezium.oldkey", unit_bytes(asking->message)};
	asking->headers = &header;
	asking->nheaders = 1;
	asking->source = NULL;
	return true;
}

/* Decodes a value whose record has its headers still to be read; how often that was done. */
static int
asked_by(const char *value)
{
	static const CdcRecordSource source = {ask_headers};

	memset(&record, 0, sizeof(record));
	record.topic = "t";
	record.key = unit_bytes(KEY);
	record.value = unit_bytes(value);
	record.source = &source;
	record.message = "{\"id\":29}";
	headers_asked = 0;
	decode_record();
	return headers_asked;
}

static void
test_headers_left(void)
{
	unit_is_int(asked_by(ENVELOPE("\"c\"", "null", ROW)), 0, "an insert leaves its headers");
	unit_ok(event.headers_left && event.oldkey == NULL, "  and says so");
	cdc_decoder_debezium.read_headers(state, &arena, &event);
	unit_ok(headers_asked == 1 && !event.headers_left && event.oldkey != NULL, "  until somebody asks");
	unit_ok(record.source != NULL, "  the record stays as it is");
	unit_is_int(asked_by(ENVELOPE("\"u\"", "null", ROW)), 0, "an update leaves them, too");
	unit_is_int(asked_by(ENVELOPE("\"d\"", ROW, "null")), 1, "a delete does not");
	unit_ok(!event.headers_left && event.oldkey != NULL, "  and has its keys");
	unit_is_int(asked_by("{\"op\":\"c\",\"source\":{\"table\":\"t\"},\"after\":" ROW "}"), 1, "nor an insert without sequence");
	unit_ok(!event.headers_left && event.oldkey != NULL, "  which has them, too");
	unit_is_int(asked_by("{\"before\""), 0, "of a broken value nobody asks");
	unit_ok(!event.headers_left, "  nor will");
}

/* Events of a batch stay as they are while others are decoded. */
static void
test_batch(void)
{
	enum
	{
		COUNT = 5000
	};
	static CdcEvent events[COUNT];
	static CdcRecord records[COUNT];
	int			bad = 0;

	for (int i = 0; i < COUNT; i++)
	{
		char		text[512];

		snprintf(text, sizeof(text),
				 "{\"op\":\"c\"," SOURCE ",\"after\":{\"id\":%d,\"name\":\"n\\n%d\"}}", i, i);
		records[i].topic = "t";
		records[i].part = i % 7;
		records[i].value = unit_bytes(text);
		cdc_decoder_debezium.decode(state, &records[i], &arena, &events[i]);
	}
	for (int i = 0; i < COUNT; i++)
	{
		const CdcJsonNode *node = cdc_json_member(events[i].after, "name");
		char		text[32];

		snprintf(text, sizeof(text), "n\n%d", i);
		bad += node->len != strlen(text) || memcmp(node->text, text, node->len) != 0;
	}
	unit_is_int(bad, 0, "5000 events of a batch are all as decoded");
}

int
main(void)
{
	unit_ok(cdc_decoder_find("debezium") == &cdc_decoder_debezium &&
			cdc_decoder_find("avro") == NULL, "registry");
	test_envelope();
	test_envelope_errors();
	test_sequence();
	test_nulls();
	test_keys();
	test_schema();
	test_schema_types();
	test_schema_errors();
	test_schema_limit();
	test_flat();
	test_flat_settings();
	test_control();
	test_cloudevents();
	test_malformed();
	test_too_many_values();
	test_headers();
	test_headers_left();
	test_batch();
	cdc_decoder_debezium.close(state);
	cdc_arena_free(&arena);
	return unit_done();
}
