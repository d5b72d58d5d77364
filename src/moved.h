/*-------------------------------------------------------------------------
 *
 * moved.h
 *		Old rows of key changes, kept for inserts that lack their unchanged
 *		values (cdc_sink.moved_row, design.md 3.3).
 *
 * Floor 5.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_MOVED_H
#define CDC_MOVED_H

#include "relmap.h"

/*
 * A key as jsonb object: column name to text, in the key's order.  The form
 * in which delete and insert of a key change recognise each other.
 */
extern Datum cdc_moved_key(const CdcRelation *rel, const CdcKey *key,
						   const CdcRow *row);
/* The same from the value of a __debezium.newkey or .oldkey header. */
extern Datum cdc_moved_header_key(CdcRelation *rel, const CdcEvent *event,
								  const CdcJsonNode *header);

/* Keeps the columns that a row sets, under its old and new key. */
extern void cdc_moved_keep(CdcRelation *rel, const CdcEvent *event,
						   Datum old_key, Datum new_key, const CdcRow *row);
/*
 * Fills the columns of row that are CDC_UNCHANGED from the kept row, which
 * goes.  False where none is kept.
 */
extern bool cdc_moved_take(CdcRelation *rel, const CdcEvent *event,
						   Datum old_key, Datum new_key, CdcRow *row);
/* Drops the kept row of this key change, if there is one. */
extern void cdc_moved_forget(CdcRelation *rel, const CdcEvent *event,
							 Datum old_key, Datum new_key);
/* Drops all kept rows of a subscription. */
extern void cdc_moved_sweep(const char *subscription);
/* May this process have kept rows since it last swept?  True at first. */
extern bool cdc_moved_kept;

#endif							/* CDC_MOVED_H */
