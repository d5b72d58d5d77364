/*-------------------------------------------------------------------------
 *
 * convert_text.c
 *		Text of JSON nodes, and how a value is refused.
 *
 * Floor 2.  The hard thing: an error message quotes a value that may hold
 * anything, so it is cut, cleaned and never converted in a way that could
 * raise a second error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "batch.h"
#include "convert_util.h"

/* bytes of a value that an error message shows */
#define SHOWN_BYTES 60

/*
 * The value as a message shows it: at most SHOWN_BYTES, strings in quotes.
 * Control characters, and in a database that is not UTF-8 all non-ASCII
 * characters, become question marks.
 */
static char *
shown(const CdcJsonNode *value)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	const char *text = value->text;
	size_t		len = value->len;
	StringInfoData out;

	if (value->type == CDC_JSON_NULL)
		return pstrdup("null");
	if (value->type == CDC_JSON_TRUE)
		return pstrdup("true");
	if (value->type == CDC_JSON_FALSE)
		return pstrdup("false");
	if (len > SHOWN_BYTES)
		len = pg_encoding_mbcliplen(PG_UTF8, text, len, SHOWN_BYTES);
	initStringInfo(&out);
	if (value->type == CDC_JSON_STRING)
		appendStringInfoChar(&out, '"');
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = text[i];

		appendStringInfoChar(&out, c < ' ' || (c >= 0x80 && !utf8) ? '?' : c);
	}
	if (len < value->len)
		appendStringInfoString(&out, "...");
	if (value->type == CDC_JSON_STRING)
		appendStringInfoChar(&out, '"');
	return out.data;
}

void
cdc_refuse(int sqlstate, const CdcJsonNode *value, const char *expected)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("value %s is not %s", shown(value), expected)));
	pg_unreachable();
}

void
cdc_refuse_range(int sqlstate, const CdcJsonNode *value, const char *type)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("value %s is out of range for type %s",
					shown(value), type)));
	pg_unreachable();
}

/*
 * Copies UTF-8 text into a terminated string in the encoding of the
 * database.  The JSON reader has checked the text, so that a UTF-8 database
 * only needs the copy.  ERROR 22021 for U+0000, 22P05 for a character that
 * the encoding lacks, 54000 for a text above 1 GB.
 */
char *
cdc_text_to_server(const char *text, size_t len, size_t *out_len)
{
	char	   *copy;

	if (memchr(text, '\0', len) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("value contains the character U+0000, which text cannot hold")));
	if (len >= MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_LENGTH_MISMATCH),
				 errmsg("value of %zu bytes is too long", len)));
	copy = palloc(len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (GetDatabaseEncoding() != PG_UTF8)
	{
		char	   *converted = pg_any_to_server(copy, (int) len, PG_UTF8);

		if (converted != copy)
		{
			pfree(copy);
			copy = converted;
			len = strlen(copy);
		}
	}
	if (out_len)
		*out_len = len;
	return copy;
}

/* A node's text, terminated, in the encoding of the database. */
char *
cdc_node_cstring(const CdcJsonNode *value)
{
	return cdc_text_to_server(value->text, value->len, NULL);
}

void
cdc_append_compact(StringInfo out, const CdcJsonNode *value)
{
	bool		in_string = false;

	for (uint32_t i = 0; i < value->len; i++)
	{
		char		c = value->text[i];

		if (in_string)
		{
			appendStringInfoCharMacro(out, c);
			if (c == '\\' && i + 1 < value->len)
				appendStringInfoCharMacro(out, value->text[++i]);
			else if (c == '"')
				in_string = false;
		}
		else if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
		{
			appendStringInfoCharMacro(out, c);
			in_string = (c == '"');
		}
	}
}

bool
cdc_node_is(const CdcJsonNode *value, const char *text)
{
	return value->type == CDC_JSON_STRING && value->len == strlen(text) &&
		memcmp(value->text, text, value->len) == 0;
}

const CdcJsonNode *
cdc_member(const CdcJsonNode *object, const char *name)
{
	const CdcJsonNode *member;

	if (object->type != CDC_JSON_OBJECT)
		return NULL;
	member = cdc_json_member(object, name);
	if (member == NULL || member->type == CDC_JSON_NULL)
		return NULL;
	return member;
}

bool
cdc_parse_int64(const char *text, size_t len, int64 *result)
{
	const char *end = text + len;
	bool		negative = len > 0 && *text == '-';
	uint64		number = 0;

	if (negative)
		text++;
	if (text == end || end - text > 19)
		return false;
	for (; text < end; text++)
	{
		unsigned int digit = (unsigned char) *text - '0';

		if (digit > 9)
			return false;
		number = number * 10 + digit;
	}
	/* 19 digits stay below 2^64, so that only the sign bit needs a look */
	if (number > (uint64) INT64_MAX + negative)
		return false;
	*result = negative ? (int64) (0 - number) : (int64) number;
	return true;
}

bool
cdc_is_integer_literal(const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_NUMBER)
		return false;
	for (uint32_t i = 0; i < value->len; i++)
		if (value->text[i] != '-' &&
			(value->text[i] < '0' || value->text[i] > '9'))
			return false;
	return true;
}

int64
cdc_node_int64(const CdcJsonNode *value)
{
	int64		result;

	if (value->type == CDC_JSON_NUMBER &&
		cdc_parse_int64(value->text, value->len, &result))
		return result;
	if (!cdc_is_integer_literal(value))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "an integer");
	cdc_refuse_range(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, value, "bigint");
}

/*
 * Reads a JSON document that a string value holds (hstore in json mode).
 * The nodes are palloc'd and may point into the value; the reader is made
 * once per process.
 */
const CdcJsonNode *
cdc_parse_document(const CdcJsonNode *value)
{
	static CdcJsonParser *parser = NULL;
	CdcJsonOutput out = {0};
	CdcJsonResult result;

	if (parser == NULL && (parser = cdc_json_create()) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	out.max_strings = value->len;
	out.strings = palloc(out.max_strings);
	out.max_nodes = value->len / 4 + 16;
	do
	{
		out.nodes = palloc_extended(out.max_nodes * sizeof(CdcJsonNode),
									MCXT_ALLOC_HUGE);
		result = cdc_json_parse(parser, value->text, value->len, &out);
		out.max_nodes *= 2;
		if (result == CDC_JSON_MORE_ROOM)
			pfree(out.nodes);
	} while (result == CDC_JSON_MORE_ROOM);
	if (result == CDC_JSON_NO_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (result != CDC_JSON_OK)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "a JSON document");
	return out.nodes;
}
