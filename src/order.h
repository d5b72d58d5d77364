/*-------------------------------------------------------------------------
 *
 * order.h
 *		Which of two records came first at the source.
 *
 * Floor 2.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ORDER_H
#define CDC_ORDER_H

#include "event.h"

typedef enum CdcOrder
{
	CDC_ORDER_EARLIER,
	CDC_ORDER_SAME,
	CDC_ORDER_LATER,
	CDC_ORDER_UNKNOWN			/* no sequence, or different sources */
} CdcOrder;

/* What tells the order: source.sequence, within one source.name. */
typedef struct CdcPlaceInSource
{
	CdcSequencePart sequence[2];
	CdcStr		source;
} CdcPlaceInSource;

extern CdcPlaceInSource cdc_order_place(const CdcEvent *event);
/* Order of a against b. */
extern CdcOrder cdc_order_compare(const CdcPlaceInSource *a,
								  const CdcPlaceInSource *b);

/*
 * Merges the events of several partitions into the order of the source, as
 * far as it is known; within a partition the order stays.  order[] gets the
 * indexes of the events.  Events of one partition must stand together.
 */
extern void cdc_order_merge(const CdcEvent *events, int nevents, int *order);

#endif							/* CDC_ORDER_H */
