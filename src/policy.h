/*-------------------------------------------------------------------------
 *
 * policy.h
 *		Records that are passed over: by the error policy, or because
 *		skip_record asked for it (design.md 3.7).
 *
 * Floor 8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_POLICY_H
#define CDC_POLICY_H

#include "pipeline.h"

/* Why a record is passed over. */
typedef enum CdcPassReason
{
	CDC_PASS_NONE,
	CDC_PASS_DEAD_LETTER,		/* on_error */
	CDC_PASS_SKIP,				/* on_error */
	CDC_PASS_ASKED				/* skip_record */
} CdcPassReason;

typedef struct CdcPass
{
	int			event;
	CdcPassReason reason;
	const CdcFailure *failure;	/* NULL: ASKED */
	const CdcMapping *mapping;	/* NULL: it could not be told */
} CdcPass;

/* What one attempt passes over; in batch_context. */
typedef struct CdcPasses
{
	CdcPipeline *pipeline;
	int			nevents;
	const CdcEvent *events;
	uint8	   *reasons;		/* CdcPassReason of each event */
	int			npasses;
	int			maxpasses;
	CdcPass    *passes;			/* in the order of decision */
	int			nerrors;		/* of them, not ASKED */
} CdcPasses;

extern void cdc_policy_init(CdcPasses *passes, CdcPipeline *pipeline,
							const CdcEvent *events, int nevents);

/*
 * Begins a transaction: nothing is passed over but what skip_record asked
 * for.  Locks the open letters of the keys at hand.
 */
extern void cdc_policy_begin(CdcPasses *passes);
/*
 * Decides about an event that failed alone.  True: it is passed over, and
 * its dead letter was written.  False: its partition stops; failure->reason
 * says so where it was the budget that ended.
 */
extern bool cdc_policy_pass(CdcPasses *passes, int event, CdcFailure *failure);
/*
 * Before the commit: dead letters of what skip_record named, and what was
 * applied supersedes older letters of its key.  stays tells whether an
 * event's partition stays before it.
 */
extern void cdc_policy_finish(CdcPasses *passes,
							  bool (*stays) (void *arg, int event),
							  void *arg);
/* After the commit: counters, reports, log. */
extern void cdc_policy_settle(CdcPasses *passes);
/* After the commit: the skip of a partition that has passed it is over. */
extern void cdc_policy_skip_done(const CdcPasses *passes, CdcPartition *part);
/* After an abort: what is known of open letters is to be read again. */
extern void cdc_policy_forget(CdcPipeline *pipeline);

/* Puts a failure into the list of errors. */
extern void cdc_policy_report(const CdcPipeline *pipeline,
							  const CdcRecord *record,
							  const CdcFailure *failure,
							  const char *disposition, const char *hint);
/* Field and detail of a failure in one text; palloc'd, may be "". */
extern char *cdc_policy_detail(const CdcFailure *failure);

static inline bool
cdc_policy_passed(const CdcPasses *passes, int event)
{
	return passes->reasons[event] != CDC_PASS_NONE;
}

/* May a batch have to do with open dead letters?  True until they were read. */
extern bool cdc_policy_has_letters(const CdcPipeline *pipeline);
/* Is a record of any partition to be skipped (skip_record)? */
extern bool cdc_policy_has_skips(const CdcPipeline *pipeline);

#endif							/* CDC_POLICY_H */
