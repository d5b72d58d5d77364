/*-------------------------------------------------------------------------
 *
 * convert_util.h
 *		What all value converters share: refusals, text, base64 and hex,
 *		exact decimals, calendar.
 *
 * Floor 2.  Texts inside JSON nodes are UTF-8 and not terminated; what these
 * functions return as char * is terminated, palloc'd in CurrentMemoryContext
 * and, where it says so, in the encoding of the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CONVERT_UTIL_H
#define CDC_CONVERT_UTIL_H

#include "lib/stringinfo.h"
#include "utils/numeric.h"

#include "compat.h"
#include "json.h"
#include "source_settings.h"

/* --- convert_text.c --- */

/* ERROR: "value … is not …"; sqlstate is of class 22. */
extern void cdc_refuse(int sqlstate, const CdcJsonNode *value,
					   const char *expected) pg_attribute_noreturn();
/* The same where the value has the right form and lies out of range. */
extern void cdc_refuse_range(int sqlstate, const CdcJsonNode *value,
							 const char *type) pg_attribute_noreturn();
/* UTF-8 to the encoding of the database; U+0000 is an error 22021. */
extern char *cdc_text_to_server(const char *text, size_t len, size_t *out_len);
extern char *cdc_node_cstring(const CdcJsonNode *value);
/* Appends JSON text without the white space between its tokens. */
extern void cdc_append_compact(StringInfo out, const CdcJsonNode *value);
/* Is the node a string that says exactly this? */
extern bool cdc_node_is(const CdcJsonNode *value, const char *text);
/* Member that is present and not null, or NULL. */
extern const CdcJsonNode *cdc_member(const CdcJsonNode *object,
									 const char *name);
/* Integer literal; false where it is none or does not fit. */
extern bool cdc_parse_int64(const char *text, size_t len, int64 *result);
/* Is it a number without fraction and exponent, of any length? */
extern bool cdc_is_integer_literal(const CdcJsonNode *value);
/* Integer of a NUMBER node, or an ERROR. */
extern int64 cdc_node_int64(const CdcJsonNode *value);
/* Reads a JSON document held in a string; ERROR where it is none. */
extern const CdcJsonNode *cdc_parse_document(const CdcJsonNode *value);

/* --- convert_codec.c --- */

typedef struct CdcBuffer
{
	unsigned char *data;
	size_t		len;
} CdcBuffer;

/* Standard base64 with padding; false where the text is not that. */
extern bool cdc_base64_decode(const char *text, size_t len, CdcBuffer *out);
/* The URL-safe alphabet, padding optional. */
extern bool cdc_base64url_decode(const char *text, size_t len, CdcBuffer *out);
extern bool cdc_hex_decode(const char *text, size_t len, CdcBuffer *out);
extern char *cdc_base64_encode(const unsigned char *data, size_t len);
extern char *cdc_hex_encode(const unsigned char *data, size_t len);
/* By binary.handling.mode; ERROR where the value does not follow it. */
extern void cdc_binary_decode(CdcBinaryMode mode, const CdcJsonNode *value,
							  CdcBuffer *out);
/* Base64 of a bytes field; ERROR where it is not valid. */
extern void cdc_bytes_decode(const CdcJsonNode *value, CdcBuffer *out);
/* Text of a signed big-endian integer divided by 10^scale. */
extern char *cdc_decimal_text(const CdcBuffer *unscaled, int32 scale);
/* The same as numeric, with the declared precision and scale applied. */
extern Numeric cdc_decimal_numeric(const CdcJsonNode *value,
								   const CdcBuffer *unscaled, int32 scale,
								   int32 typmod);

/* A VariableScaleDecimal, {"scale": …, "value": "base64"}. */
extern Numeric cdc_variable_decimal(const CdcJsonNode *value, int32 typmod);
/* A number literal or the text of a decimal, Debezium's specials included. */
extern Numeric cdc_numeric_of_text(const CdcJsonNode *value, int32 typmod);

/* --- convert_calendar.c --- */

typedef enum CdcSpecial
{
	CDC_FINITE,
	CDC_INFINITY,
	CDC_MINUS_INFINITY
} CdcSpecial;

/* A point of time or a part of one, as it was written. */
typedef struct CdcCalendar
{
	CdcSpecial	special;		/* not finite: nothing else is valid */
	bool		has_date;
	bool		has_time;
	bool		has_zone;
	int64		days;			/* since 1970-01-01 */
	int64		micros;			/* since midnight, 0..86400000000 */
	int32		offset;			/* seconds east of UTC */
} CdcCalendar;

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar. */
extern bool cdc_days_of_date(int64 year, int month, int day, int64 *days);
/* ISO 8601 date, time, or both; false where the text is none. */
extern bool cdc_parse_iso(const char *text, size_t len, CdcCalendar *out);
/* Members of a structured temporal (year … picoseconds, specialValue). */
extern bool cdc_parse_structured(const CdcJsonNode *object, CdcCalendar *out);
/* Integer times of Debezium, sentinels of the infinities included. */
extern bool cdc_special_days(int64 days, CdcSpecial *special);
extern bool cdc_special_instant(int64 value, int64 per_second,
								CdcSpecial *special);
/* Converts to microseconds; false on overflow. */
extern bool cdc_to_micros(int64 value, int64 per_second, int64 *micros);
/* Appends a date or a time of day as PostgreSQL reads it, any DateStyle. */
extern void cdc_append_date(StringInfo out, int64 days, bool *bc);
extern void cdc_append_time(StringInfo out, int64 micros);

#endif							/* CDC_CONVERT_UTIL_H */
