/*-------------------------------------------------------------------------
 *
 * apply.h
 *		Applies a range of events: all of it, or ever smaller parts.
 *
 * Floor 7.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_APPLY_H
#define CDC_APPLY_H

#include "apply_api.h"
#include "errors.h"

/* Why a range could not be applied. */
typedef struct CdcFailure
{
	CdcErrorClass class;
	int			sqlstate;
	int			culprit;		/* index of the event, -1: not known */
	Oid			root_relid;		/* of the relation at hand, or InvalidOid */
	const char *reason;			/* state_reason where it is a special one */
	char	   *message;		/* palloc'd in the caller's context */
	char	   *detail;
	char	   *hint;
	char	   *context;
	char	   *relation;
	char	   *field;
} CdcFailure;

typedef struct CdcApply
{
	CdcApplyContext context;
	CdcRelmap  *relmap;
	CdcPartition **parts;
	CdcEvent   *events;
	int			nevents;
	/* Fills events[event], if that was not done yet; NULL: all are filled. */
	void		(*decode) (void *arg, int event);
	/*
	 * Decides about an event that failed alone.  Called inside the
	 * transaction, after the failed part was undone; may raise the failure
	 * again.  Then it, or it and the rest of its partition, is left out; the
	 * failure is the callee's.
	 */
	void		(*culprit) (void *arg, int event, CdcFailure *failure);
	/* Is the event passed over, or does its partition stay before it? */
	bool		(*left_out) (void *arg, int event);
	void	   *arg;
	uint64		skipped;		/* events passed over, of ranges that succeeded */
	bool		own_transaction;	/* constraints are immediate in it, and stay so */
	bool		isolate_internal;	/* XX errors too are handed to culprit */
} CdcApply;

/*
 * Applies events [lo, hi) in the caller's transaction; errors fly, with
 * cdc_error_position telling where it was.  Counts go to each relation's
 * counts.
 */
extern void cdc_apply_range(CdcApply *apply, int lo, int hi);

/*
 * Applies all events in subtransactions around ever smaller parts, until
 * each culprit is alone and was handed to apply->culprit.
 */
extern void cdc_apply_isolated(CdcApply *apply);

/* Copies an error into a failure, in CurrentMemoryContext. */
extern CdcFailure *cdc_failure_make(const CdcApply *apply,
									const ErrorData *error);
/* Raises a failure as an ERROR again. */
extern void cdc_failure_throw(const CdcFailure *failure) pg_attribute_noreturn();

/* Adds the counts of the finished transaction to shared memory, or drops them. */
extern void cdc_apply_counts(CdcRelmap *relmap, bool committed);

#endif							/* CDC_APPLY_H */
