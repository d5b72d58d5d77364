/*-------------------------------------------------------------------------
 *
 * wait_check.c
 *		Can what a caller waits for still come?
 *
 * Floor 9.  Else the wait ends by an error that says why.  The hard thing: a
 * state of shared memory may be older than a change that the caller has just
 * committed, so it is believed only from a worker that has published since
 * it took that change up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "notify.h"
#include "sqlargs.h"
#include "wait_internal.h"

void
cdc_wait_throw_state(const CdcWaiter *waiter, CdcState state, const char *reason,
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
		cdc_wait_throw_state(waiter, CDC_STATE_DISABLED, "restored",
							 "This subscription came with a dump, a template or an upgrade. Call enable_subscription to run it here.",
							 NULL, 0);
	if (!sub->enabled)
		cdc_wait_throw_state(waiter, CDC_STATE_DISABLED, "disabled",
							 "Call enable_subscription.", NULL, 0);
	if (sub->nmappings == 0)
		cdc_wait_throw_state(waiter, CDC_STATE_WAITING, "no_mapping",
							 "Call add_mapping.", NULL, 0);
}

void
cdc_wait_load(CdcWaiter *waiter)
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

bool
cdc_wait_is_mapped(const CdcWaiter *waiter, const char *topic, bool *enabled)
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

bool
cdc_wait_all_current(CdcWaiter *waiter)
{
	bool		current = waiter->nasked > 0;

	for (int i = 0; i < waiter->nasked; i++)
		current = is_current(&waiter->asked[i]) && current;
	return current;
}

bool
cdc_wait_all_fresh(CdcWaiter *waiter)
{
	if (!cdc_wait_all_current(waiter))
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

	return entry->current && entry->status.state == CDC_STATE_STOPPED &&
		cdc_wait_is_mapped(waiter, entry->key.topic, &enabled) && enabled;
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
 * A stop is believed only from a worker that knows the present
 * configuration: enable_subscription may just have ended it.  Who waits for
 * one partition does not care for others that are stopped.
 */
void
cdc_wait_check_workers(const CdcWaiter *waiter)
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
			cdc_wait_throw_state(waiter, slot.state, slot.reason, slot.hint, NULL, 0);
		if (slot.pid != 0 && slot.proc != NULL &&
			slot.proc->waitStatus == PROC_WAIT_STATUS_WAITING &&
			cdc_waits_for_me(slot.pid))
			cdc_wait_throw_state(waiter, CDC_STATE_WAITING, "lock",
								 "Its worker waits for a lock of this transaction. Commit first.",
								 NULL, 0);
	}
}

void
cdc_wait_check_partitions(const CdcWaiter *waiter)
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
			cdc_wait_throw_state(waiter, entry->status.state, entry->status.reason,
								 entry->status.hint, entry->key.topic,
								 entry->key.partition);
	}
}
