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
 * Folds changes, in their order, and has the runs they come to applied
 * through context->run.  Allocates in CurrentMemoryContext; rows of changes
 * may be completed on the way.  Errors of what it asks for fly.
 */
extern void cdc_coalesce(const CdcApplyContext *context, CdcChange *changes,
						 int nchanges);

#endif							/* CDC_COALESCE_H */
