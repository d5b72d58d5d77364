/*-------------------------------------------------------------------------
 *
 * notify.c
 *		From a session to the launcher and the workers: what to do at commit.
 *
 * Floor 3.  The hard thing: until a change has committed, no worker may act
 * upon it, and when it rolls back, none may have.  So a session only notes
 * what it changed; one callback at the end of the transaction tells others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "cdc_sink.h"
#include "compat.h"
#include "notify.h"
#include "shmem.h"

/* A session waits this long for scans before it looks for workers. */
#define SCAN_PATIENCE_MS	5000
/* A worker that has not stopped by itself after this time is terminated. */
#define STOP_PATIENCE_MS	2000
/* Time between a worker's leaving its slot and the end of its process. */
#define EXIT_PATIENCE_MS	1000

/* A change to tell of at commit. */
typedef struct CdcNotice
{
	int64		subid;			/* 0: the extension is dropped */
	SubTransactionId subxact;
} CdcNotice;

/* A slot that this transaction keeps from running. */
typedef struct CdcHold
{
	int			index;
	uint64		generation;
	SubTransactionId subxact;
} CdcHold;

/* In TopTransactionContext; NIL between transactions. */
static List *notices = NIL;
static List *holds = NIL;

static bool callbacks_installed = false;
static object_access_hook_type prev_object_access_hook = NULL;

/*
 * --- requests for scans ---
 */

/*
 * Queues a scan of dboid; the lock must be held exclusively.  With more
 * databases waiting than there are places, all databases are scanned.
 */
static uint64
queue_scan(Oid dboid)
{
	uint64		number = ++cdc_shared->scan_number;
	CdcScanRequest *place = NULL;

	for (int i = 0; i < CDC_MAX_SCANS; i++)
	{
		CdcScanRequest *request = &cdc_shared->scans[i];

		if (request->state == CDC_SCAN_NONE)
		{
			if (place == NULL)
				place = request;
		}
		else if (request->dboid == dboid &&
				 request->state != CDC_SCAN_RUNNING)
		{
			if (request->state == CDC_SCAN_PARKED)
				request->number = number;
			request->state = CDC_SCAN_PENDING;
			request->not_before = 0;
			return number;
		}
	}
	if (place != NULL)
	{
		memset(place, 0, sizeof(CdcScanRequest));
		place->state = CDC_SCAN_PENDING;
		place->dboid = dboid;
		place->number = number;
	}
	else if (cdc_shared->scan_all == 0)
		cdc_shared->scan_all = number;
	return number;
}

uint64
cdc_scan_request(Oid dboid)
{
	uint64		number;

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	number = queue_scan(dboid);
	LWLockRelease(cdc_shared->lock);
	cdc_launcher_wake();
	return number;
}

uint64
cdc_scan_last(void)
{
	uint64		number;

	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	number = cdc_shared->scan_number;
	LWLockRelease(cdc_shared->lock);
	return number;
}

/* Was request made no later than number, and is it not answered yet? */
static inline bool
is_due(uint64 request, uint64 number)
{
	return request != 0 && request <= number;
}

bool
cdc_scan_outstanding(Oid dboid, uint64 number)
{
	bool		outstanding;

	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	outstanding = is_due(cdc_shared->scan_all, number) ||
		is_due(cdc_shared->scan_all_running, number);
	for (int i = 0; i < CDC_MAX_SCANS && !outstanding; i++)
	{
		CdcScanRequest *request = &cdc_shared->scans[i];

		outstanding = request->dboid == dboid &&
			is_due(request->number, number) &&
			(request->state == CDC_SCAN_PENDING ||
			 request->state == CDC_SCAN_RUNNING);
	}
	LWLockRelease(cdc_shared->lock);
	return outstanding;
}

bool
cdc_scan_wait(Oid dboid, uint64 number, long timeout_ms)
{
	static uint32 wait_event = 0;
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout_ms);
	bool		done;

	ConditionVariablePrepareToSleep(&cdc_shared->scanned);
	while (!(done = !cdc_scan_outstanding(dboid, number)))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														   end);

		if (left <= 0)
			break;
		ConditionVariableTimedSleep(&cdc_shared->scanned, left,
									cdc_compat_wait_event(&wait_event,
														  "CdcSinkScan"));
	}
	ConditionVariableCancelSleep();
	return done;
}

/*
 * --- the end of a transaction ---
 */

/*
 * Tells the workers of one subscription of this database, and takes note
 * where it is the extension that went.  The lock must be held exclusively.
 */
static void
deliver(const CdcNotice *notice)
{
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->dboid != MyDatabaseId || slot->subid == 0 ||
			(notice->subid != 0 && slot->subid != notice->subid))
			continue;
		pg_atomic_fetch_add_u64(&slot->config_count, 1);
		if (slot->proc != NULL)
			SetLatch(&slot->proc->procLatch);
		if (notice->subid == 0 && slot->in_use)
		{
			slot->stale = true;
			cdc_slot_update_stopping(slot);
		}
	}
}

/*
 * Lets a slot go.  After a commit the subscription counts as disabled until
 * the scan that follows (its number is given, else 0) has looked, so that no
 * worker starts in between.  The lock must be held exclusively.
 */
static void
release_hold(const CdcHold *hold, uint64 scan)
{
	CdcSlot    *slot = &cdc_shared->slots[hold->index];

	if (slot->generation != hold->generation || slot->stop_holds == 0)
		return;
	slot->stop_holds--;
	if (scan != 0 && slot->in_use)
	{
		slot->retired = true;
		slot->retired_by = scan;
	}
	cdc_slot_update_stopping(slot);
}

/* What all ends of a transaction have in common; must not raise an error. */
static void
finish(bool committed)
{
	uint64		scan = 0;
	ListCell   *lc;

	if (notices == NIL && holds == NIL)
		return;

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	if (committed)
	{
		scan = queue_scan(MyDatabaseId);
		foreach(lc, notices)
			deliver((CdcNotice *) lfirst(lc));
	}
	foreach(lc, holds)
		release_hold((CdcHold *) lfirst(lc), scan);
	LWLockRelease(cdc_shared->lock);

	notices = NIL;
	holds = NIL;
	cdc_launcher_wake();
}

/* XactCallback */
static void
at_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			finish(true);
			break;
		case XACT_EVENT_ABORT:
			finish(false);
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (notices != NIL || holds != NIL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has changed a subscription of cdc_sink")));
			break;
		default:
			break;
	}
}

/*
 * SubXactCallback.  Numbers of subtransactions only grow, so whatever was
 * noted in the aborted one or below it has its number or a higher one.
 */
static void
at_subxact_end(SubXactEvent event, SubTransactionId subxact,
			   SubTransactionId parent, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, notices)
		if (((CdcNotice *) lfirst(lc))->subxact >= subxact)
			notices = foreach_delete_current(notices, lc);
	if (holds == NIL)
		return;

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	foreach(lc, holds)
	{
		CdcHold    *hold = lfirst(lc);

		if (hold->subxact < subxact)
			continue;
		release_hold(hold, 0);
		holds = foreach_delete_current(holds, lc);
	}
	LWLockRelease(cdc_shared->lock);
	cdc_launcher_wake();
}

/* Once a backend, when it first has something to tell. */
static void
install_callbacks(void)
{
	if (callbacks_installed)
		return;
	RegisterXactCallback(at_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
	callbacks_installed = true;
}

/* Adds a notice, in memory that lives as long as the transaction. */
static void
add_notice(int64 subid)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	CdcNotice  *notice = palloc(sizeof(CdcNotice));

	install_callbacks();
	notice->subid = subid;
	notice->subxact = GetCurrentSubTransactionId();
	notices = lappend(notices, notice);
	MemoryContextSwitchTo(old);
}

void
cdc_notify_at_commit(int64 subid)
{
	Assert(subid != 0);
	if (cdc_shared != NULL)
		add_notice(subid);
}

bool
cdc_notify_pending(int64 subid)
{
	ListCell   *lc;

	foreach(lc, notices)
	{
		CdcNotice  *notice = lfirst(lc);

		if (notice->subid == subid || notice->subid == 0)
			return true;
	}
	return false;
}

/*
 * object_access_hook: DROP EXTENSION, by whatever command, and ALTER EXTENSION
 * UPDATE, after which workers start anew and look at the version.
 */
static void
object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid,
			  void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, classid, objectid, subid, arg);

	if ((access == OAT_DROP || access == OAT_POST_ALTER) &&
		classid == ExtensionRelationId && cdc_shared != NULL &&
		objectid == get_extension_oid("cdc_sink", true))
		add_notice(0);
}

void
cdc_notify_install(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = object_access;
}

/*
 * --- stopping now ---
 */

bool
cdc_waits_for_me(int worker_pid)
{
	ArrayType  *pids;
	int32	   *pid;
	int			n;

	pids = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
												  Int32GetDatum(worker_pid)));
	pid = (int32 *) ARR_DATA_PTR(pids);
	n = ArrayGetNItems(ARR_NDIM(pids), ARR_DIMS(pids));
	for (int i = 0; i < n; i++)
		if (pid[i] == MyProcPid)
			return true;
	return false;
}

/*
 * Keeps one slot from running until this transaction ends, if it still is
 * the subscription's.
 */
static void
hold_slot(int index, int64 subid)
{
	CdcSlot    *slot = &cdc_shared->slots[index];
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	CdcHold    *hold = palloc0(sizeof(CdcHold));

	hold->index = index;
	hold->subxact = GetCurrentSubTransactionId();
	holds = lappend(holds, hold);
	MemoryContextSwitchTo(old);

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	if (slot->dboid == MyDatabaseId && slot->subid == subid)
	{
		hold->generation = slot->generation;
		slot->stop_holds++;
		cdc_slot_update_stopping(slot);
	}
	LWLockRelease(cdc_shared->lock);
}

/*
 * Returns the first slot of a subscription that runs (or, with running
 * false, is in use) at or after index; -1 for none.
 */
static int
next_slot(int64 subid, int index, bool running)
{
	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	for (; index < cdc_shared->nslots; index++)
	{
		CdcSlot    *slot = &cdc_shared->slots[index];

		if (slot->dboid == MyDatabaseId && slot->subid == subid &&
			(running ? slot->pid != 0 : slot->in_use))
			break;
	}
	if (index == cdc_shared->nslots)
		index = -1;
	LWLockRelease(cdc_shared->lock);
	return index;
}

bool
cdc_subscription_attached(int64 subid)
{
	return cdc_shared != NULL && next_slot(subid, 0, true) >= 0;
}

/*
 * Terminates the slot's worker.  Its pid cannot have been given to another
 * process as long as it is in the slot and the lock is held.
 */
static void
terminate_worker(CdcSlot *slot)
{
	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	if (slot->pid != 0 && slot->stopping)
		kill(slot->pid, SIGTERM);
	LWLockRelease(cdc_shared->lock);
}

/*
 * Waits until the process has left the list of backends too, for at most a
 * moment: it is on its last steps, and who asked for it to stop may look.
 */
static void
wait_for_exit(int pid)
{
	static uint32 wait_event = 0;
	TimestampTz start = GetCurrentTimestamp();

	while (BackendPidGetProc(pid) != NULL &&
		   !TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
									   EXIT_PATIENCE_MS))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 1, cdc_compat_wait_event(&wait_event, "CdcSinkStop"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Waits until the slot has no worker.  One that cannot look at its slot,
 * because it waits for a lock of ours or for something else, is terminated:
 * its batch is rolled back and will be applied by the next run.
 */
static void
wait_for_slot(CdcSlot *slot)
{
	static uint32 wait_event = 0;
	TimestampTz start = GetCurrentTimestamp();
	bool		terminated = false;
	int			last_pid = 0;
	int			pid;

	ConditionVariablePrepareToSleep(&slot->progress);
	while ((pid = *((volatile pid_t *) &slot->pid)) != 0)
	{
		last_pid = pid;
		if (!terminated &&
			(cdc_waits_for_me(pid) ||
			 TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
										STOP_PATIENCE_MS)))
		{
			terminate_worker(slot);
			terminated = true;
		}
		ConditionVariableTimedSleep(&slot->progress, 100,
									cdc_compat_wait_event(&wait_event,
														  "CdcSinkStop"));
	}
	ConditionVariableCancelSleep();
	if (last_pid != 0)
		wait_for_exit(last_pid);
}

/*
 * cdc_refuse_in_worker raises 55000 in an apply worker: a trigger that waits
 * for workers would wait for its own.
 */
void
cdc_refuse_in_worker(void)
{
	if (cdc_my_slot != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an apply worker of cdc_sink cannot wait for apply workers"),
				 errhint("Do not call this function in a trigger of a table that a topic feeds.")));
}

/*
 * Scans asked for before are waited for first: a subscription that was
 * enabled a moment ago may be about to get its worker.
 */
void
cdc_wait_for_detach(int64 subid)
{
	int			index;

	if (cdc_shared == NULL)
		return;
	cdc_refuse_in_worker();
	install_callbacks();
	if (cdc_shared->launcher != NULL)
		cdc_scan_wait(MyDatabaseId, cdc_scan_last(), SCAN_PATIENCE_MS);
	for (index = next_slot(subid, 0, false); index >= 0;
		 index = next_slot(subid, index + 1, false))
		hold_slot(index, subid);
	for (index = next_slot(subid, 0, true); index >= 0;
		 index = next_slot(subid, index + 1, true))
		wait_for_slot(&cdc_shared->slots[index]);
}
