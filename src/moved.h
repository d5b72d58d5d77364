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

/*
 * How long a kept row waits at least for its insert, which the producer may
 * write, or whose transaction may end, that much later: brokers let
 * transactions last 15 minutes.
 */
#define CDC_MOVED_KEEP_MS (20 * 60 * 1000)

/* Drops the rows of a subscription that were kept before a time. */
extern void cdc_moved_sweep(const char *subscription, TimestampTz before);
/*
 * Are there rows of a subscription that were kept before a time?  Then the
 * next sweep of this process looks for them, too.  Needs a transaction.
 */
extern bool cdc_moved_waits(const char *subscription, TimestampTz before);
/* May there be kept rows?  True at first. */
extern bool cdc_moved_kept;
/* When this process kept its first one since there were none, and its last; 0: none. */
extern TimestampTz cdc_moved_first;
extern TimestampTz cdc_moved_last;

#endif							/* CDC_MOVED_H */
