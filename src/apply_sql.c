/*-------------------------------------------------------------------------
 *
 * apply_sql.c
 *		Set-based statements over the rows of a run.
 *
 * Floor 6.  The rows stand in a tuplestore that SPI knows as the relation
 * "cdc_batch" (an ephemeral named relation, as transition tables are): one
 * statement a run, whatever its size, and no array to build.  The one hard
 * thing is the plan: it is made when the table may still be empty, and a scan
 * of all of it kept from then would be run for every batch.  So what finds
 * rows by key is planned with such scans and joins switched off, as if the
 * batch were one row; a subquery with OFFSET 0, which the planner leaves as it
 * is, can only look its row up; and a plan of a small table is made anew when
 * that has grown.  And a statement finds its relation by name: a schema that
 * is renamed while a batch runs must not lead it to another one, whose
 * triggers would run as the owner of ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "storage/bufmgr.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "apply_sql.h"
#include "apply_text.h"
#include "debug_fail.h"

/*
 * cdc_sql_sets_anything: would an UPDATE of this pattern have assignments?
 */
bool
cdc_sql_sets_anything(const CdcRelation *rel, const CdcKey *key,
					  const uint8 *set)
{
	for (int i = 0; i < rel->ncolumns; i++)
		if (set[i] == CDC_SET && !(key && key->is_key[i]) &&
			!rel->columns[i].identity_always)
			return true;
	return false;
}

/*
 * Descriptor of the batch relation: attribute i + 1 stands for column i (a
 * dropped-looking int4 where the statement does not read it would waste
 * space, so only those read are there), then the ordinal, then the old
 * image.
 */
static TupleDesc
batch_descriptor(const CdcRelation *rel, CdcSqlKind statement,
				 const CdcKey *key, const uint8 *set, const CdcRow *old)
{
	TupleDesc	desc;
	int			natts = 1;
	AttrNumber	att = 0;
	char		name[NAMEDATALEN];

	for (int i = 0; i < rel->ncolumns; i++)
		natts += cdc_text_reads_column(statement, key, set, i) +
			(old && old->set[i] == CDC_SET);
	desc = CreateTemplateTupleDesc(natts);
	for (int i = 0; i < rel->ncolumns; i++)
	{
		if (!cdc_text_reads_column(statement, key, set, i))
			continue;
		snprintf(name, sizeof(name), "c%d", i);
		TupleDescInitEntry(desc, ++att, name, rel->columns[i].typid,
						   rel->columns[i].typmod, 0);
		TupleDescInitEntryCollation(desc, att, rel->columns[i].collation);
	}
	TupleDescInitEntry(desc, ++att, "ord", INT4OID, -1, 0);
	for (int i = 0; old && i < rel->ncolumns; i++)
	{
		if (old->set[i] != CDC_SET)
			continue;
		snprintf(name, sizeof(name), "o%d", i);
		TupleDescInitEntry(desc, ++att, name, rel->columns[i].typid,
						   rel->columns[i].typmod, 0);
		TupleDescInitEntryCollation(desc, att, rel->columns[i].collation);
	}
	return desc;
}

/*
 * Plans the statement, now and after each invalidation, with the scans and
 * joins switched off that a small or empty table would seduce the planner
 * to.  The switches are put back before anything runs, so that triggers
 * plan as usual.  Has all locks of the statement afterwards, to the end of
 * the transaction.
 */
static void
plan_for_batches(SPIPlanPtr plan)
{
	bool		seqscan = enable_seqscan,
				hashjoin = enable_hashjoin,
				mergejoin = enable_mergejoin,
				material = enable_material;
	CachedPlan *cached;

	PG_TRY();
	{
		enable_seqscan = enable_hashjoin = enable_mergejoin = enable_material = false;
		cached = SPI_plan_get_cached_plan(plan);
		if (cached)
			ReleaseCachedPlan(cached, CurrentResourceOwner);
	}
	PG_FINALLY();
	{
		enable_seqscan = seqscan;
		enable_hashjoin = hashjoin;
		enable_mergejoin = mergejoin;
		enable_material = material;
	}
	PG_END_TRY();
}

/* A table of fewer pages may seduce the planner to read all of it. */
#define SMALL_PAGES 64

/* Pages of the relation; a partitioned table has none of its own. */
static BlockNumber
count_pages(const CdcRelation *rel)
{
	Relation	heap = table_open(rel->relid, NoLock);
	BlockNumber pages = RELKIND_HAS_STORAGE(heap->rd_rel->relkind) ?
		RelationGetNumberOfBlocks(heap) : 0;

	table_close(heap, NoLock);
	return pages;
}

/*
 * Gives back a plan that was made of a table which was small and is several
 * times as large now; true where it was.
 */
static bool
drop_outgrown(CdcRelation *rel, CdcPlan *plan)
{
	CdcPlan   **link = &rel->plans;

	if (plan->pages >= SMALL_PAGES || plan->kind == CDC_STATEMENT_INSERT ||
		count_pages(rel) <= plan->pages * 4 + 1)
		return false;
	while (*link != plan)
		link = &(*link)->next;
	*link = plan->next;
	SPI_freeplan(plan->plan);
	FreeTupleDesc(plan->tupdesc);
	pfree(plan->set);
	pfree(plan);
	return true;
}

/*
 * ERROR: the name does not lead to the relation any more.  The next try looks
 * at the names anew, and says what the relation is called.
 */
static void
throw_renamed(const CdcRelation *rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the schema of %s was renamed while a batch was applied",
					rel->name)));
}

/* Is a relation other than *arg part of a statement? */
static bool
has_other_relation(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		Oid			relid = ((RangeTblEntry *) node)->relid;

		/* that of the batch has none */
		return OidIsValid(relid) && relid != *(Oid *) arg;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_other_relation, arg,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, has_other_relation, arg);
}

/*
 * ERROR where the statement, as it was last analyzed, is about another
 * relation than ours.  Called when it has its locks, so that none comes in
 * between before it runs.
 */
static void
check_relation(SPIPlanPtr plan, CdcRelation *rel)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	ListCell   *lc;

	foreach(lc, source->query_list)
		if (has_other_relation(lfirst(lc), &rel->relid))
			throw_renamed(rel);
}

/* The kept plan for a statement and pattern, or NULL. */
static CdcPlan *
find_plan(const CdcRelation *rel, CdcSqlKind statement, const CdcKey *key,
		  const uint8 *set, uint32 null_keys)
{
	for (CdcPlan *plan = rel->plans; plan; plan = plan->next)
	{
		bool		same = plan->kind == (int) statement && plan->key == key &&
			plan->null_keys == null_keys;

		if (same && (!cdc_text_reads_row(statement) ||
					 cdc_row_same_columns(rel, plan->set, set)))
			return plan;
	}
	return NULL;
}

/* Makes the entry of a plan in the relation's context, without its plan. */
static CdcPlan *
new_plan(CdcRelation *rel, CdcSqlKind statement, const CdcKey *key,
		 const uint8 *set, uint32 null_keys, const CdcRow *old)
{
	MemoryContext saved = MemoryContextSwitchTo(cdc_text_reads_old(statement) ?
												CurrentMemoryContext : rel->context);
	CdcPlan    *plan = palloc0(sizeof(CdcPlan));

	plan->kind = statement;
	plan->key = key;
	plan->null_keys = null_keys;
	plan->set = palloc(Max(rel->ncolumns, 1));
	if (set)
		memcpy(plan->set, set, rel->ncolumns);
	plan->tupdesc = batch_descriptor(rel, statement, key, set, old);
	MemoryContextSwitchTo(saved);
	return plan;
}

/* Fills values of one entry as the batch relation's descriptor orders them. */
static void
batch_values(const CdcRelation *rel, const CdcPlan *plan, const CdcEntry *entry,
			 const CdcRow *old, int ord, Datum *values, bool *nulls)
{
	int			att = 0;

	for (int i = 0; i < rel->ncolumns; i++)
		if (cdc_text_reads_column(plan->kind, plan->key, plan->set, i))
		{
			values[att] = entry->row.values[i];
			nulls[att++] = entry->row.nulls[i];
		}
	values[att] = Int32GetDatum(ord);
	nulls[att++] = false;
	for (int i = 0; old && i < rel->ncolumns; i++)
		if (old->set[i] == CDC_SET)
		{
			values[att] = old->values[i];
			nulls[att++] = old->nulls[i];
		}
}

/* Puts the entries into a tuplestore, in CurrentMemoryContext. */
static Tuplestorestate *
fill_batch(const CdcRelation *rel, const CdcPlan *plan, CdcEntry **entries,
		   int nentries, const CdcRow *old)
{
	/* rows are bounded by the batch already: never spill to disk */
	Tuplestorestate *store = tuplestore_begin_heap(true, false, MAX_KILOBYTES);
	Datum	   *values = palloc(plan->tupdesc->natts * sizeof(Datum));
	bool	   *nulls = palloc(plan->tupdesc->natts * sizeof(bool));

	for (int i = 0; i < nentries; i++)
	{
		batch_values(rel, plan, entries[i], old, i, values, nulls);
		tuplestore_putvalues(store, plan->tupdesc, values, nulls);
	}
	return store;
}

/* Old image of the one entry of an OLD_ statement. */
static const CdcRow *
old_image(CdcSqlKind statement, const CdcEntry *entry)
{
	if (!cdc_text_reads_old(statement))
		return NULL;
	return statement == CDC_STATEMENT_OLD_DELETE ? &entry->change->row :
		&entry->change->before;
}

/* Prepares the statement; SPI is connected and knows the batch relation. */
static void
prepare(CdcRelation *rel, CdcPlan *plan, const CdcRow *old)
{
	char	   *sql = cdc_text_statement(rel, plan->kind, plan->key, plan->set,
									 plan->null_keys, old);

	plan->plan = SPI_prepare(sql, 0, NULL);
	if (plan->plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	if (old == NULL)
	{
		plan->pages = count_pages(rel);
		SPI_keepplan(plan->plan);
		plan->next = rel->plans;
		rel->plans = plan;
	}
}

/*
 * cdc_sql_run: see apply_sql.h.  Statements by old image are not kept: their
 * text depends on which columns are NULL.
 */
uint64
cdc_sql_run(CdcRelation *rel, CdcSqlKind statement, const CdcKey *key,
			const uint8 *set, uint32 null_keys, CdcEntry **entries,
			int nentries)
{
	const CdcRow *old = old_image(statement, entries[0]);
	CdcPlan    *plan = old ? NULL : find_plan(rel, statement, key, set, null_keys);
	EphemeralNamedRelationData enr;
	int			rc;

	cdc_relmap_recheck(rel);
	if (plan != NULL && drop_outgrown(rel, plan))
		plan = NULL;
	if (plan == NULL)
		plan = new_plan(rel, statement, key, set, null_keys, old);
	SPI_connect();
	memset(&enr, 0, sizeof(enr));
	enr.md.name = CDC_BATCH_RELATION;
	enr.md.reliddesc = InvalidOid;
	enr.md.tupdesc = plan->tupdesc;
	enr.md.enrtype = ENR_NAMED_TUPLESTORE;
	enr.md.enrtuples = 1;
	enr.reldata = fill_batch(rel, plan, entries, nentries, old);
	if (SPI_register_relation(&enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the batch relation");
	if (plan->plan == NULL)
		prepare(rel, plan, old);
	if (old == NULL)
		plan_for_batches(plan->plan);
	check_relation(plan->plan, rel);
	cdc_debug_spi();
	rc = SPI_execute_plan(plan->plan, NULL, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "could not run a statement of the batch: %s",
			 SPI_result_code_string(rc));
	tuplestore_end(enr.reldata);
	return SPI_processed;
}

/* cdc_sql_finish ends what cdc_sql_run began; its results are gone. */
void
cdc_sql_finish(void)
{
	SPI_finish();
}

/* of the schema that a TRUNCATE names; and whether it has changed since */
static uint32 schema_hash;
static bool schema_changed;

static void
schema_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	if (hashvalue == 0 || hashvalue == schema_hash)
		schema_changed = true;
}

/* From now on schema_changed tells whether the relation's schema was altered. */
static void
watch_schema(const CdcRelation *rel)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterSyscacheCallback(NAMESPACEOID, schema_callback, (Datum) 0);
	registered = true;
	schema_hash = GetSysCacheHashValue1(NAMESPACEOID,
										ObjectIdGetDatum(get_rel_namespace(rel->relid)));
	schema_changed = false;
}

/*
 * cdc_sql_truncate empties the relation; needs the applying role.  What the
 * name led to cannot be seen: so the schema must have kept its name from
 * before to after.
 */
void
cdc_sql_truncate(CdcRelation *rel)
{
	char	   *sql = psprintf("TRUNCATE TABLE %s", rel->rows);

	watch_schema(rel);
	if (!cdc_relmap_is_named(rel))
		throw_renamed(rel);
	SPI_connect();
	cdc_debug_spi();
	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not run \"%s\"", sql);
	SPI_finish();
	AcceptInvalidationMessages();
	if (schema_changed)
		throw_renamed(rel);
}
