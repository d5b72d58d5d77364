/*-------------------------------------------------------------------------
 *
 * key_change.c
 *		Key changes whose inserts leave out unchanged values.
 *
 * Floor 6.  Called by coalesce.c.  The values may stand in a row that this
 * very batch deletes, in one that an earlier batch kept (moved.c), or come
 * only with another partition: then the record waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "coalesce_internal.h"
#include "role.h"

/* Appends an entry to a list of them. */
static void
append_entry(CdcEntry ***list, int *n, int *max, CdcEntry *entry)
{
	if (*n == *max)
	{
		*max = Max(16, *max * 2);
		*list = *list ? repalloc(*list, *max * sizeof(CdcEntry *)) :
			palloc(*max * sizeof(CdcEntry *));
	}
	(*list)[(*n)++] = entry;
}

/* Remembers that the old row of a key change is not needed any more. */
void
cdc_key_change_done(CdcSegment *seg, CdcEntry *entry)
{
	append_entry(&seg->moved, &seg->nmoved, &seg->maxmoved, entry);
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
add_kept(CdcSegment *seg, const CdcEntry *entry, const CdcChange *change)
{
	CdcEntry   *kept = palloc(sizeof(CdcEntry));

	*kept = *entry;
	kept->change = change;
	kept->kept = false;
	append_entry(&seg->kept, &seg->nkept, &seg->maxkept, kept);
}

/*
 * A key change removes a row that this batch writes or deletes: keeps it as
 * the table would have it by now, which need not be written for that.
 */
void
cdc_key_change_keep(CdcCoalescer *c, CdcSegment *seg, CdcEntry *entry,
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
kept_row(const CdcSegment *seg, const CdcRow *old_key, const CdcEvent *event)
{
	for (int i = 0; i < seg->nkept; i++)
	{
		CdcEntry   *kept = seg->kept[i];

		if (!kept->kept && cdc_segment_same_key(seg->rel, seg->key, &kept->row, old_key) &&
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
take_from_batch(CdcCoalescer *c, CdcSegment *seg, CdcEntry *old, const CdcRow *old_key,
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
static void
take_from_old_row(CdcCoalescer *c, CdcRelation *rel, CdcKey *key,
				  const CdcEntry *old, const CdcRow *old_key, CdcRow *row)
{
	CdcRow		there;

	if (old && old->write)
		copy_unchanged(rel, &old->row, row);
	if (row->has_unchanged &&
		c->context->fetch(c->context, rel, key, old_key, &there))
		copy_unchanged(rel, &there, row);
}

/* ERROR: the delete of this key change is still to come. */
static void
wait_for_delete(const CdcChange *change)
{
	cdc_change_blame(change);
	ereport(ERROR,
			(errcode(ERRCODE_CDC_HOLD_MOVED),
			 errmsg("the delete of this key change has not arrived yet")));
}

/*
 * Completes an insert of a key change that leaves out unchanged values
 * (design.md 3.3).  They come from the row that its delete removed; else the
 * row is there already (a repeat); else the delete may still come; else the
 * old row is still there.  What is missing after that is left to the applier.
 * The old key is converted here: by code of the table's owner, as that owner,
 * while the role at hand is that of whatever was routed last.
 */
void
cdc_key_change_complete(CdcCoalescer *c, CdcSegment *seg, CdcChange *change)
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

	cdc_role_become(c->context->role, rel);
	cdc_row_alloc(rel, &old_key);
	key = cdc_row_key(rel, event, event->oldkey, event->key_schema, NULL, &old_key);
	if (key == seg->key)
	{
		old = cdc_segment_find(seg, &old_key, cdc_segment_hash(rel, key, &old_key), &slot);
		if (take_from_batch(c, seg, old, &old_key, event, row))
			return;
	}
	if (c->context->take_kept(c->context, change))
		return;
	new = cdc_segment_find(seg, row, cdc_segment_hash(rel, seg->key, row), &slot);
	if (new && new->write)
		return;					/* folding keeps the earlier values */
	if (new == NULL && c->context->fetch(c->context, rel, seg->key, row, &there))
		copy_unchanged(rel, &there, row);
	else if (c->context->others_pending(c->context->arg, rel, event))
		wait_for_delete(change);
	else
		take_from_old_row(c, rel, key, old, &old_key, row);
}
