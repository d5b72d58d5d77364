/*-------------------------------------------------------------------------
 *
 * launch_process.h
 *		Starting our background workers, and the time until something is due.
 *
 * Floor 3.  For the launcher's process only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_LAUNCH_PROCESS_H
#define CDC_LAUNCH_PROCESS_H

#include "postmaster/bgworker.h"
#include "utils/timestamp.h"

/* Has that time come? */
extern bool cdc_launch_has_come(TimestampTz then);
/* The time ms from now. */
extern TimestampTz cdc_launch_in_ms(int ms);
/* Lowers *wait_ms to the time from now until then. */
extern void cdc_launch_wake_at(long *wait_ms, TimestampTz then);

/* Fills what all our dynamic workers have in common. */
extern void cdc_launch_describe(BackgroundWorker *worker, const char *function,
								int argument);
/*
 * Has the postmaster start a process; NULL where max_worker_processes ran
 * out, of which the log tells once a minute.  The handle lives until
 * cdc_launch_has_ended frees it.
 */
extern BackgroundWorkerHandle *cdc_launch_start(BackgroundWorker *worker);
/* No process should be asked for before this time: there was none left. */
extern TimestampTz cdc_launch_no_worker_until(void);
/* Has the process ended (or could not be started)?  Frees the handle then. */
extern bool cdc_launch_has_ended(BackgroundWorkerHandle **handle);

/* The clock was set back to now: no pause ends later than now any more. */
extern void cdc_launch_clock_back(TimestampTz now);

#endif							/* CDC_LAUNCH_PROCESS_H */
