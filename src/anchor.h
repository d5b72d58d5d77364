/*-------------------------------------------------------------------------
 *
 * anchor.h
 *		Fingerprint of the last record applied, by which a log is recognised.
 *
 * Floor 2.  Kafka answers by offset and does not say whether the log behind
 * the offset is the one that was read before.  So each position keeps what
 * the record before it looked like; consumer_anchor.c compares.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ANCHOR_H
#define CDC_ANCHOR_H

#include "event.h"

typedef struct CdcAnchor
{
	int64		offset;			/* of the record; -1: none is known */
	int64		hash;			/* of its key and value */
	int64		ts_ms;			/* its time; -1: none */
} CdcAnchor;

/* What the last check of a log has shown. */
typedef enum CdcAnchorState
{
	CDC_ANCHOR_NONE,			/* there was nothing to check */
	CDC_ANCHOR_CHECKING,
	CDC_ANCHOR_VERIFIED,		/* the anchor is there */
	CDC_ANCHOR_UNVERIFIED		/* the anchor is gone, which can be right */
} CdcAnchorState;

/* Makes the fingerprint of a record; reads all of its bytes. */
extern void cdc_anchor_make(CdcAnchor *anchor, const CdcRecord *record);
/* Is this the record, by all that an anchor knows of it? */
extern bool cdc_anchor_matches(const CdcAnchor *anchor, const CdcRecord *record);

#endif							/* CDC_ANCHOR_H */
