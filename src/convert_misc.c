/*-------------------------------------------------------------------------
 *
 * convert_misc.c
 *		Text types, uuid, types that the source does not know, and the text
 *		form that any value has.
 *
 * Floor 3.  The hard thing: a type that Debezium does not know arrives as
 * the bytes of its text output, encoded by binary.handling.mode; one that it
 * knows arrives as that text itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "convert_rows.h"

/* --- text forms --- */

/* Decimal digits of a decimal field, whichever way it is written. */
static char *
decimal_text_form(const CdcConversion *conv, const CdcJsonNode *value)
{
	Numeric		number;
	CdcBuffer	unscaled;
	char	   *text;

	if (conv->from == CDC_FROM_VARIABLE_DECIMAL)
		number = cdc_variable_decimal(value, -1);
	else if (value->type == CDC_JSON_NUMBER)
		number = cdc_numeric_of_text(value, -1);
	else
	{
		cdc_bytes_decode(value, &unscaled);
		text = cdc_decimal_text(&unscaled, conv->scale);
		if (text == NULL)
			cdc_refuse_range(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, value,
							 "numeric");
		return text;
	}
	return DatumGetCString(DirectFunctionCall1(numeric_out,
											   NumericGetDatum(number)));
}

static char *
special_text(CdcSpecial special)
{
	return pstrdup(special == CDC_INFINITY ? "infinity" : "-infinity");
}

static char *
date_text_form(const CdcJsonNode *value)
{
	int64		days = cdc_node_int64(value);
	CdcSpecial	special;
	StringInfoData out;
	bool		bc;

	if (cdc_special_days(days, &special))
		return special_text(special);
	initStringInfo(&out);
	cdc_append_date(&out, days, &bc);
	if (bc)
		appendStringInfoString(&out, " BC");
	return out.data;
}

/* "2024-02-29 13:51:30.5", as any DateStyle reads it */
static char *
timestamp_text_form(const CdcConversion *conv, const CdcJsonNode *value)
{
	int64		number = cdc_node_int64(value);
	CdcSpecial	special;
	int64		per_day = conv->per_second * SECS_PER_DAY;
	int64		days = number / per_day;
	int64		rest = number % per_day;
	StringInfoData out;
	int64		micros;
	bool		bc;

	if (cdc_special_instant(number, conv->per_second, &special))
		return special_text(special);
	/* the day begins before the instant, which may be the earliest of all */
	if (rest < 0)
	{
		rest += per_day;
		days--;
	}
	(void) cdc_to_micros(rest, conv->per_second, &micros);
	initStringInfo(&out);
	cdc_append_date(&out, days, &bc);
	appendStringInfoChar(&out, ' ');
	cdc_append_time(&out, micros);
	if (bc)
		appendStringInfoString(&out, " BC");
	return out.data;
}

/* A time of day as hh:mm:ss, a duration as ISO 8601 seconds. */
static char *
time_text_form(const CdcConversion *conv, const CdcJsonNode *value)
{
	StringInfoData out;
	int64		micros;

	if (!cdc_to_micros(cdc_node_int64(value), conv->per_second, &micros))
		cdc_refuse_range(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, value, "time");
	initStringInfo(&out);
	if (conv->from == CDC_FROM_DURATION)
	{
		uint64		magnitude = micros < 0 ? 0 - (uint64) micros :
			(uint64) micros;

		appendStringInfo(&out, "PT%s%llu.%06lluS", micros < 0 ? "-" : "",
						 (unsigned long long) (magnitude / USECS_PER_SEC),
						 (unsigned long long) (magnitude % USECS_PER_SEC));
		return out.data;
	}
	if (micros < 0)
	{
		if (micros == PG_INT64_MIN)
			cdc_refuse_range(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, value, "time");
		appendStringInfoChar(&out, '-');
		micros = -micros;
	}
	cdc_append_time(&out, micros);
	return out.data;
}

/* The bytes as bytea prints them. */
static char *
bytes_text_form(const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	cdc_bytes_decode(value, &bytes);
	return psprintf("\\x%s", cdc_hex_encode(bytes.data, bytes.len));
}

/* Highest bit first, without leading zeros. */
static char *
bits_text_form(const CdcJsonNode *value)
{
	CdcBuffer	bytes;
	StringInfoData out;

	cdc_bytes_decode(value, &bytes);
	initStringInfo(&out);
	for (size_t i = bytes.len; i-- > 0;)
		for (int bit = 7; bit >= 0; bit--)
			if (out.len > 0 || (bytes.data[i] & (1 << bit)))
				appendStringInfoChar(&out, bytes.data[i] & (1 << bit) ?
									 '1' : '0');
	return out.data;
}

static char *
compact_text_form(const CdcJsonNode *value)
{
	StringInfoData out;

	initStringInfo(&out);
	cdc_append_compact(&out, value);
	return cdc_text_to_server(out.data, out.len, NULL);
}

/* The text of a JSON value, whatever it is. */
static char *
json_text_form(const CdcJsonNode *value)
{
	switch (value->type)
	{
		case CDC_JSON_TRUE:
			return pstrdup("true");
		case CDC_JSON_FALSE:
			return pstrdup("false");
		case CDC_JSON_ARRAY:
		case CDC_JSON_OBJECT:
			return compact_text_form(value);
		default:
			return cdc_node_cstring(value);
	}
}

/* Does the JSON type agree with the type that the schema names? */
static bool
agrees(const CdcConversion *conv, const CdcJsonNode *value)
{
	switch (conv->schema->type)
	{
		case CDC_CONNECT_BOOLEAN:
			return value->type == CDC_JSON_TRUE ||
				value->type == CDC_JSON_FALSE;
		case CDC_CONNECT_INT8:
		case CDC_CONNECT_INT16:
		case CDC_CONNECT_INT32:
		case CDC_CONNECT_INT64:
			return cdc_is_integer_literal(value);
		case CDC_CONNECT_FLOAT:
		case CDC_CONNECT_DOUBLE:
			return value->type == CDC_JSON_NUMBER ||
				cdc_node_is(value, "NaN") || cdc_node_is(value, "Infinity") ||
				cdc_node_is(value, "-Infinity");
		case CDC_CONNECT_BYTES:
			return value->type == CDC_JSON_STRING ||
				(value->type == CDC_JSON_NUMBER &&
				 conv->from == CDC_FROM_DECIMAL);
		case CDC_CONNECT_STRING:
			return value->type == CDC_JSON_STRING;
		case CDC_CONNECT_ARRAY:
			return value->type == CDC_JSON_ARRAY;
		case CDC_CONNECT_MAP:
			return value->type == CDC_JSON_OBJECT ||
				value->type == CDC_JSON_ARRAY;
		case CDC_CONNECT_STRUCT:
			return value->type == CDC_JSON_OBJECT;
	}
	return false;
}

char *
cdc_text_form(const CdcConversion *conv, const CdcJsonNode *value)
{
	static const char *const names[] = {
		"a boolean", "an integer", "an integer", "an integer", "an integer",
		"a number", "a number", "base64", "a string", "an array", "a map",
		"a struct"
	};

	if (conv->schema != NULL && !agrees(conv, value))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   psprintf("%s, as its schema says",
							names[conv->schema->type]));
	switch ((CdcFrom) conv->from)
	{
		case CDC_FROM_DECIMAL:
		case CDC_FROM_VARIABLE_DECIMAL:
			return decimal_text_form(conv, value);
		case CDC_FROM_DATE:
			return date_text_form(value);
		case CDC_FROM_TIMESTAMP:
			return timestamp_text_form(conv, value);
		case CDC_FROM_TIME:
		case CDC_FROM_DURATION:
			return time_text_form(conv, value);
		case CDC_FROM_BYTES:
			return bytes_text_form(value);
		case CDC_FROM_BITS:
			return bits_text_form(value);
		default:
			return json_text_form(value);
	}
}

/* Any pair of types without a row of its own. */
Datum
cdc_convert_text_form(const CdcConversion *conv, const CdcJsonNode *value)
{
	return cdc_input(conv, cdc_text_form(conv, value));
}

/* --- text, varchar, bpchar --- */

static Datum
make_text(const char *data, size_t len, size_t padding)
{
	text	   *result = palloc(VARHDRSZ + len + padding);

	SET_VARSIZE(result, VARHDRSZ + len + padding);
	memcpy(VARDATA(result), data, len);
	memset(VARDATA(result) + len, ' ', padding);
	return PointerGetDatum(result);
}

/*
 * Text in the encoding of the database to the column's type.  Too long a
 * text is left to the type's input function, which cuts blanks and refuses
 * the rest.
 */
static Datum
finish_text(const CdcConversion *conv, const char *text, size_t len)
{
	int			limit = conv->basetypmod - VARHDRSZ;
	size_t		nchars;

	if (conv->target == CDC_TO_TEXT || conv->basetypmod < (int32) VARHDRSZ)
		return make_text(text, len, 0);
	if (conv->target == CDC_TO_VARCHAR && len <= (size_t) limit)
		return make_text(text, len, 0);
	nchars = pg_mbstrlen_with_len(text, len);
	if (nchars > (size_t) limit)
		return cdc_input(conv, pnstrdup(text, len));
	return make_text(text, len,
					 conv->target == CDC_TO_BPCHAR ? limit - nchars : 0);
}

static Datum
text_from_text(const CdcConversion *conv, const CdcJsonNode *value)
{
	const char *text = value->text;
	size_t		len = value->len;

	if (value->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a string");
	if (GetDatabaseEncoding() != PG_UTF8 || len >= MaxAllocSize - VARHDRSZ ||
		memchr(text, '\0', len) != NULL)
		text = cdc_text_to_server(text, len, &len);
	return finish_text(conv, text, len);
}

static Datum
text_from_text_form(const CdcConversion *conv, const CdcJsonNode *value)
{
	char	   *text = cdc_text_form(conv, value);

	return finish_text(conv, text, strlen(text));
}

static Datum
text_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type == CDC_JSON_STRING)
		return text_from_text(conv, value);
	return text_from_text_form(conv, value);
}

/* --- uuid --- */

/* The canonical form directly, others through uuid_in. */
static Datum
uuid_from_text(const CdcConversion *conv, const CdcJsonNode *value)
{
	static const unsigned char dashes[] = {8, 13, 18, 23};
	char		digits[UUID_LEN * 2];
	pg_uuid_t  *result;
	CdcBuffer	bytes;
	int			ndigits = 0;

	if (value->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a uuid");
	if (value->len != UUID_LEN * 2 + lengthof(dashes))
		return cdc_input(conv, cdc_node_cstring(value));
	for (uint32_t i = 0; i < value->len; i++)
	{
		if (ndigits < (int) sizeof(digits) && value->text[i] != '-')
			digits[ndigits++] = value->text[i];
	}
	for (size_t i = 0; i < lengthof(dashes); i++)
		if (value->text[dashes[i]] != '-')
			ndigits = 0;
	if (ndigits != sizeof(digits) ||
		!cdc_hex_decode(digits, sizeof(digits), &bytes))
		return cdc_input(conv, cdc_node_cstring(value));
	result = (pg_uuid_t *) bytes.data;
	return UUIDPGetDatum(result);
}

/* --- types that are no business of the source --- */

/*
 * Text of a type that Debezium knows as a string (inet, ranges, enum, …).
 */
static Datum
string_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	return cdc_input(conv, json_text_form(value));
}

/* Bytes of the text output of a type that Debezium does not know. */
static Datum
other_of_bytes(const CdcConversion *conv, const CdcBuffer *bytes)
{
	const char *text = (const char *) bytes->data;

	if (!pg_verify_mbstr(PG_UTF8, text, (int) bytes->len, true))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("decoded value for type %s is not UTF-8 text",
						format_type_be(conv->basetypid))));
	return cdc_input(conv, cdc_text_to_server(text, bytes->len, NULL));
}

static Datum
other_from_bytes(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	cdc_bytes_decode(value, &bytes);
	return other_of_bytes(conv, &bytes);
}

static Datum
other_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	if (value->type != CDC_JSON_STRING)
		return cdc_input(conv, json_text_form(value));
	cdc_binary_decode(conv->source->binary_mode, value, &bytes);
	return other_of_bytes(conv, &bytes);
}

/*
 * A string field: with a semantic name, or where binary.handling.mode makes
 * bytes of what is encoded, it is the text itself.
 */
static Datum
other_from_string(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (conv->schema->name != NULL ||
		conv->source->binary_mode == CDC_BINARY_BYTES)
		return cdc_convert_text_form(conv, value);
	return other_from_any(conv, value);
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_TEXT, text_from_any, "text_from_any"},
	{CDC_FROM_STRING, CDC_TO_TEXT, text_from_text, "text_from_text"},
	{CDC_FROM_JSON, CDC_TO_TEXT, text_from_text, "text_from_text"},
	{CDC_FROM_ANY, CDC_TO_VARCHAR, text_from_any, "text_from_any"},
	{CDC_FROM_STRING, CDC_TO_VARCHAR, text_from_text, "text_from_text"},
	{CDC_FROM_JSON, CDC_TO_VARCHAR, text_from_text, "text_from_text"},
	{CDC_FROM_ANY, CDC_TO_BPCHAR, text_from_any, "text_from_any"},
	{CDC_FROM_STRING, CDC_TO_BPCHAR, text_from_text, "text_from_text"},
	{CDC_FROM_JSON, CDC_TO_BPCHAR, text_from_text, "text_from_text"},

	{CDC_FROM_ANY, CDC_TO_UUID, uuid_from_text, "uuid_from_text"},
	{CDC_FROM_STRING, CDC_TO_UUID, uuid_from_text, "uuid_from_text"},

	{CDC_FROM_ANY, CDC_TO_STRING, string_from_any, "string_from_any"},

	{CDC_FROM_ANY, CDC_TO_OTHER, other_from_any, "other_from_any"},
	{CDC_FROM_BYTES, CDC_TO_OTHER, other_from_bytes, "other_from_bytes"},
	{CDC_FROM_STRING, CDC_TO_OTHER, other_from_string, "other_from_string"},
};

const CdcConvertTable cdc_rows_misc = {rows, lengthof(rows)};
