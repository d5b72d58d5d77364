/*-------------------------------------------------------------------------
 *
 * convert_time.c
 *		date, time, timetz, timestamp and timestamptz.
 *
 * Floor 3.  The hard thing: an integer without a schema does not say its
 * unit; time.precision.mode and the column's precision do.  A timestamp is a
 * wall clock read as if in UTC and is never shifted; what names an offset is
 * an instant and becomes the UTC clock of that instant.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "convert_rows.h"

#define UNIX_EPOCH_DAYS		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define UNIX_EPOCH_SECONDS	((int64) UNIX_EPOCH_DAYS * SECS_PER_DAY)

/*
 * Unit of an integer of a schemaless temporal column, in units a second.
 * ERROR where the mode named in source knows no integers.
 */
static int64
schemaless_unit(const CdcConversion *conv, const CdcJsonNode *value)
{
	bool		millis = conv->basetypmod >= 0 && conv->basetypmod <= 3;
	bool		time = conv->target == CDC_TO_TIME ||
		conv->target == CDC_TO_TIMETZ;

	switch (conv->source->time_mode)
	{
		case CDC_TIME_ADAPTIVE:
			return millis ? 1000 : 1000000;
		case CDC_TIME_ADAPTIVE_MICROSECONDS:
			return millis && !time ? 1000 : 1000000;
		case CDC_TIME_CONNECT:
			return 1000;
		case CDC_TIME_MICROSECONDS:
			return 1000000;
		case CDC_TIME_NANOSECONDS:
			return 1000000000;
		case CDC_TIME_ISOSTRING:
		case CDC_TIME_STRUCTURED:
			break;
	}
	cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value,
			   conv->source->time_mode == CDC_TIME_ISOSTRING ?
			   "an ISO 8601 string, as time.precision.mode of source says" :
			   "a structured time, as time.precision.mode of source says");
}

/* Rounds to 10^-typmod seconds, away from zero, as the types' casts do. */
static int64
round_micros(int64 micros, int32 typmod)
{
	static const int64 scales[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	int64		scale;

	if (typmod < 0 || typmod >= MAX_TIMESTAMP_PRECISION)
		return micros;
	scale = scales[typmod];
	if (micros >= 0)
		return (micros + scale / 2) / scale * scale;
	return -((-micros + scale / 2) / scale * scale);
}

/* Reads a string or a structured object; ERROR where it is neither. */
static void
read_calendar(const CdcJsonNode *value, CdcCalendar *out, const char *expected)
{
	bool		ok = false;

	if (value->type == CDC_JSON_STRING)
		ok = cdc_parse_iso(value->text, value->len, out);
	else if (value->type == CDC_JSON_OBJECT)
		ok = cdc_parse_structured(value, out);
	if (!ok)
		cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value, expected);
}

/* --- date --- */

/* days since 1970 to a date */
static Datum
finish_date(int64 days, CdcSpecial special, const CdcJsonNode *value)
{
	if (special == CDC_INFINITY)
		return DateADTGetDatum(DATEVAL_NOEND);
	if (special == CDC_MINUS_INFINITY)
		return DateADTGetDatum(DATEVAL_NOBEGIN);
	/* first: the ends of int64 have no room for the subtraction */
	if (days < PG_INT32_MIN || days > PG_INT32_MAX ||
		!IS_VALID_DATE(days - UNIX_EPOCH_DAYS))
		cdc_refuse_range(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, value, "date");
	return DateADTGetDatum((DateADT) (days - UNIX_EPOCH_DAYS));
}

static Datum
date_from_days(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcSpecial	special = CDC_FINITE;
	int64		days = cdc_node_int64(value);

	(void) cdc_special_days(days, &special);
	return finish_date(days, special, value);
}

static Datum
date_from_calendar(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcCalendar calendar;

	read_calendar(value, &calendar, "a date");
	if (calendar.special == CDC_FINITE && !calendar.has_date)
		cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value, "a date");
	return finish_date(calendar.days, calendar.special, value);
}

static Datum
date_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type == CDC_JSON_NUMBER)
		return date_from_days(conv, value);
	return date_from_calendar(conv, value);
}

/* --- timestamp and timestamptz: one representation --- */

static void pg_attribute_noreturn()
refuse_timestamp(const CdcJsonNode *value)
{
	cdc_refuse_range(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, value, "timestamp");
}

/* micros since 2000, UTC; ERROR 22008 out of PostgreSQL's range */
static Datum
finish_timestamp(const CdcConversion *conv, int64 micros, CdcSpecial special,
				 const CdcJsonNode *value)
{
	if (special == CDC_INFINITY)
		return TimestampGetDatum(DT_NOEND);
	if (special == CDC_MINUS_INFINITY)
		return TimestampGetDatum(DT_NOBEGIN);
	if (IS_VALID_TIMESTAMP(micros))
		micros = round_micros(micros, conv->basetypmod);
	if (!IS_VALID_TIMESTAMP(micros))
		refuse_timestamp(value);
	return TimestampGetDatum(micros);
}

/*
 * Days since 1970 and micros of the day to micros since 2000: the last years
 * that PostgreSQL knows do not fit micros since 1970.
 */
static int64
instant_of(int64 days, int64 micros, const CdcJsonNode *value)
{
	int64		result;

	if (pg_mul_s64_overflow(days - UNIX_EPOCH_DAYS, USECS_PER_DAY, &result) ||
		pg_add_s64_overflow(result, micros, &result))
		refuse_timestamp(value);
	return result;
}

static Datum
timestamp_from_unit(const CdcConversion *conv, const CdcJsonNode *value,
					int64 per_second)
{
	CdcSpecial	special = CDC_FINITE;
	int64		number = cdc_node_int64(value);
	int64		micros = 0;

	if (cdc_special_instant(number, per_second, &special))
		return finish_timestamp(conv, 0, special, value);
	/* the epoch is subtracted in the coarser unit, where more years fit */
	if (per_second > USECS_PER_SEC)
	{
		if (!cdc_to_micros(number, per_second, &micros) ||
			pg_sub_s64_overflow(micros, UNIX_EPOCH_SECONDS * USECS_PER_SEC,
								&micros))
			refuse_timestamp(value);
	}
	else if (pg_sub_s64_overflow(number, UNIX_EPOCH_SECONDS * per_second,
								 &number) ||
			 !cdc_to_micros(number, per_second, &micros))
		refuse_timestamp(value);
	return finish_timestamp(conv, micros, special, value);
}

static Datum
timestamp_from_integer(const CdcConversion *conv, const CdcJsonNode *value)
{
	return timestamp_from_unit(conv, value, conv->per_second);
}

static Datum
timestamp_from_days(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcSpecial	special = CDC_FINITE;
	int64		days = cdc_node_int64(value);
	int64		micros = 0;

	if (!cdc_special_days(days, &special))
		micros = instant_of(days, 0, value);
	return finish_timestamp(conv, micros, special, value);
}

static Datum
timestamp_from_calendar(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcCalendar calendar;
	int64		micros = 0;

	read_calendar(value, &calendar, "a date and time");
	if (calendar.special == CDC_FINITE)
	{
		if (!calendar.has_date)
			cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value,
					   "a date and time");
		micros = instant_of(calendar.days, calendar.micros -
							calendar.offset * USECS_PER_SEC, value);
	}
	return finish_timestamp(conv, micros, calendar.special, value);
}

static Datum
timestamp_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type == CDC_JSON_NUMBER)
		return timestamp_from_unit(conv, value, schemaless_unit(conv, value));
	return timestamp_from_calendar(conv, value);
}

/* --- time and timetz --- */

/* micros since midnight; offset is of the value, seconds east of UTC */
static Datum
finish_time(const CdcConversion *conv, int64 micros, int32 offset,
		  const CdcJsonNode *value)
{
	TimeTzADT  *result;

	if (micros < 0 || micros > USECS_PER_DAY)
		cdc_refuse_range(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, value, "time");
	if (conv->target == CDC_TO_TIME)
	{
		if (offset != 0)
		{
			micros = (micros - offset * USECS_PER_SEC) % USECS_PER_DAY;
			if (micros < 0)
				micros += USECS_PER_DAY;
		}
		return TimeADTGetDatum(round_micros(micros, conv->basetypmod));
	}
	result = palloc(sizeof(TimeTzADT));
	result->time = round_micros(micros, conv->basetypmod);
	result->zone = -offset;
	return TimeTzADTPGetDatum(result);
}

static Datum
time_from_unit(const CdcConversion *conv, const CdcJsonNode *value,
			   int64 per_second)
{
	int64		micros;

	if (!cdc_to_micros(cdc_node_int64(value), per_second, &micros))
		cdc_refuse_range(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, value, "time");
	return finish_time(conv, micros, 0, value);
}

static Datum
time_from_integer(const CdcConversion *conv, const CdcJsonNode *value)
{
	return time_from_unit(conv, value, conv->per_second);
}

static Datum
time_from_calendar(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcCalendar calendar;

	read_calendar(value, &calendar, "a time of day");
	if (calendar.special != CDC_FINITE || !calendar.has_time ||
		calendar.has_date)
		cdc_refuse(ERRCODE_INVALID_DATETIME_FORMAT, value, "a time of day");
	return finish_time(conv, calendar.micros, calendar.offset, value);
}

static Datum
time_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type == CDC_JSON_NUMBER)
		return time_from_unit(conv, value, schemaless_unit(conv, value));
	return time_from_calendar(conv, value);
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_DATE, date_from_any, "date_from_any"},
	{CDC_FROM_DATE, CDC_TO_DATE, date_from_days, "date_from_days"},
	{CDC_FROM_ISO, CDC_TO_DATE, date_from_calendar, "date_from_calendar"},
	{CDC_FROM_STRING, CDC_TO_DATE, date_from_calendar, "date_from_calendar"},
	{CDC_FROM_STRUCT, CDC_TO_DATE, date_from_calendar, "date_from_calendar"},

	{CDC_FROM_ANY, CDC_TO_TIMESTAMP, timestamp_from_any, "timestamp_from_any"},
	{CDC_FROM_TIMESTAMP, CDC_TO_TIMESTAMP, timestamp_from_integer, "timestamp_from_integer"},
	{CDC_FROM_DATE, CDC_TO_TIMESTAMP, timestamp_from_days, "timestamp_from_days"},
	{CDC_FROM_ISO, CDC_TO_TIMESTAMP, timestamp_from_calendar, "timestamp_from_calendar"},
	{CDC_FROM_STRING, CDC_TO_TIMESTAMP, timestamp_from_calendar, "timestamp_from_calendar"},
	{CDC_FROM_STRUCT, CDC_TO_TIMESTAMP, timestamp_from_calendar, "timestamp_from_calendar"},

	{CDC_FROM_ANY, CDC_TO_TIMESTAMPTZ, timestamp_from_any, "timestamp_from_any"},
	{CDC_FROM_TIMESTAMP, CDC_TO_TIMESTAMPTZ, timestamp_from_integer, "timestamp_from_integer"},
	{CDC_FROM_DATE, CDC_TO_TIMESTAMPTZ, timestamp_from_days, "timestamp_from_days"},
	{CDC_FROM_ISO, CDC_TO_TIMESTAMPTZ, timestamp_from_calendar, "timestamp_from_calendar"},
	{CDC_FROM_STRING, CDC_TO_TIMESTAMPTZ, timestamp_from_calendar, "timestamp_from_calendar"},
	{CDC_FROM_STRUCT, CDC_TO_TIMESTAMPTZ, timestamp_from_calendar, "timestamp_from_calendar"},

	{CDC_FROM_ANY, CDC_TO_TIME, time_from_any, "time_from_any"},
	{CDC_FROM_TIME, CDC_TO_TIME, time_from_integer, "time_from_integer"},
	{CDC_FROM_ISO, CDC_TO_TIME, time_from_calendar, "time_from_calendar"},
	{CDC_FROM_STRING, CDC_TO_TIME, time_from_calendar, "time_from_calendar"},
	{CDC_FROM_STRUCT, CDC_TO_TIME, time_from_calendar, "time_from_calendar"},

	{CDC_FROM_ANY, CDC_TO_TIMETZ, time_from_any, "time_from_any"},
	{CDC_FROM_TIME, CDC_TO_TIMETZ, time_from_integer, "time_from_integer"},
	{CDC_FROM_ISO, CDC_TO_TIMETZ, time_from_calendar, "time_from_calendar"},
	{CDC_FROM_STRING, CDC_TO_TIMETZ, time_from_calendar, "time_from_calendar"},
	{CDC_FROM_STRUCT, CDC_TO_TIMETZ, time_from_calendar, "time_from_calendar"},
};

const CdcConvertTable cdc_rows_time = {rows, lengthof(rows)};
