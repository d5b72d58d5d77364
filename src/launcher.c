/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		The process that keeps the apply workers running.
 *
 * Floor 9.  It is connected to no database.  It has databases looked at by
 * scan workers (scan.c), one at a time, which say in shared memory what
 * should run; it starts an apply worker for every slot that should have one,
 * and again, with back-off, when one has ended.  The hard thing: at no time
 * may it be in the way of others (DROP DATABASE, shutdown, a lock held for
 * long), nor depend on a process that it started: each may die or hang.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "guc.h"
#include "launch_check.h"
#include "launch_process.h"
#include "launch_scan.h"
#include "launcher.h"
#include "shmem.h"

/* Pause of a slot for which there was no process */
#define NO_WORKER_RETRY_MS	1000
/* Without any event it looks around this often. */
#define IDLE_MS				60000

/* Handles of apply workers, by slot; NULL: none was started, or it ended. */
static BackgroundWorkerHandle **workers;

/*
 * --- apply workers ---
 */

/* What is to be done about a slot. */
typedef enum CdcTask
{
	TASK_NONE,
	TASK_FREE,					/* it was freed */
	TASK_START
} CdcTask;

/*
 * The worker of a slot has ended: sets the time of its next start.  The
 * delay grows while runs end without a committed batch.  A worker that never
 * came so far as to take its slot has said nothing of its end itself.  The
 * lock must be held exclusively.
 */
static void
note_end(CdcSlot *slot)
{
	CdcSlot		copy;

	if (slot->fruitless && slot->delay_ms > 0)
		slot->delay_ms = Min(slot->delay_ms * 2, slot->retry_backoff_max_ms);
	else
		slot->delay_ms = slot->retry_backoff_ms;
	slot->next_start = cdc_launch_in_ms(slot->delay_ms);

	cdc_slot_copy(slot, &copy);
	if (copy.state == CDC_STATE_RETRYING || copy.state == CDC_STATE_STOPPED)
		cdc_slot_set_state(slot, copy.state, copy.reason, copy.hint,
						   slot->next_start);
	else if (!slot->stopping)
		cdc_slot_set_state(slot, CDC_STATE_RETRYING, "worker_exited",
						   "See the server log for the reason.",
						   slot->next_start);
}

/*
 * Frees the slot of a subscription that is disabled or gone.  Its counters
 * stay if it may be enabled again.  Databases that found no slot are looked
 * at again.  The lock must be held exclusively.
 */
static void
free_slot(CdcSlot *slot)
{
	slot->in_use = false;
	slot->stopping = false;
	pg_atomic_write_u64(&slot->config_seen,
						pg_atomic_read_u64(&slot->config_count));
	cdc_slot_set_state(slot, CDC_STATE_DISABLED, "", "", 0);
	for (int i = 0; i < CDC_MAX_SCANS; i++)
		if (cdc_shared->scans[i].state == CDC_SCAN_PARKED)
			cdc_shared->scans[i].state = CDC_SCAN_PENDING;
}

/* Decides what is to be done about a slot; the lock must be held. */
static CdcTask
decide(CdcSlot *slot, bool ended, long *wait_ms)
{
	if (!slot->in_use || slot->pid != 0)
		return TASK_NONE;
	if ((slot->retired || slot->stale) && slot->stop_holds == 0)
	{
		free_slot(slot);
		return TASK_FREE;
	}
	if (slot->replaced)
	{
		slot->replaced = false;
		slot->delay_ms = 0;
		slot->next_start = 0;
		cdc_slot_update_stopping(slot);
	}
	else if (ended)
		note_end(slot);
	if (!cdc_shared->enabled)
		cdc_slot_set_state(slot, CDC_STATE_DISABLED, "server_disabled",
						   "Set cdc_sink.enabled to on.", 0);
	if (slot->stopping)
		return TASK_NONE;
	if (!cdc_launch_has_come(slot->next_start))
	{
		cdc_launch_wake_at(wait_ms, slot->next_start);
		return TASK_NONE;
	}
	return TASK_START;
}

/*
 * Keeps a slot from being started for delay_ms, and says why.  Only what
 * needs a human makes the pauses grow.
 */
static void
hold_back(CdcSlot *slot, CdcState state, const char *reason, const char *hint,
		  int delay_ms)
{
	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	slot->delay_ms = state == CDC_STATE_STOPPED ? delay_ms : 0;
	slot->next_start = cdc_launch_in_ms(delay_ms);
	LWLockRelease(cdc_shared->lock);
	cdc_slot_set_state(slot, state, reason, hint, slot->next_start);
}

/* Starts the apply worker of a slot; false when no process was to be had. */
static bool
start_worker(int index)
{
	CdcSlot    *slot = &cdc_shared->slots[index];
	BackgroundWorker worker;

	cdc_launch_describe(&worker, "cdc_apply_main", index);
	strlcpy(worker.bgw_type, "cdc_sink apply worker", BGW_MAXLEN);
	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	snprintf(worker.bgw_name, BGW_MAXLEN,
			 "cdc_sink apply worker for subscription %s",
			 NameStr(slot->subscription));
	memcpy(worker.bgw_extra, &slot->generation, sizeof(slot->generation));
	slot->fruitless = true;
	LWLockRelease(cdc_shared->lock);
	workers[index] = cdc_launch_start(&worker);
	return workers[index] != NULL;
}

/* Starts the worker of a slot unless something stands against it. */
static void
try_start(int index, long *wait_ms)
{
	CdcSlot    *slot = &cdc_shared->slots[index];
	const char *hint = NULL;
	const char *reason;

	if (!cdc_launch_database_exists(slot->dboid))
	{
		cdc_launch_forget_database(slot->dboid);
		*wait_ms = 0;
		return;
	}
	reason = cdc_launch_obstacle(slot->dboid, slot->owner, &hint);
	if (reason != NULL)
		hold_back(slot, CDC_STATE_STOPPED, reason, hint,
				  Min(Max(slot->delay_ms * 2, slot->retry_backoff_ms),
					  slot->retry_backoff_max_ms));
	else if (!cdc_launch_has_come(cdc_launch_no_worker_until()) || !start_worker(index))
		hold_back(slot, CDC_STATE_WAITING, "no_worker_slot",
				  "You might need to increase max_worker_processes.",
				  NO_WORKER_RETRY_MS);
	else
		return;
	cdc_launch_wake_at(wait_ms, slot->next_start);
}

/* Looks after the worker of one slot. */
static void
do_worker(int index, long *wait_ms)
{
	CdcSlot    *slot = &cdc_shared->slots[index];
	bool		ended = workers[index] != NULL && cdc_launch_has_ended(&workers[index]);
	CdcTask		task;
	bool		stale;

	/* started and not yet attached, or detached and not yet gone */
	if (workers[index] != NULL)
		return;

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	stale = slot->stale;
	task = decide(slot, ended, wait_ms);
	if (task == TASK_FREE && stale)
		cdc_subscription_forget(slot->dboid, slot->subid);
	LWLockRelease(cdc_shared->lock);

	if (task == TASK_START)
		try_start(index, wait_ms);
	else if (task == TASK_FREE)
	{
		/* it may have stood in the way of a new one of the same number */
		if (stale && cdc_launch_database_exists(slot->dboid))
			cdc_scan_request(slot->dboid);
		*wait_ms = 0;
	}
}

/*
 * --- the process ---
 */

/* Takes over cdc_sink.enabled; every worker exits when it is turned off. */
static void
set_enabled(void)
{
	if (cdc_shared->enabled == cdc_guc_enabled)
		return;

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	cdc_shared->enabled = cdc_guc_enabled;
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		cdc_slot_update_stopping(slot);
		if (!slot->in_use || slot->pid != 0 || !cdc_shared->enabled)
			continue;
		slot->delay_ms = 0;
		slot->next_start = 0;
		cdc_slot_set_state(slot, CDC_STATE_STARTING, "", "", 0);
	}
	LWLockRelease(cdc_shared->lock);
}

/* before_shmem_exit callback */
static void
launcher_detach(int code, Datum arg)
{
	cdc_shared->launcher = NULL;
}

/*
 * Takes the launcher's place.  What a launcher before left undone (it may
 * have died) is made up for by a scan of all databases; its handles are
 * lost, so a worker that is only just starting may be started twice: the
 * second one finds the slot taken and exits.
 */
static void
launcher_attach(void)
{
	workers = MemoryContextAllocZero(TopMemoryContext,
									 cdc_shared->nslots * sizeof(BackgroundWorkerHandle *));
	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	cdc_shared->launcher = MyProc;
	for (int i = 0; i < CDC_MAX_SCANS; i++)
		cdc_shared->scans[i].state = CDC_SCAN_NONE;
	cdc_shared->scan_all = 1;
	cdc_shared->scan_all_running = 0;
	LWLockRelease(cdc_shared->lock);
	before_shmem_exit(launcher_detach, (Datum) 0);
	set_enabled();
}

/*
 * Has the clock been set back?  Then starts that are due by the old one would
 * wait for it: they are due now, as are scans.
 */
static void
look_at_clock(void)
{
	static TimestampTz clock = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (now < clock)
	{
		LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
		for (int i = 0; i < cdc_shared->nslots; i++)
			cdc_shared->slots[i].next_start = Min(cdc_shared->slots[i].next_start, now);
		for (int i = 0; i < CDC_MAX_SCANS; i++)
			cdc_shared->scans[i].not_before = Min(cdc_shared->scans[i].not_before, now);
		LWLockRelease(cdc_shared->lock);
		cdc_launch_clock_back(now);
	}
	clock = now;
}

/* Does what there is to do; returns the time until more will be, in ms. */
static long
do_cycle(void)
{
	long		wait_ms = IDLE_MS;

	look_at_clock();
	set_enabled();
	cdc_launch_scans(&wait_ms);
	for (int i = 0; i < cdc_shared->nslots; i++)
		do_worker(i, &wait_ms);
	return wait_ms;
}

/* Waits, then sees to signals.  A shutdown ends it without a word in the log. */
static void
wait_for_work(long wait_ms)
{
	static uint32 wait_event = 0;

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 wait_ms,
					 cdc_compat_wait_event(&wait_event, "CdcSinkLauncherMain"));
	ResetLatch(MyLatch);
	if (ProcDiePending)
		proc_exit(1);			/* 1: so that the postmaster restarts it */
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* The entry. */
void
cdc_launcher_main(Datum arg)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	cdc_compat_no_transaction_timeout();

	context = AllocSetContextCreate(TopMemoryContext, "cdc_sink launcher",
									ALLOCSET_DEFAULT_SIZES);
	launcher_attach();
	for (;;)
	{
		long		wait_ms;

		MemoryContextSwitchTo(context);
		wait_ms = do_cycle();
		MemoryContextReset(context);
		wait_for_work(wait_ms);
	}
}

void
cdc_launcher_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "cdc_sink", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cdc_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "cdc_sink launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cdc_sink launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
