/*-------------------------------------------------------------------------
 *
 * catalog_write.c
 *		Rows of the extension's tables, as the SQL functions change them.
 *
 * Floor 5.  The hard thing: two sessions that change one subscription.  All
 * of them begin with cdc_catalog_lock, so that what a function has checked
 * still holds when it writes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"

#include "catalog_write.h"

/* What open_scope did, for close_scope. */
typedef struct WriteScope
{
	CdcCatalogScope catalog;
	MemoryContext context;		/* of the caller, for results */
} WriteScope;

/*
 * Becomes the owner of the extension and connects SPI.  A superuser may have
 * set session_replication_role; renames and drops need the foreign keys, so
 * it is origin here.
 */
static void
open_scope(WriteScope *scope)
{
	scope->context = CurrentMemoryContext;
	cdc_catalog_enter(&scope->catalog);
	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_ORIGIN)
	{
		if (scope->catalog.saved_guc_level == 0)
			scope->catalog.saved_guc_level = NewGUCNestLevel();
		(void) set_config_option("session_replication_role", "origin",
								 PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	}
	SPI_connect();
}

static void
close_scope(WriteScope *scope)
{
	SPI_finish();
	cdc_catalog_leave(&scope->catalog);
}

/* Runs one statement that returns nothing. */
static void
run(CdcStatement *statement, Datum *values, const char *nulls)
{
	WriteScope	scope;

	open_scope(&scope);
	(void) cdc_catalog_execute(statement, values, nulls);
	close_scope(&scope);
}

/* ------------------------------------------------------------------------
 * Subscriptions
 * ------------------------------------------------------------------------ */

bool
cdc_catalog_lock(const char *name, CdcSubscriptionRow *row)
{
	static CdcStatement statement = {
		.sql = "SELECT id, subscription, owner::pg_catalog.oid, server,"
		" enabled, start_position, source, options,"
		" NOT (system_identifier OPERATOR(pg_catalog.=) $2"
		" AND database OPERATOR(pg_catalog.=) $3)"
		" FROM cdc_sink.subscription"
		" WHERE subscription OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		.nargs = 3, .types = {NAMEOID, NUMERICOID, OIDOID}
	};
	WriteScope	scope;
	Datum		values[3];
	bool		found;

	values[0] = DirectFunctionCall1(namein, CStringGetDatum(name));
	values[1] = cdc_catalog_system_identifier();
	values[2] = ObjectIdGetDatum(MyDatabaseId);
	open_scope(&scope);
	found = cdc_catalog_execute(&statement, values, NULL) > 0;
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		MemoryContext spi_context = MemoryContextSwitchTo(scope.context);

		row->id = DatumGetInt64(cdc_catalog_datum(tuple, 1));
		row->name = *DatumGetName(cdc_catalog_datum(tuple, 2));
		row->owner = DatumGetObjectId(cdc_catalog_datum(tuple, 3));
		row->server = *DatumGetName(cdc_catalog_datum(tuple, 4));
		row->enabled = DatumGetBool(cdc_catalog_datum(tuple, 5));
		row->start_position = cdc_catalog_text(tuple, 6);
		row->source = DatumGetJsonbPCopy(cdc_catalog_datum(tuple, 7));
		row->options = DatumGetJsonbPCopy(cdc_catalog_datum(tuple, 8));
		row->restored = DatumGetBool(cdc_catalog_datum(tuple, 9));
		MemoryContextSwitchTo(spi_context);
	}
	close_scope(&scope);
	return found;
}

bool
cdc_catalog_exists(const char *name)
{
	static CdcStatement statement = {
		.sql = "SELECT FROM cdc_sink.subscription"
		" WHERE subscription OPERATOR(pg_catalog.=) $1",
		.nargs = 1, .types = {NAMEOID}
	};
	WriteScope	scope;
	Datum		value = DirectFunctionCall1(namein, CStringGetDatum(name));
	bool		found;

	open_scope(&scope);
	found = cdc_catalog_execute(&statement, &value, NULL) > 0;
	close_scope(&scope);
	return found;
}

void
cdc_catalog_insert(CdcSubscriptionRow *row)
{
	static CdcStatement statement = {
		.sql = "INSERT INTO cdc_sink.subscription (subscription, owner,"
		" server, enabled, start_position, source, options,"
		" system_identifier, database)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
		.nargs = 9, .types = {NAMEOID, OIDOID, NAMEOID, BOOLOID, TEXTOID,
		JSONBOID, JSONBOID, NUMERICOID, OIDOID}
	};
	WriteScope	scope;
	Datum		values[9];

	values[0] = NameGetDatum(&row->name);
	values[1] = ObjectIdGetDatum(row->owner);
	values[2] = NameGetDatum(&row->server);
	values[3] = BoolGetDatum(row->enabled);
	values[4] = CStringGetTextDatum(row->start_position);
	values[5] = JsonbPGetDatum(row->source);
	values[6] = JsonbPGetDatum(row->options);
	values[7] = cdc_catalog_system_identifier();
	values[8] = ObjectIdGetDatum(MyDatabaseId);
	open_scope(&scope);
	(void) cdc_catalog_execute(&statement, values, NULL);
	row->id = DatumGetInt64(cdc_catalog_datum(SPI_tuptable->vals[0], 1));
	close_scope(&scope);
}

void
cdc_catalog_update(const CdcSubscriptionRow *row)
{
	static CdcStatement statement = {
		.sql = "UPDATE cdc_sink.subscription SET subscription = $2,"
		" owner = $3, server = $4, enabled = $5, source = $6, options = $7"
		" WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 7, .types = {INT8OID, NAMEOID, OIDOID, NAMEOID, BOOLOID,
		JSONBOID, JSONBOID}
	};
	Datum		values[7];

	values[0] = Int64GetDatum(row->id);
	values[1] = NameGetDatum(&row->name);
	values[2] = ObjectIdGetDatum(row->owner);
	values[3] = NameGetDatum(&row->server);
	values[4] = BoolGetDatum(row->enabled);
	values[5] = JsonbPGetDatum(row->source);
	values[6] = JsonbPGetDatum(row->options);
	run(&statement, values, NULL);
}

void
cdc_catalog_resume(int64 id)
{
	static CdcStatement statement = {
		.sql = "UPDATE cdc_sink.subscription SET enabled = true,"
		" system_identifier = $2, database = $3,"
		" resume_count = resume_count OPERATOR(pg_catalog.+) 1"
		" WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 3, .types = {INT8OID, NUMERICOID, OIDOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(id);
	values[1] = cdc_catalog_system_identifier();
	values[2] = ObjectIdGetDatum(MyDatabaseId);
	run(&statement, values, NULL);
}

void
cdc_catalog_delete(int64 id)
{
	static CdcStatement statement = {
		.sql = "DELETE FROM cdc_sink.subscription"
		" WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 1, .types = {INT8OID}
	};
	Datum		value = Int64GetDatum(id);

	run(&statement, &value, NULL);
}

/* ------------------------------------------------------------------------
 * Mappings
 * ------------------------------------------------------------------------ */

int
cdc_catalog_mappings(const CdcSubscriptionRow *subscription,
					 CdcMappingRow **rows)
{
	static CdcStatement statement = {
		.sql = "SELECT id, topic, source_table, relation::pg_catalog.oid,"
		" relation_name, columns, options FROM cdc_sink.mapping"
		" WHERE subscription OPERATOR(pg_catalog.=) $1"
		" ORDER BY topic COLLATE \"C\", source_table COLLATE \"C\"",
		.nargs = 1, .types = {NAMEOID}
	};
	WriteScope	scope;
	Datum		value = NameGetDatum(&subscription->name);
	MemoryContext spi_context;
	int			n;

	open_scope(&scope);
	n = cdc_catalog_execute(&statement, &value, NULL);
	spi_context = MemoryContextSwitchTo(scope.context);
	*rows = palloc0((n + 1) * sizeof(CdcMappingRow));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		CdcMappingRow *row = &(*rows)[i];

		row->id = DatumGetInt64(cdc_catalog_datum(tuple, 1));
		row->topic = cdc_catalog_text(tuple, 2);
		row->source_table = cdc_catalog_text(tuple, 3);
		row->relid = DatumGetObjectId(cdc_catalog_datum(tuple, 4));
		row->relation_name = cdc_catalog_text(tuple, 5);
		row->columns = DatumGetJsonbPCopy(cdc_catalog_datum(tuple, 6));
		row->options = DatumGetJsonbPCopy(cdc_catalog_datum(tuple, 7));
	}
	MemoryContextSwitchTo(spi_context);
	close_scope(&scope);
	return n;
}

void
cdc_catalog_insert_mapping(const CdcSubscriptionRow *subscription,
						   const CdcMappingRow *row)
{
	static CdcStatement statement = {
		.sql = "INSERT INTO cdc_sink.mapping (subscription, topic,"
		" source_table, relation, relation_name, columns, options)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7)",
		.nargs = 7, .types = {NAMEOID, TEXTOID, TEXTOID, OIDOID, TEXTOID,
		JSONBOID, JSONBOID}
	};
	Datum		values[7];
	char		nulls[] = "       ";

	values[0] = NameGetDatum(&subscription->name);
	values[1] = CStringGetTextDatum(row->topic);
	values[2] = (Datum) 0;
	if (row->source_table != NULL)
		values[2] = CStringGetTextDatum(row->source_table);
	else
		nulls[2] = 'n';
	values[3] = ObjectIdGetDatum(row->relid);
	values[4] = CStringGetTextDatum(row->relation_name);
	values[5] = JsonbPGetDatum(row->columns);
	values[6] = JsonbPGetDatum(row->options);
	run(&statement, values, nulls);
}

void
cdc_catalog_update_mapping(const CdcMappingRow *row)
{
	static CdcStatement statement = {
		.sql = "UPDATE cdc_sink.mapping SET columns = $2, options = $3"
		" WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 3, .types = {INT8OID, JSONBOID, JSONBOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(row->id);
	values[1] = JsonbPGetDatum(row->columns);
	values[2] = JsonbPGetDatum(row->options);
	run(&statement, values, NULL);
}

void
cdc_catalog_delete_mapping(int64 id)
{
	static CdcStatement statement = {
		.sql = "DELETE FROM cdc_sink.mapping WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 1, .types = {INT8OID}
	};
	Datum		value = Int64GetDatum(id);

	run(&statement, &value, NULL);
}

/* ------------------------------------------------------------------------
 * Positions
 * ------------------------------------------------------------------------ */

int
cdc_catalog_positions(const CdcSubscriptionRow *subscription,
					  CdcPositionRow **rows)
{
	static CdcStatement statement = {
		.sql = "SELECT topic, partition, next_offset FROM cdc_sink.position"
		" WHERE subscription OPERATOR(pg_catalog.=) $1",
		.nargs = 1, .types = {NAMEOID}
	};
	WriteScope	scope;
	Datum		value = NameGetDatum(&subscription->name);
	MemoryContext spi_context;
	int			n;

	open_scope(&scope);
	n = cdc_catalog_execute(&statement, &value, NULL);
	spi_context = MemoryContextSwitchTo(scope.context);
	*rows = palloc((n + 1) * sizeof(CdcPositionRow));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];

		(*rows)[i].topic = cdc_catalog_text(tuple, 1);
		(*rows)[i].partition = DatumGetInt32(cdc_catalog_datum(tuple, 2));
		(*rows)[i].next_offset = DatumGetInt64(cdc_catalog_datum(tuple, 3));
	}
	MemoryContextSwitchTo(spi_context);
	close_scope(&scope);
	return n;
}

void
cdc_catalog_delete_positions(const CdcSubscriptionRow *subscription,
							 const char *topic)
{
	static CdcStatement statement = {
		.sql = "DELETE FROM cdc_sink.position"
		" WHERE subscription OPERATOR(pg_catalog.=) $1"
		" AND topic OPERATOR(pg_catalog.=) $2",
		.nargs = 2, .types = {NAMEOID, TEXTOID}
	};
	Datum		values[2];

	values[0] = NameGetDatum(&subscription->name);
	values[1] = CStringGetTextDatum(topic);
	run(&statement, values, NULL);
}

void
cdc_catalog_delete_partitions(const CdcSubscriptionRow *subscription,
							  const char *topic, int32 first)
{
	static CdcStatement statement = {
		.sql = "DELETE FROM cdc_sink.position"
		" WHERE subscription OPERATOR(pg_catalog.=) $1"
		" AND topic OPERATOR(pg_catalog.=) $2"
		" AND partition OPERATOR(pg_catalog.>=) $3",
		.nargs = 3, .types = {NAMEOID, TEXTOID, INT4OID}
	};
	Datum		values[3];

	values[0] = NameGetDatum(&subscription->name);
	values[1] = CStringGetTextDatum(topic);
	values[2] = Int32GetDatum(first);
	run(&statement, values, NULL);
}

void
cdc_catalog_set_position(const CdcSubscriptionRow *subscription,
						 const CdcPositionRow *row)
{
	static CdcStatement statement = {
		.sql = "INSERT INTO cdc_sink.position AS p"
		" (subscription, topic, partition, next_offset, generation)"
		" VALUES ($1, $2, $3, $4,"
		" pg_catalog.nextval('cdc_sink.generation_seq'))"
		" ON CONFLICT (subscription, topic, partition) DO UPDATE SET"
		" next_offset = EXCLUDED.next_offset,"
		" generation = EXCLUDED.generation, anchor_offset = NULL,"
		" anchor_hash = NULL, anchor_ts = NULL, cluster_id = NULL",
		.nargs = 4, .types = {NAMEOID, TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[4];

	values[0] = NameGetDatum(&subscription->name);
	values[1] = CStringGetTextDatum(row->topic);
	values[2] = Int32GetDatum(row->partition);
	values[3] = Int64GetDatum(row->next_offset);
	run(&statement, values, NULL);
}
