/*-------------------------------------------------------------------------
 *
 * constraints.c
 *		Deferrable constraints are checked as rows are applied.
 *
 * Floor 4.  The hard thing is a transaction of somebody else: SET CONSTRAINTS
 * IMMEDIATE runs what the caller has put off, at once and as the role at
 * hand.  So only the constraints that matter are set there, and only where
 * nothing of theirs is put off.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog_sql.h"
#include "constraints.h"

/*
 * Deferrable constraints with triggers on a relation or its partitions, and
 * all that SET CONSTRAINTS takes for them: others of the name in the schema,
 * and what descends from either.  One row for each relation that has a
 * trigger of one: its oid, and schema and name of what was set.
 */
static CdcStatement deferrable = {
	.sql = "WITH RECURSIVE mine AS (SELECT DISTINCT c.conname, c.connamespace "
	"FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_constraint AS c ON c.oid OPERATOR(pg_catalog.=) t.tgconstraint "
	"WHERE t.tgdeferrable AND (t.tgrelid OPERATOR(pg_catalog.=) $1 OR t.tgrelid OPERATOR(pg_catalog.=) ANY "
	"(SELECT p.relid FROM pg_catalog.pg_partition_tree($1) AS p))), "
	"meant AS (SELECT c.oid, m.conname, m.connamespace FROM mine AS m JOIN pg_catalog.pg_constraint AS c "
	"ON c.conname OPERATOR(pg_catalog.=) m.conname AND c.connamespace OPERATOR(pg_catalog.=) m.connamespace "
	"UNION SELECT c.oid, m.conname, m.connamespace FROM meant AS m JOIN pg_catalog.pg_constraint AS c "
	"ON c.conparentid OPERATOR(pg_catalog.=) m.oid) "
	"SELECT DISTINCT t.tgrelid, n.nspname::pg_catalog.text, m.conname::pg_catalog.text FROM meant AS m "
	"JOIN pg_catalog.pg_trigger AS t ON t.tgconstraint OPERATOR(pg_catalog.=) m.oid "
	"JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) m.connamespace",
	.nargs = 1,
	.types = {OIDOID}
};

/* cdc_constraints_immediate: see constraints.h. */
void
cdc_constraints_immediate(void)
{
	ConstraintsSetStmt stmt;

	memset(&stmt, 0, sizeof(stmt));
	stmt.type = T_ConstraintsSetStmt;
	AfterTriggerSetState(&stmt);
}

/* ERROR where a relation has something to check that was put off. */
static void
check_pending(Oid relid)
{
	if (AfterTriggerPendingOnRel(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a deferred constraint of \"%s\" is still to be checked in this transaction",
						get_rel_name(relid)),
				 errhint("Commit first, or SET CONSTRAINTS ALL IMMEDIATE.")));
}

/* The constraints of the rows of SPI_tuptable, as names. */
static List *
constraint_names(int n)
{
	List	   *names = NIL;

	for (int i = 0; i < n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];

		check_pending(DatumGetObjectId(cdc_catalog_datum(tuple, 1)));
		names = lappend(names, makeRangeVar(cdc_catalog_text(tuple, 2),
											cdc_catalog_text(tuple, 3), -1));
	}
	return names;
}

/* cdc_constraints_immediate_on: see constraints.h. */
void
cdc_constraints_immediate_on(Oid relid)
{
	CdcCatalogScope scope;
	ConstraintsSetStmt stmt;
	Datum		value = ObjectIdGetDatum(relid);
	int			n;

	LockRelationOid(relid, RowExclusiveLock);
	if (!SearchSysCacheExists1(RELOID, value))
		return;
	memset(&stmt, 0, sizeof(stmt));
	stmt.type = T_ConstraintsSetStmt;
	SPI_connect();
	cdc_catalog_enter(&scope);
	n = cdc_catalog_execute(&deferrable, &value, NULL);
	stmt.constraints = constraint_names(n);
	if (n > 0)
		AfterTriggerSetState(&stmt);
	cdc_catalog_leave(&scope);
	SPI_finish();
}
