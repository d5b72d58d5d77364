/*-------------------------------------------------------------------------
 *
 * launch_scan.c
 *		The launcher's part in scans: which database is looked at next.
 *
 * Floor 4.  Sessions put requests into shared memory (notify.c); one scan
 * worker at a time answers them (scan.c).  The hard thing: a scan worker may
 * hang in a lock, or die without an answer; a request is only gone once it
 * was answered, or its database is gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "launch_check.h"
#include "launch_process.h"
#include "launch_scan.h"
#include "shmem.h"

/* A scan that takes longer is ended, and tried again later. */
#define SCAN_LIMIT_MS		3000
#define SCAN_RETRY_MIN_MS	1000
#define SCAN_RETRY_MAX_MS	60000

/* The one scan that is running. */
static struct
{
	BackgroundWorkerHandle *handle; /* NULL: none is running */
	int			request;
	TimestampTz started;
	bool		terminated;
}			scan;

/* Databases still to be scanned of a request to scan them all. */
static List *databases = NIL;

/*
 * Begins to carry out a request to scan every database.  Databases that are
 * created later hold no subscription of this server that could run before
 * one of our functions names them.
 */
static void
begin_scan_all(void)
{
	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	cdc_shared->scan_all_running = cdc_shared->scan_all;
	cdc_shared->scan_all = 0;
	LWLockRelease(cdc_shared->lock);

	databases = cdc_launch_databases(TopMemoryContext);
	if (databases == NIL)
		cdc_shared->scan_all_running = 0;
}

/* Moves the next database of the list into a free request; false: none free. */
static bool
request_next_database(void)
{
	bool		placed = false;

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CDC_MAX_SCANS && !placed; i++)
	{
		CdcScanRequest *request = &cdc_shared->scans[i];

		if (request->state != CDC_SCAN_NONE)
			continue;
		memset(request, 0, sizeof(CdcScanRequest));
		request->state = CDC_SCAN_PENDING;
		request->dboid = linitial_oid(databases);
		request->number = cdc_shared->scan_all_running;
		placed = true;
	}
	if (placed)
	{
		databases = list_delete_first(databases);
		if (databases == NIL)
			cdc_shared->scan_all_running = 0;
	}
	LWLockRelease(cdc_shared->lock);
	return placed;
}

/*
 * Picks the request that is due and waits longest, marks it as running and
 * returns its index; -1 for none, with *wait_ms lowered to the time when the
 * next will be due.
 */
static int
pick_request(Oid *dboid, long *wait_ms)
{
	int			best = -1;

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CDC_MAX_SCANS; i++)
	{
		CdcScanRequest *request = &cdc_shared->scans[i];

		if (request->state != CDC_SCAN_PENDING)
			continue;
		if (!cdc_launch_has_come(request->not_before))
			cdc_launch_wake_at(wait_ms, request->not_before);
		else if (best < 0 ||
				 request->number < cdc_shared->scans[best].number)
			best = i;
	}
	if (best >= 0)
	{
		cdc_shared->scans[best].state = CDC_SCAN_RUNNING;
		*dboid = cdc_shared->scans[best].dboid;
	}
	LWLockRelease(cdc_shared->lock);
	return best;
}

/* Puts a request that was not answered back, to be tried again later. */
static void
retry_request(int index)
{
	CdcScanRequest *request = &cdc_shared->scans[index];

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	if (request->state == CDC_SCAN_RUNNING)
	{
		request->state = CDC_SCAN_PENDING;
		request->delay_ms = Min(Max(request->delay_ms * 2, SCAN_RETRY_MIN_MS),
								SCAN_RETRY_MAX_MS);
		request->not_before = cdc_launch_in_ms(request->delay_ms);
	}
	LWLockRelease(cdc_shared->lock);
}

void
cdc_launch_forget_database(Oid dboid)
{
	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CDC_MAX_SCANS; i++)
		if (cdc_shared->scans[i].dboid == dboid)
			cdc_shared->scans[i].state = CDC_SCAN_NONE;
	for (int i = 0; i < cdc_shared->nslots; i++)
		if (cdc_shared->slots[i].dboid == dboid &&
			cdc_shared->slots[i].subid != 0)
			cdc_subscription_forget(dboid, cdc_shared->slots[i].subid);
	LWLockRelease(cdc_shared->lock);
	ConditionVariableBroadcast(&cdc_shared->scanned);
}

/* Starts the scan worker of a request. */
static void
start_scan(int index)
{
	BackgroundWorker worker;

	cdc_launch_describe(&worker, "cdc_scan_main", index);
	strlcpy(worker.bgw_name, "cdc_sink scan worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cdc_sink scan worker", BGW_MAXLEN);
	scan.handle = cdc_launch_start(&worker);
	scan.request = index;
	scan.started = GetCurrentTimestamp();
	scan.terminated = false;
	if (scan.handle == NULL)
		retry_request(index);
}

/* Looks after the scan that is running; false when none is. */
static bool
watch_scan(long *wait_ms)
{
	TimestampTz limit;

	if (scan.handle == NULL)
		return false;
	if (cdc_launch_has_ended(&scan.handle))
	{
		retry_request(scan.request);
		return false;
	}
	limit = TimestampTzPlusMilliseconds(scan.started, SCAN_LIMIT_MS);
	if (!scan.terminated && cdc_launch_has_come(limit))
	{
		TerminateBackgroundWorker(scan.handle);
		scan.terminated = true;
	}
	if (!scan.terminated)
		cdc_launch_wake_at(wait_ms, limit);
	return true;
}

void
cdc_launch_scans(long *wait_ms)
{
	int			index;
	Oid			dboid = InvalidOid;

	if (cdc_shared->scan_all != 0 && databases == NIL)
		begin_scan_all();
	while (!watch_scan(wait_ms))
	{
		if (databases != NIL)
			request_next_database();
		index = pick_request(&dboid, wait_ms);
		if (index < 0)
			return;
		if (!cdc_launch_database_exists(dboid))
			cdc_launch_forget_database(dboid);
		else if (!cdc_launch_has_come(cdc_launch_no_worker_until()))
		{
			LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
			cdc_shared->scans[index].state = CDC_SCAN_PENDING;
			LWLockRelease(cdc_shared->lock);
			cdc_launch_wake_at(wait_ms, cdc_launch_no_worker_until());
			return;
		}
		else
			start_scan(index);
	}
}
