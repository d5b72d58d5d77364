/*-------------------------------------------------------------------------
 *
 * coalesce.c
 *		Last write wins, per key and batch.
 *
 * Floor 6.  Changes of one relation are gathered in a segment: one entry a
 * key.  A segment is cut (emptied into runs) where folding further would
 * change the result: before a truncate, at a change without a key.  A segment comes out as
 * deletes, then updates, then inserts, so that what a row gives up is free
 * for others.  The one hard thing is an insert of a key change that leaves
 * out unchanged values: they may stand in a row that this very batch deletes,
 * in one that an earlier batch kept, or come only with another partition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"

#include "coalesce.h"
#include "errors.h"

typedef struct Segment
{
	CdcRelation *rel;
	CdcKey	   *key;
	int			nentries;
	int			maxentries;
	CdcEntry  **entries;
	uint32		mask;			/* size of the table - 1 */
	int32	   *table;			/* index into entries + 1, 0: free */
	int			nmoved;			/* inserts with an old key that lacked nothing */
	CdcEntry  **moved;
	int			maxmoved;
	int			nkept;			/* rows of key changes that came and went */
	CdcEntry  **kept;
	int			maxkept;
	CdcRun	   *tail;			/* run of rows without a key that may go on */
} Segment;

typedef struct Coalescer
{
	const CdcApplyContext *context;
	int			nsegments;
	int			maxsegments;
	Segment   **segments;		/* one for each relation seen */
} Coalescer;

/* Makes a run without entries. */
static CdcRun *
make_run(CdcRunKind kind, CdcRelation *rel, CdcKey *key, int maxentries)
{
	CdcRun	   *run = palloc0(sizeof(CdcRun));

	run->kind = kind;
	run->rel = rel;
	run->key = key;
	run->entries = palloc(Max(maxentries, 1) * sizeof(CdcEntry *));
	return run;
}

/* Bit i is set where key column i of the row is NULL. */
static uint32
null_keys(const CdcKey *key, const CdcRow *row)
{
	uint32		bits = 0;

	if (key == NULL)
		return 0;
	for (int i = 0; i < key->nkeys; i++)
		if (row->nulls[key->columns[i]])
			bits |= (uint32) 1 << i;
	return bits;
}

/* Do two rows set the same columns? */
static bool
same_pattern(const CdcRelation *rel, const uint8 *a, const uint8 *b)
{
	if (memcmp(a, b, rel->ncolumns) == 0)
		return true;
	for (int i = 0; i < rel->ncolumns; i++)
		if ((a[i] == CDC_SET) != (b[i] == CDC_SET))
			return false;
	return true;
}

/*
 * Sorts entries into runs of one pattern each, in the order in which the
 * patterns first appear, and has them applied.  by_key: only the key counts.
 */
static void
apply_runs(Coalescer *c, Segment *seg, CdcRunKind kind, CdcEntry **entries,
		   int n, bool by_key)
{
	List	   *runs = NIL;
	ListCell   *cell;
	CdcRun	   *run = NULL;

	for (int i = 0; i < n; i++)
	{
		const CdcRow *row = &entries[i]->row;
		uint32		nulls = null_keys(seg->key, row);

		if (run == NULL || run->null_keys != nulls ||
			!(by_key || same_pattern(seg->rel, run->set, row->set)))
		{
			run = NULL;
			foreach(cell, runs)
			{
				CdcRun	   *other = lfirst(cell);

				if (other->null_keys == nulls &&
					(by_key || same_pattern(seg->rel, other->set, row->set)))
				{
					run = other;
					break;
				}
			}
			if (run == NULL)
			{
				run = make_run(kind, seg->rel, seg->key, n);
				run->set = row->set;
				run->null_keys = nulls;
				runs = lappend(runs, run);
			}
		}
		run->entries[run->nentries++] = entries[i];
	}
	foreach(cell, runs)
		c->context->run(c->context, lfirst(cell));
	list_free(runs);
}

/* A run of one entry. */
static CdcRun *
single_run(CdcRunKind kind, Segment *seg, CdcEntry *entry)
{
	CdcRun	   *run = make_run(kind, seg->rel, seg->key, 1);

	run->set = entry->row.set;
	run->null_keys = null_keys(seg->key, &entry->row);
	run->entries[run->nentries++] = entry;
	return run;
}

/* A run of entries whose pattern does not matter, if there are any. */
static void
apply_list(Coalescer *c, Segment *seg, CdcRunKind kind, CdcEntry **entries,
		   int n)
{
	CdcRun	   *run;

	if (n == 0)
		return;
	run = make_run(kind, seg->rel, seg->key, n);
	run->set = entries[0]->row.set;
	memcpy(run->entries, entries, n * sizeof(CdcEntry *));
	run->nentries = n;
	c->context->run(c->context, run);
}

/* Rows without a key that were gathered and not yet applied. */
static void
apply_tail(Coalescer *c, Segment *seg)
{
	CdcRun	   *run = seg->tail;

	seg->tail = NULL;
	if (run)
		c->context->run(c->context, run);
}

/* Deletes of the segment; rows of key changes are kept on the way. */
static void
apply_deletes(Coalescer *c, Segment *seg, CdcEntry **picked)
{
	int			n = 0;

	for (int i = 0; i < seg->nentries; i++)
	{
		CdcEntry   *entry = seg->entries[i];

		if (!entry->drop)
			continue;
		if (entry->change->event->newkey && seg->rel->has_toastable &&
			!entry->write && !entry->kept)
			c->context->run(c->context, single_run(CDC_RUN_DELETE_KEEP, seg, entry));
		else
			picked[n++] = entry;
	}
	apply_runs(c, seg, CDC_RUN_DELETE, picked, n, true);
	n = 0;
	for (int i = 0; i < seg->nkept; i++)
		if (!seg->kept[i]->kept)
			picked[n++] = seg->kept[i];
	apply_list(c, seg, CDC_RUN_KEEP, picked, n);
	seg->nkept = 0;
}

/* Picks the rows that the segment writes. */
static int
pick_writes(const Segment *seg, CdcEntry **picked, bool inserts, bool updates)
{
	int			n = 0;

	for (int i = 0; i < seg->nentries; i++)
		if (seg->entries[i]->write &&
			(seg->entries[i]->insert ? inserts : updates))
			picked[n++] = seg->entries[i];
	return n;
}

/* Empties the segment: deletes, updates, inserts. */
static void
cut(Coalescer *c, Segment *seg)
{
	CdcEntry  **picked;
	int			n;

	apply_tail(c, seg);
	if (seg->nentries == 0)
		return;
	picked = palloc(Max(seg->nentries, seg->nkept) * sizeof(CdcEntry *));
	apply_deletes(c, seg, picked);
	if (c->context->replace && seg->rel->other_unique)
	{
		n = pick_writes(seg, picked, true, true);
		apply_runs(c, seg, CDC_RUN_REPLACE, picked, n, true);
	}
	else
	{
		n = pick_writes(seg, picked, false, true);
		apply_runs(c, seg, CDC_RUN_UPDATE, picked, n, false);
		n = pick_writes(seg, picked, true, false);
		apply_runs(c, seg, CDC_RUN_INSERT, picked, n, false);
	}
	apply_list(c, seg, CDC_RUN_FORGET_MOVED, seg->moved, seg->nmoved);
	pfree(picked);
	memset(seg->table, 0, (seg->mask + 1) * sizeof(int32));
	seg->nentries = 0;
	seg->nmoved = 0;
}

/* The segment of a relation, made on first use; cut where the key differs. */
static Segment *
segment_of(Coalescer *c, CdcRelation *rel, CdcKey *key)
{
	Segment    *seg = NULL;

	for (int i = 0; i < c->nsegments && seg == NULL; i++)
		if (c->segments[i]->rel == rel)
			seg = c->segments[i];
	if (seg == NULL)
	{
		seg = palloc0(sizeof(Segment));
		seg->rel = rel;
		seg->mask = 63;
		seg->table = palloc0((seg->mask + 1) * sizeof(int32));
		seg->maxentries = 32;
		seg->entries = palloc(seg->maxentries * sizeof(CdcEntry *));
		if (c->nsegments == c->maxsegments)
		{
			c->maxsegments *= 2;
			c->segments = repalloc(c->segments, c->maxsegments * sizeof(Segment *));
		}
		c->segments[c->nsegments++] = seg;
	}
	if (seg->key != key || (key != NULL && !key->foldable))
		cut(c, seg);
	if (key != NULL)
		apply_tail(c, seg);
	seg->key = key;
	return seg;
}

/* Hash of the row's key columns, by the types' own equality. */
static uint32
hash_key(const CdcRelation *rel, const CdcKey *key, const CdcRow *row)
{
	uint32		hash = 0;

	if (!key->foldable)
		return 0;
	for (int i = 0; i < key->nkeys; i++)
	{
		int			c = key->columns[i];
		uint32		h = 0;

		if (row->nulls[c])
			h = 0;
		else if (key->int_key)
			h = murmurhash32((uint32) row->values[c] ^
							 (uint32) (((uint64) row->values[c]) >> 32));
		else
			h = DatumGetUInt32(FunctionCall1Coll(&key->types[i]->hash_proc_finfo,
												 rel->columns[c].collation,
												 row->values[c]));
		hash = hash_combine(hash, h);
	}
	return hash;
}

/* Are the key columns of two rows equal, NULL equal to NULL? */
static bool
same_key(const CdcRelation *rel, const CdcKey *key, const CdcRow *a,
		 const CdcRow *b)
{
	for (int i = 0; i < key->nkeys; i++)
	{
		int			c = key->columns[i];

		if (a->nulls[c] != b->nulls[c])
			return false;
		if (a->nulls[c])
			continue;
		if (key->int_key)
		{
			if (a->values[c] != b->values[c])
				return false;
		}
		else if (!DatumGetBool(FunctionCall2Coll(&key->types[i]->eq_opr_finfo,
												 rel->columns[c].collation,
												 a->values[c], b->values[c])))
			return false;
	}
	return true;
}

/* Doubles the hash table. */
static void
grow_table(Segment *seg)
{
	pfree(seg->table);
	seg->mask = (seg->mask + 1) * 2 - 1;
	seg->table = palloc0((seg->mask + 1) * sizeof(int32));
	for (int i = 0; i < seg->nentries; i++)
	{
		uint32		slot = seg->entries[i]->hash & seg->mask;

		while (seg->table[slot] != 0)
			slot = (slot + 1) & seg->mask;
		seg->table[slot] = i + 1;
	}
}

/* The entry with the change's key, or NULL; *slot is where it belongs. */
static CdcEntry *
find_entry(const Segment *seg, const CdcRow *row, uint32 hash, uint32 *slot)
{
	*slot = hash & seg->mask;
	while (seg->table[*slot] != 0)
	{
		CdcEntry   *entry = seg->entries[seg->table[*slot] - 1];

		if (entry->hash == hash && same_key(seg->rel, seg->key, &entry->row, row))
			return entry;
		*slot = (*slot + 1) & seg->mask;
	}
	return NULL;
}

/* Makes an entry of a change and puts it into the segment. */
static CdcEntry *
new_entry(Segment *seg, const CdcChange *change, uint32 hash, uint32 slot)
{
	CdcEntry   *entry = palloc0(sizeof(CdcEntry));

	entry->row = change->row;
	entry->change = change;
	entry->hash = hash;
	if (seg->nentries == seg->maxentries)
	{
		seg->maxentries *= 2;
		seg->entries = repalloc(seg->entries,
								seg->maxentries * sizeof(CdcEntry *));
	}
	seg->entries[seg->nentries++] = entry;
	seg->table[slot] = seg->nentries;
	if ((uint32) seg->nentries * 2 > seg->mask)
		grow_table(seg);
	return entry;
}

/*
 * Lays a later row over an earlier one of the same key: what is set wins;
 * unchanged and absent columns keep what was there.
 */
static void
merge_row(const CdcRelation *rel, CdcEntry *entry, const CdcRow *row)
{
	CdcRow	   *into = &entry->row;

	if (!row->has_unchanged && same_pattern(rel, into->set, row->set))
	{
		*into = *row;
		return;
	}
	into->has_unchanged = false;
	for (int i = 0; i < rel->ncolumns; i++)
	{
		if (row->set[i] == CDC_SET)
		{
			into->values[i] = row->values[i];
			into->nulls[i] = row->nulls[i];
			into->set[i] = CDC_SET;
		}
		else if (row->set[i] == CDC_UNCHANGED && into->set[i] == CDC_UNSET &&
				 !entry->insert)
			into->set[i] = CDC_UNCHANGED;
		into->has_unchanged |= into->set[i] == CDC_UNCHANGED;
	}
}

/* Remembers that the old row of a key change is not needed any more. */
static void
add_moved(Segment *seg, CdcEntry *entry)
{
	if (seg->nmoved == seg->maxmoved)
	{
		seg->maxmoved = Max(16, seg->maxmoved * 2);
		seg->moved = seg->moved ?
			repalloc(seg->moved, seg->maxmoved * sizeof(CdcEntry *)) :
			palloc(seg->maxmoved * sizeof(CdcEntry *));
	}
	seg->moved[seg->nmoved++] = entry;
}

/* Fills what a row does not set from another. */
static void
fill_row(const CdcRelation *rel, const CdcRow *from, CdcRow *row)
{
	for (int i = 0; i < rel->ncolumns; i++)
		if (row->set[i] != CDC_SET && from->set[i] == CDC_SET)
		{
			row->values[i] = from->values[i];
			row->nulls[i] = from->nulls[i];
			row->set[i] = CDC_SET;
		}
}

/* Remembers a row that a key change removes before it was ever written. */
static void
add_kept(Segment *seg, const CdcEntry *entry, const CdcChange *change)
{
	CdcEntry   *kept = palloc(sizeof(CdcEntry));

	*kept = *entry;
	kept->change = change;
	kept->kept = false;
	if (seg->nkept == seg->maxkept)
	{
		seg->maxkept = Max(16, seg->maxkept * 2);
		seg->kept = seg->kept ?
			repalloc(seg->kept, seg->maxkept * sizeof(CdcEntry *)) :
			palloc(seg->maxkept * sizeof(CdcEntry *));
	}
	seg->kept[seg->nkept++] = kept;
}

/*
 * A key change removes a row that this batch writes or deletes: keeps it as
 * the table would have it by now, which need not be written for that.
 */
static void
keep_pending(Coalescer *c, Segment *seg, CdcEntry *entry,
			 const CdcChange *change)
{
	CdcEntry	now = *entry;
	CdcRow		there;
	bool		found = false;

	if (!entry->write || !entry->drop)
		found = c->context->fetch(c->context, seg->rel, seg->key, &entry->row,
								  &there);
	if (!entry->write && !found)
		return;
	if (!entry->write)
		now.row = there;
	else if (found)
		fill_row(seg->rel, &there, &now.row);
	add_kept(seg, &now, change);
	entry->kept = true;
}

/* Folds a delete in. */
static void
fold_delete(Coalescer *c, Segment *seg, const CdcChange *change)
{
	uint32		hash = hash_key(seg->rel, seg->key, &change->row);
	uint32		slot;
	CdcEntry   *entry = find_entry(seg, &change->row, hash, &slot);

	if (entry && entry->write && change->event->newkey && seg->rel->has_toastable)
		keep_pending(c, seg, entry, change);
	if (entry == NULL)
	{
		entry = new_entry(seg, change, hash, slot);
		entry->drop = true;
		entry->expected = !change->tombstone;
		return;
	}
	if (entry->write && entry->insert && !entry->drop)
		entry->expected = false;	/* it may have come and gone in this batch */
	else if (entry->write)
		entry->expected = true;
	if (entry->write)
		entry->change = change; /* a tombstone after its delete adds nothing */
	entry->drop = true;
	entry->write = false;
	entry->insert = false;
}

/* Fills the unchanged columns of a row from another; what it lacks stays. */
static void
copy_unchanged(const CdcRelation *rel, const CdcRow *from, CdcRow *row)
{
	row->has_unchanged = false;
	for (int i = 0; i < rel->ncolumns; i++)
	{
		if (row->set[i] == CDC_UNCHANGED && from->set[i] == CDC_SET)
		{
			row->values[i] = from->values[i];
			row->nulls[i] = from->nulls[i];
			row->set[i] = CDC_SET;
		}
		row->has_unchanged |= row->set[i] == CDC_UNCHANGED;
	}
}

/*
 * Are these the two halves of one key change?  Both carry the same
 * source.sequence; flattened rows carry none.
 */
static bool
same_change(const CdcEvent *a, const CdcEvent *b)
{
	for (int i = 0; i < 2; i++)
		if (a->sequence[i].valid != b->sequence[i].valid ||
			(a->sequence[i].valid &&
			 a->sequence[i].value != b->sequence[i].value))
			return false;
	return true;
}

/* The row with the old key that this batch keeps for the insert, or NULL. */
static CdcEntry *
kept_row(const Segment *seg, const CdcRow *old_key, const CdcEvent *event)
{
	for (int i = 0; i < seg->nkept; i++)
	{
		CdcEntry   *kept = seg->kept[i];

		if (!kept->kept && same_key(seg->rel, seg->key, &kept->row, old_key) &&
			same_change(kept->change->event, event))
			return kept;
	}
	return NULL;
}

/*
 * Takes unchanged values from what the batch itself does to the row with the
 * old key.  True where that row is at hand: then its delete keeps nothing.
 */
static bool
take_from_batch(Coalescer *c, Segment *seg, CdcEntry *old, const CdcRow *old_key,
				const CdcEvent *event, CdcRow *row)
{
	CdcEntry   *kept = kept_row(seg, old_key, event);
	CdcRow		there;

	if (kept)
	{
		copy_unchanged(seg->rel, &kept->row, row);
		kept->kept = true;
		return true;
	}
	if (old == NULL || old->write || old->kept || !old->change->event->newkey ||
		!same_change(old->change->event, event) ||
		!c->context->fetch(c->context, seg->rel, seg->key, old_key, &there))
		return false;
	copy_unchanged(seg->rel, &there, row);
	old->kept = true;
	return true;
}

/*
 * Takes unchanged values from the row that still has the old key, with what
 * the batch does to it.
 */
static bool
take_from_old_row(Coalescer *c, CdcRelation *rel, CdcKey *key,
				  const CdcEntry *old, const CdcRow *old_key, CdcRow *row)
{
	CdcRow		there;

	if (old && old->write)
		copy_unchanged(rel, &old->row, row);
	if (row->has_unchanged &&
		c->context->fetch(c->context, rel, key, old_key, &there))
		copy_unchanged(rel, &there, row);
	return !row->has_unchanged;
}

/* ERROR: the delete of this key change is still to come. */
static void
wait_for_delete(const CdcChange *change)
{
	cdc_error_position_reset();
	cdc_error_position.record = change->event->record;
	cdc_error_position.relation = change->rel->name;
	ereport(ERROR,
			(errcode(ERRCODE_CDC_HOLD_MOVED),
			 errmsg("the delete of this key change has not arrived yet")));
}

/*
 * Completes an insert of a key change that leaves out unchanged values
 * (design.md 3.3).  They come from the row that its delete removed; else the
 * row is there already (a repeat); else the delete may still come; else the
 * old row is still there.  What is missing after that is left to the applier.
 */
static void
complete_moved(Coalescer *c, Segment *seg, CdcChange *change)
{
	CdcRelation *rel = change->rel;
	const CdcEvent *event = change->event;
	CdcRow	   *row = &change->row;
	CdcRow		old_key;
	CdcRow		there;
	CdcKey	   *key;
	CdcEntry   *old = NULL;
	CdcEntry   *new;
	uint32		slot;

	cdc_row_alloc(rel, &old_key);
	key = cdc_row_key(rel, event, event->oldkey, event->key_schema, NULL, &old_key);
	if (key == seg->key)
	{
		old = find_entry(seg, &old_key, hash_key(rel, key, &old_key), &slot);
		if (take_from_batch(c, seg, old, &old_key, event, row))
			return;
	}
	if (c->context->take_kept(c->context, change))
		return;
	new = find_entry(seg, row, hash_key(rel, seg->key, row), &slot);
	if (new && new->write)
		return;					/* folding keeps the earlier values */
	if (new == NULL && c->context->fetch(c->context, rel, seg->key, row, &there))
		copy_unchanged(rel, &there, row);
	else if (c->context->others_pending(c->context->arg, rel, event))
		wait_for_delete(change);
	else
		(void) take_from_old_row(c, rel, key, old, &old_key, row);
}

/*
 * An update of a row that this batch deleted: as on_missing_row says.  False
 * where it is ignored.
 */
static bool
revive(Segment *seg, const CdcEntry *entry, const CdcChange *change)
{
	CdcRelation *rel = seg->rel;
	CdcOnMissingRow policy = rel->mapping->options.on_missing_row;

	rel->work.update_missing++;
	if (policy == CDC_MISSING_ROW_IGNORE)
	{
		rel->work.noop++;
		return false;
	}
	if (policy == CDC_MISSING_ROW_ERROR || change->row.has_unchanged)
	{
		cdc_error_position_reset();
		cdc_error_position.record = change->event->record;
		cdc_error_position.relation = rel->name;
		cdc_error_position.in_value = true;
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("row to update is missing in %s", rel->name),
				 errdetail("A record before it deletes the row.")));
	}
	return true;
}

/* Folds a new or changed row in. */
static void
fold_write(Coalescer *c, Segment *seg, CdcChange *change)
{
	bool		insert = change->op != CDC_OP_UPDATE;
	bool		moved = insert && change->event->oldkey != NULL;
	bool		completed = moved && change->row.has_unchanged;
	uint32		hash;
	uint32		slot;
	CdcEntry   *entry;

	if (completed)
		complete_moved(c, seg, change);
	hash = hash_key(seg->rel, seg->key, &change->row);
	entry = find_entry(seg, &change->row, hash, &slot);
	if (entry && !entry->write)
	{
		if (!insert && !revive(seg, entry, change))
			return;
		if (entry->change->event->newkey && !entry->kept && seg->rel->has_toastable)
			keep_pending(c, seg, entry, entry->change);
	}
	if (entry == NULL)
		entry = new_entry(seg, change, hash, slot);
	else if (!entry->write)
		entry->row = change->row;
	else
		merge_row(seg->rel, entry, &change->row);
	entry->insert |= insert || (entry->drop && !entry->write);
	entry->change = change;
	entry->write = true;
	entry->kept = false;
	if (moved && !completed && seg->rel->has_toastable)
		add_moved(seg, entry);
}

/* Changes without a key keep their order and are never folded. */
static void
add_keyless(Coalescer *c, const CdcChange *change)
{
	Segment    *seg = segment_of(c, change->rel, NULL);
	CdcEntry   *entry = palloc0(sizeof(CdcEntry));
	CdcRun	   *run;

	entry->row = change->row;
	entry->change = change;
	if (change->action != CDC_ACTION_APPEND &&
		(change->action == CDC_ACTION_DELETE || change->op == CDC_OP_UPDATE))
	{
		apply_tail(c, seg);
		c->context->run(c->context,
						single_run(change->action == CDC_ACTION_DELETE ?
								   CDC_RUN_KEYLESS_DELETE : CDC_RUN_KEYLESS_UPDATE,
								   seg, entry));
		return;
	}
	if (seg->tail && !same_pattern(seg->rel, seg->tail->set, entry->row.set))
		apply_tail(c, seg);
	run = seg->tail;
	if (run == NULL)
	{
		seg->tail = single_run(change->action == CDC_ACTION_APPEND ?
							   CDC_RUN_APPEND : CDC_RUN_KEYLESS_INSERT, seg, entry);
		return;
	}
	if ((run->nentries & (run->nentries - 1)) == 0)
		run->entries = repalloc(run->entries,
								run->nentries * 2 * sizeof(CdcEntry *));
	run->entries[run->nentries++] = entry;
}

/* A truncate: everything before it is applied first. */
static void
add_truncate(Coalescer *c, const CdcChange *change)
{
	Segment    *seg = segment_of(c, change->rel, NULL);
	CdcEntry   *entry = palloc0(sizeof(CdcEntry));
	CdcRun	   *run;

	cut(c, seg);
	entry->change = change;
	run = make_run(CDC_RUN_TRUNCATE, change->rel, NULL, 1);
	run->entries[run->nentries++] = entry;
	c->context->run(c->context, run);
}

/*
 * cdc_coalesce: see coalesce.h.
 */
void
cdc_coalesce(const CdcApplyContext *context, CdcChange *changes, int nchanges)
{
	Coalescer	c = {0};

	c.context = context;
	c.maxsegments = 8;
	c.segments = palloc(c.maxsegments * sizeof(Segment *));
	for (int i = 0; i < nchanges; i++)
	{
		CdcChange  *change = &changes[i];

		switch (change->action)
		{
			case CDC_ACTION_SKIP:
			case CDC_ACTION_NOOP:
				break;
			case CDC_ACTION_TRUNCATE:
				add_truncate(&c, change);
				break;
			case CDC_ACTION_APPEND:
				add_keyless(&c, change);
				break;
			case CDC_ACTION_DELETE:
			case CDC_ACTION_WRITE:
				if (change->key == NULL)
					add_keyless(&c, change);
				else if (change->action == CDC_ACTION_DELETE)
					fold_delete(&c, segment_of(&c, change->rel, change->key),
								change);
				else
					fold_write(&c, segment_of(&c, change->rel, change->key),
							   change);
				break;
		}
	}
	for (int i = 0; i < c.nsegments; i++)
		cut(&c, c.segments[i]);
}
