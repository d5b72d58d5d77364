/*-------------------------------------------------------------------------
 *
 * stats.c
 *		The functions behind the pg_stat_cdc_sink_* views, and reset_stats.
 *
 * Floor 9.  Each copies what concerns this database under the lock and
 * formats it afterwards.  The hard thing: everybody may call them.  Counters
 * and states are for all, as in pg_stat_activity; texts that may hold data
 * are for members of the subscription's owner and, but for details, of
 * pg_read_all_stats.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "shmem.h"
#include "sqlargs.h"

extern PGDLLEXPORT Datum cdc_sink_pg_stat_get_cdc_sink_subscription(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_pg_stat_get_cdc_sink_partition(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_pg_stat_get_cdc_sink_table(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_pg_stat_get_cdc_sink_error(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_reset_stats(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(cdc_sink_pg_stat_get_cdc_sink_subscription);
PG_FUNCTION_INFO_V1(cdc_sink_pg_stat_get_cdc_sink_partition);
PG_FUNCTION_INFO_V1(cdc_sink_pg_stat_get_cdc_sink_table);
PG_FUNCTION_INFO_V1(cdc_sink_pg_stat_get_cdc_sink_error);
PG_FUNCTION_INFO_V1(cdc_sink_reset_stats);

/* Slots and partitions of this database. */
typedef struct CdcCopy
{
	int			nslots;
	CdcSlot    *slots;
	int			npartitions;
	CdcPartitionEntry *partitions;
} CdcCopy;

/* A row under construction. */
#define MAX_COLUMNS 20
typedef struct CdcRow
{
	int			n;
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
} CdcRow;

/*
 * --- rows ---
 */

static void
put(CdcRow *row, Datum value, bool isnull)
{
	Assert(row->n < MAX_COLUMNS);
	row->values[row->n] = value;
	row->nulls[row->n++] = isnull;
}

static void
put_int64(CdcRow *row, int64 value)
{
	put(row, Int64GetDatum(value), false);
}

/* An offset; -1 means unknown. */
static void
put_offset(CdcRow *row, int64 offset)
{
	put(row, Int64GetDatum(offset), offset < 0);
}

/* A process or a partition; absent: NULL. */
static void
put_int32(CdcRow *row, int32 value, int32 absent)
{
	put(row, Int32GetDatum(value), value == absent);
}

/* A text; "" and NULL become NULL. */
static void
put_text(CdcRow *row, const char *text)
{
	if (text == NULL || text[0] == '\0')
		put(row, (Datum) 0, true);
	else
		put(row, CStringGetTextDatum(text), false);
}

/* 0: never */
static void
put_time(CdcRow *row, TimestampTz time)
{
	put(row, TimestampTzGetDatum(time), time == 0);
}

static void
end_row(FunctionCallInfo fcinfo, CdcRow *row)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(result->setResult, result->setDesc, row->values,
						 row->nulls);
	row->n = 0;
}

/*
 * --- copies ---
 */

/* Copies slots and partitions of this database; palloc'd. */
static void
copy_shared(CdcCopy *copy)
{
	int			size = 0;

	memset(copy, 0, sizeof(CdcCopy));
	copy->slots = palloc(cdc_shared->nslots * sizeof(CdcSlot));

	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->dboid == MyDatabaseId && slot->subid != 0 && !slot->stale)
			cdc_slot_copy(slot, &copy->slots[copy->nslots++]);
	}
	LWLockRelease(cdc_shared->lock);
	copy->npartitions = cdc_partitions_copy(MyDatabaseId, 0,
											&copy->partitions, &size);
}

/* Returns the copied slot of a subscription's worker, or NULL. */
static CdcSlot *
find_slot(const CdcCopy *copy, int64 subid, int worker_no)
{
	for (int i = 0; i < copy->nslots; i++)
		if (copy->slots[i].subid == subid &&
			copy->slots[i].worker_no == worker_no)
			return &copy->slots[i];
	return NULL;
}

static bool
is_member(Oid owner)
{
	return OidIsValid(owner) && is_member_of_role(GetUserId(), owner);
}

/* May the caller see messages and hints of this owner's subscriptions? */
static bool
sees_texts(Oid owner)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		is_member(owner);
}

/*
 * --- subscriptions ---
 */

/* What a subscription does: the worst of its workers and partitions. */
typedef struct CdcSummary
{
	CdcState	state;
	const char *reason;
	const char *hint;
	TimestampTz since;
} CdcSummary;

/*
 * Takes over a state that is worse than the one known.  A stop counts as
 * starting from the commit of a change on until the worker has looked at it.
 */
static void
worsen(CdcSummary *summary, CdcSlot *slot, CdcState state,
	   const char *reason, const char *hint, TimestampTz since)
{
	if (state == CDC_STATE_STOPPED && cdc_slot_is_behind(slot))
	{
		state = CDC_STATE_STARTING;
		reason = hint = "";
	}
	if (summary->reason != NULL && state <= summary->state)
		return;
	summary->state = state;
	summary->reason = reason;
	summary->hint = hint;
	summary->since = since;
}

/* The same of a partition; one not looked at since a change is starting. */
static void
worsen_by_partition(CdcSummary *summary, CdcSlot *slot,
					const CdcPartitionEntry *entry)
{
	if (entry->current)
		worsen(summary, slot, entry->status.state, entry->status.reason,
			   entry->status.hint, entry->state_since);
	else
		worsen(summary, slot, CDC_STATE_STARTING, "", "", entry->state_since);
}

/* Sums up the state of a subscription that runs, or should. */
static void
summarize(const CdcCopy *copy, int64 subid, CdcSummary *summary)
{
	CdcSlot    *first = NULL;

	memset(summary, 0, sizeof(CdcSummary));
	for (int i = 0; i < copy->nslots; i++)
	{
		CdcSlot    *slot = &copy->slots[i];

		if (slot->subid != subid || !slot->in_use)
			continue;
		if (first == NULL)
			first = slot;
		worsen(summary, slot, slot->state, slot->reason, slot->hint,
			   slot->state_since);
	}
	if (first == NULL)
	{
		summary->state = CDC_STATE_DISABLED;
		return;
	}
	for (int i = 0; i < copy->npartitions; i++)
	{
		CdcPartitionEntry *entry = &copy->partitions[i];

		if (entry->key.subid != subid || entry->status.mapping_disabled ||
			entry->status.state == CDC_STATE_DISABLED)
			continue;
		worsen_by_partition(summary, first, entry);
	}
}

/* Adds up what the workers of a subscription say, into its first slot. */
static void
add_workers(const CdcCopy *copy, CdcSlot *total)
{
	for (int i = 0; i < copy->nslots; i++)
	{
		CdcSlot    *slot = &copy->slots[i];

		if (slot->subid != total->subid || slot == total)
			continue;
		for (int c = 0; c < CDC_NCOUNTERS; c++)
			pg_atomic_fetch_add_u64(&total->counters[c],
									pg_atomic_read_u64(&slot->counters[c]));
		if (total->next_retry == 0 ||
			(slot->next_retry != 0 && slot->next_retry < total->next_retry))
			total->next_retry = slot->next_retry;
		total->last_receive_time = Max(total->last_receive_time,
									   slot->last_receive_time);
		total->last_apply_time = Max(total->last_apply_time,
									 slot->last_apply_time);
		total->last_commit_time = Max(total->last_commit_time,
									  slot->last_commit_time);
	}
}

/* One row a subscription; its slot is that of worker 0. */
static void
subscription_row(FunctionCallInfo fcinfo, const CdcCopy *copy, CdcSlot *slot)
{
	CdcRow		row = {0};
	CdcSummary	summary;

	summarize(copy, slot->subid, &summary);
	add_workers(copy, slot);

	put_int64(&row, slot->subid);
	put(&row, Int32GetDatum(slot->worker_no), false);
	put_int32(&row, slot->pid, 0);
	put_text(&row, cdc_state_name(summary.state));
	put_text(&row, summary.reason);
	put_text(&row, sees_texts(slot->owner) ? summary.hint : NULL);
	put_time(&row, summary.since);
	put_time(&row, slot->next_retry);
	for (int c = 0; c < CDC_NCOUNTERS; c++)
		put_int64(&row, (int64) pg_atomic_read_u64(&slot->counters[c]));
	put_time(&row, slot->last_receive_time);
	put_time(&row, slot->last_apply_time);
	put_time(&row, slot->last_commit_time);
	put_time(&row, slot->stats_reset);
	end_row(fcinfo, &row);
}

/*
 * pg_stat_get_cdc_sink_subscription(): the counters of CdcCounter are in the
 * order of its columns.
 */
Datum
cdc_sink_pg_stat_get_cdc_sink_subscription(PG_FUNCTION_ARGS)
{
	CdcCopy		copy;

	InitMaterializedSRF(fcinfo, 0);
	if (cdc_shared == NULL)
		return (Datum) 0;
	copy_shared(&copy);
	for (int i = 0; i < copy.nslots; i++)
		if (copy.slots[i].worker_no == 0)
			subscription_row(fcinfo, &copy, &copy.slots[i]);
	return (Datum) 0;
}

/*
 * --- partitions ---
 */

/* Process that reads a partition; 0 when it has ended. */
static pid_t
partition_pid(const CdcCopy *copy, const CdcPartitionEntry *entry)
{
	for (int i = 0; i < copy->nslots; i++)
		if (copy->slots[i].subid == entry->key.subid &&
			copy->slots[i].pid == entry->status.pid)
			return entry->status.pid;
	return 0;
}

/* One row a partition of a subscription whose first slot is given. */
static void
partition_row(FunctionCallInfo fcinfo, const CdcCopy *copy, CdcSlot *slot,
			  const CdcPartitionEntry *entry)
{
	const CdcPartitionStatus *status = &entry->status;
	static const char *const anchor_names[] = {
		[CDC_ANCHOR_NONE] = NULL,[CDC_ANCHOR_CHECKING] = "checking",
		[CDC_ANCHOR_VERIFIED] = "verified",[CDC_ANCHOR_UNVERIFIED] = "unverified"
	};
	CdcRow		row = {0};
	CdcSummary	summary = {0};

	if (slot->in_use)
		worsen_by_partition(&summary, slot, entry);
	else
		summary.state = CDC_STATE_DISABLED;

	put_int64(&row, entry->key.subid);
	put_text(&row, entry->key.topic);
	put(&row, Int32GetDatum(entry->key.partition), false);
	put_int32(&row, partition_pid(copy, entry), 0);
	put_text(&row, cdc_state_name(summary.state));
	put_text(&row, summary.reason);
	put_text(&row, sees_texts(slot->owner) ? summary.hint : NULL);
	put_offset(&row, entry->current || !slot->in_use ? status->next_offset : -1);
	put_offset(&row, status->low_watermark);
	/* between two askings the fetched watermark knows more */
	put_offset(&row, Max(status->end_offset, status->high_watermark));
	put_time(&row, status->watermark_time);
	/* a producer may write any time; views calculate with this one */
	if (status->last_ts_ms < 0 || status->last_ts_ms > CDC_MAX_TIME_MS)
		put_time(&row, 0);
	else
		put_time(&row, TimestampTzPlusMilliseconds(time_t_to_timestamptz(0),
												   status->last_ts_ms));
	put_offset(&row, status->retention_ms);
	put_text(&row, anchor_names[status->anchor]);
	end_row(fcinfo, &row);
}

/* pg_stat_get_cdc_sink_partition() */
Datum
cdc_sink_pg_stat_get_cdc_sink_partition(PG_FUNCTION_ARGS)
{
	CdcCopy		copy;

	InitMaterializedSRF(fcinfo, 0);
	if (cdc_shared == NULL)
		return (Datum) 0;
	copy_shared(&copy);
	for (int i = 0; i < copy.npartitions; i++)
	{
		CdcPartitionEntry *entry = &copy.partitions[i];
		CdcSlot    *slot = find_slot(&copy, entry->key.subid, 0);

		/* partition -1 stands for a topic that is missing */
		if (slot != NULL && entry->key.partition >= 0)
			partition_row(fcinfo, &copy, slot, entry);
	}
	return (Datum) 0;
}

/*
 * --- tables ---
 */

/* pg_stat_get_cdc_sink_table() */
Datum
cdc_sink_pg_stat_get_cdc_sink_table(PG_FUNCTION_ARGS)
{
	HASH_SEQ_STATUS scan;
	CdcTableEntry *entry;
	CdcTableEntry *entries;
	int			size;
	int			n = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (cdc_shared == NULL)
		return (Datum) 0;
	/* the few that are added before the lock is taken come next time */
	size = hash_get_num_entries(cdc_shared_tables) + 16;
	entries = palloc(size * sizeof(CdcTableEntry));

	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	hash_seq_init(&scan, cdc_shared_tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->key.dboid == MyDatabaseId && n < size)
			entries[n++] = *entry;
	LWLockRelease(cdc_shared->lock);

	for (int i = 0; i < n; i++)
	{
		const CdcTableCounts *counts = &entries[i].counts;
		CdcRow		row = {0};

		put_int64(&row, entries[i].key.subid);
		put(&row, ObjectIdGetDatum(entries[i].key.relid), false);
		put_int64(&row, (int64) counts->inserted);
		put_int64(&row, (int64) counts->updated);
		put_int64(&row, (int64) counts->deleted);
		put_int64(&row, (int64) counts->truncated);
		put_int64(&row, (int64) counts->noop);
		put_int64(&row, (int64) counts->dead_letters);
		put_int64(&row, (int64) counts->update_missing);
		put_int64(&row, (int64) counts->delete_missing);
		put_time(&row, counts->last_apply_time);
		end_row(fcinfo, &row);
	}
	return (Datum) 0;
}

/*
 * --- errors ---
 */

/* Copies the errors of this database, with the owners of now; palloc'd. */
static CdcErrorReport *
copy_errors(int *n)
{
	CdcErrorReport *reports = palloc(CDC_MAX_ERRORS * sizeof(CdcErrorReport));

	*n = 0;
	LWLockAcquire(cdc_shared->lock, LW_SHARED);
	for (int i = 0; i < CDC_MAX_ERRORS; i++)
		if (cdc_shared->errors[i].subid != 0 &&
			cdc_shared->errors[i].dboid == MyDatabaseId)
			reports[(*n)++] = cdc_shared->errors[i];
	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->dboid != MyDatabaseId || !slot->in_use)
			continue;
		for (int r = 0; r < *n; r++)
			if (reports[r].subid == slot->subid)
			{
				reports[r].owner = slot->owner;
				reports[r].subscription = slot->subscription;
			}
	}
	LWLockRelease(cdc_shared->lock);
	return reports;
}

/* pg_stat_get_cdc_sink_error(): details may hold rows of a table. */
Datum
cdc_sink_pg_stat_get_cdc_sink_error(PG_FUNCTION_ARGS)
{
	CdcErrorReport *reports;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	if (cdc_shared == NULL)
		return (Datum) 0;
	reports = copy_errors(&n);
	for (int i = 0; i < n; i++)
	{
		CdcErrorReport *report = &reports[i];
		bool		texts = sees_texts(report->owner);
		CdcRow		row = {0};

		put_int64(&row, report->subid);
		put(&row, NameGetDatum(&report->subscription), false);
		put_time(&row, report->occurred_at);
		put_text(&row, report->topic);
		put_int32(&row, report->partition, -1);
		put_offset(&row, report->offset);
		put_text(&row, report->relation);
		put_text(&row, report->sqlstate == 0 ? NULL :
				 unpack_sql_state(report->sqlstate));
		put_text(&row, texts ? report->message : NULL);
		put_text(&row, is_member(report->owner) ? report->detail : NULL);
		put(&row, Int32GetDatum(report->attempts), false);
		put_text(&row, report->disposition);
		put_text(&row, texts ? report->hint : NULL);
		end_row(fcinfo, &row);
	}
	return (Datum) 0;
}

/*
 * --- reset ---
 */

/* Sets a subscription's counters to 0; the lock must be held exclusively. */
static void
reset_subscription(int64 subid, TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	CdcTableEntry *entry;

	for (int i = 0; i < cdc_shared->nslots; i++)
	{
		CdcSlot    *slot = &cdc_shared->slots[i];

		if (slot->dboid != MyDatabaseId || slot->subid != subid)
			continue;
		for (int c = 0; c < CDC_NCOUNTERS; c++)
			pg_atomic_write_u64(&slot->counters[c], 0);
		SpinLockAcquire(&slot->mutex);
		slot->stats_reset = now;
		SpinLockRelease(&slot->mutex);
	}
	hash_seq_init(&scan, cdc_shared_tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->key.dboid == MyDatabaseId && entry->key.subid == subid)
			memset(&entry->counts, 0, sizeof(CdcTableCounts));
}

/*
 * reset_stats(subscription): of one subscription, or of all whose owner the
 * caller is a member of.
 */
Datum
cdc_sink_reset_stats(PG_FUNCTION_ARGS)
{
	char	   *name = cdc_arg_name(fcinfo, 0);
	CdcSubscription *only = NULL;
	TimestampTz now = GetCurrentTimestamp();
	CdcCopy		copy;

	cdc_shmem_require();
	if (name != NULL)
	{
		only = cdc_catalog_find(name);
		if (only == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("subscription \"%s\" does not exist", name)));
		cdc_subscription_check_member(name, only->owner);
	}
	copy_shared(&copy);
	for (int i = 0; i < copy.nslots; i++)
	{
		const CdcSlot *slot = &copy.slots[i];

		if (only != NULL ? slot->subid != only->id : !is_member(slot->owner))
			continue;
		LWLockAcquire(cdc_shared->lock, LW_EXCLUSIVE);
		reset_subscription(slot->subid, now);
		LWLockRelease(cdc_shared->lock);
	}
	PG_RETURN_VOID();
}
