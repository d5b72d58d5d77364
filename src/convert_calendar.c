/*-------------------------------------------------------------------------
 *
 * convert_calendar.c
 *		Dates and times as Debezium writes them.
 *
 * Floor 2.  The hard thing: infinities and years before Christ.  Java has no
 * infinite date, so that Debezium sends extreme ones, which differ between
 * streaming, snapshot and time zone of the connector; years are astronomical
 * (0 is 1 BC).  Nothing here looks at DateStyle or TimeZone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "datatype/timestamp.h"

#include "convert_util.h"

/*
 * Days that stand for an infinity: while streaming, and in snapshots and
 * arrays (there one or more days off in a connector east or west of UTC).
 * All lie below PostgreSQL's least date, so that nothing else is hit.
 */
#define STREAMED_INFINITY		INT64CONST(-2147472692)
#define STREAMED_MINUS_INFINITY	INT64CONST(-2147472691)
#define SNAPSHOT_INFINITY		INT64CONST(-622191234)
#define SNAPSHOT_MINUS_INFINITY	INT64CONST(-625821272)

/* pgjdbc's infinite timestamps, in milliseconds since 1970 */
#define MSECS_PER_DAY			INT64CONST(86400000)
#define INFINITY_MS				INT64CONST(9223372036825200)
#define MINUS_INFINITY_MS		INT64CONST(-9223372036832400)

/* years of the ISO form of the snapshot's infinite dates */
#define YEAR_OF_INFINITY		292278994
#define YEAR_OF_MINUS_INFINITY	292269055
/* year of the ISO form of both streamed infinite dates */
#define YEAR_OF_STREAMED		(-5877611)

bool
cdc_days_of_date(int64 year, int month, int day, int64 *days)
{
	static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool		leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	int64		era;
	int64		of_era;
	int64		of_year;

	if (month < 1 || month > 12 || day < 1 ||
		day > lengths[month - 1] + (leap && month == 2))
		return false;
	/* years begin in March, so that the leap day is their last one */
	if (month <= 2)
		year--;
	era = (year >= 0 ? year : year - 399) / 400;
	of_era = year - era * 400;
	of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	*days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
		719468;
	return true;
}

/* The inverse of cdc_days_of_date. */
static void
date_of_days(int64 days, int64 *year, int *month, int *day)
{
	int64		era;
	int64		of_era;
	int64		year_of_era;
	int64		of_year;
	int64		shifted;

	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	of_era = days - era * 146097;
	year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) /
		365;
	of_year = of_era - (365 * year_of_era + year_of_era / 4 -
						year_of_era / 100);
	shifted = (5 * of_year + 2) / 153;
	*day = of_year - (153 * shifted + 2) / 5 + 1;
	*month = shifted < 10 ? shifted + 3 : shifted - 9;
	*year = year_of_era + era * 400 + (*month <= 2);
}

bool
cdc_special_days(int64 days, CdcSpecial *special)
{
	if (days == STREAMED_INFINITY ||
		(days >= SNAPSHOT_INFINITY - 1 && days <= SNAPSHOT_INFINITY + 1))
		*special = CDC_INFINITY;
	else if (days == STREAMED_MINUS_INFINITY ||
			 (days >= SNAPSHOT_MINUS_INFINITY - 1 &&
			  days <= SNAPSHOT_MINUS_INFINITY + 1))
		*special = CDC_MINUS_INFINITY;
	else
		return false;
	return true;
}

/* In nanoseconds pgjdbc's infinite timestamps saturate. */
bool
cdc_special_instant(int64 value, int64 per_second, CdcSpecial *special)
{
	int64		plus = INFINITY_MS;
	int64		minus = MINUS_INFINITY_MS;

	if (per_second == 1000000)
	{
		plus *= 1000;
		minus *= 1000;
	}
	else if (per_second == 1000000000)
	{
		plus = PG_INT64_MAX;
		minus = PG_INT64_MIN;
	}
	if (value != plus && value != minus)
		return false;
	*special = value == plus ? CDC_INFINITY : CDC_MINUS_INFINITY;
	return true;
}

/* Nanoseconds are rounded to the nearest microsecond. */
bool
cdc_to_micros(int64 value, int64 per_second, int64 *micros)
{
	if (per_second <= 1000000)
		return !pg_mul_s64_overflow(value, 1000000 / per_second, micros);
	*micros = value / 1000;
	value %= 1000;
	if (value >= 500)
		(*micros)++;
	else if (value <= -500)
		(*micros)--;
	return true;
}

/* --- reading ISO 8601 --- */

typedef struct Reader
{
	const char *at;
	const char *end;
} Reader;

static bool
take(Reader *in, char c)
{
	if (in->at == in->end || *in->at != c)
		return false;
	in->at++;
	return true;
}

/* Between min and max digits. */
static bool
take_number(Reader *in, int min, int max, int64 *number)
{
	int			ndigits = 0;

	*number = 0;
	while (in->at < in->end && ndigits < max &&
		   *in->at >= '0' && *in->at <= '9')
	{
		*number = *number * 10 + (*in->at++ - '0');
		ndigits++;
	}
	return ndigits >= min;
}

static bool
take_date(Reader *in, CdcCalendar *out)
{
	bool		negative = false;
	int64		year;
	int64		month;
	int64		day;
	size_t		left;

	if (take(in, '-'))
		negative = true;
	else
		(void) take(in, '+');
	if (!take_number(in, 4, 9, &year) || !take(in, '-') ||
		!take_number(in, 2, 2, &month) || !take(in, '-') ||
		!take_number(in, 2, 2, &day))
		return false;
	if (negative)
		year = -year;
	/* PostgreSQL's own form of an early year ends in BC */
	left = in->end - in->at;
	if (left >= 3 && memcmp(in->end - 3, " BC", 3) == 0)
	{
		if (year <= 0)
			return false;
		year = 1 - year;
		in->end -= 3;
	}
	if (!cdc_days_of_date(year, month, day, &out->days))
		return false;
	out->has_date = true;
	if (year == YEAR_OF_INFINITY)
		out->special = CDC_INFINITY;
	else if (year == YEAR_OF_MINUS_INFINITY)
		out->special = CDC_MINUS_INFINITY;
	else if (year == YEAR_OF_STREAMED)
		(void) cdc_special_days(out->days, &out->special);
	return true;
}

/* Digits after the point, rounded to microseconds. */
static bool
take_fraction(Reader *in, int64 *micros)
{
	int64		number = 0;
	int			ndigits = 0;
	bool		up = false;

	for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++)
	{
		if (ndigits < 6)
			number = number * 10 + (*in->at - '0');
		else if (ndigits == 6)
			up = *in->at >= '5';
		ndigits++;
	}
	if (ndigits == 0)
		return false;
	for (; ndigits < 6; ndigits++)
		number *= 10;
	*micros = number + up;
	return true;
}

static bool
take_time(Reader *in, CdcCalendar *out)
{
	int64		hour;
	int64		minute;
	int64		second = 0;
	int64		fraction = 0;

	if (!take_number(in, 2, 2, &hour) || !take(in, ':') ||
		!take_number(in, 2, 2, &minute))
		return false;
	if (take(in, ':') && !take_number(in, 2, 2, &second))
		return false;
	if (take(in, '.') && !take_fraction(in, &fraction))
		return false;
	out->micros = ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC +
		fraction;
	out->has_time = true;
	return minute < 60 && second < 60 && out->micros <= USECS_PER_DAY;
}

/*
 * "Z", or an offset, and then the name of a zone in brackets, which adds
 * nothing where the offset is known.
 */
static bool
take_zone(Reader *in, CdcCalendar *out)
{
	bool		west;
	int64		hours;
	int64		minutes = 0;
	int64		seconds = 0;

	if (take(in, 'Z'))
		out->offset = 0;
	else
	{
		west = take(in, '-');
		if (!west && !take(in, '+'))
			return false;
		if (!take_number(in, 2, 2, &hours))
			return false;
		(void) take(in, ':');
		if (!take_number(in, 0, 2, &minutes) ||
			(take(in, ':') && !take_number(in, 2, 2, &seconds)) ||
			hours > 18 || minutes > 59 || seconds > 59)
			return false;
		out->offset = ((hours * 60 + minutes) * 60 + seconds) * (west ? -1 : 1);
	}
	out->has_zone = true;
	if (take(in, '['))
	{
		while (in->at < in->end && *in->at != ']')
			in->at++;
		return take(in, ']');
	}
	return true;
}

/* Is the instant this many milliseconds after 1970? */
static bool
is_instant(const CdcCalendar *calendar, int64 millis)
{
	int64		days = millis / MSECS_PER_DAY - (millis < 0);

	return calendar->days == days &&
		calendar->micros == (millis - days * MSECS_PER_DAY) * 1000;
}

/* The ISO form of an infinite timestamp, which only has the one spelling. */
static void
recognize_infinite_instant(CdcCalendar *out)
{
	if (out->special != CDC_FINITE || !out->has_date || !out->has_time)
		return;
	if (is_instant(out, INFINITY_MS))
		out->special = CDC_INFINITY;
	else if (is_instant(out, MINUS_INFINITY_MS))
		out->special = CDC_MINUS_INFINITY;
}

bool
cdc_parse_iso(const char *text, size_t len, CdcCalendar *out)
{
	Reader		in = {text, text + len};

	memset(out, 0, sizeof(*out));
	if (len == 8 && memcmp(text, "infinity", 8) == 0)
		out->special = CDC_INFINITY;
	else if (len == 9 && memcmp(text, "-infinity", 9) == 0)
		out->special = CDC_MINUS_INFINITY;
	if (out->special != CDC_FINITE)
		return true;

	if (len > 2 && text[2] == ':')
	{
		if (!take_time(&in, out))
			return false;
	}
	else
	{
		if (!take_date(&in, out))
			return false;
		if ((take(&in, 'T') || take(&in, ' ')) && !take_time(&in, out))
			return false;
	}
	if (in.at < in.end && !take_zone(&in, out))
		return false;
	recognize_infinite_instant(out);
	return in.at == in.end;
}

/* --- structured temporals --- */

/* Member that is an integer within limits; 0 where it is absent or null. */
static bool
member_in(const CdcJsonNode *object, const char *name, int64 min, int64 max,
		  int64 *result)
{
	const CdcJsonNode *member = cdc_member(object, name);

	*result = 0;
	if (member == NULL)
		return min <= 0;
	return member->type == CDC_JSON_NUMBER &&
		cdc_parse_int64(member->text, member->len, result) &&
		*result >= min && *result <= max;
}

static bool
structured_time(const CdcJsonNode *object, CdcCalendar *out)
{
	int64		hour;
	int64		minute;
	int64		second;
	int64		nanos;
	int64		picos;

	if (!member_in(object, "hour", 0, 24, &hour) ||
		!member_in(object, "minute", 0, 59, &minute) ||
		!member_in(object, "second", 0, 59, &second) ||
		!member_in(object, "nanos", 0, 999999999, &nanos) ||
		!member_in(object, "picoseconds", 0, INT64CONST(999999999999), &picos))
		return false;
	nanos += picos / 1000;
	out->micros = ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC +
		(nanos + 500) / 1000;
	out->has_time = true;
	return out->micros <= USECS_PER_DAY;
}

/* offsetSeconds, or a zoneId that means UTC; other zones need the offset. */
static bool
structured_zone(const CdcJsonNode *object, CdcCalendar *out)
{
	const CdcJsonNode *zone = cdc_member(object, "zoneId");
	int64		offset;

	if (cdc_member(object, "offsetSeconds") != NULL)
	{
		if (!member_in(object, "offsetSeconds", -64800, 64800, &offset))
			return false;
		out->offset = offset;
		out->has_zone = true;
	}
	else if (zone != NULL)
	{
		if (!cdc_node_is(zone, "Z") && !cdc_node_is(zone, "UTC"))
			return false;
		out->has_zone = true;
	}
	return true;
}

bool
cdc_parse_structured(const CdcJsonNode *object, CdcCalendar *out)
{
	const CdcJsonNode *special = cdc_member(object, "specialValue");
	int64		year;
	int64		month;
	int64		day;

	memset(out, 0, sizeof(*out));
	if (object->type != CDC_JSON_OBJECT)
		return false;
	if (special != NULL)
	{
		if (cdc_node_is(special, "POSITIVE_INFINITY"))
			out->special = CDC_INFINITY;
		else if (cdc_node_is(special, "NEGATIVE_INFINITY"))
			out->special = CDC_MINUS_INFINITY;
		return out->special != CDC_FINITE;
	}
	if (cdc_member(object, "year") != NULL)
	{
		if (!member_in(object, "year", -999999999, 999999999, &year) ||
			!member_in(object, "month", 1, 12, &month) ||
			!member_in(object, "day", 1, 31, &day) ||
			!cdc_days_of_date(year, month, day, &out->days))
			return false;
		out->has_date = true;
	}
	if (cdc_member(object, "hour") != NULL && !structured_time(object, out))
		return false;
	return (out->has_date || out->has_time) && structured_zone(object, out);
}

/* --- writing --- */

/* *bc: the caller ends the text with " BC". */
void
cdc_append_date(StringInfo out, int64 days, bool *bc)
{
	int64		year;
	int			month;
	int			day;

	date_of_days(days, &year, &month, &day);
	*bc = year <= 0;
	appendStringInfo(out, "%04lld-%02d-%02d",
					 (long long) (*bc ? 1 - year : year), month, day);
}

/* Micros may exceed a day; it is never negative. */
void
cdc_append_time(StringInfo out, int64 micros)
{
	int64		seconds = micros / USECS_PER_SEC;
	int			fraction = micros % USECS_PER_SEC;

	appendStringInfo(out, "%02lld:%02d:%02d", (long long) (seconds / 3600),
					 (int) (seconds / 60 % 60), (int) (seconds % 60));
	if (fraction != 0)
	{
		appendStringInfo(out, ".%06d", fraction);
		while (out->data[out->len - 1] == '0')
			out->data[--out->len] = '\0';
	}
}
