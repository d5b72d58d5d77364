/*-------------------------------------------------------------------------
 *
 * position.c
 *		Positions of partitions, fenced by generation.
 *
 * Floor 4.  cdc_position_store is the heart of exactly-once: one row must
 * match position and generation, in the transaction of the data, or all of
 * it is rolled back.  A worker that was stopped and continued, or a twin,
 * finds another generation there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "catalog.h"
#include "position.h"

bool		cdc_position_fenced = false;

#define ROW \
	"subscription OPERATOR(pg_catalog.=) $1 AND topic OPERATOR(pg_catalog.=) $2 " \
	"AND partition OPERATOR(pg_catalog.=) $3"
#define ROW_TYPES	NAMEOID, TEXTOID, INT4OID
/* what read_place reads */
#define PLACE \
	"partition, next_offset, skip_offset, anchor_offset, anchor_hash, anchor_ts, cluster_id"

static CdcStatement load = {
	.sql = "SELECT topic, " PLACE " FROM cdc_sink.position "
	"WHERE subscription OPERATOR(pg_catalog.=) $1 ORDER BY topic, partition",
	.nargs = 1,
	.types = {NAMEOID}
};

static CdcStatement take_generation = {
	.sql = "SELECT pg_catalog.nextval('cdc_sink.generation_seq')"
};

/*
 * The lock stands in for the foreign key, which is not checked in a worker
 * (session_replication_role): without it, a position made while its
 * subscription is dropped would outlive it, and be that of the next
 * subscription of this name.
 */
static CdcStatement create = {
	.sql = "INSERT INTO cdc_sink.position (subscription, topic, partition, next_offset, cluster_id) "
	"SELECT subscription, $2, $3, $4, $5 FROM cdc_sink.subscription "
	"WHERE subscription OPERATOR(pg_catalog.=) $1 FOR KEY SHARE ON CONFLICT DO NOTHING",
	.nargs = 5,
	.types = {ROW_TYPES, INT8OID, TEXTOID}
};

static CdcStatement claim = {
	.sql = "UPDATE cdc_sink.position SET generation = $4 WHERE " ROW
	" RETURNING topic, " PLACE,
	.nargs = 4,
	.types = {ROW_TYPES, INT8OID}
};

static CdcStatement store = {
	.sql = "UPDATE cdc_sink.position SET next_offset = $6, anchor_offset = $8, "
	"anchor_hash = $9, anchor_ts = $10, cluster_id = COALESCE($11, cluster_id), "
	"skip_offset = CASE WHEN skip_offset OPERATOR(pg_catalog.>=) $6 THEN skip_offset END, "
	"skip_note = CASE WHEN skip_offset OPERATOR(pg_catalog.>=) $6 THEN skip_note END WHERE " ROW
	" AND generation OPERATOR(pg_catalog.=) $4 AND next_offset OPERATOR(pg_catalog.=) $5 "
	"AND COALESCE(skip_offset, -1) OPERATOR(pg_catalog.=) $7",
	.nargs = 11,
	.types = {ROW_TYPES, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID}
};

static CdcStatement arm_skip = {
	.sql = "UPDATE cdc_sink.position SET skip_offset = $4, skip_note = $5 WHERE " ROW
	" AND next_offset OPERATOR(pg_catalog.<=) $4",
	.nargs = 5,
	.types = {ROW_TYPES, INT8OID, TEXTOID}
};

static CdcStatement where = {
	.sql = "SELECT next_offset FROM cdc_sink.position WHERE " ROW,
	.nargs = 3,
	.types = {ROW_TYPES}
};

/* the row as it was before the update tells whether the topic was met */
static CdcStatement meet = {
	.sql = "UPDATE cdc_sink.mapping m SET met = true FROM (SELECT id, met FROM cdc_sink.mapping "
	"WHERE subscription OPERATOR(pg_catalog.=) $1 AND topic OPERATOR(pg_catalog.=) $2 FOR UPDATE) o "
	"WHERE m.id OPERATOR(pg_catalog.=) o.id RETURNING o.met",
	.nargs = 2,
	.types = {NAMEOID, TEXTOID}
};

/*
 * Runs a statement as the extension's owner.  SPI is left connected: the
 * caller reads the result and calls SPI_finish.
 */
static uint64
run(CdcStatement *statement, Datum *values, const char *nulls)
{
	CdcCatalogScope scope;
	uint64		n;

	SPI_connect();
	cdc_catalog_enter(&scope);
	n = cdc_catalog_execute(statement, values, nulls);
	cdc_catalog_leave(&scope);
	return n;
}

/* Parameters that name a partition. */
static void
name_partition(Datum *values, const char *subscription, const char *topic,
			   int32 partition)
{
	values[0] = DirectFunctionCall1(namein, CStringGetDatum(subscription));
	values[1] = CStringGetTextDatum(topic);
	values[2] = Int32GetDatum(partition);
}

/* The bigint of a column of a row, -1 where it is NULL. */
static int64
column_int64(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? -1 : DatumGetInt64(datum);
}

/* Reads a row of topic and PLACE; texts go into context. */
static void
read_place(HeapTuple tuple, MemoryContext context, CdcPosition *position)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	MemoryContext spi = MemoryContextSwitchTo(context);
	bool		isnull;

	position->topic = SPI_getvalue(tuple, desc, 1);
	position->partition = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
	position->next_offset = column_int64(tuple, 3);
	position->skip_offset = column_int64(tuple, 4);
	position->anchor.offset = column_int64(tuple, 5);
	position->anchor.hash = column_int64(tuple, 6);
	position->anchor.ts_ms = column_int64(tuple, 7);
	position->cluster_id = SPI_getvalue(tuple, desc, 8);
	MemoryContextSwitchTo(spi);
}

/* cdc_position_load: see position.h. */
int
cdc_position_load(const char *subscription, CdcPosition **positions)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[1];
	uint64		n;
	CdcPosition *list;

	values[0] = DirectFunctionCall1(namein, CStringGetDatum(subscription));
	n = run(&load, values, NULL);
	list = MemoryContextAlloc(caller, Max(n, 1) * sizeof(CdcPosition));
	for (uint64 i = 0; i < n; i++)
		read_place(SPI_tuptable->vals[i], caller, &list[i]);
	SPI_finish();
	*positions = list;
	return (int) n;
}

/* The one bigint of a one-row result. */
static int64
result_int64(void)
{
	return column_int64(SPI_tuptable->vals[0], 1);
}

/* cdc_position_new_generation: see position.h. */
int64
cdc_position_new_generation(void)
{
	int64		generation;

	run(&take_generation, NULL, NULL);
	generation = result_int64();
	SPI_finish();
	return generation;
}

/*
 * cdc_position_create: see position.h.  A row that is there stays; nothing
 * is made for a subscription that has gone.
 */
bool
cdc_position_create(const char *subscription, const char *topic,
					int32 partition, int64 next_offset,
					const char *cluster_id)
{
	Datum		values[5];
	bool		made;

	name_partition(values, subscription, topic, partition);
	values[3] = Int64GetDatum(next_offset);
	values[4] = cluster_id ? CStringGetTextDatum(cluster_id) : (Datum) 0;
	made = run(&create, values, cluster_id ? NULL : "    n") == 1;
	SPI_finish();
	return made;
}

/* cdc_position_claim: see position.h.  ERROR 40001 where there is no row. */
void
cdc_position_claim(const char *subscription, const char *topic,
				   int32 partition, int64 generation, CdcPosition *position)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[4];

	name_partition(values, subscription, topic, partition);
	values[3] = Int64GetDatum(generation);
	if (run(&claim, values, NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("position of topic \"%s\" partition %d has gone",
						topic, partition)));
	read_place(SPI_tuptable->vals[0], caller, position);
	SPI_finish();
}

/* cdc_position_store: see position.h. */
void
cdc_position_store(const char *subscription, const CdcPartition *part,
				   int64 generation, int64 next, const CdcAnchor *anchor,
				   const char *cluster_id)
{
	Datum		values[11];
	char		nulls[12] = "           ";
	uint64		n;

	name_partition(values, subscription, part->topic, part->partition);
	values[3] = Int64GetDatum(generation);
	values[4] = Int64GetDatum(part->next_offset);
	values[5] = Int64GetDatum(next);
	values[6] = Int64GetDatum(part->skip_offset);
	values[7] = Int64GetDatum(anchor->offset);
	values[8] = Int64GetDatum(anchor->hash);
	values[9] = Int64GetDatum(anchor->ts_ms);
	values[10] = cluster_id ? CStringGetTextDatum(cluster_id) : (Datum) 0;
	if (anchor->offset < 0)
		nulls[7] = nulls[8] = nulls[9] = 'n';
	else if (anchor->ts_ms < 0)
		nulls[9] = 'n';
	if (cluster_id == NULL)
		nulls[10] = 'n';
	n = run(&store, values, nulls);
	SPI_finish();
	if (n != 1)
	{
		cdc_position_fenced = true;
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("position of topic \"%s\" partition %d was moved by somebody else",
						part->topic, part->partition),
				 errdetail("Expected offset " INT64_FORMAT " of worker generation " INT64_FORMAT ".",
						   part->next_offset, generation)));
	}
}

/* cdc_position_arm_skip: see position.h. */
int64
cdc_position_arm_skip(const char *subscription, const char *topic,
					  int32 partition, int64 offset, const char *note)
{
	CdcCatalogScope scope;
	Datum		values[5];
	int64		next_offset = -1;

	name_partition(values, subscription, topic, partition);
	values[3] = Int64GetDatum(offset);
	values[4] = note ? CStringGetTextDatum(note) : (Datum) 0;
	SPI_connect();
	cdc_catalog_enter(&scope);
	if (cdc_catalog_execute(&arm_skip, values, note ? NULL : "    n") == 1)
		next_offset = offset;
	else if (cdc_catalog_execute(&where, values, NULL) == 1)
		next_offset = result_int64();
	cdc_catalog_leave(&scope);
	SPI_finish();
	return next_offset;
}

/* cdc_position_meet_topic: see position.h. */
bool
cdc_position_meet_topic(const char *subscription, const char *topic)
{
	Datum		values[2];
	uint64		n;
	bool		met = false;

	values[0] = DirectFunctionCall1(namein, CStringGetDatum(subscription));
	values[1] = CStringGetTextDatum(topic);
	n = run(&meet, values, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		met |= DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_finish();
	return met;
}
