/*-------------------------------------------------------------------------
 *
 * wait.c
 *		wait_for_catchup and wait_for_offset.
 *
 * Floor 9.  The worker answers, through its slot and the states of its
 * partitions; a waiter only reads shared memory and sleeps.  The hard thing
 * is what "caught up" refers to: the ends must have been asked for after the
 * call, by a worker that already acts on all that was committed before it.
 * So a waiter first waits for the scans that were asked for, then raises
 * end_request, and takes no end that answers a lower number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "guc.h"
#include "notify.h"
#include "shmem.h"
#include "sqlargs.h"
#include "wait_internal.h"

extern PGDLLEXPORT Datum cdc_sink_wait_for_catchup(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_wait_for_offset(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(cdc_sink_wait_for_catchup);
PG_FUNCTION_INFO_V1(cdc_sink_wait_for_offset);

/*
 * A waiter is woken by the worker.  It looks around by itself after TICK_MS
 * (for what nobody wakes it for: locks, a slot found at last), and reads the
 * subscription's row again after REVIEW_MS.
 */
#define TICK_MS		200
#define REVIEW_MS	1000

/*
 * --- asking ---
 */

/* Is the slot one of the subscription's that should run? */
static bool
is_ours(const CdcWaiter *waiter, const CdcSlot *slot)
{
	return slot->in_use && !slot->stale && slot->dboid == MyDatabaseId &&
		slot->subid == waiter->id;
}

/* Are the workers that were asked still those of the subscription? */
static bool
same_workers(const CdcWaiter *waiter)
{
	int			n = 0;
	bool		same = true;

	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	for (int i = 0; i < cdc_shared->nslots && same; i++)
	{
		if (!is_ours(waiter, &cdc_shared->slots[i]))
			continue;
		same = n < waiter->nasked && waiter->asked[n].index == i &&
			waiter->asked[n].generation == cdc_shared->slots[i].generation;
		n++;
	}
	LWLockRelease(cdc_shared->lock);
	return same && n == waiter->nasked;
}

/*
 * Takes note of the workers of the subscription, and asks them for the ends
 * of their partitions by one number that is new to each of them.
 */
static void
ask_workers(CdcWaiter *waiter)
{
	waiter->nasked = 0;
	waiter->request = 0;
	waiter->fixed = false;
	waiter->requested_at = GetCurrentTimestamp();

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (!is_ours(waiter, slot))
			continue;
		waiter->asked[waiter->nasked].current = false;
		waiter->asked[waiter->nasked].index = i;
		waiter->asked[waiter->nasked].generation = slot->generation;
		waiter->asked[waiter->nasked].config =
			pg_atomic_read_u64(&slot->config_count);
		waiter->nasked++;
		waiter->request = Max(waiter->request,
							  pg_atomic_read_u64(&slot->end_request) + 1);
	}
	for (int i = 0; i < waiter->nasked; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[waiter->asked[i].index];

		if (waiter->wants_ends)
			pg_atomic_write_u64(&slot->end_request, waiter->request);
		if (slot->proc != NULL)
			SetLatch(&slot->proc->procLatch);
	}
	LWLockRelease(cdc_shared->lock);
}

/* Copies the states of the subscription's partitions. */
static void
copy_partitions(CdcWaiter *waiter)
{
	waiter->nentries = cdc_partitions_copy(MyDatabaseId, waiter->id,
										   &waiter->entries,
										   &waiter->entries_size);
}

/* Have all workers answered, with the configuration of then? */
static bool
all_answered(CdcWaiter *waiter)
{
	for (int i = 0; i < waiter->nasked; i++)
		if (pg_atomic_read_u64(&cdc_shared->slots[waiter->asked[i].index].end_served) <
			waiter->request)
			return false;
	return cdc_wait_all_current(waiter);
}

/*
 * Is an end known of this topic, and of each of its partitions?  A topic
 * that is missing has no partition, or one of number -1.
 */
static bool
has_ends(const CdcWaiter *waiter, const char *topic)
{
	int			n = 0;

	for (int i = 0; i < waiter->nentries; i++)
	{
		const CdcPartitionEntry *entry = &waiter->entries[i];

		if (strcmp(entry->key.topic, topic) != 0)
			continue;
		if (entry->key.partition < 0 || entry->status.end_offset < 0 ||
			entry->status.end_request < waiter->request)
			return false;
		n++;
	}
	return n > 0;
}

/*
 * Takes the ends that answer the question as the goals; they stay, whatever
 * arrives later.  False while an end is missing.
 */
static bool
fix_goals(CdcWaiter *waiter)
{
	const CdcSubscription *sub = waiter->subscription;

	for (int i = 0; i < sub->nmappings; i++)
		if (sub->mappings[i].options.enabled &&
			!has_ends(waiter, sub->mappings[i].topic))
			return false;
	waiter->ngoals = 0;
	waiter->goals = palloc((waiter->nentries + 1) * sizeof(CdcGoal));
	for (int i = 0; i < waiter->nentries; i++)
	{
		const CdcPartitionEntry *entry = &waiter->entries[i];
		bool		enabled;

		if (!cdc_wait_is_mapped(waiter, entry->key.topic, &enabled) || !enabled)
			continue;
		waiter->goals[waiter->ngoals].key = entry->key;
		waiter->goals[waiter->ngoals].end = entry->status.end_offset;
		waiter->ngoals++;
	}
	return true;
}

/* Returns the copied state of a partition, or NULL. */
static const CdcPartitionEntry *
find_entry(const CdcWaiter *waiter, const char *topic, int32 partition)
{
	for (int i = 0; i < waiter->nentries; i++)
		if (waiter->entries[i].key.partition == partition &&
			strcmp(waiter->entries[i].key.topic, topic) == 0)
			return &waiter->entries[i];
	return NULL;
}

/* Is the partition where it must come to, or no longer waited for? */
static bool
is_reached(const CdcWaiter *waiter, const CdcGoal *goal)
{
	const CdcPartitionEntry *entry;
	bool		enabled;

	if (!cdc_wait_is_mapped(waiter, goal->key.topic, &enabled) || !enabled)
		return true;
	entry = find_entry(waiter, goal->key.topic, goal->key.partition);
	return entry != NULL && entry->current &&
		entry->status.next_offset >= goal->end;
}

/*
 * --- waiting ---
 */

/* Is the wait over?  May raise an error. */
typedef bool (*CdcWaitTest) (CdcWaiter *waiter, void *arg);

/*
 * Sleeps until a worker has moved on, at most a tick.  The caller has begun
 * to listen before it looked, so nothing is missed.
 */
static void
sleep_on(ConditionVariable *cv, long left_ms)
{
	static uint32 wait_event = 0;

	ConditionVariableTimedSleep(cv, Min(left_ms, TICK_MS),
								cdc_compat_wait_event(&wait_event,
													  "CdcSinkProgress"));
}

/* What is listened to: a worker's progress, or scans while there is none. */
static ConditionVariable *
listen_to(const CdcWaiter *waiter)
{
	if (waiter->nasked == 0)
		return &cdc_shared->scanned;
	return &cdc_shared->slots[waiter->asked[0].index].progress;
}

/* Reads the row again from time to time, and when the workers are others. */
static void
review(CdcWaiter *waiter)
{
	bool		same = same_workers(waiter);

	if ((!same && waiter->requested_at != 0) ||
		TimestampDifferenceExceeds(waiter->reviewed, GetCurrentTimestamp(),
								   REVIEW_MS))
		cdc_wait_load(waiter);
	if (!same)
		ask_workers(waiter);
}

/* Waits for the test to hold; false at time-out. */
static bool
wait_for(CdcWaiter *waiter, CdcWaitTest test, void *arg)
{
	bool		done = false;

	for (;;)
	{
		long		left;

		CHECK_FOR_INTERRUPTS();
		review(waiter);
		ConditionVariablePrepareToSleep(listen_to(waiter));
		waiter->fresh = cdc_wait_all_fresh(waiter);
		copy_partitions(waiter);
		done = test(waiter, arg);
		if (done)
			break;
		cdc_wait_check_workers(waiter);
		cdc_wait_check_partitions(waiter);
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
											   waiter->deadline);
		if (left <= 0)
			break;
		sleep_on(listen_to(waiter), left);
	}
	ConditionVariableCancelSleep();
	return done;
}

/*
 * Test of wait_for_catchup.  Where a topic had no end yet when the workers
 * answered (it is missing, or was found since) they are asked again.
 */
static bool
is_caught_up(CdcWaiter *waiter, void *arg)
{
	if (!waiter->fixed)
	{
		if (!all_answered(waiter))
			return false;
		if (!fix_goals(waiter))
		{
			if (TimestampDifferenceExceeds(waiter->requested_at,
										   GetCurrentTimestamp(), REVIEW_MS))
				ask_workers(waiter);
			return false;
		}
		waiter->fixed = true;
	}
	for (int i = 0; i < waiter->ngoals; i++)
		if (!is_reached(waiter, &waiter->goals[i]))
			return false;
	return true;
}

/* Test of wait_for_offset. */
static bool
is_past_offset(CdcWaiter *waiter, void *arg)
{
	CdcOffsetGoal *goal = arg;
	const CdcPartitionEntry *entry;
	bool		enabled;

	if (!cdc_wait_is_mapped(waiter, goal->topic, &enabled))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" is not mapped by subscription \"%s\"",
						goal->topic, waiter->subscription->name)));
	entry = find_entry(waiter, goal->topic, goal->partition);
	if (entry != NULL && entry->current &&
		entry->status.next_offset > goal->offset && cdc_wait_all_current(waiter))
		return true;
	if (!enabled)
		cdc_wait_throw_state(waiter, CDC_STATE_DISABLED, "mapping_disabled",
							 "Set the mapping's option \"enabled\" to true.",
							 goal->topic, goal->partition);
	return false;
}

/*
 * --- the functions ---
 */

/*
 * Checks where the call stands, and prepares a waiter: everything that was
 * committed before the call has been scanned then.  False at time-out.
 */
static bool
begin_wait(CdcWaiter *waiter, char *name, Interval *timeout)
{
	long		left;

	cdc_shmem_require();
	cdc_refuse_in_worker();
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot wait for a subscription in isolation level REPEATABLE READ or above"),
				 errdetail("This transaction would not see what the worker has committed meanwhile.")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recovery is in progress"),
				 errhint("No subscription runs on a standby.")));

	memset(waiter, 0, sizeof(CdcWaiter));
	waiter->name = name;
	waiter->deadline =
		DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												TimestampTzGetDatum(GetCurrentTimestamp()),
												IntervalPGetDatum(timeout)));
	waiter->context = AllocSetContextCreate(CurrentMemoryContext,
											"cdc_sink waiter",
											ALLOCSET_DEFAULT_SIZES);
	cdc_wait_load(waiter);
	waiter->asked = palloc(cdc_shared->nslots * sizeof(CdcAsked));

	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   waiter->deadline);
	return cdc_scan_wait(MyDatabaseId, cdc_scan_last(), left);
}

/* wait_for_catchup(subscription, timeout) */
Datum
cdc_sink_wait_for_catchup(PG_FUNCTION_ARGS)
{
	CdcWaiter	waiter;

	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_arg_require(fcinfo, 1, "timeout");
	if (!begin_wait(&waiter, cdc_arg_name(fcinfo, 0), PG_GETARG_INTERVAL_P(1)))
		PG_RETURN_BOOL(false);
	waiter.wants_ends = true;
	PG_RETURN_BOOL(wait_for(&waiter, is_caught_up, NULL));
}

/* wait_for_offset(subscription, topic, partition, "offset", timeout) */
Datum
cdc_sink_wait_for_offset(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {
		"subscription", "topic", "partition", "offset", "timeout"
	};
	CdcWaiter	waiter;
	CdcOffsetGoal goal;

	for (int i = 0; i < (int) lengthof(names); i++)
		cdc_arg_require(fcinfo, i, names[i]);
	goal.topic = cdc_arg_text(fcinfo, 1);
	goal.partition = PG_GETARG_INT32(2);
	goal.offset = PG_GETARG_INT64(3);
	if (goal.partition < 0 || goal.offset < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition and offset must not be negative")));
	if (!begin_wait(&waiter, cdc_arg_name(fcinfo, 0), PG_GETARG_INTERVAL_P(4)))
		PG_RETURN_BOOL(false);
	waiter.only = &goal;
	PG_RETURN_BOOL(wait_for(&waiter, is_past_offset, &goal));
}
