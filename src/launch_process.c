/*-------------------------------------------------------------------------
 *
 * launch_process.c
 *		Starting our background workers, and the time until something is due.
 *
 * Floor 3.  Part of the launcher.  Workers are never restarted by the
 * postmaster: the launcher learns that one has ended and decides.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "launch_process.h"

/* Pause before a process is asked for again where none was left */
#define NO_WORKER_RETRY_MS	1000
#define NO_WORKER_LOG_MS	60000

static TimestampTz no_worker_until = 0;
static TimestampTz no_worker_logged = 0;

bool
cdc_launch_has_come(TimestampTz then)
{
	return GetCurrentTimestamp() >= then;
}

TimestampTz
cdc_launch_in_ms(int ms)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

/* One more than the rounded difference: never to wake before the time. */
void
cdc_launch_wake_at(long *wait_ms, TimestampTz then)
{
	long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													 then);

	*wait_ms = Min(*wait_ms, ms + 1);
}

void
cdc_launch_describe(BackgroundWorker *worker, const char *function,
					int argument)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "cdc_sink", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	worker->bgw_main_arg = Int32GetDatum(argument);
	worker->bgw_notify_pid = MyProcPid;
}

BackgroundWorkerHandle *
cdc_launch_start(BackgroundWorker *worker)
{
	BackgroundWorkerHandle *handle = NULL;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		started = RegisterDynamicBackgroundWorker(worker, &handle);

	MemoryContextSwitchTo(old);
	if (started)
		return handle;

	no_worker_until = cdc_launch_in_ms(NO_WORKER_RETRY_MS);
	if (no_worker_logged == 0 ||
		cdc_launch_has_come(TimestampTzPlusMilliseconds(no_worker_logged,
														NO_WORKER_LOG_MS)))
	{
		no_worker_logged = GetCurrentTimestamp();
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of background worker slots for cdc_sink"),
				 errhint("You might need to increase max_worker_processes.")));
	}
	return NULL;
}

TimestampTz
cdc_launch_no_worker_until(void)
{
	return no_worker_until;
}

bool
cdc_launch_has_ended(BackgroundWorkerHandle **handle)
{
	pid_t		pid;
	BgwHandleStatus status;

	status = GetBackgroundWorkerPid(*handle, &pid);
	if (status != BGWH_STOPPED && status != BGWH_POSTMASTER_DIED)
		return false;
	pfree(*handle);
	*handle = NULL;
	return true;
}

void
cdc_launch_clock_back(TimestampTz now)
{
	no_worker_until = Min(no_worker_until, now);
	no_worker_logged = Min(no_worker_logged, now);
}
