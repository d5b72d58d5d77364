/*-------------------------------------------------------------------------
 *
 * shmem.c
 *		Shared memory: its reservation, and the slots of apply workers.
 *
 * Floor 2.  Used by the launcher (who runs), the workers (what they do) and
 * the statistics functions (what they did); what workers publish of single
 * partitions, tables and errors is in report.c.  The hard thing: a worker
 * may die at any point, so a slot is only ever freed by its own detach, and
 * a generation tells a late worker that the slot has moved on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"

#include "guc.h"
#include "shmem.h"

CdcShared  *cdc_shared = NULL;
HTAB	   *cdc_shared_partitions = NULL;
HTAB	   *cdc_shared_tables = NULL;
CdcSlot    *cdc_my_slot = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* Size of the one struct. */
static Size
shared_size(void)
{
	return add_size(offsetof(CdcShared, slots),
					mul_size(sizeof(CdcSlot), cdc_guc_max_workers));
}

/* shmem_request_hook: reserves space and the lock. */
static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	RequestAddinShmemSpace(shared_size());
	RequestAddinShmemSpace(hash_estimate_size(CDC_MAX_PARTITIONS,
											  sizeof(CdcPartitionEntry)));
	RequestAddinShmemSpace(hash_estimate_size(CDC_MAX_TABLES,
											  sizeof(CdcTableEntry)));
	RequestNamedLWLockTranche("cdc_sink", 1);
}

/* Sets up a slot that was never used. */
static void
init_slot(CdcSlot *slot)
{
	memset(slot, 0, sizeof(CdcSlot));
	SpinLockInit(&slot->mutex);
	ConditionVariableInit(&slot->progress);
	pg_atomic_init_u64(&slot->config_count, 0);
	pg_atomic_init_u64(&slot->config_seen, 0);
	pg_atomic_init_u64(&slot->end_request, 0);
	pg_atomic_init_u32(&slot->gathered, 0);
	pg_atomic_init_u64(&slot->end_served, 0);
	pg_atomic_init_u64(&slot->batches_run, 0);
	pg_atomic_init_u64(&slot->publications, 0);
	for (int i = 0; i < CDC_NCOUNTERS; i++)
		pg_atomic_init_u64(&slot->counters[i], 0);
}

/*
 * Sets up the struct.  A launcher's first duty is to look into every
 * database; whoever waits for scans before it runs waits for that one.
 */
static void
init_shared(void)
{
	memset(cdc_shared, 0, shared_size());
	cdc_shared->lock = &(GetNamedLWLockTranche("cdc_sink"))->lock;
	cdc_shared->scan_number = 1;
	cdc_shared->scan_all = 1;
	ConditionVariableInit(&cdc_shared->scanned);
	cdc_shared->nslots = cdc_guc_max_workers;
	for (int i = 0; i < cdc_shared->nslots; i++)
		init_slot(&cdc_shared->slots[i]);
}

/* Attaches to, or makes, one of the hashes. */
static HTAB *
init_hash(const char *name, long size, Size keysize, Size entrysize)
{
	HASHCTL		info;

	info.keysize = keysize;
	info.entrysize = entrysize;
	return ShmemInitHash(name, size, size, &info,
						 HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

/* shmem_startup_hook: in the postmaster, and again after a crash. */
static void
shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cdc_shared = ShmemInitStruct("cdc_sink", shared_size(), &found);
	if (!found)
		init_shared();
#ifdef CDC_DEVELOPER
	cdc_debug_shared = &cdc_shared->debug;
	if (!found)
	{
		pg_atomic_init_u32(&cdc_debug_shared->run, 0);
		pg_atomic_init_u64(&cdc_debug_shared->hits, 0);
	}
#endif
	cdc_shared_partitions = init_hash("cdc_sink partitions",
									  CDC_MAX_PARTITIONS,
									  sizeof(CdcPartitionKey),
									  sizeof(CdcPartitionEntry));
	cdc_shared_tables = init_hash("cdc_sink tables", CDC_MAX_TABLES,
								  sizeof(CdcTableKey),
								  sizeof(CdcTableEntry));
	LWLockRelease(AddinShmemInitLock);
}

void
cdc_shmem_install(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

bool
cdc_shmem_available(void)
{
	return cdc_shared != NULL;
}

void
cdc_shmem_require(void)
{
	if (cdc_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cdc_sink must be loaded via shared_preload_libraries"),
				 errhint("Add the line shared_preload_libraries = 'cdc_sink' to postgresql.conf (or cdc_sink to the list that is there) and restart the server.")));
}

const char *
cdc_state_name(CdcState state)
{
	static const char *const names[] = {
		[CDC_STATE_STREAMING] = "streaming",
		[CDC_STATE_CATCHING_UP] = "catching_up",
		[CDC_STATE_STARTING] = "starting",
		[CDC_STATE_WAITING] = "waiting",
		[CDC_STATE_RETRYING] = "retrying",
		[CDC_STATE_STOPPED] = "stopped",
		[CDC_STATE_DISABLED] = "disabled",
	};

	return names[state];
}

/*
 * Reads the launcher's PGPROC without the lock: the pointer stays inside the
 * server's array, and a latch set in vain does no harm.
 */
void
cdc_launcher_wake(void)
{
	PGPROC	   *launcher = *((PGPROC *volatile *) &cdc_shared->launcher);

	if (launcher != NULL)
		SetLatch(&launcher->procLatch);
}

/* Deletes the entries of one subscription from the hashes. */
static void
forget_entries(Oid dboid, int64 subid)
{
	HASH_SEQ_STATUS scan;
	CdcPartitionEntry *partition;
	CdcTableEntry *table;

	hash_seq_init(&scan, cdc_shared_partitions);
	while ((partition = hash_seq_search(&scan)) != NULL)
		if (partition->key.dboid == dboid && partition->key.subid == subid)
			hash_search(cdc_shared_partitions, &partition->key,
						HASH_REMOVE, NULL);

	hash_seq_init(&scan, cdc_shared_tables);
	while ((table = hash_seq_search(&scan)) != NULL)
		if (table->key.dboid == dboid && table->key.subid == subid)
			hash_search(cdc_shared_tables, &table->key, HASH_REMOVE, NULL);
}

/*
 * The slot must not be in use.  config_count starts one ahead of config_seen,
 * so that nothing known of an earlier run counts as up to date.
 */
void
cdc_slot_reset(CdcSlot *slot, Oid dboid, int64 subid, int32 worker_no)
{
	TimestampTz now = GetCurrentTimestamp();

	Assert(LWLockHeldByMeInMode(cdc_shared->lock, LW_EXCLUSIVE));
	Assert(!slot->in_use && slot->pid == 0);

	if (slot->subid != 0 && slot->worker_no == 0)
		forget_entries(slot->dboid, slot->subid);
	slot->dboid = dboid;
	slot->extension = InvalidOid;
	slot->subid = subid;
	slot->worker_no = worker_no;
	slot->retired = false;
	slot->retired_by = 0;
	slot->stale = false;
	slot->replaced = false;
	slot->stopping = false;
	slot->stop_holds = 0;
	slot->fruitless = false;
	slot->next_start = 0;
	slot->delay_ms = 0;
	slot->runs = 0;
	slot->generation++;
	pg_atomic_write_u64(&slot->config_count, 1);
	pg_atomic_write_u64(&slot->config_seen, 0);
	pg_atomic_write_u64(&slot->end_request, 0);
	pg_atomic_write_u64(&slot->end_served, 0);
	pg_atomic_write_u32(&slot->gathered, 0);
	for (int i = 0; i < CDC_NCOUNTERS; i++)
		pg_atomic_write_u64(&slot->counters[i], 0);

	SpinLockAcquire(&slot->mutex);
	slot->state = CDC_STATE_DISABLED;
	slot->reason[0] = '\0';
	slot->hint[0] = '\0';
	slot->state_since = now;
	slot->next_retry = 0;
	slot->last_receive_time = 0;
	slot->last_apply_time = 0;
	slot->last_commit_time = 0;
	slot->stats_reset = now;
	SpinLockRelease(&slot->mutex);
}

void
cdc_slot_set_state(CdcSlot *slot, CdcState state, const char *reason,
				   const char *hint, TimestampTz next_retry)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		changed;

	if (reason == NULL)
		reason = "";
	if (hint == NULL)
		hint = "";

	SpinLockAcquire(&slot->mutex);
	changed = slot->state != state || strcmp(slot->reason, reason) != 0;
	if (changed)
		slot->state_since = now;
	slot->state = state;
	strlcpy(slot->reason, reason, sizeof(slot->reason));
	strlcpy(slot->hint, hint, sizeof(slot->hint));
	slot->next_retry = next_retry;
	SpinLockRelease(&slot->mutex);

	if (changed)
		ConditionVariableBroadcast(&slot->progress);
}

void
cdc_slot_copy(CdcSlot *slot, CdcSlot *copy)
{
	SpinLockAcquire(&slot->mutex);
	memcpy(copy, slot, sizeof(CdcSlot));
	SpinLockRelease(&slot->mutex);
}

bool
cdc_slot_is_behind(CdcSlot *slot)
{
	return pg_atomic_read_u64(&slot->config_seen) <
		pg_atomic_read_u64(&slot->config_count);
}

void
cdc_slot_update_stopping(CdcSlot *slot)
{
	Assert(LWLockHeldByMeInMode(cdc_shared->lock, LW_EXCLUSIVE));

	slot->stopping = slot->retired || slot->stale || slot->replaced ||
		slot->stop_holds > 0 || !cdc_shared->enabled;
	if (slot->stopping && slot->proc != NULL)
		SetLatch(&slot->proc->procLatch);
}

/* A slot in use is marked; the launcher frees it once its worker is gone. */
void
cdc_subscription_forget(Oid dboid, int64 subid)
{
	Assert(LWLockHeldByMeInMode(cdc_shared->lock, LW_EXCLUSIVE));

	forget_entries(dboid, subid);
	for (int i = 0; i < CDC_MAX_ERRORS; i++)
	{
		CdcErrorReport *report = &cdc_shared->errors[i];

		if (report->dboid == dboid && report->subid == subid)
			report->subid = 0;
	}
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->dboid != dboid || slot->subid != subid)
			continue;
		if (slot->in_use)
		{
			slot->stale = true;
			cdc_slot_update_stopping(slot);
		}
		else
			slot->subid = 0;
	}
}

/*
 * before_shmem_exit callback of an apply worker.  Registered first, so it
 * runs last: the transaction is aborted and the Kafka handle destroyed when
 * others learn that the worker is gone.  What the worker said of its state
 * stays if it explains the exit.
 */
static void
slot_detach(int code, Datum arg)
{
	CdcSlot    *slot = cdc_my_slot;
	bool		explained;

	if (slot == NULL)
		return;
	cdc_my_slot = NULL;

	SpinLockAcquire(&slot->mutex);
	explained = slot->state == CDC_STATE_STOPPED ||
		slot->state == CDC_STATE_RETRYING;
	SpinLockRelease(&slot->mutex);
	if (!explained && !slot->stopping)
		cdc_slot_set_state(slot, CDC_STATE_RETRYING, "worker_exited",
						   "See the server log for the reason.", 0);

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	slot->pid = 0;
	slot->proc = NULL;
	slot->fruitless = pg_atomic_read_u64(&slot->batches_run) == 0;
	LWLockRelease(cdc_shared->lock);

	ConditionVariableBroadcast(&slot->progress);
	cdc_launcher_wake();
}

/*
 * The state stays what the last run left (retrying, stopped) unless the
 * configuration has changed since: a worker that fails at every start would
 * otherwise flicker.
 */
void
cdc_slot_attach(int index, uint64 generation)
{
	CdcSlot    *slot;
	bool		mine;
	bool		keep_state;

	Assert(cdc_shared != NULL && cdc_my_slot == NULL);
	if (index < 0 || index >= cdc_shared->nslots)
		elog(ERROR, "no worker slot %d", index);
	slot = &cdc_shared->slots[index];

	LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
	mine = slot->in_use && !slot->stopping && slot->pid == 0 &&
		slot->generation == generation;
	if (mine)
	{
		slot->pid = MyProcPid;
		slot->proc = MyProc;
		slot->runs++;
		pg_atomic_write_u64(&slot->batches_run, 0);
		cdc_my_slot = slot;
	}
	LWLockRelease(cdc_shared->lock);

	if (!mine)
		proc_exit(0);
	before_shmem_exit(slot_detach, (Datum) 0);

	SpinLockAcquire(&slot->mutex);
	keep_state = slot->state == CDC_STATE_RETRYING ||
		slot->state == CDC_STATE_STOPPED;
	SpinLockRelease(&slot->mutex);
	if (!keep_state || cdc_slot_is_behind(slot))
		cdc_slot_set_state(slot, CDC_STATE_STARTING, "", "", 0);
	cdc_debug_point("attached");
}
