/*-------------------------------------------------------------------------
 *
 * native.h
 *		Inserts into plain tables without a statement.
 *
 * Floor 6.  Below the appliers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_NATIVE_H
#define CDC_NATIVE_H

#include "apply_api.h"

/*
 * Can rows of this pattern go into the table directly?  Only where nothing
 * but constraints and indexes is to be done: no trigger, no default, no
 * partition, and the applying role may insert into the whole table.
 */
extern bool cdc_native_can_insert(CdcRelation *rel, const uint8 *set);
/* Inserts the rows; errors are those that INSERT raises. */
extern void cdc_native_insert(CdcRelation *rel, CdcEntry **entries,
							  int nentries);

#endif							/* CDC_NATIVE_H */
