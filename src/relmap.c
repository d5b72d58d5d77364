/*-------------------------------------------------------------------------
 *
 * relmap.c
 *		Relations of a subscription, made ready to apply.
 *
 * Floor 5.  Called by route.c and the appliers.  The one hard thing is
 * invalidation: a relcache callback may fire at any lock or catalog access,
 * so it only clears the valid flag; the entry is rebuilt by the next
 * cdc_relmap_get, never in the middle of a range.  Code of a table's owner may
 * alter a table there, whose rows wait for it as Datums of the old types: see
 * cdc_relmap_recheck.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "nodes/bitmapset.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "relmap.h"
#include "relmap_internal.h"
#include "target.h"

/*
 * The maps of this process, for the invalidation callback: a trigger that
 * retries a dead letter has a pipeline inside that of the worker.
 */
static CdcRelmap *relmaps = NULL;

/*
 * Relcache callback: marks the relation (or all of them) for rebuilding, in
 * every map.  May run at any time, so it touches nothing but the flags.
 */
static void
relcache_callback(Datum arg, Oid relid)
{
	for (CdcRelmap *relmap = relmaps; relmap; relmap = relmap->next)
	{
		relmap->invalidated = true;
		for (CdcRelation *rel = relmap->relations; rel; rel = rel->next)
			if (relid == InvalidOid || rel->relid == relid)
				rel->valid = false;
	}
}

/* Takes the map out of the list when its memory goes. */
static void
relmap_reset_callback(void *arg)
{
	CdcRelmap **link = &relmaps;

	while (*link != NULL && *link != arg)
		link = &(*link)->next;
	if (*link != NULL)
		*link = (*link)->next;
}

/*
 * cdc_relmap_create makes the empty map of a subscription, in a context
 * under parent; deleting parent frees everything, saved plans included.
 */
CdcRelmap *
cdc_relmap_create(MemoryContext parent, const CdcSubscription *subscription)
{
	static bool registered = false;
	MemoryContext context = AllocSetContextCreate(parent, "cdc_sink relations",
												  ALLOCSET_DEFAULT_SIZES);
	CdcRelmap  *relmap = MemoryContextAllocZero(context, sizeof(CdcRelmap));
	MemoryContextCallback *callback = MemoryContextAllocZero(context,
															 sizeof(MemoryContextCallback));

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
		registered = true;
	}
	relmap->context = context;
	relmap->subscription = subscription;
	relmap->invalidated = true;
	callback->func = relmap_reset_callback;
	callback->arg = relmap;
	MemoryContextRegisterResetCallback(context, callback);
	relmap->next = relmaps;
	relmaps = relmap;
	return relmap;
}

/*
 * cdc_relation_root returns the top of the partition tree of a relation, or
 * the relation itself; InvalidOid where it is gone.
 */
Oid
cdc_relation_root(Oid relid)
{
	List	   *ancestors;
	Oid			root = relid;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return InvalidOid;
	if (get_rel_relispartition(relid))
	{
		ancestors = get_partition_ancestors(relid);
		if (ancestors != NIL)
			root = llast_oid(ancestors);
		list_free(ancestors);
	}
	return root;
}

/* Is the column one of those that the record's coordinates fill? */
static CdcMetaColumn
meta_column(const char *name)
{
	if (strncmp(name, "__", 2) != 0)
		return CDC_META_NONE;
	if (strcmp(name, "__op") == 0)
		return CDC_META_OP;
	if (strcmp(name, "__topic") == 0)
		return CDC_META_TOPIC;
	if (strcmp(name, "__partition") == 0)
		return CDC_META_PARTITION;
	if (strcmp(name, "__offset") == 0)
		return CDC_META_OFFSET;
	if (strcmp(name, "__ts_ms") == 0)
		return CDC_META_TS_MS;
	return CDC_META_NONE;
}

/*
 * Does the type say what stands in a column that nothing else fills?  It may
 * have a default; a domain may also refuse NULL, by a check or outright.
 */
static bool
type_fills(Oid typid)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	bool		fills;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", typid);
	fills = ((Form_pg_type) GETSTRUCT(tuple))->typtype == TYPTYPE_DOMAIN ||
		!heap_attisnull(tuple, Anum_pg_type_typdefault, NULL);
	ReleaseSysCache(tuple);
	return fills;
}

/*
 * Reads the columns of the relation; generated ones are kept by name only.
 * Allocates in the relation's context, which is current.
 */
static void
load_columns(CdcRelation *rel, Relation heap)
{
	TupleDesc	desc = RelationGetDescr(heap);

	rel->columns = palloc0(desc->natts * sizeof(CdcColumn));
	rel->generated = palloc0(desc->natts * sizeof(char *));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		CdcColumn  *column;

		if (attr->attisdropped)
			continue;
		if (attr->attgenerated)
		{
			rel->generated[rel->ngenerated++] = pstrdup(NameStr(attr->attname));
			continue;
		}
		column = &rel->columns[rel->ncolumns++];
		column->attnum = attr->attnum;
		column->name = pstrdup(NameStr(attr->attname));
		column->typid = attr->atttypid;
		column->typmod = attr->atttypmod;
		column->collation = attr->attcollation;
		column->notnull = attr->attnotnull;
		column->identity_always = (attr->attidentity == ATTRIBUTE_IDENTITY_ALWAYS);
		column->has_default = attr->atthasdef || attr->attidentity != '\0' ||
			type_fills(attr->atttypid);
		column->meta = meta_column(column->name);
		rel->has_meta |= (column->meta != CDC_META_NONE);
		rel->has_toastable |= (attr->attlen == -1);
	}
}

/* Index of the column with this attribute number, or -1. */
static int
column_by_attnum(const CdcRelation *rel, AttrNumber attnum)
{
	for (int i = 0; i < rel->ncolumns; i++)
		if (rel->columns[i].attnum == attnum)
			return i;
	return -1;
}

/*
 * Index of the column called so, or -1.  Linear: it runs once per field and
 * shape of rows, not per row.
 */
int
cdc_relmap_column(const CdcRelation *rel, const char *name)
{
	for (int i = 0; i < rel->ncolumns; i++)
		if (strcmp(rel->columns[i].name, name) == 0)
			return i;
	return -1;
}

/* Reads the primary key as indexes into the columns. */
static void
load_primary_key(CdcRelation *rel, Relation heap)
{
	Bitmapset  *attrs = RelationGetIndexAttrBitmap(heap,
												   INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			bit = -1;

	rel->pk = palloc0(Max(bms_num_members(attrs), 1) * sizeof(int));
	while ((bit = bms_next_member(attrs, bit)) >= 0)
	{
		int			column = column_by_attnum(rel,
											  bit + FirstLowInvalidHeapAttributeNumber);

		if (column >= 0)
			rel->pk[rel->npk++] = column;
	}
}

/*
 * Must the relation's triggers and foreign keys work although the option
 * session_replication_role is replica?  With run_as_owner, where the owner of
 * the subscription could not switch them off: it has neither the role of
 * their owner nor the right to set that parameter.
 */
static bool
needs_origin(const CdcRelmap *relmap, Oid relowner)
{
	const CdcSubscription *sub = relmap->subscription;

	return sub->options.run_as_owner && sub->options.replica_role &&
		!cdc_compat_can_set_role(sub->owner, relowner) &&
		pg_parameter_aclcheck("session_replication_role", sub->owner,
							  ACL_SET) != ACLCHECK_OK;
}

/*
 * Builds the entry of a mapping: checks the target, reads its columns and
 * key.  The lock on the relation is kept to the end of the transaction.
 */
static void
relation_load(CdcRelmap *relmap, CdcRelation *rel)
{
	const CdcMapping *mapping = rel->mapping;
	Relation	heap = try_relation_open(mapping->relid, RowExclusiveLock);
	MemoryContext old;
	char	   *name;

	if (heap == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s of the mapping of topic \"%s\" does not exist",
						mapping->relation_name, mapping->topic),
				 errhint("Create the table and map the topic to it again with cdc_sink.remove_mapping(…, keep_position => true) and cdc_sink.add_mapping.")));
	name = cdc_relation_name(heap);
	if (strcmp(name, mapping->relation_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation %s of the mapping of topic \"%s\" is now called %s",
						mapping->relation_name, mapping->topic, name),
				 errhint("Map the topic again with cdc_sink.remove_mapping(…, keep_position => true) and cdc_sink.add_mapping, or give the relation its name back.")));
	rel->relowner = heap->rd_rel->relowner;
	rel->as_origin = needs_origin(relmap, rel->relowner);
	cdc_relation_check(heap, relmap->subscription->options.run_as_owner ?
					   relmap->subscription->owner : rel->relowner);

	old = MemoryContextSwitchTo(rel->context);
	rel->relid = mapping->relid;
	rel->schema = get_namespace_name(RelationGetNamespace(heap));
	rel->relname = pstrdup(RelationGetRelationName(heap));
	rel->root_relid = cdc_relation_root(mapping->relid);
	rel->name = pstrdup(name);
	/* keys are unique in the table itself, not in its children */
	rel->rows = heap->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
		rel->name : psprintf("ONLY %s", name);
	load_columns(rel, heap);
	load_primary_key(rel, heap);
	rel->other_unique = cdc_relmap_other_unique(heap);
	MemoryContextSwitchTo(old);
	table_close(heap, NoLock);
	rel->valid = true;
}

/*
 * cdc_relmap_is_named: see relmap.h.
 */
bool
cdc_relmap_is_named(const CdcRelation *rel)
{
	return get_relname_relid(rel->relname,
							 get_namespace_oid(rel->schema, true)) == rel->relid;
}

/*
 * Finds the entry of a mapping.  An invalid one goes, and leaves behind what
 * it counted in the transaction under way.
 */
static CdcRelation *
relation_find(CdcRelmap *relmap, const CdcMapping *mapping,
			  CdcTableCounts *counts)
{
	for (CdcRelation **link = &relmap->relations; *link; link = &(*link)->next)
	{
		CdcRelation *rel = *link;

		if (rel->mapping != mapping)
			continue;
		if (rel->valid && cdc_relmap_is_named(rel) &&
			rel->as_origin == needs_origin(relmap, rel->relowner))
			return rel;
		*link = rel->next;
		*counts = rel->counts;
		MemoryContextDelete(rel->context);
		break;
	}
	return NULL;
}

/* Saved plans are not freed with the relation's context; this frees them. */
static void
free_plans(void *arg)
{
	for (CdcPlan *plan = ((CdcRelation *) arg)->plans; plan; plan = plan->next)
		if (plan->plan)
			SPI_freeplan(plan->plan);
}

/*
 * cdc_relmap_get: see relmap.h.
 */
CdcRelation *
cdc_relmap_get(CdcRelmap *relmap, const CdcMapping *mapping)
{
	CdcRelation *rel;
	MemoryContext context;
	MemoryContextCallback *callback;
	CdcTableCounts counts = {0};

	/* the lock first: it brings the invalidations that matter */
	if (OidIsValid(mapping->relid))
		LockRelationOid(mapping->relid, RowExclusiveLock);
	rel = relation_find(relmap, mapping, &counts);
	if (rel)
		return rel;

	context = AllocSetContextCreate(relmap->context, "cdc_sink relation",
									ALLOCSET_DEFAULT_SIZES);
	rel = MemoryContextAllocZero(context, sizeof(CdcRelation));
	rel->context = context;
	rel->mapping = mapping;
	rel->counts = counts;
	rel->name = mapping->relation_name;
	callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));
	callback->func = free_plans;
	callback->arg = rel;
	MemoryContextRegisterResetCallback(context, callback);
	PG_TRY();
	{
		relation_load(relmap, rel);
	}
	PG_CATCH();
	{
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	rel->next = relmap->relations;
	relmap->relations = rel;
	return rel;
}

/* Is a column where it was, with its name and type? */
static bool
is_same_column(const CdcColumn *column, TupleDesc desc)
{
	Form_pg_attribute attr;

	if (column->attnum > desc->natts)
		return false;
	attr = TupleDescAttr(desc, column->attnum - 1);
	return !attr->attisdropped && attr->attgenerated == '\0' &&
		attr->atttypid == column->typid && attr->atttypmod == column->typmod &&
		strcmp(NameStr(attr->attname), column->name) == 0;
}

/*
 * cdc_relmap_recheck: see relmap.h.  The lock of cdc_relmap_get is held, so
 * that only this transaction can have altered anything.
 */
void
cdc_relmap_recheck(const CdcRelation *rel)
{
	Relation	heap;
	bool		same;

	if (rel->valid)
		return;
	heap = try_relation_open(rel->relid, NoLock);
	same = heap != NULL && strcmp(cdc_relation_name(heap), rel->name) == 0;
	for (int i = 0; same && i < rel->ncolumns; i++)
		same = is_same_column(&rel->columns[i], RelationGetDescr(heap));
	if (heap != NULL)
		relation_close(heap, NoLock);
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s was altered while changes of it were applied",
						rel->name),
				 errhint("Look for a trigger, a domain or a function of the tables' owners that alters it.")));
}
