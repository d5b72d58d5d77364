/*-------------------------------------------------------------------------
 *
 * addcolumn.h
 *		Columns for fields that the target lacks (on_unknown_column=add).
 *
 * Floor 5.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ADDCOLUMN_H
#define CDC_ADDCOLUMN_H

#include "relmap.h"

/* A range has to end before the record that was at hand; see route.c. */
#define ERRCODE_CDC_CUT_RANGE	MAKE_SQLSTATE('C','D','A','0','1')

/* Does the event's schema name a field that the relation has no column for? */
extern bool cdc_addcolumn_needed(CdcRelation *rel, const CdcEvent *event);
/*
 * Adds the columns in the transaction at hand, as the current role.  rel is
 * not valid afterwards and must be got anew.
 */
extern void cdc_addcolumn_add(CdcRelation *rel, const CdcEvent *event);
/* The type of a column for values of this schema, as SQL; palloc'd. */
extern char *cdc_addcolumn_type(const CdcSchema *schema);

#endif							/* CDC_ADDCOLUMN_H */
