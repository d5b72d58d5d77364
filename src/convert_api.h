/*-------------------------------------------------------------------------
 *
 * convert_api.h
 *		Interface of the value converters: a JSON value of a known Debezium
 *		type becomes a Datum of the target column's type.
 *
 * Floor 2.  cdc_convert_prepare (convert.c) chooses the converter once per
 * (schema of the field, target column); cdc_convert_value then runs it per
 * value.  Converters ereport(ERROR) with a data SQLSTATE (class 22) for a
 * value they cannot represent; the caller's error context names the record
 * and the field.  Result Datums are palloc'd in CurrentMemoryContext.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CONVERT_API_H
#define CDC_CONVERT_API_H

#include "fmgr.h"

#include "event.h"
#include "source_settings.h"

typedef struct CdcConversion CdcConversion;

/* Converts one value that is not JSON null. */
typedef Datum (*CdcConvertFn) (const CdcConversion *conv,
							   const CdcJsonNode *value);

struct CdcConversion
{
	CdcConvertFn convert;
	const char *name;			/* of the row in the converter table, for
								 * docs/types.md and messages */
	const CdcSchema *schema;	/* of the field; NULL: schemaless */
	const CdcSourceSettings *source;
	Oid			typid;			/* of the column; may be a domain */
	int32		typmod;
	Oid			basetypid;		/* typid without its domains */
	int32		basetypmod;
	bool		is_domain;		/* constraints are checked after conversion */
	bool		typbyval;
	int16		typlen;
	char		typalign;
	FmgrInfo	infunc;			/* input function of basetypid (of typid for
								 * a domain: domain_in checks constraints) */
	Oid			typioparam;
	CdcConversion *element;		/* of an array; of a domain: its base type */
	void	  **domain_cache;	/* of domain_check; NULL where no domain */
	MemoryContext context;		/* in which the conversion lives */
	int32		scale;			/* Decimal: scale from schema or column */
	uint8		from;			/* CdcFrom: what the value is */
	uint8		target;			/* CdcTo: what the column is */
	int64		per_second;		/* unit of an integer time; 0: none known */
	void	   *private;		/* of the converter */
	int			nplaceholders;	/* encodings of "unchanged TOAST" that the
								 * value can have here */
	struct CdcPlaceholder *placeholders;
};

/*
 * Chooses converter for a field.  schema may be NULL.  Allocates in
 * CurrentMemoryContext, which must live as long as the result.  Raises an
 * ERROR of class 42 or 0A where no value of this schema can ever become the
 * type.
 */
extern CdcConversion *cdc_convert_prepare(const CdcSchema *schema,
										  const CdcSourceSettings *source,
										  Oid typid, int32 typmod);

/* Does the value mean "unchanged", in any encoding of this field's type? */
extern bool cdc_convert_is_placeholder(const CdcConversion *conv,
									   const CdcJsonNode *value);

/* Converts a value; JSON null gives *isnull (a domain may still refuse it). */
extern Datum cdc_convert_value(const CdcConversion *conv,
							   const CdcJsonNode *value, bool *isnull);

#endif							/* CDC_CONVERT_API_H */
