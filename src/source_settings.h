/*-------------------------------------------------------------------------
 *
 * source_settings.h
 *		How the source connector encodes values: the subscription's "source"
 *		jsonb, in Debezium's own names.
 *
 * Floor 1.  Only matters where records carry no schema, or are flattened.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_SOURCE_SETTINGS_H
#define CDC_SOURCE_SETTINGS_H

typedef enum CdcTimeMode
{
	CDC_TIME_ADAPTIVE,
	CDC_TIME_ADAPTIVE_MICROSECONDS,
	CDC_TIME_CONNECT,
	CDC_TIME_ISOSTRING,
	CDC_TIME_MICROSECONDS,
	CDC_TIME_NANOSECONDS,
	CDC_TIME_STRUCTURED
} CdcTimeMode;

typedef enum CdcDecimalMode
{
	CDC_DECIMAL_PRECISE,
	CDC_DECIMAL_DOUBLE,
	CDC_DECIMAL_STRING
} CdcDecimalMode;

typedef enum CdcBinaryMode
{
	CDC_BINARY_BYTES,
	CDC_BINARY_BASE64,
	CDC_BINARY_BASE64_URL_SAFE,
	CDC_BINARY_HEX
} CdcBinaryMode;

typedef enum CdcIntervalMode
{
	CDC_INTERVAL_NUMERIC,
	CDC_INTERVAL_STRING,
	CDC_INTERVAL_STRUCTURED
} CdcIntervalMode;

typedef enum CdcHstoreMode
{
	CDC_HSTORE_JSON,
	CDC_HSTORE_MAP
} CdcHstoreMode;

/* delete.tombstone.handling.mode, and the two legacy settings folded in */
typedef enum CdcFlattenMode
{
	CDC_FLATTEN_UNKNOWN,		/* no flattening transform named in source */
	CDC_FLATTEN_TOMBSTONE,
	CDC_FLATTEN_DROP,
	CDC_FLATTEN_REWRITE,
	CDC_FLATTEN_REWRITE_WITH_TOMBSTONE,
	CDC_FLATTEN_DELETE_TO_TOMBSTONE
} CdcFlattenMode;

typedef struct CdcSourceSettings
{
	CdcTimeMode time_mode;
	CdcDecimalMode decimal_mode;
	bool		decimal_numeric;	/* converter's decimal.format=NUMERIC */
	CdcBinaryMode binary_mode;
	CdcIntervalMode interval_mode;
	CdcHstoreMode hstore_mode;
	const char *placeholder;	/* unavailable.value.placeholder as set, a
								 * leading hex: already decoded */
	int			placeholder_len;
	CdcFlattenMode flatten_mode;
	const char *add_prefix;		/* add.fields.prefix, default "__" */
	int			nadd_fields;
	const char **add_fields;	/* full names of added fields, as they appear */
	const char *op_field;		/* added field that carries op, or NULL; where
								 * source names none: "__op" */
	/* added fields that carry parts of the source block, or NULL */
	const char *name_field;
	const char *db_field;
	const char *schema_field;
	const char *table_field;
	const char *ts_ms_field;
	int			money_fraction_digits;	/* money.fraction.digits, default 2 */
	struct CdcTransform *transforms;	/* what was set of each transform */
	const char *transform_names;	/* "transforms" as set, or NULL */
} CdcSourceSettings;

/* Debezium's defaults, for a subscription whose source is empty. */
extern void cdc_source_defaults(CdcSourceSettings *settings);

/*
 * Sets one Debezium setting; the order of calls does not matter.  Returns
 * false where the name does not decide how values are encoded (then it is
 * not stored); *problem is set (static or palloc'd text) where the name is
 * known and the value is not, else to NULL.  Copies what it keeps into
 * CurrentMemoryContext, which must live as long as settings.
 */
extern bool cdc_source_set(CdcSourceSettings *settings, const char *name,
						   const char *value, const char **problem);

#endif							/* CDC_SOURCE_SETTINGS_H */
