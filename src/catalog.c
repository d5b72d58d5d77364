/*-------------------------------------------------------------------------
 *
 * catalog.c
 *		Reads subscriptions and their mappings.
 *
 * Floor 4.  One statement for the subscription and one for its mappings, in
 * the sight of the transaction that asks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/syscache.h"

#include "catalog.h"

#define SUBSCRIPTION_COLUMNS \
	"SELECT id, subscription::pg_catalog.text, owner::pg_catalog.oid," \
	" server::pg_catalog.text, enabled, start_position, source, options," \
	" resume_count, NOT (system_identifier OPERATOR(pg_catalog.=) $2" \
	" AND database OPERATOR(pg_catalog.=) $3)" \
	" FROM cdc_sink.subscription"

static CdcStatement load_by_id = {
	.sql = SUBSCRIPTION_COLUMNS " WHERE id OPERATOR(pg_catalog.=) $1",
	.nargs = 3, .types = {INT8OID, NUMERICOID, OIDOID}
};
static CdcStatement load_by_name = {
	.sql = SUBSCRIPTION_COLUMNS " WHERE subscription OPERATOR(pg_catalog.=) $1",
	.nargs = 3, .types = {NAMEOID, NUMERICOID, OIDOID}
};
static CdcStatement load_mappings = {
	.sql = "SELECT id, topic, source_table, relation::pg_catalog.oid,"
	" relation_name, columns, options"
	" FROM cdc_sink.mapping WHERE subscription OPERATOR(pg_catalog.=) $1"
	" ORDER BY topic COLLATE \"C\", source_table COLLATE \"C\"",
	.nargs = 1, .types = {NAMEOID}
};

/* The identifier of this database cluster, as the table stores it. */
Datum
cdc_catalog_system_identifier(void)
{
	char		text[32];

	snprintf(text, sizeof(text), UINT64_FORMAT, GetSystemIdentifier());
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text),
							   ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

/* Lays one setting over the others; is it one to keep? */
static bool
set_source(CdcSourceSettings *settings, const char *name, const char *text)
{
	const char *problem = NULL;
	bool		known = cdc_source_set(settings, name, text, &problem);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for source setting \"%s\": \"%s\"",
						name, text),
				 errdetail("%c%s.", pg_toupper(problem[0]), problem + 1)));
	return known;
}

/*
 * Lays the members of a "source" object over the settings.  Returns the
 * object without the keys that do not decide how values are encoded: a
 * pasted connector configuration may hold passwords, which must not be
 * stored.  The settings point into CurrentMemoryContext.
 */
Jsonb *
cdc_catalog_parse_source(CdcSourceSettings *settings, Jsonb *json)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	key;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("source must be a JSON object")));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *text;

		if (token == WJB_KEY)
		{
			key = value;
			name = cdc_options_scalar_text(&key);
		}
		if (token != WJB_VALUE)
			continue;
		text = cdc_options_scalar_text(&value);
		if (text != NULL && set_source(settings, name, text))
		{
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, &value);
		}
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Reads the column overlay of a mapping: an object of field name -> column
 * name or null.  Raises 22023 for anything else.
 */
void
cdc_catalog_parse_columns(CdcMapping *mapping, Jsonb *json)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			n = 0;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns must be a JSON object")));
	mapping->fields = palloc((JB_ROOT_COUNT(json) + 1) * sizeof(char *));
	mapping->columns = palloc((JB_ROOT_COUNT(json) + 1) * sizeof(char *));
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			mapping->fields[n] = cdc_options_scalar_text(&value);
		else if (token == WJB_VALUE)
		{
			if (value.type != jbvNull &&
				(value.type != jbvString || value.val.string.len == 0 ||
				 value.val.string.len >= NAMEDATALEN))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("invalid column name for field \"%s\"",
								mapping->fields[n]),
						 errhint("It must be the name of a column, or null to drop the field.")));
			mapping->columns[n++] = cdc_options_scalar_text(&value);
		}
	}
	mapping->ncolumns = n;
}

/* Makes a mapping of a row of load_mappings. */
static void
build_mapping(CdcMapping *mapping, const CdcSubscription *subscription,
			  HeapTuple tuple)
{
	mapping->subscription = subscription;
	mapping->id = DatumGetInt64(cdc_catalog_datum(tuple, 1));
	mapping->topic = cdc_catalog_text(tuple, 2);
	mapping->source_table = cdc_catalog_text(tuple, 3);
	mapping->relid = DatumGetObjectId(cdc_catalog_datum(tuple, 4));
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(mapping->relid)))
		mapping->relid = InvalidOid;
	mapping->relation_name = cdc_catalog_text(tuple, 5);
	cdc_catalog_parse_columns(mapping,
							  DatumGetJsonbPCopy(cdc_catalog_datum(tuple, 6)));
	mapping->options = subscription->options;
	cdc_options_parse(&mapping->options, DatumGetJsonbP(cdc_catalog_datum(tuple, 7)),
					  CDC_OPTION_MAPPING);
}

/* Makes a subscription, without its mappings, of a row. */
static CdcSubscription *
build_subscription(HeapTuple tuple)
{
	CdcSubscription *sub = palloc0(sizeof(CdcSubscription));

	sub->id = DatumGetInt64(cdc_catalog_datum(tuple, 1));
	sub->name = cdc_catalog_text(tuple, 2);
	sub->owner = DatumGetObjectId(cdc_catalog_datum(tuple, 3));
	sub->server = cdc_catalog_text(tuple, 4);
	sub->enabled = DatumGetBool(cdc_catalog_datum(tuple, 5));
	sub->start_position = cdc_catalog_text(tuple, 6);
	cdc_source_defaults(&sub->source);
	(void) cdc_catalog_parse_source(&sub->source,
									DatumGetJsonbPCopy(cdc_catalog_datum(tuple, 7)));
	cdc_options_defaults(&sub->options);
	cdc_options_parse(&sub->options, DatumGetJsonbP(cdc_catalog_datum(tuple, 8)),
					  CDC_OPTION_SUBSCRIPTION);
	sub->resume_count = DatumGetInt64(cdc_catalog_datum(tuple, 9));
	sub->restored = DatumGetBool(cdc_catalog_datum(tuple, 10));
	return sub;
}

/* Loads the mappings of a subscription; SPI is connected. */
static void
load_mappings_of(CdcSubscription *sub, MemoryContext context)
{
	Datum		values[1] = {DirectFunctionCall1(namein,
												 CStringGetDatum(sub->name))};
	int			n = cdc_catalog_execute(&load_mappings, values, NULL);
	SPITupleTable *rows = SPI_tuptable;

	MemoryContextSwitchTo(context);
	sub->mappings = palloc0((n + 1) * sizeof(CdcMapping));
	for (int i = 0; i < n; i++)
		build_mapping(&sub->mappings[i], sub, rows->vals[i]);
	sub->nmappings = n;
}

/* Loads by either key; everything is built in CurrentMemoryContext. */
static CdcSubscription *
load(CdcStatement *statement, Datum key)
{
	MemoryContext context = CurrentMemoryContext;
	CdcCatalogScope scope;
	CdcSubscription *sub = NULL;
	Datum		values[3];

	values[0] = key;
	values[1] = cdc_catalog_system_identifier();
	values[2] = ObjectIdGetDatum(MyDatabaseId);

	cdc_catalog_check_version();
	cdc_catalog_enter(&scope);
	SPI_connect();
	if (cdc_catalog_execute(statement, values, NULL) > 0)
	{
		MemoryContext spi_context = MemoryContextSwitchTo(context);

		sub = build_subscription(SPI_tuptable->vals[0]);
		MemoryContextSwitchTo(spi_context);
		load_mappings_of(sub, context);
	}
	SPI_finish();
	cdc_catalog_leave(&scope);
	return sub;
}

CdcSubscription *
cdc_catalog_load(int64 id)
{
	return load(&load_by_id, Int64GetDatum(id));
}

CdcSubscription *
cdc_catalog_find(const char *name)
{
	return load(&load_by_name,
				DirectFunctionCall1(namein, CStringGetDatum(name)));
}
