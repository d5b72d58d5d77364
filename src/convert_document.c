/*-------------------------------------------------------------------------
 *
 * convert_document.c
 *		json, jsonb and hstore.
 *
 * Floor 3.  The hard thing: a string is the text of a document, not a JSON
 * string: "\"x\"" is the document "x", and "null" is JSON's null, not SQL's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/jsonb.h"

#include "convert_rows.h"

/*
 * A string holds the document; anything else is it.  json_in and jsonb_in
 * check; jsonb refuses \u0000.
 */
static Datum
document_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	switch (value->type)
	{
		case CDC_JSON_TRUE:
			return cdc_input(conv, pstrdup("true"));
		case CDC_JSON_FALSE:
			return cdc_input(conv, pstrdup("false"));
		default:
			return cdc_input(conv, cdc_node_cstring(value));
	}
}

/* A struct, map or array field of another source, written as it is. */
static Datum
document_from_container(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_OBJECT && value->type != CDC_JSON_ARRAY)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "an object or array");
	return cdc_input(conv, cdc_node_cstring(value));
}

static Datum
document_from_text(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "the text of a JSON document");
	return cdc_input(conv, cdc_node_cstring(value));
}

/* --- hstore --- */

/* Appends a key or a value in double quotes, as hstore reads it. */
static void
append_quoted(StringInfo out, const CdcJsonNode *text)
{
	appendStringInfoCharMacro(out, '"');
	for (uint32_t i = 0; i < text->len; i++)
	{
		if (text->text[i] == '"' || text->text[i] == '\\')
			appendStringInfoCharMacro(out, '\\');
		appendStringInfoCharMacro(out, text->text[i]);
	}
	appendStringInfoCharMacro(out, '"');
}

static void
append_pair(StringInfo out, const CdcJsonNode *key, const CdcJsonNode *value)
{
	if (out->len > 0)
		appendStringInfoCharMacro(out, ',');
	if (key->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, key, "a key of hstore");
	append_quoted(out, key);
	appendStringInfoString(out, "=>");
	switch (value->type)
	{
		case CDC_JSON_NULL:
			appendStringInfoString(out, "NULL");
			break;
		case CDC_JSON_STRING:
		case CDC_JSON_NUMBER:
			append_quoted(out, value);
			break;
		case CDC_JSON_TRUE:
			appendStringInfoString(out, "\"true\"");
			break;
		case CDC_JSON_FALSE:
			appendStringInfoString(out, "\"false\"");
			break;
		default:
			cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
					   "a value of hstore");
	}
}

/* An object, or the array of pairs that Connect makes of other maps. */
static Datum
hstore_from_map(const CdcConversion *conv, const CdcJsonNode *value)
{
	const CdcJsonNode *child = cdc_json_first(value);
	StringInfoData out;

	initStringInfo(&out);
	for (uint32_t i = 0; i < value->nchildren; i++)
	{
		if (value->type == CDC_JSON_OBJECT)
		{
			append_pair(&out, child, child + 1);
			child = cdc_json_next(child + 1);
			continue;
		}
		if (value->type != CDC_JSON_ARRAY || child->type != CDC_JSON_ARRAY ||
			child->nchildren != 2)
			cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a map");
		append_pair(&out, cdc_json_first(child),
					cdc_json_next(cdc_json_first(child)));
		child = cdc_json_next(child);
	}
	if (value->type != CDC_JSON_OBJECT && value->type != CDC_JSON_ARRAY)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a map");
	return cdc_input(conv, cdc_text_to_server(out.data, out.len, NULL));
}

static Datum
hstore_from_text(const CdcConversion *conv, const CdcJsonNode *value)
{
	const CdcJsonNode *document;

	if (value->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "a JSON object in a string");
	document = cdc_parse_document(value);
	if (document->type != CDC_JSON_OBJECT)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "a JSON object in a string");
	return hstore_from_map(conv, document);
}

static Datum
hstore_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type == CDC_JSON_STRING)
		return hstore_from_text(conv, value);
	return hstore_from_map(conv, value);
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_JSON, document_from_any, "document_from_any"},
	{CDC_FROM_JSON, CDC_TO_JSON, document_from_text, "document_from_text"},
	{CDC_FROM_STRING, CDC_TO_JSON, document_from_text, "document_from_text"},
	{CDC_FROM_STRUCT, CDC_TO_JSON, document_from_container, "document_from_container"},
	{CDC_FROM_MAP, CDC_TO_JSON, document_from_container, "document_from_container"},
	{CDC_FROM_ARRAY, CDC_TO_JSON, document_from_container, "document_from_container"},

	{CDC_FROM_ANY, CDC_TO_JSONB, document_from_any, "document_from_any"},
	{CDC_FROM_JSON, CDC_TO_JSONB, document_from_text, "document_from_text"},
	{CDC_FROM_STRING, CDC_TO_JSONB, document_from_text, "document_from_text"},
	{CDC_FROM_STRUCT, CDC_TO_JSONB, document_from_container, "document_from_container"},
	{CDC_FROM_MAP, CDC_TO_JSONB, document_from_container, "document_from_container"},
	{CDC_FROM_ARRAY, CDC_TO_JSONB, document_from_container, "document_from_container"},

	{CDC_FROM_ANY, CDC_TO_HSTORE, hstore_from_any, "hstore_from_any"},
	{CDC_FROM_JSON, CDC_TO_HSTORE, hstore_from_text, "hstore_from_text"},
	{CDC_FROM_MAP, CDC_TO_HSTORE, hstore_from_map, "hstore_from_map"},
};

const CdcConvertTable cdc_rows_document = {rows, lengthof(rows)};
