/*-------------------------------------------------------------------------
 *
 * convert_number.c
 *		Integers, oid, booleans, floating point.
 *
 * Floor 3.  The hard thing: nothing may be rounded or cut silently.  What is
 * no plain integer literal (7.0, 1E3, a decimal) goes through numeric and is
 * taken only where it is a whole number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/numeric.h"

#include "convert_rows.h"

static const char *
integer_name(const CdcConversion *conv)
{
	switch (conv->target)
	{
		case CDC_TO_INT2:
			return "smallint";
		case CDC_TO_INT4:
			return "integer";
		case CDC_TO_OID:
			return "oid";
		default:
			return "bigint";
	}
}

/* Range check of the column's type. */
static Datum
finish_integer(const CdcConversion *conv, int64 number,
			   const CdcJsonNode *value)
{
	switch (conv->target)
	{
		case CDC_TO_INT2:
			if (number >= PG_INT16_MIN && number <= PG_INT16_MAX)
				return Int16GetDatum((int16) number);
			break;
		case CDC_TO_INT4:
			if (number >= PG_INT32_MIN && number <= PG_INT32_MAX)
				return Int32GetDatum((int32) number);
			break;
		case CDC_TO_OID:
			if (number >= 0 && number <= PG_UINT32_MAX)
				return ObjectIdGetDatum((Oid) number);
			break;
		default:
			return Int64GetDatum(number);
	}
	cdc_refuse_range(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, value,
					 integer_name(conv));
}

/* A whole number that was written as a numeric; others are ERROR 22P02. */
static Datum
integer_of_numeric(const CdcConversion *conv, Numeric number,
				   const CdcJsonNode *value)
{
	Datum		datum = NumericGetDatum(number);
	Datum		whole;

	if (numeric_is_nan(number) || numeric_is_inf(number))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "an integer");
	whole = DirectFunctionCall2(numeric_trunc, datum, Int32GetDatum(0));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, datum, whole)))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "an integer");
	return finish_integer(conv,
						  DatumGetInt64(DirectFunctionCall1(numeric_int8,
															whole)),
						  value);
}

/* A number literal of any form. */
static Datum
integer_from_literal(const CdcConversion *conv, const CdcJsonNode *value)
{
	int64		number;

	if (value->type != CDC_JSON_NUMBER)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "an integer");
	if (cdc_parse_int64(value->text, value->len, &number))
		return finish_integer(conv, number, value);
	return integer_of_numeric(conv,
							  DatumGetNumeric(DirectFunctionCall3(numeric_in,
																  CStringGetDatum(cdc_node_cstring(value)),
																  ObjectIdGetDatum(InvalidOid),
																  Int32GetDatum(-1))),
							  value);
}

static Datum
integer_from_boolean(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_TRUE && value->type != CDC_JSON_FALSE)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a boolean");
	return finish_integer(conv, value->type == CDC_JSON_TRUE, value);
}

static Datum
integer_from_decimal(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	unscaled;

	if (value->type == CDC_JSON_NUMBER)
		return integer_from_literal(conv, value);
	cdc_bytes_decode(value, &unscaled);
	return integer_of_numeric(conv,
							  cdc_decimal_numeric(value, &unscaled,
												  conv->scale, -1),
							  value);
}

static Datum
integer_from_variable_decimal(const CdcConversion *conv,
							  const CdcJsonNode *value)
{
	return integer_of_numeric(conv, cdc_variable_decimal(value, -1), value);
}

/*
 * Without a schema.  A string is an integer where decimals come as strings;
 * as precise decimals they are base64 of the unscaled bytes, which only
 * bigint takes (BIGINT UNSIGNED): into a smaller type any short word would
 * be valid base64 and become a number that nobody wrote.
 */
static Datum
integer_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	int64		number;

	switch (value->type)
	{
		case CDC_JSON_NUMBER:
			return integer_from_literal(conv, value);
		case CDC_JSON_TRUE:
		case CDC_JSON_FALSE:
			return integer_from_boolean(conv, value);
		case CDC_JSON_OBJECT:
			if (cdc_member(value, "scale") != NULL)
				return integer_from_variable_decimal(conv, value);
			break;
		case CDC_JSON_STRING:
			if (conv->source->decimal_mode == CDC_DECIMAL_STRING &&
				cdc_parse_int64(value->text, value->len, &number))
				return finish_integer(conv, number, value);
			if (conv->source->decimal_mode == CDC_DECIMAL_PRECISE &&
				conv->target == CDC_TO_INT8)
				return integer_from_decimal(conv, value);
			break;
		default:
			break;
	}
	cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "an integer");
}

/* MySQL BIT(n) into an integer column: the bits as a number. */
static Datum
integer_from_bits(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;
	uint64		number = 0;

	if (value->type != CDC_JSON_STRING)
		return integer_from_boolean(conv, value);
	cdc_bytes_decode(value, &bytes);
	for (size_t i = bytes.len; i-- > 0;)
	{
		if (number >> 55)
			cdc_refuse_range(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, value,
							 integer_name(conv));
		number = (number << 8) | bytes.data[i];
	}
	return finish_integer(conv, (int64) number, value);
}

/* --- boolean --- */

static Datum
boolean_from_boolean(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_TRUE && value->type != CDC_JSON_FALSE)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a boolean");
	return BoolGetDatum(value->type == CDC_JSON_TRUE);
}

static Datum
boolean_from_integer(const CdcConversion *conv, const CdcJsonNode *value)
{
	int64		number = cdc_node_int64(value);

	if (number != 0 && number != 1)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a boolean");
	return BoolGetDatum(number == 1);
}

static Datum
boolean_from_bits(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	if (value->type != CDC_JSON_STRING)
		return boolean_from_boolean(conv, value);
	cdc_bytes_decode(value, &bytes);
	if (bytes.len > 1 || (bytes.len == 1 && bytes.data[0] > 1))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a boolean");
	return BoolGetDatum(bytes.len == 1 && bytes.data[0] == 1);
}

static Datum
boolean_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type == CDC_JSON_NUMBER)
		return boolean_from_integer(conv, value);
	if (cdc_node_is(value, "true") || cdc_node_is(value, "false"))
		return BoolGetDatum(value->len == 4);
	return boolean_from_bits(conv, value);
}

/* --- floating point --- */

/* Longest literal that is converted without a palloc'd copy. */
#define SHORT_LITERAL 64

static Datum
float_of_text(const CdcConversion *conv, const char *text, size_t len)
{
	char		literal[SHORT_LITERAL];
	char	   *copy = literal;

	if (len >= SHORT_LITERAL)
		copy = palloc(len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	return DirectFunctionCall1(conv->target == CDC_TO_FLOAT4 ? float4in :
							   float8in, CStringGetDatum(copy));
}

static bool
is_non_finite(const CdcJsonNode *value)
{
	return cdc_node_is(value, "NaN") || cdc_node_is(value, "Infinity") ||
		cdc_node_is(value, "-Infinity");
}

static Datum
float_from_float(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_NUMBER && !is_non_finite(value))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a number");
	return float_of_text(conv, value->text, value->len);
}

static Datum
float_from_variable_decimal(const CdcConversion *conv,
							const CdcJsonNode *value)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out,
														   NumericGetDatum(cdc_variable_decimal(value, -1))));

	return float_of_text(conv, text, strlen(text));
}

/*
 * Without a schema a string is a number only where decimals come as strings:
 * as base64 its scale would be unknown.
 */
static Datum
float_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (cdc_member(value, "scale") != NULL)
		return float_from_variable_decimal(conv, value);
	if (value->type == CDC_JSON_STRING && !is_non_finite(value) &&
		conv->source->decimal_mode == CDC_DECIMAL_STRING)
	{
		char	   *text;

		text = DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(cdc_numeric_of_text(value, -1))));
		return float_of_text(conv, text, strlen(text));
	}
	return float_from_float(conv, value);
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_INT2, integer_from_any, "integer_from_any"},
	{CDC_FROM_INTEGER, CDC_TO_INT2, integer_from_literal, "integer_from_literal"},
	{CDC_FROM_FLOAT, CDC_TO_INT2, integer_from_literal, "integer_from_literal"},
	{CDC_FROM_BOOLEAN, CDC_TO_INT2, integer_from_boolean, "integer_from_boolean"},
	{CDC_FROM_DECIMAL, CDC_TO_INT2, integer_from_decimal, "integer_from_decimal"},
	{CDC_FROM_VARIABLE_DECIMAL, CDC_TO_INT2, integer_from_variable_decimal, "integer_from_variable_decimal"},
	{CDC_FROM_BITS, CDC_TO_INT2, integer_from_bits, "integer_from_bits"},

	{CDC_FROM_ANY, CDC_TO_INT4, integer_from_any, "integer_from_any"},
	{CDC_FROM_INTEGER, CDC_TO_INT4, integer_from_literal, "integer_from_literal"},
	{CDC_FROM_FLOAT, CDC_TO_INT4, integer_from_literal, "integer_from_literal"},
	{CDC_FROM_BOOLEAN, CDC_TO_INT4, integer_from_boolean, "integer_from_boolean"},
	{CDC_FROM_DECIMAL, CDC_TO_INT4, integer_from_decimal, "integer_from_decimal"},
	{CDC_FROM_VARIABLE_DECIMAL, CDC_TO_INT4, integer_from_variable_decimal, "integer_from_variable_decimal"},
	{CDC_FROM_BITS, CDC_TO_INT4, integer_from_bits, "integer_from_bits"},

	{CDC_FROM_ANY, CDC_TO_INT8, integer_from_any, "integer_from_any"},
	{CDC_FROM_INTEGER, CDC_TO_INT8, integer_from_literal, "integer_from_literal"},
	{CDC_FROM_FLOAT, CDC_TO_INT8, integer_from_literal, "integer_from_literal"},
	{CDC_FROM_BOOLEAN, CDC_TO_INT8, integer_from_boolean, "integer_from_boolean"},
	{CDC_FROM_DECIMAL, CDC_TO_INT8, integer_from_decimal, "integer_from_decimal"},
	{CDC_FROM_VARIABLE_DECIMAL, CDC_TO_INT8, integer_from_variable_decimal, "integer_from_variable_decimal"},
	{CDC_FROM_BITS, CDC_TO_INT8, integer_from_bits, "integer_from_bits"},

	{CDC_FROM_ANY, CDC_TO_OID, integer_from_any, "integer_from_any"},
	{CDC_FROM_INTEGER, CDC_TO_OID, integer_from_literal, "integer_from_literal"},

	{CDC_FROM_ANY, CDC_TO_BOOL, boolean_from_any, "boolean_from_any"},
	{CDC_FROM_BOOLEAN, CDC_TO_BOOL, boolean_from_boolean, "boolean_from_boolean"},
	{CDC_FROM_INTEGER, CDC_TO_BOOL, boolean_from_integer, "boolean_from_integer"},
	{CDC_FROM_BITS, CDC_TO_BOOL, boolean_from_bits, "boolean_from_bits"},

	{CDC_FROM_ANY, CDC_TO_FLOAT4, float_from_any, "float_from_any"},
	{CDC_FROM_FLOAT, CDC_TO_FLOAT4, float_from_float, "float_from_float"},
	{CDC_FROM_INTEGER, CDC_TO_FLOAT4, float_from_float, "float_from_float"},
	{CDC_FROM_VARIABLE_DECIMAL, CDC_TO_FLOAT4, float_from_variable_decimal, "float_from_variable_decimal"},

	{CDC_FROM_ANY, CDC_TO_FLOAT8, float_from_any, "float_from_any"},
	{CDC_FROM_FLOAT, CDC_TO_FLOAT8, float_from_float, "float_from_float"},
	{CDC_FROM_INTEGER, CDC_TO_FLOAT8, float_from_float, "float_from_float"},
	{CDC_FROM_VARIABLE_DECIMAL, CDC_TO_FLOAT8, float_from_variable_decimal, "float_from_variable_decimal"},
};

const CdcConvertTable cdc_rows_number = {rows, lengthof(rows)};
