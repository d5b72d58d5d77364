/*-------------------------------------------------------------------------
 *
 * segment.c
 *		Entries of a segment, found by their key.
 *
 * Floor 6.  Called by coalesce.c and key_change.c.  Keys are hashed and compared
 * as their types do it, in the column's collation; one integer column, the
 * most frequent key, needs no function call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "coalesce_internal.h"

/* Hash of the row's key columns, by the types' own equality. */
uint32
cdc_segment_hash(const CdcRelation *rel, const CdcKey *key, const CdcRow *row)
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
bool
cdc_segment_same_key(const CdcRelation *rel, const CdcKey *key, const CdcRow *a,
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
grow_table(CdcSegment *seg)
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
CdcEntry *
cdc_segment_find(const CdcSegment *seg, const CdcRow *row, uint32 hash, uint32 *slot)
{
	*slot = hash & seg->mask;
	while (seg->table[*slot] != 0)
	{
		CdcEntry   *entry = seg->entries[seg->table[*slot] - 1];

		if (entry->hash == hash && cdc_segment_same_key(seg->rel, seg->key, &entry->row, row))
			return entry;
		*slot = (*slot + 1) & seg->mask;
	}
	return NULL;
}

/* Makes an entry of a change and puts it into the segment. */
CdcEntry *
cdc_segment_add(CdcSegment *seg, const CdcChange *change, uint32 hash, uint32 slot)
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
