/*-------------------------------------------------------------------------
 *
 * convert.c
 *		Registry of the value converters.
 *
 * Floor 4.  The hard thing: what a value is and what a column is are two
 * questions.  Each is answered by a table of its own; the rows of the
 * convert_*.c files join the two answers, and what they do not join goes
 * through the text form of the value and the input function of the type.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "convert_rows.h"

/* --- what a value is --- */

typedef struct SemanticName
{
	CdcConnectType type;
	const char *name;
	CdcFrom		from;
	int64		per_second;		/* of an integer time */
} SemanticName;

static const SemanticName semantic_names[] = {
	{CDC_CONNECT_INT32, "io.debezium.time.Date", CDC_FROM_DATE, 0},
	{CDC_CONNECT_INT32, "org.apache.kafka.connect.data.Date", CDC_FROM_DATE, 0},
	{CDC_CONNECT_INT32, "io.debezium.time.Time", CDC_FROM_TIME, 1000},
	{CDC_CONNECT_INT32, "org.apache.kafka.connect.data.Time", CDC_FROM_TIME, 1000},
	{CDC_CONNECT_INT64, "org.apache.kafka.connect.data.Time", CDC_FROM_TIME, 1000},
	{CDC_CONNECT_INT64, "io.debezium.time.MicroTime", CDC_FROM_TIME, 1000000},
	{CDC_CONNECT_INT64, "io.debezium.time.NanoTime", CDC_FROM_TIME, 1000000000},
	{CDC_CONNECT_INT64, "io.debezium.time.Timestamp", CDC_FROM_TIMESTAMP, 1000},
	{CDC_CONNECT_INT64, "org.apache.kafka.connect.data.Timestamp", CDC_FROM_TIMESTAMP, 1000},
	{CDC_CONNECT_INT64, "io.debezium.time.MicroTimestamp", CDC_FROM_TIMESTAMP, 1000000},
	{CDC_CONNECT_INT64, "io.debezium.time.NanoTimestamp", CDC_FROM_TIMESTAMP, 1000000000},
	{CDC_CONNECT_INT64, "io.debezium.time.MicroDuration", CDC_FROM_DURATION, 1000000},
	{CDC_CONNECT_INT64, "io.debezium.time.NanoDuration", CDC_FROM_DURATION, 1000000000},
	{CDC_CONNECT_STRING, "io.debezium.time.IsoDate", CDC_FROM_ISO, 0},
	{CDC_CONNECT_STRING, "io.debezium.time.IsoTime", CDC_FROM_ISO, 0},
	{CDC_CONNECT_STRING, "io.debezium.time.IsoTimestamp", CDC_FROM_ISO, 0},
	{CDC_CONNECT_STRING, "io.debezium.time.ZonedTime", CDC_FROM_ISO, 0},
	{CDC_CONNECT_STRING, "io.debezium.time.ZonedTimestamp", CDC_FROM_ISO, 0},
	{CDC_CONNECT_STRING, "io.debezium.time.Interval", CDC_FROM_ISO_INTERVAL, 0},
	{CDC_CONNECT_BYTES, "org.apache.kafka.connect.data.Decimal", CDC_FROM_DECIMAL, 0},
	{CDC_CONNECT_STRUCT, "io.debezium.data.VariableScaleDecimal", CDC_FROM_VARIABLE_DECIMAL, 0},
	{CDC_CONNECT_BYTES, "io.debezium.data.Bits", CDC_FROM_BITS, 0},
	{CDC_CONNECT_STRING, "io.debezium.data.Json", CDC_FROM_JSON, 0},
};

/*
 * By the semantic name, else by the plain type: names that change nothing
 * (Uuid, Xml, Enum, EnumSet, Ltree, Tsvector, Year, the geometric structs,
 * vectors, structured temporals, those of other converters) need no row.
 */
static void
set_from(CdcConversion *conv)
{
	static const CdcFrom plain[] = {
		CDC_FROM_BOOLEAN, CDC_FROM_INTEGER, CDC_FROM_INTEGER, CDC_FROM_INTEGER,
		CDC_FROM_INTEGER, CDC_FROM_FLOAT, CDC_FROM_FLOAT, CDC_FROM_BYTES,
		CDC_FROM_STRING, CDC_FROM_ARRAY, CDC_FROM_MAP, CDC_FROM_STRUCT
	};
	const CdcSchema *schema = conv->schema;

	conv->from = CDC_FROM_ANY;
	if (schema == NULL)
		return;
	conv->from = plain[schema->type];
	if (schema->name == NULL)
		return;
	for (size_t i = 0; i < lengthof(semantic_names); i++)
		if (semantic_names[i].type == schema->type &&
			strcmp(semantic_names[i].name, schema->name) == 0)
		{
			conv->from = semantic_names[i].from;
			conv->per_second = semantic_names[i].per_second;
			return;
		}
}

/* --- what a column is --- */

typedef struct BuiltinType
{
	Oid			typid;
	CdcTo		to;
} BuiltinType;

static const BuiltinType builtin_types[] = {
	{TEXTOID, CDC_TO_TEXT},
	{VARCHAROID, CDC_TO_VARCHAR},
	{BPCHAROID, CDC_TO_BPCHAR},
	{CHAROID, CDC_TO_STRING},
	{NAMEOID, CDC_TO_STRING},
	{BOOLOID, CDC_TO_BOOL},
	{INT2OID, CDC_TO_INT2},
	{INT4OID, CDC_TO_INT4},
	{INT8OID, CDC_TO_INT8},
	{OIDOID, CDC_TO_OID},
	{FLOAT4OID, CDC_TO_FLOAT4},
	{FLOAT8OID, CDC_TO_FLOAT8},
	{NUMERICOID, CDC_TO_NUMERIC},
	{CASHOID, CDC_TO_MONEY},
	{BYTEAOID, CDC_TO_BYTEA},
	{BITOID, CDC_TO_BIT},
	{VARBITOID, CDC_TO_VARBIT},
	{UUIDOID, CDC_TO_UUID},
	{JSONOID, CDC_TO_JSON},
	{JSONBOID, CDC_TO_JSONB},
	{XMLOID, CDC_TO_STRING},
	{INETOID, CDC_TO_STRING},
	{CIDROID, CDC_TO_STRING},
	{MACADDROID, CDC_TO_STRING},
	{MACADDR8OID, CDC_TO_STRING},
	{INT4RANGEOID, CDC_TO_STRING},
	{INT8RANGEOID, CDC_TO_STRING},
	{NUMRANGEOID, CDC_TO_STRING},
	{TSRANGEOID, CDC_TO_STRING},
	{TSTZRANGEOID, CDC_TO_STRING},
	{DATERANGEOID, CDC_TO_STRING},
	{TSVECTOROID, CDC_TO_STRING},
	{DATEOID, CDC_TO_DATE},
	{TIMEOID, CDC_TO_TIME},
	{TIMETZOID, CDC_TO_TIMETZ},
	{TIMESTAMPOID, CDC_TO_TIMESTAMP},
	{TIMESTAMPTZOID, CDC_TO_TIMESTAMPTZ},
	{INTERVALOID, CDC_TO_INTERVAL},
	{POINTOID, CDC_TO_POINT},
	{BOXOID, CDC_TO_BOX},
	{LSEGOID, CDC_TO_LSEG},
	{PATHOID, CDC_TO_PATH},
	{POLYGONOID, CDC_TO_POLYGON},
	{CIRCLEOID, CDC_TO_CIRCLE},
	{LINEOID, CDC_TO_LINE},
};

typedef struct ExtensionType
{
	const char *extension;
	const char *type;
	CdcTo		to;
} ExtensionType;

static const ExtensionType extension_types[] = {
	{"citext", "citext", CDC_TO_TEXT},
	{"ltree", "ltree", CDC_TO_STRING},
	{"isn", "isbn", CDC_TO_STRING},
	{"hstore", "hstore", CDC_TO_HSTORE},
	{"postgis", "geometry", CDC_TO_GEOMETRY},
	{"postgis", "geography", CDC_TO_GEOMETRY},
	{"vector", "vector", CDC_TO_VECTOR},
	{"vector", "halfvec", CDC_TO_VECTOR},
	{"vector", "sparsevec", CDC_TO_SPARSEVEC},
};

/* Type of an extension that Debezium knows, by both names. */
static CdcTo
target_of_extension(Oid typid)
{
	Oid			extension = getExtensionOfObject(TypeRelationId, typid);
	char	   *extension_name;
	HeapTuple	tuple;
	CdcTo		result = CDC_TO_OTHER;

	if (!OidIsValid(extension))
		return CDC_TO_OTHER;
	extension_name = get_extension_name(extension);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	if (!HeapTupleIsValid(tuple))
		return CDC_TO_OTHER;
	for (size_t i = 0; i < lengthof(extension_types); i++)
		if (extension_name != NULL &&
			strcmp(extension_types[i].extension, extension_name) == 0 &&
			strcmp(extension_types[i].type,
				   NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname)) == 0)
			result = extension_types[i].to;
	ReleaseSysCache(tuple);
	return result;
}

static CdcTo
target_of(Oid typid)
{
	for (size_t i = 0; i < lengthof(builtin_types); i++)
		if (builtin_types[i].typid == typid)
			return builtin_types[i].to;
	if (OidIsValid(get_element_type(typid)))
		return CDC_TO_ARRAY;
	if (get_typtype(typid) == TYPTYPE_ENUM)
		return CDC_TO_STRING;
	return target_of_extension(typid);
}

/* --- joining the two --- */

static const CdcConvertTable *const tables[] = {
	&cdc_rows_number,
	&cdc_rows_numeric,
	&cdc_rows_time,
	&cdc_rows_interval,
	&cdc_rows_binary,
	&cdc_rows_document,
	&cdc_rows_geo,
	&cdc_rows_array,
	&cdc_rows_misc,
};

static const CdcConvertRow *
find_row(CdcFrom from, CdcTo to)
{
	for (size_t t = 0; t < lengthof(tables); t++)
		for (int i = 0; i < tables[t]->nrows; i++)
			if (tables[t]->rows[i].from == from && tables[t]->rows[i].to == to)
				return &tables[t]->rows[i];
	return NULL;
}

/*
 * Older connectors do not know the geometric types and send them as they
 * send any unknown type.
 */
static void
set_converter(CdcConversion *conv)
{
	const CdcConvertRow *row = find_row(conv->from, conv->target);

	if (row == NULL && conv->target >= CDC_TO_POINT &&
		conv->target <= CDC_TO_LINE)
		row = find_row(conv->from, CDC_TO_OTHER);
	conv->convert = row ? row->convert : cdc_convert_text_form;
	conv->name = row ? row->name : "text_form";
}

/*
 * Scale of a decimal: from the schema's parameter, else from the declared
 * column.  A negative scale of numeric(p,-s) is sent as 2048-s.
 */
static void
set_scale(CdcConversion *conv)
{
	if (conv->schema != NULL)
	{
		for (int i = 0; i < conv->schema->nparams; i++)
			if (strcmp(conv->schema->params[i].name, "scale") == 0)
				conv->scale = atoi(conv->schema->params[i].value);
	}
	else if (conv->target == CDC_TO_NUMERIC &&
			 conv->basetypmod >= (int32) VARHDRSZ)
	{
		conv->scale = (conv->basetypmod - VARHDRSZ) & 0x7ff;
		if (conv->scale > 1024)
			conv->scale = (conv->scale ^ 1024) - 1024;
		if (conv->scale < 0)
			conv->scale += 2048;
	}
}

/* A domain: the base type's converter, then the constraints. */
static Datum
convert_domain(const CdcConversion *conv, const CdcJsonNode *value)
{
	Datum		result = conv->element->convert(conv->element, value);

	cdc_check_domain(conv, result, false);
	return result;
}

static CdcConversion *
new_conversion(const CdcSchema *schema, const CdcSourceSettings *source,
			   Oid typid, int32 typmod)
{
	CdcConversion *conv = palloc0(sizeof(CdcConversion));
	Oid			infunc;

	conv->schema = schema;
	conv->source = source;
	conv->typid = typid;
	conv->typmod = typmod;
	conv->basetypmod = typmod;
	conv->basetypid = getBaseTypeAndTypmod(typid, &conv->basetypmod);
	conv->is_domain = conv->basetypid != typid;
	conv->context = CurrentMemoryContext;
	getTypeInputInfo(conv->basetypid, &infunc, &conv->typioparam);
	fmgr_info(infunc, &conv->infunc);
	get_typlenbyvalalign(conv->basetypid, &conv->typlen, &conv->typbyval,
						 &conv->typalign);
	conv->target = target_of(conv->basetypid);
	set_from(conv);
	set_scale(conv);
	return conv;
}

/*
 * Elements of an array.  Elements of a domain are unknown to Debezium
 * whatever their base type is, so that their strings are encoded text.
 */
static CdcConversion *
prepare_element(const CdcConversion *array)
{
	Oid			typid = get_element_type(array->basetypid);
	const CdcSchema *items = array->schema;
	CdcConversion *result;
	CdcConversion *base;

	if (items != NULL && items->type != CDC_CONNECT_ARRAY)
		items = NULL;
	while (items != NULL && items->type == CDC_CONNECT_ARRAY)
		items = items->items;
	result = cdc_convert_prepare(items, array->source, typid,
								 array->basetypmod);
	base = result->element;
	if (result->is_domain &&
		(items == NULL || (items->name == NULL &&
						   (items->type == CDC_CONNECT_BYTES ||
							items->type == CDC_CONNECT_STRING))))
	{
		base->target = CDC_TO_OTHER;
		set_converter(base);
	}
	return result;
}

CdcConversion *
cdc_convert_prepare(const CdcSchema *schema, const CdcSourceSettings *source,
					Oid typid, int32 typmod)
{
	CdcConversion *conv = new_conversion(schema, source, typid, typmod);

	if (conv->is_domain)
	{
		conv->element = cdc_convert_prepare(schema, source, conv->basetypid,
											conv->basetypmod);
		conv->domain_cache = palloc0(sizeof(void *));
		conv->convert = convert_domain;
		conv->name = conv->element->name;
		conv->nplaceholders = conv->element->nplaceholders;
		conv->placeholders = conv->element->placeholders;
		return conv;
	}
	if (conv->target == CDC_TO_ARRAY)
		conv->element = prepare_element(conv);
	set_converter(conv);
	cdc_prepare_placeholders(conv);
	return conv;
}

Datum
cdc_convert_value(const CdcConversion *conv, const CdcJsonNode *value,
				  bool *isnull)
{
	*isnull = value->type == CDC_JSON_NULL;
	if (!*isnull)
		return conv->convert(conv, value);
	if (conv->is_domain)
		cdc_check_domain(conv, 0, true);
	return 0;
}
