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

/* A worker as it was when the waiter asked it. */
typedef struct CdcAsked
{
	int			index;
	uint64		generation;
	uint64		config;			/* changes committed before the question */
	bool		current;		/* it has acted upon them ... */
	uint64		publications;	/* ... when it had published so often */
} CdcAsked;

/* A partition, and where it must come to. */
typedef struct CdcGoal
{
	CdcPartitionKey key;
	int64		end;
} CdcGoal;

/* What wait_for_offset waits for. */
typedef struct CdcOffsetGoal
{
	char	   *topic;
	int32		partition;
	int64		offset;
} CdcOffsetGoal;

/* A call of one of the functions. */
typedef struct CdcWaiter
{
	int64		id;				/* of the subscription; 0: not known yet */
	char	   *name;			/* as called */
	bool		wants_ends;		/* wait_for_catchup */
	const CdcOffsetGoal *only;	/* wait_for_offset; else NULL: all partitions */
	CdcSubscription *subscription;	/* in its own context, read again */
	MemoryContext context;		/* of the above */
	TimestampTz deadline;
	TimestampTz reviewed;
	TimestampTz requested_at;
	uint64		request;		/* number of the question; 0: not asked yet */
	int			nasked;
	CdcAsked   *asked;			/* room for all slots */
	bool		fresh;			/* states tell of the present configuration */
	bool		fixed;			/* the goals are known */
	int			ngoals;
	CdcGoal    *goals;
	int			nentries;
	int			entries_size;
	CdcPartitionEntry *entries; /* states of partitions, as last copied */
} CdcWaiter;

/*
 * --- errors ---
 */

/* ERROR 55000 with state, reason and hint. */
static void
throw_state(const CdcWaiter *waiter, CdcState state, const char *reason,
			const char *hint, const char *topic, int32 partition)
{
	const char *name = waiter->subscription->name;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 topic == NULL ?
			 errmsg("subscription \"%s\" is %s", name, cdc_state_name(state)) :
			 errmsg("partition %d of topic \"%s\" of subscription \"%s\" is %s",
					partition, topic, name, cdc_state_name(state)),
			 errdetail("State: %s, reason: %s.", cdc_state_name(state),
					   reason[0] != '\0' ? reason : "none"),
			 hint[0] != '\0' ? errhint("%s", hint) : 0));
}

/* Raises an error where the subscription, as its row says, cannot run. */
static void
check_subscription(const CdcWaiter *waiter)
{
	const CdcSubscription *sub = waiter->subscription;

	if (cdc_notify_pending(sub->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subscription \"%s\" was changed in this transaction",
						sub->name),
				 errdetail("State: %s, reason: %s.", "waiting",
						   "uncommitted_change"),
				 errhint("Commit first: its worker acts on committed changes only.")));
	if (sub->restored)
		throw_state(waiter, CDC_STATE_DISABLED, "restored",
					"This subscription came with a dump, a template or an upgrade. Call enable_subscription to run it here.",
					NULL, 0);
	if (!sub->enabled)
		throw_state(waiter, CDC_STATE_DISABLED, "disabled",
					"Call enable_subscription.", NULL, 0);
	if (sub->nmappings == 0)
		throw_state(waiter, CDC_STATE_WAITING, "no_mapping",
					"Call add_mapping.", NULL, 0);
}

/*
 * Reads the subscription and its mappings, as committed now; errors where it
 * is gone, not the caller's, or cannot run.
 */
static void
load_subscription(CdcWaiter *waiter)
{
	MemoryContext old;
	CdcSubscription *sub;

	MemoryContextReset(waiter->context);
	old = MemoryContextSwitchTo(waiter->context);
	sub = waiter->id == 0 ? cdc_catalog_find(waiter->name) :
		cdc_catalog_load(waiter->id);
	MemoryContextSwitchTo(old);
	if (sub == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" does not exist",
						waiter->name)));
	waiter->id = sub->id;
	waiter->subscription = sub;
	waiter->reviewed = GetCurrentTimestamp();
	cdc_subscription_check_member(sub->name, sub->owner);
	check_subscription(waiter);
}

/* Is the topic mapped?  *enabled: by a mapping that is enabled. */
static bool
is_mapped(const CdcWaiter *waiter, const char *topic, bool *enabled)
{
	const CdcSubscription *sub = waiter->subscription;

	for (int i = 0; i < sub->nmappings; i++)
		if (strcmp(sub->mappings[i].topic, topic) == 0)
		{
			*enabled = sub->mappings[i].options.enabled;
			return true;
		}
	return false;
}

/* Has the worker acted upon all that was committed when it was asked? */
static bool
is_current(CdcAsked *asked)
{
	CdcSlot    *slot = &cdc_shared->slots[asked->index];

	if (!asked->current &&
		pg_atomic_read_u64(&slot->config_seen) >= asked->config)
	{
		asked->current = true;
		asked->publications = pg_atomic_read_u64(&slot->publications);
	}
	return asked->current;
}

/* Have all workers? */
static bool
all_current(CdcWaiter *waiter)
{
	bool		current = waiter->nasked > 0;

	for (int i = 0; i < waiter->nasked; i++)
		current = is_current(&waiter->asked[i]) && current;
	return current;
}

/*
 * Have all workers published their states since then?  To be asked before
 * the states are copied.
 */
static bool
all_fresh(CdcWaiter *waiter)
{
	if (!all_current(waiter))
		return false;
	for (int i = 0; i < waiter->nasked; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[waiter->asked[i].index];

		if (pg_atomic_read_u64(&slot->publications) <=
			waiter->asked[i].publications)
			return false;
	}
	return true;
}

/* Is a partition stopped of a topic that is mapped? */
static bool
is_stopped(const CdcWaiter *waiter, const CdcPartitionEntry *entry)
{
	bool		enabled;

	return entry->status.state == CDC_STATE_STOPPED &&
		is_mapped(waiter, entry->key.topic, &enabled) && enabled;
}

/*
 * Is it only partitions that are stopped, and not the whole worker?  A worker
 * shows the worst of its partitions.
 */
static bool
partitions_only(const CdcWaiter *waiter)
{
	for (int i = 0; i < waiter->nentries; i++)
		if (is_stopped(waiter, &waiter->entries[i]))
			return true;
	return false;
}

/*
 * Is the stop of a slot without a process one that stays?  Of the launcher,
 * which finds that the owner cannot connect, or of a worker that ended: but
 * not where the configuration was changed since.
 */
static bool
stays_stopped(CdcSlot *shared, const CdcSlot *slot)
{
	return slot->pid == 0 && (strncmp(slot->reason, "owner_", 6) == 0 ||
							  !cdc_slot_is_behind(shared));
}

/*
 * Raises an error where a worker is stopped, switched off, or waits for the
 * caller.  A stop is believed only from a worker that knows the present
 * configuration: enable_subscription may just have ended it.  Who waits for
 * one partition does not care for others that are stopped.
 */
static void
check_workers(const CdcWaiter *waiter)
{
	for (int i = 0; i < waiter->nasked; i++)
	{
		CdcSlot		slot;
		CdcSlot    *shared = &cdc_shared->slots[waiter->asked[i].index];

		cdc_slot_copy(shared, &slot);
		if (slot.state == CDC_STATE_DISABLED ||
			(slot.state == CDC_STATE_STOPPED &&
			 (stays_stopped(shared, &slot) ||
			  (slot.pid != 0 && waiter->fresh && !(waiter->only && partitions_only(waiter))))))
			throw_state(waiter, slot.state, slot.reason, slot.hint, NULL, 0);
		if (slot.pid != 0 &&
			slot.proc->waitStatus == PROC_WAIT_STATUS_WAITING &&
			cdc_waits_for_me(slot.pid))
			throw_state(waiter, CDC_STATE_WAITING, "lock",
						"Its worker waits for a lock of this transaction. Commit first.",
						NULL, 0);
	}
}

/* Raises an error where a partition that is waited for is stopped. */
static void
check_partitions(const CdcWaiter *waiter)
{
	if (!waiter->fresh)
		return;
	for (int i = 0; i < waiter->nentries; i++)
	{
		const CdcPartitionEntry *entry = &waiter->entries[i];

		if (waiter->only && (entry->key.partition != waiter->only->partition ||
							 strcmp(entry->key.topic, waiter->only->topic) != 0))
			continue;
		if (is_stopped(waiter, entry))
			throw_state(waiter, entry->status.state, entry->status.reason,
						entry->status.hint, entry->key.topic,
						entry->key.partition);
	}
}

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
	return all_current(waiter);
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

		if (!is_mapped(waiter, entry->key.topic, &enabled) || !enabled)
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

	if (!is_mapped(waiter, goal->key.topic, &enabled) || !enabled)
		return true;
	entry = find_entry(waiter, goal->key.topic, goal->key.partition);
	return entry != NULL && entry->status.next_offset >= goal->end;
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
		load_subscription(waiter);
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
		waiter->fresh = all_fresh(waiter);
		copy_partitions(waiter);
		done = test(waiter, arg);
		if (done)
			break;
		check_workers(waiter);
		check_partitions(waiter);
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

	if (!is_mapped(waiter, goal->topic, &enabled))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" is not mapped by subscription \"%s\"",
						goal->topic, waiter->subscription->name)));
	entry = find_entry(waiter, goal->topic, goal->partition);
	if (entry != NULL && entry->status.next_offset > goal->offset &&
		all_current(waiter))
		return true;
	if (!enabled)
		throw_state(waiter, CDC_STATE_DISABLED, "mapping_disabled",
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
	load_subscription(waiter);
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
