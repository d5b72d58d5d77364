/*-------------------------------------------------------------------------
 *
 * convert_numeric.c
 *		numeric and money.
 *
 * Floor 3.  The hard thing: without a schema the text "1234" is a decimal as
 * well as base64 of three bytes; decimal.handling.mode of source decides,
 * and base64 needs a column that declares its scale.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/cash.h"
#include "utils/numeric.h"

#include "convert_rows.h"

/* money.fraction.digits of the connector, whose default is 2 */
#define MONEY_SCALE 2

static Datum
finish(const CdcConversion *conv, Numeric number, const CdcJsonNode *value)
{
	if (conv->target != CDC_TO_MONEY)
		return NumericGetDatum(number);
	if (numeric_is_nan(number) || numeric_is_inf(number))
		cdc_refuse_range(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, value, "money");
	return DirectFunctionCall1(numeric_cash, NumericGetDatum(number));
}

/* basetypmod where the column is numeric */
static int32
typmod_of(const CdcConversion *conv)
{
	return conv->target == CDC_TO_MONEY ? -1 : conv->basetypmod;
}

/* A negative scale of the source arrives as thousands of zeros. */
static Numeric
drop_zeros(const CdcConversion *conv, Numeric number)
{
	if (conv->schema == NULL || conv->scale <= 1000)
		return number;
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
											   NumericGetDatum(number)));
}

static Datum
numeric_from_number(const CdcConversion *conv, const CdcJsonNode *value)
{
	Numeric		number = cdc_numeric_of_text(value, typmod_of(conv));

	return finish(conv, drop_zeros(conv, number), value);
}

static Datum
numeric_from_decimal(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	unscaled;

	if (value->type == CDC_JSON_NUMBER)
		return numeric_from_number(conv, value);
	cdc_bytes_decode(value, &unscaled);
	return finish(conv, cdc_decimal_numeric(value, &unscaled, conv->scale,
											typmod_of(conv)), value);
}

static Datum
numeric_from_variable_decimal(const CdcConversion *conv,
							  const CdcJsonNode *value)
{
	return finish(conv, cdc_variable_decimal(value, typmod_of(conv)), value);
}

/* An integer or double field: a number, or one of the three strings. */
static Datum
numeric_from_literal(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_NUMBER && !cdc_node_is(value, "NaN") &&
		!cdc_node_is(value, "Infinity") && !cdc_node_is(value, "-Infinity"))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a number");
	return numeric_from_number(conv, value);
}

/* A string field. */
static Datum
numeric_from_text(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a string");
	return numeric_from_number(conv, value);
}

static Datum
numeric_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	int32		scale = MONEY_SCALE;
	CdcBuffer	unscaled;

	if (value->type == CDC_JSON_OBJECT)
		return numeric_from_variable_decimal(conv, value);
	if (value->type != CDC_JSON_STRING ||
		conv->source->decimal_mode == CDC_DECIMAL_STRING)
		return numeric_from_number(conv, value);
	if (conv->source->decimal_mode == CDC_DECIMAL_DOUBLE)
		return numeric_from_literal(conv, value);
	if (conv->target == CDC_TO_NUMERIC)
	{
		if (conv->basetypmod < (int32) VARHDRSZ)
			cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
					   "a number, and as base64 it has no known scale:"
					   " neither a schema nor the column tells it");
		scale = conv->scale;
	}
	cdc_bytes_decode(value, &unscaled);
	return finish(conv, cdc_decimal_numeric(value, &unscaled, scale,
											typmod_of(conv)), value);
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_NUMERIC, numeric_from_any, "numeric_from_any"},
	{CDC_FROM_DECIMAL, CDC_TO_NUMERIC, numeric_from_decimal, "numeric_from_decimal"},
	{CDC_FROM_VARIABLE_DECIMAL, CDC_TO_NUMERIC, numeric_from_variable_decimal, "numeric_from_variable_decimal"},
	{CDC_FROM_INTEGER, CDC_TO_NUMERIC, numeric_from_literal, "numeric_from_literal"},
	{CDC_FROM_FLOAT, CDC_TO_NUMERIC, numeric_from_literal, "numeric_from_literal"},
	{CDC_FROM_STRING, CDC_TO_NUMERIC, numeric_from_text, "numeric_from_text"},

	{CDC_FROM_ANY, CDC_TO_MONEY, numeric_from_any, "numeric_from_any"},
	{CDC_FROM_DECIMAL, CDC_TO_MONEY, numeric_from_decimal, "numeric_from_decimal"},
	{CDC_FROM_VARIABLE_DECIMAL, CDC_TO_MONEY, numeric_from_variable_decimal, "numeric_from_variable_decimal"},
	{CDC_FROM_INTEGER, CDC_TO_MONEY, numeric_from_literal, "numeric_from_literal"},
	{CDC_FROM_FLOAT, CDC_TO_MONEY, numeric_from_literal, "numeric_from_literal"},
	{CDC_FROM_STRING, CDC_TO_MONEY, numeric_from_text, "numeric_from_text"},
};

const CdcConvertTable cdc_rows_numeric = {rows, lengthof(rows)};
