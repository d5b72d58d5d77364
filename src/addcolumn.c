/*-------------------------------------------------------------------------
 *
 * addcolumn.c
 *		Columns for fields that the target lacks (on_unknown_column=add).
 *
 * Floor 5.  Called by route.c.  The hard thing is when: rows already routed
 * are laid out like the columns of their relation, so columns are added only
 * before the first event of a range, and route.c cuts the range there.  What
 * is added belongs to the transaction (or subtransaction) of the range and
 * goes with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/varbit.h"

#include "addcolumn.h"
#include "debug_fail.h"
#include "errors.h"
#include "relmap_internal.h"

typedef struct TypeRow
{
	CdcConnectType type;
	const char *name;			/* semantic name; NULL: any other, or none */
	const char *column;			/* SQL type; NULL: its parameters say */
} TypeRow;

/* What a schema becomes; the first row that fits. */
static const TypeRow type_rows[] = {
	{CDC_CONNECT_INT32, "io.debezium.time.Date", "date"},
	{CDC_CONNECT_INT32, "org.apache.kafka.connect.data.Date", "date"},
	{CDC_CONNECT_STRING, "io.debezium.time.IsoDate", "date"},
	{CDC_CONNECT_INT32, "io.debezium.time.Time", "time"},
	{CDC_CONNECT_INT32, "org.apache.kafka.connect.data.Time", "time"},
	{CDC_CONNECT_INT64, "org.apache.kafka.connect.data.Time", "time"},
	{CDC_CONNECT_INT64, "io.debezium.time.MicroTime", "time"},
	{CDC_CONNECT_INT64, "io.debezium.time.NanoTime", "time"},
	{CDC_CONNECT_STRING, "io.debezium.time.IsoTime", "time"},
	{CDC_CONNECT_STRING, "io.debezium.time.ZonedTime", "timetz"},
	{CDC_CONNECT_INT64, "io.debezium.time.Timestamp", "timestamp"},
	{CDC_CONNECT_INT64, "org.apache.kafka.connect.data.Timestamp", "timestamp"},
	{CDC_CONNECT_INT64, "io.debezium.time.MicroTimestamp", "timestamp"},
	{CDC_CONNECT_INT64, "io.debezium.time.NanoTimestamp", "timestamp"},
	{CDC_CONNECT_STRING, "io.debezium.time.IsoTimestamp", "timestamp"},
	{CDC_CONNECT_STRING, "io.debezium.time.ZonedTimestamp", "timestamptz"},
	{CDC_CONNECT_INT64, "io.debezium.time.MicroDuration", "interval"},
	{CDC_CONNECT_INT64, "io.debezium.time.NanoDuration", "interval"},
	{CDC_CONNECT_STRING, "io.debezium.time.Interval", "interval"},
	{CDC_CONNECT_BYTES, "org.apache.kafka.connect.data.Decimal", NULL},
	{CDC_CONNECT_STRUCT, "io.debezium.data.VariableScaleDecimal", "numeric"},
	{CDC_CONNECT_BYTES, "io.debezium.data.Bits", NULL},
	{CDC_CONNECT_STRING, "io.debezium.data.Json", "jsonb"},
	{CDC_CONNECT_STRING, "io.debezium.data.Xml", "xml"},
	{CDC_CONNECT_STRING, "io.debezium.data.Uuid", "uuid"},
	{CDC_CONNECT_STRING, "io.debezium.data.Tsvector", "tsvector"},
	{CDC_CONNECT_STRUCT, "io.debezium.data.geometry.Point", "point"},
	{CDC_CONNECT_STRUCT, "io.debezium.data.geometry.Circle", "circle"},
	{CDC_CONNECT_STRUCT, "io.debezium.data.geometry.Line", "line"},
	{CDC_CONNECT_BOOLEAN, NULL, "bool"},
	{CDC_CONNECT_INT8, NULL, "int2"},
	{CDC_CONNECT_INT16, NULL, "int2"},
	{CDC_CONNECT_INT32, NULL, "int4"},
	{CDC_CONNECT_INT64, NULL, "int8"},
	{CDC_CONNECT_FLOAT, NULL, "float4"},
	{CDC_CONNECT_DOUBLE, NULL, "float8"},
	{CDC_CONNECT_BYTES, NULL, "bytea"},
	{CDC_CONNECT_STRING, NULL, "text"},
	{CDC_CONNECT_ARRAY, NULL, NULL},
	{CDC_CONNECT_MAP, NULL, "jsonb"},
	{CDC_CONNECT_STRUCT, NULL, "jsonb"},
};

/* A whole number among a schema's parameters, or fallback. */
static int
parameter(const CdcSchema *schema, const char *name, int fallback)
{
	for (int i = 0; i < schema->nparams; i++)
		if (strcmp(schema->params[i].name, name) == 0)
		{
			char	   *end;
			long		value;

			errno = 0;
			value = strtol(schema->params[i].value, &end, 10);
			if (errno == 0 && *end == '\0' && end != schema->params[i].value &&
				value >= INT_MIN && value <= INT_MAX)
				return (int) value;
		}
	return fallback;
}

/*
 * numeric(p,s), or plain numeric where the schema does not say both or
 * PostgreSQL has no such modifiers.  A negative scale is sent as 2048-s.
 */
static char *
decimal_type(const CdcSchema *schema)
{
	int			precision = parameter(schema, "connect.decimal.precision", 0);
	int			scale = parameter(schema, "scale", INT_MIN);

	if (scale > 1024)
		scale -= 2048;
	if (precision < 1 || precision > NUMERIC_MAX_PRECISION ||
		scale < NUMERIC_MIN_SCALE || scale > NUMERIC_MAX_SCALE)
		return pstrdup("pg_catalog.numeric");
	return psprintf("pg_catalog.numeric(%d,%d)", precision, scale);
}

/*
 * bit(n), or varbit where the source has no length.  A varbit(n) looks the
 * same as a bit(n), which is what most columns are.
 */
static char *
bits_type(const CdcSchema *schema)
{
	int			length = parameter(schema, "length", INT_MAX);

	if (length < 1 || length > VARBITMAXLEN ||
		length > MaxAttrSize * BITS_PER_BYTE)
		return pstrdup("pg_catalog.varbit");
	return psprintf("pg_catalog.bit(%d)", length);
}

/* The array of a type; arrays of arrays are arrays of the innermost type. */
static char *
array_type(const CdcSchema *schema)
{
	while (schema->items->type == CDC_CONNECT_ARRAY)
		schema = schema->items;
	return psprintf("%s[]", cdc_addcolumn_type(schema->items));
}

/*
 * cdc_addcolumn_type: see addcolumn.h.  Types of extensions are never
 * chosen: which of them the user wants, and where they are, is not said.
 */
char *
cdc_addcolumn_type(const CdcSchema *schema)
{
	const TypeRow *row = type_rows;

	while (row->type != schema->type ||
		   (row->name != NULL &&
			(schema->name == NULL || strcmp(row->name, schema->name) != 0)))
		row++;
	if (row->column != NULL)
		return psprintf("pg_catalog.%s", row->column);
	if (row->type == CDC_CONNECT_ARRAY)
		return array_type(schema);
	return strcmp(row->name, "io.debezium.data.Bits") == 0 ?
		bits_type(schema) : decimal_type(schema);
}

/* Does the relation know what to do with every field of the schema? */
static bool
all_known(CdcRelation *rel, const CdcEvent *event)
{
	const CdcSchema *schema = event->row_schema;

	for (int i = 0; i < schema->nfields; i++)
		if (cdc_field_use(rel, event, schema->fields[i].field,
						  schema->fields[i].field_len,
						  NULL, NULL) == CDC_FIELD_UNKNOWN)
			return false;
	return true;
}

/*
 * cdc_addcolumn_needed: see addcolumn.h.  Costs one comparison where the
 * schema is that of the event before.
 */
bool
cdc_addcolumn_needed(CdcRelation *rel, const CdcEvent *event)
{
	if (event->row_schema == NULL || event->row_schema == rel->known_schema ||
		event->row_schema->type != CDC_CONNECT_STRUCT ||
		(event->after == NULL && event->before == NULL))
		return false;
	if (!all_known(rel, event))
		return true;
	rel->known_schema = event->row_schema;
	return false;
}

/* ERROR: a field's name cannot be that of a column. */
static void
check_name(const char *field, const char *column)
{
	if (column != NULL && *column != '\0' && strlen(column) < NAMEDATALEN)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("no column can be added for field \"%s\"", field),
			 column == NULL ?
			 errdetail("The name has characters that no name of this database can hold.") :
			 errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1),
			 errhint("Name a column, or null, for the field in the mapping's columns.")));
}

/*
 * ALTER TABLE with a clause for each field that has no column.  A partition
 * gets its columns from the top of its tree.
 */
static char *
alter_table(CdcRelation *rel, const CdcEvent *event)
{
	const CdcSchema *schema = event->row_schema;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(rel->root_relid)),
												get_rel_name(rel->root_relid)));
	for (int i = 0, n = 0; i < schema->nfields; i++)
	{
		const CdcSchema *field = &schema->fields[i];
		const char *column;

		if (cdc_field_use(rel, event, field->field, field->field_len,
						  &column, NULL) != CDC_FIELD_UNKNOWN)
			continue;
		cdc_error_position.field = field->field;
		check_name(field->field, column);
		appendStringInfo(&sql, "%s ADD COLUMN IF NOT EXISTS %s %s",
						 n++ ? "," : "", quote_identifier(column),
						 cdc_addcolumn_type(field));
	}
	cdc_error_position.field = NULL;
	return sql.data;
}

/*
 * cdc_addcolumn_add: see addcolumn.h.  Takes AccessExclusiveLock, kept to the
 * end of the transaction.  ERROR of the configuration class where the role
 * does not own the table or a name cannot be used.
 */
void
cdc_addcolumn_add(CdcRelation *rel, const CdcEvent *event)
{
	char	   *sql = alter_table(rel, event);
	char	   *name = pstrdup(rel->name);
	int			result;

	SPI_connect();
	cdc_debug_spi();
	result = SPI_execute(sql, false, 0);
	SPI_finish();
	if (result != SPI_OK_UTILITY)
		elog(ERROR, "could not add columns to %s: %s", name,
			 SPI_result_code_string(result));
	ereport(LOG,
			(errmsg("columns were added to %s for fields of topic \"%s\"",
					name, event->record->topic),
			 errdetail_internal("%s", sql)));
}
