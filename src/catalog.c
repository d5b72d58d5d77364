/*-------------------------------------------------------------------------
 *
 * catalog.c
 *		Reads subscriptions and mappings, and what their owner may connect to.
 *
 * Floor 4.  Every statement is a kept plan and runs as the owner of the
 * extension, whatever role is active.  The hard thing: the worker may run
 * while somebody drops the extension and makes a schema of the same name, so
 * the tables are trusted only while they are members of the extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "guc.h"
#include "properties.h"

/* ------------------------------------------------------------------------
 * Running SQL as the owner of the extension
 * ------------------------------------------------------------------------ */

/*
 * Raises 55000 where this library is not the one that the tables and functions
 * of the extension were made for: one of the two was updated alone.
 */
static void
check_version(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("cdc_sink"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(rel), &isnull);

		version = isnull ? NULL : TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (version != NULL && strcmp(version, CDC_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension cdc_sink is of version %s, its library of version %s",
						version, CDC_VERSION),
				 errhint("Run ALTER EXTENSION cdc_sink UPDATE, or install the library of that version and restart the server.")));
}

/*
 * Owner of the extension's tables.  That they belong to the extension is
 * looked up once per oid of cdc_sink.subscription: an oid that belonged to
 * it once is never somebody else's table.
 */
static Oid
extension_owner(void)
{
	static Oid	known_relid = InvalidOid;
	Oid			schema = get_namespace_oid(CDC_SCHEMA, true);
	Oid			relid = OidIsValid(schema) ?
		get_relname_relid("subscription", schema) : InvalidOid;
	HeapTuple	tuple;
	Oid			owner;

	if (OidIsValid(relid) && relid != known_relid)
	{
		Oid			extension = get_extension_oid("cdc_sink", true);

		if (!OidIsValid(extension) ||
			getExtensionOfObject(RelationRelationId, relid) != extension)
			relid = InvalidOid;
		else
		{
			check_version();
			known_relid = relid;
		}
	}
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"cdc_sink\" does not exist")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Switches to the owner of the extension, in a security-restricted context
 * with an empty search_path.  An error needs no cdc_catalog_leave: abort of
 * the transaction or subtransaction switches back.
 */
void
cdc_catalog_enter(CdcCatalogScope *scope)
{
	Oid			owner = extension_owner();

	GetUserIdAndSecContext(&scope->saved_user, &scope->saved_sec_context);
	SetUserIdAndSecContext(owner, scope->saved_sec_context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	/* SPI wants an outer snapshot, which a worker's transaction has not yet */
	scope->pushed_snapshot = !ActiveSnapshotSet();
	if (scope->pushed_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	scope->saved_guc_level = 0;
	/* the worker's search_path is empty already: spare it the nest level */
	if (namespace_search_path == NULL || namespace_search_path[0] != '\0')
	{
		scope->saved_guc_level = NewGUCNestLevel();
		(void) set_config_option("search_path", "", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
}

/* Switches back to who was active. */
void
cdc_catalog_leave(CdcCatalogScope *scope)
{
	if (scope->pushed_snapshot)
		PopActiveSnapshot();
	if (scope->saved_guc_level != 0)
		AtEOXact_GUC(false, scope->saved_guc_level);
	SetUserIdAndSecContext(scope->saved_user, scope->saved_sec_context);
}

/* The plan of a statement, prepared and kept at first; SPI is connected. */
SPIPlanPtr
cdc_catalog_plan(CdcStatement *statement)
{
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->sql, statement->nargs,
									   statement->types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s",
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	return statement->plan;
}

/*
 * Runs a statement, preparing and keeping its plan at first.  SPI must be
 * connected.  A new snapshot each time, so that a caller sees what it wrote.
 */
int
cdc_catalog_execute(CdcStatement *statement, Datum *values, const char *nulls)
{
	int			rc;

	cdc_debug_spi();
	rc = SPI_execute_plan(cdc_catalog_plan(statement), values, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	return (int) SPI_processed;
}

/* ------------------------------------------------------------------------
 * Columns of a result row; allocations in CurrentMemoryContext
 * ------------------------------------------------------------------------ */

/* cdc_catalog_datum: see catalog.h. */
Datum
cdc_catalog_datum(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column,
									  &isnull);

	if (isnull)
		elog(ERROR, "column %d is null", column);
	return value;
}

/* cdc_catalog_text: see catalog.h. */
char *
cdc_catalog_text(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column,
									  &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* ------------------------------------------------------------------------
 * Subscriptions
 * ------------------------------------------------------------------------ */

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

	check_version();
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

/* ------------------------------------------------------------------------
 * Connection
 * ------------------------------------------------------------------------ */

/*
 * Finds a server of our wrapper; raises 42704 for an unknown one and 42809
 * for one of another wrapper.
 */
ForeignServer *
cdc_catalog_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errhint("Create it with CREATE SERVER ... FOREIGN DATA WRAPPER cdc_sink.")));
	if (getExtensionOfObject(ForeignDataWrapperRelationId, server->fdwid) !=
		get_extension_oid("cdc_sink", true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not of the foreign-data wrapper cdc_sink",
						name)));
	return server;
}

/* Raises 42501 where the role has no USAGE on the server. */
static void
check_usage(const ForeignServer *server, Oid role)
{
	if (cdc_compat_server_aclcheck(server->serverid, role,
								   ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s",
						server->servername),
				 errdetail("Role \"%s\" has no USAGE on it.",
						   GetUserNameFromId(role, true))));
}

/* Is one of the options read from a file of the secrets directory? */
static bool
names_file(List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		const char *name = ((DefElem *) lfirst(lc))->defname;
		size_t		len = strlen(name);

		if (len > 5 && strcmp(name + len - 5, "_file") == 0)
			return true;
	}
	return false;
}

/*
 * Whoever owns the server may send what the mapping holds to a broker of
 * theirs; so it must be a superuser or a role that the user could act as
 * anyway.  What stands in PUBLIC's mapping is the server owner's own, but for
 * what only a superuser may name, a file.
 */
static void
check_trusts_server(const ForeignServer *server, Oid user, bool public,
					List *options)
{
	if (options == NIL || (public && !names_file(options)) ||
		superuser_arg(server->owner) ||
		cdc_compat_can_set_role(user, server->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("user mapping of role \"%s\" on server \"%s\" is not used",
					GetUserNameFromId(user, true), server->servername),
			 errdetail("The server belongs to \"%s\", who could send the secrets of the mapping elsewhere, and whom \"%s\" cannot SET ROLE to.",
					   GetUserNameFromId(server->owner, true),
					   GetUserNameFromId(user, true)),
			 errhint("Give the server to a superuser, or grant its owner's role to the role of the mapping.")));
}

/*
 * Options of the user's mapping on the server, else of PUBLIC's, else NIL:
 * unlike GetUserMapping, for a broker may need no login.  ERROR 42501 where
 * the mapping must not be used on this server.
 */
static List *
user_mapping_options(const ForeignServer *server, Oid user)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
										ObjectIdGetDatum(user),
										ObjectIdGetDatum(server->serverid));
	List	   *options = NIL;
	Datum		datum;
	bool		isnull;
	bool		public = !HeapTupleIsValid(tuple);

	if (public)
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(server->serverid));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	check_trusts_server(server, user, public, options);
	return options;
}

/*
 * cdc_catalog_check_server: see catalog.h.
 */
void
cdc_catalog_check_server(const char *name, Oid role)
{
	ForeignServer *server = cdc_catalog_server(name);

	check_usage(server, role);
	(void) user_mapping_options(server, role);
}

/* Appends one option of a server or user mapping, read from its file if so. */
static void
add_option(CdcKafkaConfig *config, DefElem *option)
{
	CdcKafkaProperty *property = &config->properties[config->nproperties++];

	cdc_property_resolve(option->defname, defGetString(option), property);
}

/* Appends options of a list. */
static void
add_options(CdcKafkaConfig *config, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
		add_option(config, (DefElem *) lfirst(lc));
}

/*
 * Fills config from server, user mapping and tuning options, the later over
 * the earlier.  group_tail tells groups of this database apart.
 */
static void
make_config(CdcKafkaConfig *config, const char *server_name, Oid user,
			const CdcOptions *tuning, const char *group_tail)
{
	ForeignServer *server = cdc_catalog_server(server_name);
	List	   *mapped;
	int			ntuning = tuning ? tuning->nproperties : 0;

	check_usage(server, user);
	mapped = user_mapping_options(server, user);
	memset(config, 0, sizeof(*config));
	config->properties = palloc0((list_length(server->options) +
								  list_length(mapped) + ntuning + 1) *
								 sizeof(CdcKafkaProperty));
	add_options(config, server->options);
	add_options(config, mapped);
	for (int i = 0; i < ntuning; i++)
	{
		CdcKafkaProperty *property = &config->properties[config->nproperties++];

		property->name = pstrdup(tuning->property_names[i]);
		property->value = pstrdup(tuning->property_values[i]);
	}
	config->allowed_brokers = pstrdup(cdc_guc_allowed_brokers);
	config->group = tuning && tuning->consumer_group ?
		pstrdup(tuning->consumer_group) :
		psprintf("cdc_sink-" UINT64_FORMAT "-%u-%s", GetSystemIdentifier(),
				 MyDatabaseId, group_tail);
	config->queue_kbytes = cdc_guc_memory_limit / 6;
}

void
cdc_catalog_kafka_config(const CdcSubscription *subscription,
						 CdcKafkaConfig *config)
{
	char		tail[32];

	snprintf(tail, sizeof(tail), INT64_FORMAT, subscription->id);
	make_config(config, subscription->server, subscription->owner,
				&subscription->options, tail);
}

void
cdc_catalog_server_config(const char *server, Oid user, CdcKafkaConfig *config)
{
	make_config(config, server, user, NULL, "look");
}
