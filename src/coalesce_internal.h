/*-------------------------------------------------------------------------
 *
 * coalesce_internal.h
 *		What coalesce.c, segment.c and key_change.c share.
 *
 * Floor 6.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_COALESCE_INTERNAL_H
#define CDC_COALESCE_INTERNAL_H

#include "apply_api.h"

/* Changes of one relation and key, folded; see coalesce.c. */
typedef struct CdcSegment
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
	bool		key_changed;	/* a delete of a key change came by */
	CdcRun	   *tail;			/* run of rows without a key that may go on */
} CdcSegment;

typedef struct CdcCoalescer
{
	const CdcApplyContext *context;
	int			nsegments;
	int			maxsegments;
	CdcSegment **segments;		/* one for each relation seen */
} CdcCoalescer;

/* --- segment.c: entries by key --- */
extern uint32 cdc_segment_hash(const CdcRelation *rel, const CdcKey *key,
							   const CdcRow *row);
/* Are the key columns of two rows equal, NULL equal to NULL? */
extern bool cdc_segment_same_key(const CdcRelation *rel, const CdcKey *key,
								 const CdcRow *a, const CdcRow *b);
/* The entry with this key, or NULL; *slot is where it belongs. */
extern CdcEntry *cdc_segment_find(const CdcSegment *seg, const CdcRow *row,
								  uint32 hash, uint32 *slot);
/* Makes an entry of a change and puts it into the segment. */
extern CdcEntry *cdc_segment_add(CdcSegment *seg, const CdcChange *change,
								 uint32 hash, uint32 slot);

/* --- key_change.c --- */
/* Remembers that the old row of a key change is not needed any more. */
extern void cdc_key_change_done(CdcSegment *seg, CdcEntry *entry);
/* Keeps the row that a key change removes, as it would be by now. */
extern void cdc_key_change_keep(CdcCoalescer *c, CdcSegment *seg,
								   CdcEntry *entry, const CdcChange *change);
/* Completes an insert of a key change that leaves out unchanged values. */
extern void cdc_key_change_complete(CdcCoalescer *c, CdcSegment *seg,
							   CdcChange *change);

#endif							/* CDC_COALESCE_INTERNAL_H */
