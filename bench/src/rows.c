/*-------------------------------------------------------------------------
 *
 * rows.c
 *		Tables of the benchmark and the values of their columns, as
 *		PostgreSQL's text and as Debezium's JSON.
 *
 * The two forms must stand for the same value: the expected table is made
 * from the first, the events from the second.
 *
 *-------------------------------------------------------------------------
 */
#include "stream.h"

#include <stdio.h>
#include <string.h>

/* 2026-01-01 in days and microseconds since 1970 */
#define DAY_2026	20454
#define USEC_DAY	INT64_C(86400000000)

static const GenColumn ev_columns[] = {
	{"id", GEN_KEY, 0, false},
	{"n", GEN_INT4, 0, false},
	{"amount", GEN_NUMERIC, 0, false},
	{"at", GEN_TIMESTAMPTZ, 0, false},
	{"note", GEN_TEXT, 80, false},
};

/* 8 KB that do not compress: stored outside the row */
static const GenColumn doc_columns[] = {
	{"id", GEN_KEY, 0, false},
	{"n", GEN_INT4, 0, false},
	{"body", GEN_TEXT, 8000, false},
};

static GenColumn wide_columns[60];

static const GenTable tables[] = {
	{"ev", 5, ev_columns},
	{"doc", 3, doc_columns},
	{"wide", 60, wide_columns},
};

/* Sixty columns: the key, then the kinds in turn, a third of them with NULLs. */
static void
fill_wide(void)
{
	static const GenKind kinds[] = {
		GEN_TEXT, GEN_INT4, GEN_INT8, GEN_NUMERIC, GEN_TIMESTAMPTZ, GEN_BOOL, GEN_TEXT, GEN_INT4,
		GEN_FLOAT8, GEN_DATE, GEN_TIMESTAMP, GEN_INT2, GEN_UUID, GEN_TEXT, GEN_INT8
	};

	wide_columns[0] = ev_columns[0];
	for (int i = 1; i < 60; i++)
	{
		GenColumn  *column = &wide_columns[i];

		snprintf(column->name, sizeof(column->name), "c%02d", i);
		column->kind = kinds[i % 15];
		column->size = 16;
		column->nulls = i % 3 == 0;
	}
}

const GenTable *
gen_table(const char *name)
{
	if (wide_columns[0].name[0] == '\0')
		fill_wide();
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		if (strcmp(tables[i].name, name) == 0)
			return &tables[i];
	return NULL;
}

const char *
gen_sql_type(GenKind kind)
{
	switch (kind)
	{
		case GEN_KEY:
			return "bigint PRIMARY KEY";
		case GEN_INT8:
			return "bigint";
		case GEN_INT4:
			return "integer";
		case GEN_INT2:
			return "smallint";
		case GEN_NUMERIC:
			return "numeric(12,2)";
		case GEN_TIMESTAMPTZ:
			return "timestamptz";
		case GEN_TIMESTAMP:
			return "timestamp";
		case GEN_DATE:
			return "date";
		case GEN_BOOL:
			return "boolean";
		case GEN_FLOAT8:
			return "double precision";
		case GEN_UUID:
			return "uuid";
		case GEN_TEXT:
			return "text";
	}
	return NULL;
}

static uint64_t
mix(uint64_t x)
{
	x = (x ^ (x >> 32)) * UINT64_C(0xD6E8FEB86659FD93);
	x = (x ^ (x >> 32)) * UINT64_C(0xD6E8FEB86659FD93);
	return x ^ (x >> 32);
}

static uint64_t
hash_of(int column, int64_t id, uint32_t version)
{
	return mix((uint64_t) id * 131 + (uint64_t) column + ((uint64_t) version << 40));
}

/* Microseconds since 1970: a second per row, plus something below. */
static int64_t
usec_of(int64_t id, uint64_t hash)
{
	return DAY_2026 * USEC_DAY + id % 30000000 * INT64_C(1000000) + (int64_t) (hash % 1000000);
}

/* Gregorian date of a day number (Hinnant's algorithm, years after 1970). */
static void
civil(int64_t days, int *year, int *month, int *day)
{
	int64_t		z = days + 719468,
				era = z / 146097,
				doe = z - era * 146097,
				yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365,
				doy = doe - (365 * yoe + yoe / 4 - yoe / 100),
				mp = (5 * doy + 2) / 153;

	*day = (int) (doy - (153 * mp + 2) / 5 + 1);
	*month = (int) (mp < 10 ? mp + 3 : mp - 9);
	*year = (int) (yoe + era * 400 + (*month <= 2));
}

static char *
put_digits(char *out, unsigned value, int width)
{
	for (int i = width - 1; i >= 0; i--, value /= 10)
		out[i] = (char) ('0' + value % 10);
	return out + width;
}

static char *
put_int(char *out, int64_t value)
{
	char		digits[20];
	int			n = 0;
	uint64_t	rest = value < 0 ? 0 - (uint64_t) value : (uint64_t) value;

	if (value < 0)
		*out++ = '-';
	do
		digits[n++] = (char) ('0' + rest % 10);
	while ((rest /= 10) != 0);
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

static char *
put_date(char *out, int64_t days)
{
	int			year,
				month,
				day;

	civil(days, &year, &month, &day);
	out = put_digits(out, (unsigned) year, 4);
	*out++ = '-';
	out = put_digits(out, (unsigned) month, 2);
	*out++ = '-';
	return put_digits(out, (unsigned) day, 2);
}

/* yyyy-mm-dd, the separator, hh:mm:ss.uuuuuu */
static char *
put_time(char *out, int64_t usec, char separator)
{
	unsigned	seconds = (unsigned) (usec % USEC_DAY / 1000000);

	out = put_date(out, usec / USEC_DAY);
	*out++ = separator;
	out = put_digits(out, seconds / 3600, 2);
	*out++ = ':';
	out = put_digits(out, seconds / 60 % 60, 2);
	*out++ = ':';
	out = put_digits(out, seconds % 60, 2);
	*out++ = '.';
	return put_digits(out, (unsigned) (usec % 1000000), 6);
}

static const char alphabet[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *
put_text(char *out, int size, uint64_t hash)
{
	uint64_t	bits = hash;

	for (int i = 0; i < size; i++)
	{
		if (i % 10 == 0)
			bits = mix(hash + (uint64_t) i);
		*out++ = alphabet[bits & 63];
		bits >>= 6;
	}
	return out;
}

static char *
put_uuid(char *out, uint64_t hash)
{
	uint64_t	low = mix(hash);

	return out + sprintf(out, "%08x-%04x-%04x-%04x-%012llx", (unsigned) (hash >> 32),
						 (unsigned) (hash >> 16 & 0xffff), (unsigned) (hash & 0xffff),
						 (unsigned) (low >> 48), (unsigned long long) (low & UINT64_C(0xffffffffffff)));
}

/* Hundredths of a numeric(12,2), one in eight of them negative. */
static int64_t
unscaled_of(uint64_t hash)
{
	int64_t		value = (int64_t) (hash % 1000000000);

	return (hash >> 40) % 8 == 0 ? -value : value;
}

/* Base64 of the shortest big-endian two's complement, as BigInteger has it. */
static char *
put_decimal(char *out, int64_t value)
{
	unsigned char bytes[12] = {0};
	int			n = 1;

	while (n < 8 && (value < -(INT64_C(1) << (8 * n - 1)) || value >= (INT64_C(1) << (8 * n - 1))))
		n++;
	for (int i = 0; i < n; i++)
		bytes[i] = (unsigned char) ((uint64_t) value >> (8 * (n - 1 - i)));
	for (int i = 0; i < n; i += 3)
	{
		unsigned	three = (unsigned) bytes[i] << 16 | (unsigned) bytes[i + 1] << 8 | bytes[i + 2];

		*out++ = alphabet[three >> 18];
		*out++ = alphabet[three >> 12 & 63];
		*out++ = i + 1 < n ? alphabet[three >> 6 & 63] : '=';
		*out++ = i + 2 < n ? alphabet[three & 63] : '=';
	}
	return out;
}

/* Integers and booleans are written alike in both forms; NULL: none of them. */
static char *
put_common(char *out, GenKind kind, int64_t id, uint64_t hash)
{
	switch (kind)
	{
		case GEN_KEY:
			return put_int(out, id);
		case GEN_INT8:
			return put_int(out, (int64_t) (hash % UINT64_C(1000000000000)));
		case GEN_INT4:
			return put_int(out, (int64_t) (hash % 1000000));
		case GEN_INT2:
			return put_int(out, (int64_t) (hash % 30000) - 15000);
		default:
			return NULL;
	}
}

static bool
is_null(const GenColumn *column, uint64_t hash)
{
	return column->nulls && (hash >> 20) % 10 == 0;
}

int
gen_value_text(const GenTable *table, int number, int64_t id, uint32_t version, char *out)
{
	const GenColumn *column = &table->columns[number];
	uint64_t	hash = hash_of(number, id, version);
	int64_t		value;
	char	   *end = put_common(out, column->kind, id, hash);

	if (is_null(column, hash))
		return -1;
	switch (column->kind)
	{
		case GEN_NUMERIC:
			value = unscaled_of(hash);
			end = out;
			if (value < 0)
				*end++ = '-';
			value = value < 0 ? -value : value;
			end = put_int(end, value / 100);
			*end++ = '.';
			end = put_digits(end, (unsigned) (value % 100), 2);
			break;
		case GEN_TIMESTAMPTZ:
			end = put_time(out, usec_of(id, hash), ' ');
			memcpy(end, "+00", 3);
			end += 3;
			break;
		case GEN_TIMESTAMP:
			end = put_time(out, usec_of(id, hash), ' ');
			break;
		case GEN_DATE:
			end = put_date(out, DAY_2026 - (int64_t) (hash % 3000));
			break;
		case GEN_BOOL:
			*out = hash & 1 ? 't' : 'f';
			end = out + 1;
			break;
		case GEN_FLOAT8:
			end = out + sprintf(out, "%.2f", (double) (hash % 4000000) / 4);
			break;
		case GEN_UUID:
			end = put_uuid(out, hash);
			break;
		case GEN_TEXT:
			end = put_text(out, column->size, hash);
			break;
		default:
			break;
	}
	*end = '\0';
	return (int) (end - out);
}

/* Java prints a double with at least one and no superfluous decimals. */
static char *
put_java_double(char *out, uint64_t quarters)
{
	static const char *const fractions[] = {".0", ".25", ".5", ".75"};
	const char *fraction = fractions[quarters % 4];

	out = put_int(out, (int64_t) (quarters / 4));
	return stpcpy(out, fraction);
}

int
gen_value_json(const GenTable *table, int number, int64_t id, uint32_t version, char *out)
{
	const GenColumn *column = &table->columns[number];
	uint64_t	hash = hash_of(number, id, version);
	char	   *end = put_common(out, column->kind, id, hash);

	if (is_null(column, hash))
		return (int) (stpcpy(out, "null") - out);
	switch (column->kind)
	{
		case GEN_TIMESTAMP:
			end = put_int(out, usec_of(id, hash));
			break;
		case GEN_DATE:
			end = put_int(out, DAY_2026 - (int64_t) (hash % 3000));
			break;
		case GEN_BOOL:
			end = stpcpy(out, hash & 1 ? "true" : "false");
			break;
		case GEN_FLOAT8:
			end = put_java_double(out, hash % 4000000);
			break;
		case GEN_NUMERIC:
		case GEN_TIMESTAMPTZ:
		case GEN_UUID:
		case GEN_TEXT:
			*out = '"';
			if (column->kind == GEN_NUMERIC)
				end = put_decimal(out + 1, unscaled_of(hash));
			else if (column->kind == GEN_UUID)
				end = put_uuid(out + 1, hash);
			else if (column->kind == GEN_TEXT)
				end = put_text(out + 1, column->size, hash);
			else
			{
				end = put_time(out + 1, usec_of(id, hash), 'T');
				*end++ = 'Z';
			}
			*end++ = '"';
			break;
		default:
			break;
	}
	return (int) (end - out);
}
