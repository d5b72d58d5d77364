/*-------------------------------------------------------------------------
 *
 * native.c
 *		Inserts into plain tables the way COPY does them.
 *
 * Floor 6.  Rows go into the heap a thousand at a time (one WAL record a
 * page), then into the indexes.  That is worth a third of an INSERT's time;
 * everything that makes a table more than heap and indexes is left to the
 * statement in apply_sql.c.  Runs as the applying role: expressions of
 * indexes and constraints are code of the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define CDC_COMPAT_EXECUTOR
#include "compat.h"
#include "native.h"

/* rows in one call of the table's access method */
#define MAX_SLOTS 1000

/* Would an INSERT into the table fire triggers, now or deferred? */
static bool
has_insert_triggers(const Relation heap)
{
	const TriggerDesc *desc = heap->trigdesc;

	return desc != NULL &&
		(desc->trig_insert_before_row || desc->trig_insert_after_row ||
		 desc->trig_insert_instead_row || desc->trig_insert_before_statement ||
		 desc->trig_insert_after_statement);
}

/* Is the table nothing but a heap with constraints and indexes? */
static bool
is_plain(const CdcRelation *rel, const Relation heap)
{
	return heap->rd_rel->relkind == RELKIND_RELATION &&
		!heap->rd_rel->relispartition && rel->ngenerated == 0 &&
		!heap->rd_rel->relrowsecurity && !has_insert_triggers(heap);
}

/*
 * May the applying role do what an INSERT by name needs?  If not, the
 * statement says so, or finds a way (a grant on columns).
 */
static bool
may_insert(const CdcRelation *rel)
{
	return cdc_compat_namespace_aclcheck(get_rel_namespace(rel->relid),
										 GetUserId(), ACL_USAGE) == ACLCHECK_OK &&
		pg_class_aclcheck(rel->relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK;
}

/* cdc_native_can_insert: see native.h. */
bool
cdc_native_can_insert(CdcRelation *rel, const uint8 *set)
{
	/* altered in this very range: the statement knows what it is now */
	if (!rel->valid)
		return false;
	if (rel->native == CDC_NATIVE_UNKNOWN)
	{
		Relation	heap = table_open(rel->relid, NoLock);

		rel->native = is_plain(rel, heap) ? CDC_NATIVE_YES : CDC_NATIVE_NO;
		table_close(heap, NoLock);
	}
	if (rel->native != CDC_NATIVE_YES)
		return false;
	for (int i = 0; i < rel->ncolumns; i++)
		if (set[i] != CDC_SET && rel->columns[i].has_default)
			return false;
	return may_insert(rel);
}

/* Slots for rows, kept with the relation. */
static void
make_slots(CdcRelation *rel, Relation heap)
{
	MemoryContext old = MemoryContextSwitchTo(rel->context);

	/* a copy is not reference-counted: a thousand slots on one would be slow */
	rel->slot_desc = CreateTupleDescCopyConstr(RelationGetDescr(heap));
	rel->slots = palloc(MAX_SLOTS * sizeof(TupleTableSlot *));
	for (int i = 0; i < MAX_SLOTS; i++)
		rel->slots[i] = MakeSingleTupleTableSlot(rel->slot_desc,
												 table_slot_callbacks(heap));
	MemoryContextSwitchTo(old);
}

/* Puts an entry's row into a slot; columns that it does not set are NULL. */
static void
fill_slot(const CdcRelation *rel, const CdcRow *row, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true,
		   slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < rel->ncolumns; i++)
		if (row->set[i] == CDC_SET)
		{
			slot->tts_values[rel->columns[i].attnum - 1] = row->values[i];
			slot->tts_isnull[rel->columns[i].attnum - 1] = row->nulls[i];
		}
	ExecStoreVirtualTuple(slot);
}

/* Inserts one lot: heap first, then the indexes row by row. */
static void
insert_lot(const CdcRelation *rel, ResultRelInfo *info, EState *estate,
		   CdcEntry **entries, int n)
{
	Relation	heap = info->ri_RelationDesc;

	for (int i = 0; i < n; i++)
	{
		fill_slot(rel, &entries[i]->row, rel->slots[i]);
		rel->slots[i]->tts_tableOid = rel->relid;
		if (heap->rd_att->constr != NULL)
			ExecConstraints(info, rel->slots[i], estate);
		ResetPerTupleExprContext(estate);
	}
	table_multi_insert(heap, rel->slots, n, estate->es_output_cid, 0, NULL);
	for (int i = 0; i < n; i++)
	{
		if (info->ri_NumIndices > 0)
			list_free(cdc_compat_insert_index_tuples(info, rel->slots[i], estate));
		ResetPerTupleExprContext(estate);
		ExecClearTuple(rel->slots[i]);
	}
}

/*
 * A snapshot that sees what the batch has written so far, for stable functions
 * of checks and indexes: as SPI takes one for each statement.
 */
static void
push_fresh_snapshot(void)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

/* cdc_native_insert: see native.h. */
void
cdc_native_insert(CdcRelation *rel, CdcEntry **entries, int nentries)
{
	Relation	heap = table_open(rel->relid, RowExclusiveLock);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *info;

	push_fresh_snapshot();
	if (rel->slots == NULL)
		make_slots(rel, heap);
	info = cdc_compat_result_relation(estate, heap);
	estate->es_output_cid = GetCurrentCommandId(true);
	ExecOpenIndices(info, false);
	for (int i = 0; i < nentries; i += MAX_SLOTS)
	{
		CHECK_FOR_INTERRUPTS();
		insert_lot(rel, info, estate, entries + i, Min(MAX_SLOTS, nentries - i));
	}
	ExecCloseIndices(info);
	FreeExecutorState(estate);
	PopActiveSnapshot();
	table_close(heap, NoLock);
	CommandCounterIncrement();
}
