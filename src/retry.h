/*-------------------------------------------------------------------------
 *
 * retry.h
 *		What a worker waits for after an error, and how it tells of it.
 *
 * Floor 9.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_RETRY_H
#define CDC_RETRY_H

#include "pipeline.h"
#include "shmem.h"

typedef struct CdcRetry
{
	TimestampTz at;				/* when to try again; 0: nothing to wait for */
	int			backoff_ms;		/* the pause; 0: none since the last success */
	CdcState	state;			/* what is shown meanwhile */
	char		reason[CDC_REASON_LEN];
	char		hint[CDC_HINT_LEN];
	int			logged_sqlstate;	/* what was logged last ... */
	TimestampTz logged_at;		/* ... when, 0: nothing ... */
	int			unlogged;		/* ... and how often it came since */
} CdcRetry;

/* A batch met a transient error: sets the pause, reports and logs it. */
extern void cdc_retry_batch(CdcRetry *retry, const CdcSubscription *subscription,
							const CdcFailure *failure);
/* The subscription of this worker's slot could not be opened: likewise. */
extern void cdc_retry_open(CdcRetry *retry, const ErrorData *error);
/* Word for a transient error, by its SQLSTATE; static. */
extern const char *cdc_transient_reason(int sqlstate);
/* It went well. */
extern void cdc_retry_clear(CdcRetry *retry);
/* The clock was set back to now: what was due by the old one is due. */
extern void cdc_retry_clock_back(CdcRetry *retry, TimestampTz now);

#endif							/* CDC_RETRY_H */
