/*-------------------------------------------------------------------------
 *
 * report.c
 *		What an apply worker publishes in shared memory: its state, its
 *		counters, its partitions, its errors.
 *
 * Floor 2.  Declared in shmem.h.  Nothing here raises an error: a worker
 * reports while it handles one, and after a commit that cannot be undone.
 * Where shared memory is full, a partition or a table is left out and the
 * log says so once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"

#include "guc.h"
#include "shmem.h"

bool
cdc_slot_stopping(void)
{
	return cdc_my_slot != NULL &&
		*((volatile bool *) &cdc_my_slot->stopping);
}

/* Slot of worker 0 of this worker's subscription; the lock is held. */
static CdcSlot *
first_slot(void)
{
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->in_use && slot->dboid == cdc_my_slot->dboid &&
			slot->subid == cdc_my_slot->subid && slot->worker_no == 0)
			return slot;
	}
	return NULL;
}

bool
cdc_slot_gathered(void)
{
	CdcSlot    *first;
	bool		gathered;

	if (cdc_my_slot == NULL || cdc_my_slot->nworkers <= 1)
		return false;
	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	first = first_slot();
	gathered = first != NULL && pg_atomic_read_u32(&first->gathered) != 0;
	LWLockRelease(cdc_shared->lock);
	return gathered;
}

void
cdc_slot_gather(bool gathered)
{
	CdcSlot    *first;

	if (cdc_my_slot == NULL)
		return;
	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	first = first_slot();
	if (first != NULL)
		pg_atomic_write_u32(&first->gathered, gathered ? 1 : 0);
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (!slot->in_use || slot->dboid != cdc_my_slot->dboid ||
			slot->subid != cdc_my_slot->subid)
			continue;
		pg_atomic_fetch_add_u64(&slot->config_count, 1);
		if (slot->proc != NULL)
			SetLatch(&slot->proc->procLatch);
	}
	LWLockRelease(cdc_shared->lock);
}

void
cdc_slot_report(CdcState state, const char *reason, const char *hint,
				TimestampTz next_retry)
{
	if (cdc_my_slot != NULL)
		cdc_slot_set_state(cdc_my_slot, state, reason, hint, next_retry);
}

/* A committed batch also counts for the run: see CdcSlot.batches_run. */
void
cdc_slot_count(CdcCounter counter, uint64 delta)
{
	if (cdc_my_slot == NULL)
		return;
	pg_atomic_fetch_add_u64(&cdc_my_slot->counters[counter], delta);
	if (counter == CDC_COUNT_BATCHES)
		pg_atomic_fetch_add_u64(&cdc_my_slot->batches_run, delta);
}

void
cdc_slot_times(TimestampTz received, TimestampTz applied,
			   TimestampTz committed)
{
	CdcSlot    *slot = cdc_my_slot;

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	if (received != 0)
		slot->last_receive_time = received;
	if (applied != 0)
		slot->last_apply_time = applied;
	if (committed != 0)
		slot->last_commit_time = committed;
	SpinLockRelease(&slot->mutex);
}

void
cdc_slot_wake_waiters(void)
{
	if (cdc_my_slot == NULL)
		return;
	pg_atomic_fetch_add_u64(&cdc_my_slot->publications, 1);
	ConditionVariableBroadcast(&cdc_my_slot->progress);
}

/* Fills the key of a partition of this worker's subscription. */
static void
partition_key(CdcPartitionKey *key, const char *topic, int32 partition)
{
	memset(key, 0, sizeof(CdcPartitionKey));
	key->dboid = cdc_my_slot->dboid;
	key->subid = cdc_my_slot->subid;
	key->partition = partition;
	strlcpy(key->topic, topic, sizeof(key->topic));
}

/* Says once a process that there is no room for what. */
static void
warn_full(const char *what)
{
	static bool warned = false;

	if (!warned)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no shared memory left for the states of %s", what),
				 errhint("Increase cdc_sink.max_workers.")));
	warned = true;
}

bool
cdc_partition_report(const char *topic, int32 partition,
					 const CdcPartitionStatus *status)
{
	CdcPartitionKey key;
	CdcPartitionEntry *entry;
	bool		found;
	TimestampTz now;

	if (cdc_my_slot == NULL)
		return true;
	partition_key(&key, topic, partition);
	now = GetCurrentTimestamp();

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	entry = hash_search(cdc_shared_partitions, &key, HASH_ENTER_NULL, &found);
	if (entry != NULL)
	{
		if (!found || entry->status.state != status->state ||
			strcmp(entry->status.reason, status->reason) != 0)
			entry->state_since = now;
		entry->status = *status;
		entry->slot = cdc_my_slot - cdc_shared->slots;
		entry->generation = cdc_my_slot->generation;
		entry->config = pg_atomic_read_u64(&cdc_my_slot->config_seen);
	}
	LWLockRelease(cdc_shared->lock);

	if (entry == NULL)
		warn_full("partitions");
	return entry != NULL;
}

void
cdc_partition_forget(const char *topic, int32 partition)
{
	CdcPartitionKey key;

	if (cdc_my_slot == NULL)
		return;
	partition_key(&key, topic, partition);
	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	hash_search(cdc_shared_partitions, &key, HASH_REMOVE, NULL);
	LWLockRelease(cdc_shared->lock);
}

/*
 * Does the state of a partition tell of the present configuration?  The lock
 * must be held.
 */
static bool
is_current(const CdcPartitionEntry *entry)
{
	CdcSlot    *slot = &cdc_shared->slots[entry->slot];

	return slot->dboid == entry->key.dboid && slot->subid == entry->key.subid &&
		slot->generation == entry->generation &&
		entry->config >= pg_atomic_read_u64(&slot->config_count);
}

/*
 * Copies what fits; returns how many there are.  The lock must be held.
 */
static int
copy_fitting(Oid dboid, int64 subid, CdcPartitionEntry *entries, int size)
{
	HASH_SEQ_STATUS scan;
	CdcPartitionEntry *entry;
	int			n = 0;

	hash_seq_init(&scan, cdc_shared_partitions);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->key.dboid != dboid ||
			(subid != 0 && entry->key.subid != subid))
			continue;
		if (n < size)
		{
			entries[n] = *entry;
			entries[n].current = is_current(entry);
		}
		n++;
	}
	return n;
}

int
cdc_partitions_copy(Oid dboid, int64 subid, CdcPartitionEntry **entries,
					int *size)
{
	for (;;)
	{
		int			n;

		LWLockAcquire(cdc_shared->lock, LW_SHARED);
		n = copy_fitting(dboid, subid, *entries, *size);
		LWLockRelease(cdc_shared->lock);
		if (n <= *size)
			return n;
		if (*size > 0)
			pfree(*entries);
		*size = n + 16;
		*entries = palloc(*size * sizeof(CdcPartitionEntry));
	}
}

void
cdc_table_count(Oid relid, const CdcTableCounts *delta)
{
	CdcTableKey key;
	CdcTableEntry *entry;
	bool		found;

	if (cdc_my_slot == NULL)
		return;
	memset(&key, 0, sizeof(key));
	key.dboid = cdc_my_slot->dboid;
	key.subid = cdc_my_slot->subid;
	key.relid = relid;

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	entry = hash_search(cdc_shared_tables, &key, HASH_ENTER_NULL, &found);
	if (entry != NULL)
	{
		CdcTableCounts *counts = &entry->counts;

		if (!found)
			memset(counts, 0, sizeof(CdcTableCounts));
		counts->inserted += delta->inserted;
		counts->updated += delta->updated;
		counts->deleted += delta->deleted;
		counts->truncated += delta->truncated;
		counts->noop += delta->noop;
		counts->dead_letters += delta->dead_letters;
		counts->update_missing += delta->update_missing;
		counts->delete_missing += delta->delete_missing;
		if (delta->last_apply_time != 0)
			counts->last_apply_time = delta->last_apply_time;
	}
	LWLockRelease(cdc_shared->lock);

	if (entry == NULL)
		warn_full("tables");
}

/* Is it the same failure, met once more? */
static bool
same_error(const CdcErrorReport *a, const CdcErrorReport *b)
{
	return a->subid == b->subid && a->dboid == b->dboid &&
		a->sqlstate == b->sqlstate &&
		a->partition == b->partition && a->offset == b->offset &&
		strcmp(a->topic, b->topic) == 0 &&
		strcmp(a->message, b->message) == 0;
}

/*
 * Where a report goes: over its own repetition, else a free place, else the
 * oldest.  The lock must be held.
 */
static CdcErrorReport *
error_place(const CdcErrorReport *report)
{
	CdcErrorReport *oldest = &cdc_shared->errors[0];

	for (int i = 0; i < CDC_MAX_ERRORS; i++)
	{
		CdcErrorReport *place = &cdc_shared->errors[i];

		if (same_error(place, report))
			return place;
		if (oldest->subid != 0 &&
			(place->subid == 0 || place->occurred_at < oldest->occurred_at))
			oldest = place;
	}
	return oldest;
}

void
cdc_error_report(CdcErrorReport *report)
{
	if (cdc_shared == NULL)
		return;
	report->dboid = MyDatabaseId;
	report->occurred_at = GetCurrentTimestamp();

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	if (cdc_my_slot != NULL)
	{
		report->dboid = cdc_my_slot->dboid;
		report->subid = cdc_my_slot->subid;
		report->owner = cdc_my_slot->owner;
		report->subscription = cdc_my_slot->subscription;
	}
	if (report->subid != 0)
		*error_place(report) = *report;
	LWLockRelease(cdc_shared->lock);
}
