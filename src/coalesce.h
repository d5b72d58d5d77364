/*-------------------------------------------------------------------------
 *
 * coalesce.h
 *		Folds the changes of a range per key and cuts them into runs.
 *
 * Floor 6.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_COALESCE_H
#define CDC_COALESCE_H

#include "apply_api.h"

/*
 * Turns changes, in their order, into runs to be applied in the order
 * returned.  Pure: touches no table.  Allocates in CurrentMemoryContext;
 * entries refer to the changes and their rows.
 */
extern CdcRun *cdc_coalesce(const CdcChange *changes, int nchanges);

#endif							/* CDC_COALESCE_H */
