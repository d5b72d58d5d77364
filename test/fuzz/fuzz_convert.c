/*-------------------------------------------------------------------------
 *
 * fuzz_convert.c
 *		libFuzzer target inside a backend: JSON reader, decoder and converters
 *		on any bytes.
 *
 * Converters need what only a server has: type caches, input functions,
 * domains.  So this is a library with a function that runs libFuzzer; the
 * script run-converters calls it in a single-user server.  Beyond what the
 * sanitizers see it checks that no error of a converter is an internal one
 * (those of input functions may be: hstore's are), and that what a converter
 * made is a value of the type: its text form is read back.
 *
 * Input: flags, column to begin with; then length of the key (two bytes), key,
 * length of a header (two bytes), header, value.  With the flag 128 instead
 * the number of a schema and one JSON value.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "convert_api.h"
#include "decode.h"
#include "errors.h"
#include "fuzz_context.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(cdc_fuzz_converters);

PGDLLEXPORT Datum cdc_fuzz_converters(PG_FUNCTION_ARGS);

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*callback) (const uint8_t *, size_t));

#define CHECK(condition, ...) \
	do { if (!(condition)) { write_stderr("failed: %s ", #condition); \
		write_stderr("" __VA_ARGS__); write_stderr("\n"); abort(); } } while (0)

/* columns that each field is tried in, and a value by itself */
#define TRIES 4
#define VALUE_TRIES 16
/* fields of one record that are tried */
#define MAX_FIELDS 100

/* Settings of the source that an input chooses from. */
static const char *const presets[][8] = {
	{NULL},
	{"decimal.handling.mode", "string", "binary.handling.mode", "hex",
	"interval.handling.mode", "string", NULL},
	{"decimal.handling.mode", "double", "binary.handling.mode", "base64",
	"time.precision.mode", "connect", NULL},
	{"binary.handling.mode", "base64-url-safe", "time.precision.mode", "nanoseconds",
	"hstore.handling.mode", "map", NULL},
	{"time.precision.mode", "microseconds", "unavailable.value.placeholder", "hex:00ff41",
	NULL},
	{"time.precision.mode", "isostring", "unavailable.value.placeholder", "x", NULL},
	{"time.precision.mode", "structured", "interval.handling.mode", "structured",
	NULL},
	{"time.precision.mode", "adaptive_time_microseconds", "value.converter.decimal.format",
	"NUMERIC", NULL},
};

/* Schemas of a single value, without their last brace; make_seeds.py counts. */
static const char *const schemas[] = {
	NULL,						/* schemaless */
#define SCHEMA(type, name, more) "{\"type\":\"" type "\"," name more "\"optional\":true",
#define NAME(name) "\"name\":\"" name "\","
#include "fuzz_schemas.h"
};

static CdcSourceSettings settings[lengthof(presets)];
static CdcDecodeState *states[lengthof(presets)];
static Form_pg_attribute *columns;
static int	ncolumns;
static MemoryContext values;	/* everything that a conversion allocates */
static bool in_subtransaction;

static void
begin(void)
{
	if (!in_subtransaction)
		BeginInternalSubTransaction(NULL);
	in_subtransaction = true;
	MemoryContextSwitchTo(values);
}

static void
roll_back(MemoryContext context, ResourceOwner owner)
{
	RollbackAndReleaseCurrentSubTransaction();
	in_subtransaction = false;
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* The text form of a value, read back: an error means that it was none. */
static void
read_back(const FormData_pg_attribute *column, Datum value)
{
	Oid			function;
	Oid			ioparam;
	bool		varlena;
	char	   *text;

	getTypeOutputInfo(column->atttypid, &function, &varlena);
	text = OidOutputFunctionCall(function, value);
	getTypeInputInfo(column->atttypid, &function, &ioparam);
	(void) OidInputFunctionCall(function, text, ioparam, column->atttypmod);
}

/* Converts a value into a column; an ERROR is caught by the caller. */
static void
convert(const CdcSchema *schema, const CdcSourceSettings *source,
		const CdcJsonNode *value, const FormData_pg_attribute *column,
		bool *converted)
{
	CdcConversion *conv = cdc_convert_prepare(schema, source, column->atttypid,
											  column->atttypmod);
	bool		isnull;
	Datum		result;

	(void) cdc_convert_is_placeholder(conv, value);
	result = cdc_convert_value(conv, value, &isnull);
	*converted = true;
	if (!isnull)
		read_back(column, result);
}

/* One value into one column. */
static void
try_column(const CdcSchema *schema, const CdcSourceSettings *source,
		   const CdcJsonNode *value, const FormData_pg_attribute *column)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		converted = false;
	bool	   *volatile done = &converted;

	begin();
	PG_TRY();
	{
		convert(schema, source, value, column, done);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(values);
		error = CopyErrorData();
		FlushErrorState();
		CHECK(!*done, "%s: the value made cannot be read: %s",
			  NameStr(column->attname), error->message);
		CHECK(ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTERNAL_ERROR ||
			  strncmp(error->filename, "convert", 7) != 0,
			  "%s: %s", NameStr(column->attname), error->message);
		roll_back(context, owner);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	MemoryContextReset(values);
}

/* Schema of a field, or NULL. */
static const CdcSchema *
schema_of(const CdcSchema *schema, const CdcJsonNode *name)
{
	if (schema == NULL || schema->type != CDC_CONNECT_STRUCT)
		return NULL;
	for (int i = 0; i < schema->nfields; i++)
		if ((uint32) schema->fields[i].field_len == name->len &&
			memcmp(schema->fields[i].field, name->text, name->len) == 0)
			return &schema->fields[i];
	return NULL;
}

/* The fields of a row, each into some columns. */
static void
try_row(const CdcJsonNode *row, const CdcSchema *schema,
		const CdcSourceSettings *source, int first, int tries)
{
	const CdcJsonNode *name = cdc_json_first(row);

	for (uint32 i = 0; i < Min(row->nchildren, MAX_FIELDS); i++)
	{
		const CdcJsonNode *value = cdc_json_next(name);

		for (int k = 0; k < tries; k++)
			try_column(schema_of(schema, name), source, value,
					   columns[(first + i * tries + k) % ncolumns]);
		name = cdc_json_next(value);
	}
}

static void
try_event(const CdcEvent *event, const CdcSourceSettings *source, int first)
{
	if (event->error != NULL)
		return;
	if (event->key != NULL && event->key->type == CDC_JSON_OBJECT)
		try_row(event->key, event->key_schema, source, first, TRIES);
	else if (event->key != NULL)
		try_column(event->key_schema, source, event->key,
				   columns[first % ncolumns]);
	if (event->before != NULL)
		try_row(event->before, event->row_schema, source, first, TRIES);
	if (event->after != NULL)
		try_row(event->after, event->row_schema, source, first, TRIES);
}

/* Takes len bytes of the input, with nothing behind them. */
static CdcBytes
take(const uint8_t **data, size_t *size, size_t len)
{
	CdcBytes	bytes;
	char	   *copy;

	len = Min(len, *size);
	copy = malloc(Max(len, 1));
	memcpy(copy, *data, len);
	*data += len;
	*size -= len;
	bytes.data = copy;
	bytes.len = (int32) len;
	return bytes;
}

static CdcBytes
take_short(const uint8_t **data, size_t *size)
{
	size_t		len;

	if (*size < 2)
		return take(data, size, 0);
	len = (*data)[0] | (*data)[1] << 8;
	*data += 2;
	*size -= 2;
	return take(data, size, len);
}

/* The decoder of a preset; made anew before it knows too many schemas. */
static CdcDecodeState *
state_of(int preset)
{
	static int	calls[lengthof(presets)];

	if (states[preset] != NULL && ++calls[preset] % 1000 == 0)
	{
		cdc_decoder_debezium.close(states[preset]);
		states[preset] = NULL;
	}
	if (states[preset] == NULL)
		states[preset] = cdc_decoder_debezium.open(&settings[preset]);
	return states[preset];
}

/* One JSON value with a schema from the table, as a flattened row. */
static char *
one_value(const uint8_t *data, size_t size, int32 *len)
{
	const char *schema = schemas[data[0] % lengthof(schemas)];
	StringInfoData text;

	initStringInfo(&text);
	if (schema)
		appendStringInfo(&text, "{\"schema\":{\"type\":\"struct\",\"name\":\"t.Value\",\"fields\":[%s,\"field\":\"v\"}]},\"payload\":",
						 schema);
	appendStringInfoString(&text, "{\"v\":");
	appendBinaryStringInfo(&text, (const char *) data + 1, size - 1);
	appendStringInfoString(&text, schema ? "}}" : "}");
	*len = text.len;
	return text.data;
}

static int
try_value(const uint8_t *data, size_t size)
{
	int			preset = (data[0] >> 4) % lengthof(presets);
	CdcArena	arena = {0};
	CdcRecord	record = {0};
	CdcEvent	event;
	MemoryContext context = MemoryContextSwitchTo(values);
	char	   *text = one_value(data + 2, size - 2, &record.value.len);

	settings[preset].flatten_mode = CDC_FLATTEN_UNKNOWN;
	record.topic = "t";
	record.value.data = cdc_arena_copy(&arena, text, record.value.len);
	MemoryContextSwitchTo(context);
	MemoryContextReset(values);
	CHECK(cdc_decoder_debezium.decode(state_of(preset), &record, &arena, &event));
	if (event.error == NULL && event.after != NULL)
		try_row(event.after, event.row_schema, &settings[preset], data[1],
				VALUE_TRIES);
	cdc_arena_free(&arena);
	return 0;
}

static int
one_input(const uint8_t *data, size_t size)
{
	CdcArena	arena = {0};
	CdcRecord	record = {0};
	CdcHeader	header = {0};
	CdcEvent	event;
	CdcBytes	key;
	CdcBytes	value;
	uint8_t		flags;
	int			first;
	int			preset;

	if (size < 2)
		return 0;
	if (data[0] & 128)
		return size < 4 ? 0 : try_value(data, size);
	flags = data[0];
	preset = (flags >> 4) % lengthof(presets);
	first = data[1];
	data += 2;
	size -= 2;
	settings[preset].flatten_mode = flags & 4 ? CDC_FLATTEN_REWRITE : CDC_FLATTEN_UNKNOWN;
	key = take_short(&data, &size);
	header.name = flags & 8 ? "__debezium.newkey" : "__debezium.oldkey";
	header.value = take_short(&data, &size);
	value = take(&data, &size, size);
	record.topic = "t";
	if (!(flags & 1))
		record.key = key;
	if (!(flags & 2))
		record.value = value;
	record.headers = &header;
	record.nheaders = 1;
	CHECK(cdc_decoder_debezium.decode(state_of(preset), &record, &arena, &event));
	try_event(&event, &settings[preset], first);
	cdc_arena_free(&arena);
	free(unconstify(char *, key.data));
	free(unconstify(char *, header.value.data));
	free(unconstify(char *, value.data));
	return 0;
}

/* Columns of the relation, as they are declared. */
static void
load_columns(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(rel));

	columns = palloc(desc->natts * sizeof(Form_pg_attribute));
	for (int i = 0; i < desc->natts; i++)
		columns[ncolumns++] = TupleDescAttr(desc, i);
	relation_close(rel, NoLock);
}

static void
load_settings(void)
{
	for (size_t p = 0; p < lengthof(presets); p++)
	{
		cdc_source_defaults(&settings[p]);
		for (int i = 0; presets[p][i] != NULL; i += 2)
		{
			const char *problem = NULL;

			CHECK(cdc_source_set(&settings[p], presets[p][i], presets[p][i + 1],
								 &problem) && problem == NULL,
				  "%s: %s", presets[p][i], problem);
		}
	}
}

/*
 * cdc_fuzz_converters(target regclass, arguments text[]) runs libFuzzer with
 * these arguments, on the columns of the table; the process ends with it.
 */
Datum
cdc_fuzz_converters(PG_FUNCTION_ARGS)
{
	Datum	   *arguments;
	int			argc;
	char	  **argv;

	MemoryContextSwitchTo(TopMemoryContext);
	load_columns(PG_GETARG_OID(0));
	load_settings();
	values = cdc_fuzz_context_create(TopMemoryContext);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &arguments, NULL, &argc);
	argv = palloc((argc + 2) * sizeof(char *));
	argv[0] = "fuzz_convert";
	for (int i = 0; i < argc; i++)
		argv[i + 1] = TextDatumGetCString(arguments[i]);
	argc++;
	argv[argc] = NULL;
	LLVMFuzzerRunDriver(&argc, &argv, one_input);
	PG_RETURN_VOID();
}
