/*-------------------------------------------------------------------------
 *
 * coalesce.c
 *		Last write wins, per key and batch.
 *
 * Floor 6.  Changes of one relation are gathered in a segment: one entry a
 * key.  A segment is cut (emptied into runs) where folding further would
 * change the result: before a truncate, before a key change whose old row
 * is still being written, around an insert that needs values of the row it
 * replaces, at a change without a key.  A segment comes out as deletes, then
 * updates, then inserts, so that what a row gives up is free for others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"

#include "coalesce.h"

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
	CdcRun	   *first;
	CdcRun	  **last;
	int			nsegments;
	int			maxsegments;
	Segment   **segments;		/* one for each relation seen */
} Coalescer;

/* Appends a run. */
static CdcRun *
add_run(Coalescer *c, CdcRunKind kind, CdcRelation *rel, CdcKey *key,
		int maxentries)
{
	CdcRun	   *run = palloc0(sizeof(CdcRun));

	run->kind = kind;
	run->rel = rel;
	run->key = key;
	run->entries = palloc(Max(maxentries, 1) * sizeof(CdcEntry *));
	*c->last = run;
	c->last = &run->next;
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
 * patterns first appear.  by_key: only the key counts (deletes).
 */
static void
add_runs(Coalescer *c, Segment *seg, CdcRunKind kind, CdcEntry **entries,
		 int n, bool by_key)
{
	CdcRun	  **first = c->last;
	CdcRun	   *run = NULL;

	for (int i = 0; i < n; i++)
	{
		const CdcRow *row = &entries[i]->row;
		uint32		nulls = null_keys(seg->key, row);

		if (run == NULL || run->null_keys != nulls ||
			!(by_key || same_pattern(seg->rel, run->set, row->set)))
		{
			for (run = *first; run; run = run->next)
				if (run->null_keys == nulls &&
					(by_key || same_pattern(seg->rel, run->set, row->set)))
					break;
			if (run == NULL)
			{
				run = add_run(c, kind, seg->rel, seg->key, n);
				run->set = row->set;
				run->null_keys = nulls;
			}
		}
		run->entries[run->nentries++] = entries[i];
	}
}

/* A run of one entry. */
static CdcRun *
add_single(Coalescer *c, CdcRunKind kind, Segment *seg, CdcEntry *entry)
{
	CdcRun	   *run = add_run(c, kind, seg->rel, seg->key, 1);

	run->set = entry->row.set;
	run->null_keys = null_keys(seg->key, &entry->row);
	run->entries[run->nentries++] = entry;
	return run;
}

/* Empties the segment into runs: deletes, updates, inserts. */
static void
cut(Coalescer *c, Segment *seg)
{
	CdcEntry  **picked;
	int			n;

	if (seg->nentries == 0)
		return;
	picked = palloc(seg->nentries * sizeof(CdcEntry *));
	n = 0;
	for (int i = 0; i < seg->nentries; i++)
		if (seg->entries[i]->drop)
		{
			CdcEntry   *entry = seg->entries[i];

			if (entry->change->event->newkey && seg->rel->has_toastable &&
				!entry->write && !entry->kept)
				add_single(c, CDC_RUN_DELETE_KEEP, seg, entry);
			else
				picked[n++] = entry;
		}
	add_runs(c, seg, CDC_RUN_DELETE, picked, n, true);
	if (seg->nkept > 0)
	{
		CdcRun	   *run = add_run(c, CDC_RUN_KEEP, seg->rel, seg->key, seg->nkept);

		memcpy(run->entries, seg->kept, seg->nkept * sizeof(CdcEntry *));
		run->nentries = seg->nkept;
		seg->nkept = 0;
	}
	n = 0;
	for (int i = 0; i < seg->nentries; i++)
		if (seg->entries[i]->write && !seg->entries[i]->insert)
			picked[n++] = seg->entries[i];
	add_runs(c, seg, CDC_RUN_UPDATE, picked, n, false);
	n = 0;
	for (int i = 0; i < seg->nentries; i++)
		if (seg->entries[i]->write && seg->entries[i]->insert)
			picked[n++] = seg->entries[i];
	add_runs(c, seg, CDC_RUN_INSERT, picked, n, false);
	pfree(picked);
	if (seg->nmoved > 0)
	{
		CdcRun	   *run = add_run(c, CDC_RUN_FORGET_MOVED, seg->rel, seg->key,
								  seg->nmoved);

		memcpy(run->entries, seg->moved, seg->nmoved * sizeof(CdcEntry *));
		run->nentries = seg->nmoved;
	}
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
		seg->tail = NULL;
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

/* Is every column of the entry's row known? */
static bool
is_whole(const CdcRelation *rel, const CdcEntry *entry)
{
	for (int i = 0; i < rel->ncolumns; i++)
		if (entry->row.set[i] != CDC_SET)
			return false;
	return true;
}

/* Remembers a row that a key change removes before it was ever written. */
static void
add_kept(Segment *seg, const CdcEntry *entry, const CdcChange *change)
{
	CdcEntry   *kept = palloc(sizeof(CdcEntry));

	*kept = *entry;
	kept->change = change;
	if (seg->nkept == seg->maxkept)
	{
		seg->maxkept = Max(16, seg->maxkept * 2);
		seg->kept = seg->kept ?
			repalloc(seg->kept, seg->maxkept * sizeof(CdcEntry *)) :
			palloc(seg->maxkept * sizeof(CdcEntry *));
	}
	seg->kept[seg->nkept++] = kept;
}

/* Folds a delete in. */
static void
fold_delete(Coalescer *c, Segment *seg, const CdcChange *change)
{
	uint32		hash = hash_key(seg->rel, seg->key, &change->row);
	uint32		slot;
	CdcEntry   *entry = find_entry(seg, &change->row, hash, &slot);

	if (entry && entry->write && change->event->newkey && seg->rel->has_toastable)
	{
		if (is_whole(seg->rel, entry))
		{
			add_kept(seg, entry, change);
			entry->kept = true;
		}
		else
		{
			/* the row to keep must be in the table as it was at last */
			cut(c, seg);
			entry = find_entry(seg, &change->row, hash, &slot);
		}
	}
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

/* Folds a new or changed row in. */
static void
fold_write(Coalescer *c, Segment *seg, const CdcChange *change)
{
	bool		insert = change->op != CDC_OP_UPDATE;
	bool		moved = insert && change->event->oldkey != NULL;
	uint32		hash;
	uint32		slot;
	CdcEntry   *entry;

	if (moved && change->row.has_unchanged)
	{
		cut(c, seg);
		entry = palloc0(sizeof(CdcEntry));
		entry->row = change->row;
		entry->change = change;
		entry->write = entry->insert = true;
		add_single(c, CDC_RUN_MOVED_INSERT, seg, entry);
		return;
	}
	hash = hash_key(seg->rel, seg->key, &change->row);
	entry = find_entry(seg, &change->row, hash, &slot);
	if (entry && !entry->write && (!insert || entry->change->event->newkey))
	{
		/*
		 * An update of a row deleted before: on_missing_row decides, later.
		 * Or the deleted row is to be kept: that is a run of its own.
		 */
		cut(c, seg);
		entry = find_entry(seg, &change->row, hash, &slot);
	}
	if (entry == NULL)
		entry = new_entry(seg, change, hash, slot);
	else if (!entry->write)
		entry->row = change->row;
	else
		merge_row(seg->rel, entry, &change->row);
	entry->change = change;
	entry->write = true;
	entry->kept = false;
	entry->insert |= insert;
	if (moved && seg->rel->has_toastable)
		add_moved(seg, entry);
}

/* Changes without a key keep their order and are never folded. */
static void
add_keyless(Coalescer *c, const CdcChange *change)
{
	Segment    *seg = segment_of(c, change->rel, NULL);
	CdcEntry   *entry = palloc0(sizeof(CdcEntry));
	CdcRun	   *run = seg->tail;

	entry->row = change->row;
	entry->change = change;
	if (change->action != CDC_ACTION_APPEND &&
		(change->action == CDC_ACTION_DELETE || change->op == CDC_OP_UPDATE))
	{
		add_single(c, change->action == CDC_ACTION_DELETE ?
				   CDC_RUN_KEYLESS_DELETE : CDC_RUN_KEYLESS_UPDATE, seg, entry);
		seg->tail = NULL;
		return;
	}
	if (run == NULL || !same_pattern(seg->rel, run->set, entry->row.set))
	{
		seg->tail = add_single(c, change->action == CDC_ACTION_APPEND ?
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
	seg->tail = NULL;
	entry->change = change;
	run = add_run(c, CDC_RUN_TRUNCATE, change->rel, NULL, 1);
	run->entries[run->nentries++] = entry;
}

/*
 * cdc_coalesce: see coalesce.h.
 */
CdcRun *
cdc_coalesce(const CdcChange *changes, int nchanges)
{
	Coalescer	c = {0};

	c.last = &c.first;
	c.maxsegments = 8;
	c.segments = palloc(c.maxsegments * sizeof(Segment *));
	for (int i = 0; i < nchanges; i++)
	{
		const CdcChange *change = &changes[i];

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
	return c.first;
}
