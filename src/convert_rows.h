/*-------------------------------------------------------------------------
 *
 * convert_rows.h
 *		The converter tables: what a value is, what a column is, and which
 *		function leads from one to the other.
 *
 * Floor 3.  Each convert_*.c holds the rows of its types; convert.c looks
 * them up.  A pair without a row goes through the text form of the value
 * and the input function of the type.  test/convert/check_types.py compares
 * the rows with docs/types.md.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CONVERT_ROWS_H
#define CDC_CONVERT_ROWS_H

#include "utils/builtins.h"

#include "convert_api.h"
#include "convert_util.h"

/* What a value is: by its schema, or unknown. */
typedef enum CdcFrom
{
	CDC_FROM_ANY,				/* no schema: the column and the source
								 * settings decide */
	CDC_FROM_BOOLEAN,
	CDC_FROM_INTEGER,
	CDC_FROM_FLOAT,
	CDC_FROM_STRING,
	CDC_FROM_BYTES,
	CDC_FROM_ARRAY,
	CDC_FROM_MAP,
	CDC_FROM_STRUCT,			/* structured temporals included: the column
								 * tells which one */
	CDC_FROM_DECIMAL,
	CDC_FROM_VARIABLE_DECIMAL,
	CDC_FROM_BITS,
	CDC_FROM_JSON,
	CDC_FROM_DATE,				/* days */
	CDC_FROM_TIME,				/* integer, per_second says the unit */
	CDC_FROM_TIMESTAMP,			/* the same */
	CDC_FROM_DURATION,			/* the same */
	CDC_FROM_ISO,				/* ISO or zoned date, time, timestamp */
	CDC_FROM_ISO_INTERVAL
} CdcFrom;

/* What a column is; types of extensions by name and extension. */
typedef enum CdcTo
{
	CDC_TO_OTHER,				/* unknown to Debezium: text of the type,
								 * encoded as bytes */
	CDC_TO_STRING,				/* known to Debezium as a string: the type's
								 * input function takes it */
	CDC_TO_TEXT,				/* text, citext */
	CDC_TO_VARCHAR,
	CDC_TO_BPCHAR,
	CDC_TO_BOOL,
	CDC_TO_INT2,
	CDC_TO_INT4,
	CDC_TO_INT8,
	CDC_TO_OID,
	CDC_TO_FLOAT4,
	CDC_TO_FLOAT8,
	CDC_TO_NUMERIC,
	CDC_TO_MONEY,
	CDC_TO_BYTEA,
	CDC_TO_BIT,
	CDC_TO_VARBIT,
	CDC_TO_UUID,
	CDC_TO_JSON,
	CDC_TO_JSONB,
	CDC_TO_HSTORE,
	CDC_TO_DATE,
	CDC_TO_TIME,
	CDC_TO_TIMETZ,
	CDC_TO_TIMESTAMP,
	CDC_TO_TIMESTAMPTZ,
	CDC_TO_INTERVAL,
	CDC_TO_POINT,
	CDC_TO_BOX,
	CDC_TO_LSEG,
	CDC_TO_PATH,
	CDC_TO_POLYGON,
	CDC_TO_CIRCLE,
	CDC_TO_LINE,
	CDC_TO_GEOMETRY,			/* PostGIS geometry, geography */
	CDC_TO_VECTOR,				/* vector, halfvec */
	CDC_TO_SPARSEVEC,
	CDC_TO_ARRAY
} CdcTo;

typedef struct CdcConvertRow
{
	CdcFrom		from;
	CdcTo		to;
	CdcConvertFn convert;
	const char *name;			/* as in docs/types.md */
} CdcConvertRow;

typedef struct CdcConvertTable
{
	const CdcConvertRow *rows;
	int			nrows;
} CdcConvertTable;

extern const CdcConvertTable cdc_rows_number;
extern const CdcConvertTable cdc_rows_numeric;
extern const CdcConvertTable cdc_rows_time;
extern const CdcConvertTable cdc_rows_interval;
extern const CdcConvertTable cdc_rows_binary;
extern const CdcConvertTable cdc_rows_document;
extern const CdcConvertTable cdc_rows_geo;
extern const CdcConvertTable cdc_rows_array;
extern const CdcConvertTable cdc_rows_misc;

/* Text form of a value, by what it is, in the encoding of the database. */
extern char *cdc_text_form(const CdcConversion *conv, const CdcJsonNode *value);
extern Datum cdc_convert_text_form(const CdcConversion *conv,
								   const CdcJsonNode *value);

/* Text through the input function of the column's type, with its typmod. */
static inline Datum
cdc_input(const CdcConversion *conv, char *text)
{
	return InputFunctionCall((FmgrInfo *) &conv->infunc, text,
							 conv->typioparam, conv->basetypmod);
}

/* Constraints of a domain; ERROR of class 23 where the value breaks one. */
static inline void
cdc_check_domain(const CdcConversion *conv, Datum value, bool isnull)
{
	domain_check(value, isnull, conv->typid, conv->domain_cache,
				 conv->context);
}

/* --- convert_placeholder.c --- */
extern void cdc_prepare_placeholders(CdcConversion *conv);

#endif							/* CDC_CONVERT_ROWS_H */
