/*-------------------------------------------------------------------------
 *
 * catalog_sql.c
 *		SQL on the extension's own tables, as the owner of the extension.
 *
 * Floor 3.  Every statement is a kept plan and runs as that owner, whatever
 * role is active.  The hard thing: the worker may run while somebody drops
 * the extension and makes a schema of the same name, so the tables are
 * trusted only while they are members of the extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog_sql.h"
#include "cdc_sink.h"
#include "guc.h"

/* ------------------------------------------------------------------------
 * Running SQL as the owner of the extension
 * ------------------------------------------------------------------------ */

void
cdc_catalog_check_version(void)
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
			cdc_catalog_check_version();
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

/* cdc_catalog_datum: see catalog_sql.h. */
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

/* cdc_catalog_text: see catalog_sql.h. */
char *
cdc_catalog_text(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column,
									  &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}
