/*-------------------------------------------------------------------------
 *
 * coalesce.c
 *		Last write wins, per key and batch.
 *
 * Floor 6.  Changes of one relation are gathered in a segment: one entry a
 * key.  A segment is cut (emptied into runs) where folding further would
 * change the result: before a truncate, at a change without a key.  A segment
 * comes out as deletes, then updates, then inserts, so that what a row gives
 * up is free for others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/builtins.h"

#include "coalesce.h"
#include "coalesce_internal.h"
#include "moved.h"

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

/*
 * Sorts entries into runs of one pattern each, in the order in which the
 * patterns first appear, and has them applied.  by_key: only the key counts.
 */
static void
apply_runs(CdcCoalescer *c, CdcSegment *seg, CdcRunKind kind, CdcEntry **entries,
		   int n, bool by_key)
{
	List	   *runs = NIL;
	ListCell   *cell;
	CdcRun	   *run = NULL;

	for (int i = 0; i < n; i++)
	{
		const CdcRow *row = &entries[i]->row;
		uint32		nulls = cdc_key_nulls(seg->key, row);

		if (run == NULL || run->null_keys != nulls ||
			!(by_key || cdc_row_same_columns(seg->rel, run->set, row->set)))
		{
			run = NULL;
			foreach(cell, runs)
			{
				CdcRun	   *other = lfirst(cell);

				if (other->null_keys == nulls &&
					(by_key || cdc_row_same_columns(seg->rel, other->set, row->set)))
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
single_run(CdcRunKind kind, CdcSegment *seg, CdcEntry *entry)
{
	CdcRun	   *run = make_run(kind, seg->rel, seg->key, 1);

	run->set = entry->row.set;
	run->null_keys = cdc_key_nulls(seg->key, &entry->row);
	run->entries[run->nentries++] = entry;
	return run;
}

/* A run of entries whose pattern does not matter, if there are any. */
static void
apply_list(CdcCoalescer *c, CdcSegment *seg, CdcRunKind kind, CdcEntry **entries,
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
apply_tail(CdcCoalescer *c, CdcSegment *seg)
{
	CdcRun	   *run = seg->tail;

	seg->tail = NULL;
	if (run)
		c->context->run(c->context, run);
}

/* Deletes of the segment; rows of key changes are kept on the way. */
static void
apply_deletes(CdcCoalescer *c, CdcSegment *seg, CdcEntry **picked)
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
pick_writes(const CdcSegment *seg, CdcEntry **picked, bool inserts, bool updates)
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
cut(CdcCoalescer *c, CdcSegment *seg)
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
static CdcSegment *
segment_of(CdcCoalescer *c, CdcRelation *rel, CdcKey *key)
{
	CdcSegment *seg = NULL;

	for (int i = 0; i < c->nsegments && seg == NULL; i++)
		if (c->segments[i]->rel == rel)
			seg = c->segments[i];
	if (seg == NULL)
	{
		seg = palloc0(sizeof(CdcSegment));
		seg->rel = rel;
		seg->mask = 63;
		seg->table = palloc0((seg->mask + 1) * sizeof(int32));
		seg->maxentries = 32;
		seg->entries = palloc(seg->maxentries * sizeof(CdcEntry *));
		if (c->nsegments == c->maxsegments)
		{
			c->maxsegments *= 2;
			c->segments = repalloc(c->segments, c->maxsegments * sizeof(CdcSegment *));
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

/*
 * Lays a later row over an earlier one of the same key: what is set wins;
 * unchanged and absent columns keep what was there.
 */
static void
merge_row(const CdcRelation *rel, CdcEntry *entry, const CdcRow *row)
{
	CdcRow	   *into = &entry->row;

	if (!row->has_unchanged && cdc_row_same_columns(rel, into->set, row->set))
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

/*
 * Is this insert half of a key change?  It matters only where values are to
 * be taken from the old row, or where that may have been kept for it.
 */
static bool
is_moved(CdcCoalescer *c, const CdcSegment *seg, const CdcChange *change)
{
	CdcEvent   *event = change->event;

	if (event->headers_left &&
		(change->row.has_unchanged ||
		 (seg->rel->has_toastable &&
		  (seg->key_changed || c->context->shared || cdc_moved_kept))))
		c->context->read_headers(c->context->arg, event);
	return event->oldkey != NULL;
}

/*
 * The first delete of a key change: it keeps its row, which one of the inserts
 * before it in the segment may have to take away again.
 */
static void
ask_writes(CdcCoalescer *c, CdcSegment *seg)
{
	seg->key_changed = true;
	for (int i = 0; i < seg->nentries; i++)
	{
		CdcEntry   *entry = seg->entries[i];

		if (entry->write && entry->insert && entry->change->event->headers_left &&
			is_moved(c, seg, entry->change))
			cdc_key_change_done(seg, entry);
	}
}

/* Folds a delete in. */
static void
fold_delete(CdcCoalescer *c, CdcSegment *seg, const CdcChange *change)
{
	uint32		hash = cdc_segment_hash(seg->rel, seg->key, &change->row);
	uint32		slot;
	CdcEntry   *entry = cdc_segment_find(seg, &change->row, hash, &slot);
	bool		keeps = change->event->newkey && seg->rel->has_toastable;

	if (keeps && !seg->key_changed)
		ask_writes(c, seg);
	if (keeps && entry && entry->write)
		cdc_key_change_keep(c, seg, entry, change);
	if (entry == NULL)
	{
		entry = cdc_segment_add(seg, change, hash, slot);
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

/*
 * An update of a row that this batch deleted: as on_missing_row says.  False
 * where it is ignored.
 */
static bool
revive(CdcSegment *seg, const CdcEntry *entry, const CdcChange *change)
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
		cdc_change_blame(change);
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("row to update is missing in %s", rel->name),
				 errdetail("A record before it deletes the row.")));
	}
	return true;
}

/* Folds a new or changed row in. */
static void
fold_write(CdcCoalescer *c, CdcSegment *seg, CdcChange *change)
{
	bool		insert = change->op != CDC_OP_UPDATE;
	bool		moved = insert && is_moved(c, seg, change);
	bool		completed = moved && change->row.has_unchanged;
	uint32		hash;
	uint32		slot;
	CdcEntry   *entry;

	if (completed)
		cdc_key_change_complete(c, seg, change);
	hash = cdc_segment_hash(seg->rel, seg->key, &change->row);
	entry = cdc_segment_find(seg, &change->row, hash, &slot);
	if (entry && !entry->write)
	{
		if (!insert && !revive(seg, entry, change))
			return;
		if (entry->change->event->newkey && !entry->kept && seg->rel->has_toastable)
			cdc_key_change_keep(c, seg, entry, entry->change);
	}
	if (entry == NULL)
		entry = cdc_segment_add(seg, change, hash, slot);
	else if (!entry->write)
		entry->row = change->row;
	else
		merge_row(seg->rel, entry, &change->row);
	entry->insert |= insert || (entry->drop && !entry->write);
	entry->change = change;
	entry->write = true;
	entry->kept = false;
	if (moved && !completed && seg->rel->has_toastable)
		cdc_key_change_done(seg, entry);
}

/* Changes without a key keep their order and are never folded. */
static void
add_keyless(CdcCoalescer *c, const CdcChange *change)
{
	CdcSegment *seg = segment_of(c, change->rel, NULL);
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
	if (seg->tail && !cdc_row_same_columns(seg->rel, seg->tail->set, entry->row.set))
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
add_truncate(CdcCoalescer *c, const CdcChange *change)
{
	CdcSegment *seg = segment_of(c, change->rel, NULL);
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
	CdcCoalescer c = {0};

	c.context = context;
	c.maxsegments = 8;
	c.segments = palloc(c.maxsegments * sizeof(CdcSegment *));
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
