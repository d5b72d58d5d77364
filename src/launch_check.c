/*-------------------------------------------------------------------------
 *
 * launch_check.c
 *		What the launcher reads of the shared catalogs.
 *
 * Floor 3.  The hard thing: without a database only the few shared catalogs
 * that the server knows by heart can be opened, and nothing that was moved
 * out of line into a TOAST table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "launch_check.h"

/*
 * A transaction of the launcher.  Its level is set because a default of
 * "serializable, deferrable" would wait for others.
 */
static void
begin(void)
{
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactDeferrable = false;
}

/* May workers connect?  A database with limit -2 is a half-dropped one. */
static bool
is_connectable(Form_pg_database database)
{
	return database->datallowconn && database->datconnlimit != -2;
}

List *
cdc_launch_databases(MemoryContext context)
{
	MemoryContext old = CurrentMemoryContext;
	List	   *list = NIL;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	begin();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (!is_connectable(database))
			continue;
		MemoryContextSwitchTo(context);
		list = lappend_oid(list, database->oid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	return list;
}

/*
 * Returns the row of a shared catalog with that oid, or NULL, in the current
 * transaction; *rel must be closed by the caller.  The indexes are known
 * only where the server found its file of them when this process started.
 */
static HeapTuple
find_row(Oid catalog, Oid index, AttrNumber oid_column, Oid oid,
		 Relation *rel)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	*rel = table_open(catalog, AccessShareLock);
	ScanKeyInit(&key, oid_column, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(oid));
	scan = systable_beginscan(*rel, index, criticalSharedRelcachesBuilt, NULL,
							  1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

bool
cdc_launch_database_exists(Oid dboid)
{
	MemoryContext old = CurrentMemoryContext;
	Relation	rel;
	HeapTuple	tuple;
	bool		exists;

	begin();
	tuple = find_row(DatabaseRelationId, DatabaseOidIndexId,
					 Anum_pg_database_oid, dboid, &rel);
	exists = HeapTupleIsValid(tuple) &&
		is_connectable((Form_pg_database) GETSTRUCT(tuple));
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	return exists;
}

/* Does the role exist, and may it log in? */
static const char *
role_obstacle(Oid role, const char **hint)
{
	Relation	rel;
	HeapTuple	tuple;
	const char *reason = NULL;

	tuple = find_row(AuthIdRelationId, AuthIdOidIndexId, Anum_pg_authid_oid,
					 role, &rel);
	if (!HeapTupleIsValid(tuple))
	{
		reason = "owner_missing";
		*hint = "Give the subscription another owner with cdc_sink.alter_subscription.";
	}
	else if (CDC_WORKER_NEEDS_LOGIN &&
			 !((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin)
	{
		reason = "owner_cannot_login";
		*hint = "The owner of a subscription needs LOGIN before PostgreSQL 17.";
	}
	table_close(rel, AccessShareLock);
	return reason;
}

/*
 * Has the role the privilege CONNECT?  The rights are taken from the row
 * itself; where they are too many to be in line, the connection will tell.
 */
static bool
may_connect(Oid dboid, Oid role)
{
	Relation	rel;
	HeapTuple	tuple;
	bool		may = true;

	tuple = find_row(DatabaseRelationId, DatabaseOidIndexId,
					 Anum_pg_database_oid, dboid, &rel);
	if (HeapTupleIsValid(tuple))
	{
		Oid			owner = ((Form_pg_database) GETSTRUCT(tuple))->datdba;
		bool		isnull;
		Datum		acl = heap_getattr(tuple, Anum_pg_database_datacl,
									   RelationGetDescr(rel), &isnull);

		if (isnull)
			may = aclmask(acldefault(OBJECT_DATABASE, owner), role, owner,
						  ACL_CONNECT, ACLMASK_ANY) != 0;
		else if (!VARATT_IS_EXTERNAL(DatumGetPointer(acl)))
			may = aclmask(DatumGetAclP(acl), role, owner, ACL_CONNECT,
						  ACLMASK_ANY) != 0;
	}
	table_close(rel, AccessShareLock);
	return may || superuser_arg(role);
}

const char *
cdc_launch_obstacle(Oid dboid, Oid owner, const char **hint)
{
	MemoryContext old = CurrentMemoryContext;
	const char *reason;

	begin();
	reason = role_obstacle(owner, hint);
	if (reason == NULL && !may_connect(dboid, owner))
	{
		reason = "owner_cannot_connect";
		*hint = "Grant the owner of the subscription CONNECT on the database.";
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	return reason;
}
