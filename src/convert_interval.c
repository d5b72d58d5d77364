/*-------------------------------------------------------------------------
 *
 * convert_interval.c
 *		interval, from durations, ISO 8601 text and structures.
 *
 * Floor 3.  The hard thing: a duration of microseconds has lost its months
 * and days at the source (one month counts 30.4375 days); it is kept as it
 * came, as hours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "datatype/timestamp.h"
#include "utils/timestamp.h"

#include "convert_rows.h"

/* Applies the column's fields and precision; result is palloc'd. */
static Datum
finish_interval(const CdcConversion *conv, Interval *interval)
{
	if (conv->basetypmod < 0)
		return IntervalPGetDatum(interval);
	return DirectFunctionCall2(interval_scale, IntervalPGetDatum(interval),
							   Int32GetDatum(conv->basetypmod));
}

static Datum
interval_from_unit(const CdcConversion *conv, const CdcJsonNode *value,
				   int64 per_second)
{
	Interval   *result = palloc0(sizeof(Interval));

	if (!cdc_to_micros(cdc_node_int64(value), per_second, &result->time))
		cdc_refuse_range(ERRCODE_INTERVAL_FIELD_OVERFLOW, value, "interval");
	return finish_interval(conv, result);
}

/* A duration, or a time of MySQL, which may be negative or above 24 h. */
static Datum
interval_from_integer(const CdcConversion *conv, const CdcJsonNode *value)
{
	return interval_from_unit(conv, value, conv->per_second);
}

/*
 * Only ISO 8601 ("P1Y2M-3DT4H5M6.789S") and the infinities: the meaning of
 * other forms depends on IntervalStyle.
 */
static Datum
interval_from_text(const CdcConversion *conv, const CdcJsonNode *value)
{
	size_t		sign;

	if (value->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value, "an interval");
	sign = value->len > 0 && value->text[0] == '-';
	if (!(value->len > sign && value->text[sign] == 'P') &&
		!cdc_node_is(value, "infinity") && !cdc_node_is(value, "-infinity"))
		cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value,
				   "an ISO 8601 duration");
	return cdc_input(conv, cdc_node_cstring(value));
}

/* Adds the member times factor to *sum; absent counts as zero. */
static void
add_member(const CdcJsonNode *value, const char *name, int64 factor,
		   int64 *sum)
{
	const CdcJsonNode *member = cdc_member(value, name);
	int64		number;

	if (member == NULL)
		return;
	number = cdc_node_int64(member);
	if (pg_mul_s64_overflow(number, factor, &number) ||
		pg_add_s64_overflow(*sum, number, sum))
		cdc_refuse_range(ERRCODE_INTERVAL_FIELD_OVERFLOW, value, "interval");
}

/* Signed members, each kept in its own field of the interval. */
static Datum
interval_from_struct(const CdcConversion *conv, const CdcJsonNode *value)
{
	Interval   *result = palloc0(sizeof(Interval));
	int64		months = 0;
	int64		days = 0;
	int64		nanos = 0;
	int64		picos = 0;

	if (value->type != CDC_JSON_OBJECT ||
		(cdc_member(value, "seconds") == NULL &&
		 cdc_member(value, "months") == NULL &&
		 cdc_member(value, "days") == NULL))
		cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value,
				   "a structured interval");
	add_member(value, "years", MONTHS_PER_YEAR, &months);
	add_member(value, "months", 1, &months);
	add_member(value, "days", 1, &days);
	add_member(value, "hours", USECS_PER_HOUR, &result->time);
	add_member(value, "minutes", USECS_PER_MINUTE, &result->time);
	add_member(value, "seconds", USECS_PER_SEC, &result->time);
	add_member(value, "nanos", 1, &nanos);
	add_member(value, "picoseconds", 1, &picos);
	nanos += picos / 1000;
	if (months != (int32) months || days != (int32) days ||
		pg_add_s64_overflow(result->time, nanos / 1000, &result->time))
		cdc_refuse_range(ERRCODE_INTERVAL_FIELD_OVERFLOW, value, "interval");
	result->month = (int32) months;
	result->day = (int32) days;
	return finish_interval(conv, result);
}

static Datum
interval_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type == CDC_JSON_OBJECT)
		return interval_from_struct(conv, value);
	if (value->type != CDC_JSON_NUMBER)
		return interval_from_text(conv, value);
	if (conv->source->interval_mode != CDC_INTERVAL_NUMERIC)
		cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value,
				   "written as interval.handling.mode of source says");
	return interval_from_unit(conv, value, USECS_PER_SEC);
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_INTERVAL, interval_from_any, "interval_from_any"},
	{CDC_FROM_DURATION, CDC_TO_INTERVAL, interval_from_integer, "interval_from_integer"},
	{CDC_FROM_TIME, CDC_TO_INTERVAL, interval_from_integer, "interval_from_integer"},
	{CDC_FROM_ISO_INTERVAL, CDC_TO_INTERVAL, interval_from_text, "interval_from_text"},
	{CDC_FROM_STRUCT, CDC_TO_INTERVAL, interval_from_struct, "interval_from_struct"},
};

const CdcConvertTable cdc_rows_interval = {rows, lengthof(rows)};
