/*-------------------------------------------------------------------------
 *
 * attempt_internal.h
 *		What attempt.c and settle.c share: one try of a batch.
 *
 * Floor 8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ATTEMPT_INTERNAL_H
#define CDC_ATTEMPT_INTERNAL_H

#include "pipeline_internal.h"
#include "policy.h"

/* What became of a partition in an attempt. */
typedef struct CdcOutcome
{
	int64		last_offset;	/* of its last record tried; -1: none was */
	bool		stays;			/* before event, held or stopped */
	CdcHoldCause cause;			/* NONE: stopped */
	int			event;
	CdcFailure *failure;
	int64		next_offset;	/* what the position becomes */
	const CdcRecord *last;		/* before it, of this attempt; NULL: none */
	CdcAnchor	anchor;			/* stored with it */
} CdcOutcome;

typedef struct CdcAttempt
{
	CdcPipeline *pipeline;
	const CdcRecord **records;
	int			nrecords;
	bool		fresh;			/* they are pipeline->fresh */
	CdcEvent   *events;
	bool	   *decoded;		/* by event */
	bool		look_ahead;		/* all are decoded, and stay */
	bool		recycle;		/* the event decoded last is not needed any more */
	CdcArenaMark mark;			/* where its memory begins */
	CdcOutcome *outcomes;		/* by partition */
	CdcPasses	passes;			/* records passed over */
	CdcApply	apply;
} CdcAttempt;

/* in attempt.c; arg is the attempt */
extern bool cdc_attempt_stays(void *arg, int event);

/* in settle.c: after the commit, the outcomes become the partitions' states */
extern void cdc_attempt_settle(CdcAttempt *attempt);

#endif							/* CDC_ATTEMPT_INTERNAL_H */
