/*-------------------------------------------------------------------------
 *
 * testfuncs.c
 *		Entries for the test scripts; no SQL of the extension declares them.
 *
 * Floor 9.  The one hard thing: a value under test must take the way of a
 * real one, so that its schema and its JSON go through the decoder as a
 * flattened record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "convert_api.h"
#include "decode.h"

PG_FUNCTION_INFO_V1(cdc_test_convert);
PG_FUNCTION_INFO_V1(cdc_test_converter);

/* The field of the record that carries the value. */
#define FIELD "v"

/* Settings from an object of Debezium's names; ERROR for a bad value. */
static CdcSourceSettings *
settings_of(Jsonb *json)
{
	CdcSourceSettings *settings = palloc0(sizeof(CdcSourceSettings));
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	char	   *name = NULL;

	cdc_source_defaults(settings);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		const char *problem = NULL;

		if (token == WJB_KEY)
			name = pnstrdup(item.val.string.val, item.val.string.len);
		if (token != WJB_VALUE || item.type != jbvString)
			continue;
		(void) cdc_source_set(settings, name,
							  pnstrdup(item.val.string.val,
									   item.val.string.len),
							  &problem);
		if (problem != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\": %s", name, problem)));
	}
	return settings;
}

/* An argument as records have it: in UTF-8, whatever the database is in. */
static char *
utf8_argument(FunctionCallInfo fcinfo, int number)
{
	char	   *argument = text_to_cstring(PG_GETARG_TEXT_PP(number));

	return pg_server_to_any(argument, strlen(argument), PG_UTF8);
}

/* A flattened record with one field; schema is that of the field or NULL. */
static char *
record_of(const char *schema, const char *value)
{
	const char *brace = schema ? strrchr(schema, '}') : NULL;

	if (schema == NULL)
		return psprintf("{\"" FIELD "\":%s}", value);
	if (brace == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schema of the field must be a JSON object")));
	return psprintf("{\"schema\":{\"type\":\"struct\",\"name\":\"t.t.t.Value\",\"fields\":[%.*s,\"optional\":true,\"field\":\""
					FIELD "\"}]},\"payload\":{\"" FIELD "\":%s}}",
					(int) (brace - schema), schema, value);
}

/*
 * Decodes the record; *schema is the field's.  What it returns lives in the
 * arena and the state.
 */
static const CdcJsonNode *
decode_field(CdcDecodeState *state, CdcArena *arena, const char *text,
			 const CdcSchema **schema)
{
	CdcRecord  *record = cdc_arena_alloc(arena, sizeof(CdcRecord));
	CdcEvent   *event = cdc_arena_alloc(arena, sizeof(CdcEvent));

	memset(record, 0, sizeof(CdcRecord));
	memset(event, 0, sizeof(CdcEvent));
	record->topic = "test";
	record->value.data = cdc_arena_copy(arena, text, strlen(text));
	record->value.len = strlen(text);
	if (!cdc_decoder_debezium.decode(state, record, arena, event))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (event->error != NULL)
		ereport(ERROR,
				(errcode(event->error->sqlstate),
				 errmsg("%s", event->error->message),
				 event->error->detail ?
				 errdetail("%s", event->error->detail) : 0));
	*schema = event->row_schema ? event->row_schema->fields : NULL;
	return cdc_json_member(event->after, FIELD);
}

/* Text output of the converted value, "<unchanged>" for the placeholder. */
static char *
convert_to_text(const CdcSchema *schema, const CdcSourceSettings *settings,
				const CdcJsonNode *value, Oid typid, int32 typmod)
{
	CdcConversion *conv = cdc_convert_prepare(schema, settings, typid, typmod);
	Oid			outfunc;
	bool		varlena;
	bool		isnull;
	Datum		result;

	if (cdc_convert_is_placeholder(conv, value))
		return pstrdup("<unchanged>");
	result = cdc_convert_value(conv, value, &isnull);
	if (isnull)
		return NULL;
	getTypeOutputInfo(typid, &outfunc, &varlena);
	return OidOutputFunctionCall(outfunc, result);
}

/*
 * cdc_test_convert(schema text, source jsonb, value text, type regtype,
 *					typmod int) -> text
 */
PGDLLEXPORT Datum
cdc_test_convert(PG_FUNCTION_ARGS)
{
	char	   *schema = PG_ARGISNULL(0) ? NULL : utf8_argument(fcinfo, 0);
	CdcSourceSettings *settings = settings_of(PG_GETARG_JSONB_P(1));
	char	   *record = record_of(schema, utf8_argument(fcinfo, 2));
	CdcArena	arena = {0};
	CdcDecodeState *state = cdc_decoder_debezium.open(settings);
	char	   *result = NULL;

	PG_TRY();
	{
		const CdcSchema *field_schema;
		const CdcJsonNode *value = decode_field(state, &arena, record,
												&field_schema);

		result = convert_to_text(field_schema, settings, value,
								 PG_GETARG_OID(3), PG_GETARG_INT32(4));
	}
	PG_FINALLY();
	{
		cdc_decoder_debezium.close(state);
		cdc_arena_free(&arena);
	}
	PG_END_TRY();
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/*
 * cdc_test_converter(schema text, source jsonb, type regtype, typmod int)
 * -> text: name of the converter's row
 */
PGDLLEXPORT Datum
cdc_test_converter(PG_FUNCTION_ARGS)
{
	char	   *schema = PG_ARGISNULL(0) ? NULL : utf8_argument(fcinfo, 0);
	CdcSourceSettings *settings = settings_of(PG_GETARG_JSONB_P(1));
	CdcArena	arena = {0};
	CdcDecodeState *state = cdc_decoder_debezium.open(settings);
	const char *result = NULL;

	PG_TRY();
	{
		const CdcSchema *field_schema;

		(void) decode_field(state, &arena, record_of(schema, "null"),
							&field_schema);
		result = cdc_convert_prepare(field_schema, settings,
									 PG_GETARG_OID(2),
									 PG_GETARG_INT32(3))->name;
	}
	PG_FINALLY();
	{
		cdc_decoder_debezium.close(state);
		cdc_arena_free(&arena);
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(cstring_to_text(result));
}
