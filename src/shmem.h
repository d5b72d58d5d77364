/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		What the processes share: worker slots, states of partitions,
 *		counters of tables, the last errors.
 *
 * Floor 2.  Only values live here: no pointer, descriptor or handle of one
 * process (PGPROC pointers into the server's own array excepted).
 *
 * Locking.  cdc_shared->lock (LWLock) guards identity: which slot belongs to
 * which subscription, requests for scans, entries of the hashes, the last
 * errors.  Each slot's mutex (spinlock) guards the text and state fields of
 * that slot; it may be taken while holding the lock, never the other way
 * round.  Counters are 64-bit atomics with one writer, the attached worker
 * (a reset excepted).
 *
 * A slot keeps its subscription's counters after the subscription is
 * disabled (in_use false, subid set), until another one needs the slot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_SHMEM_H
#define CDC_SHMEM_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "anchor.h"
#include "cdc_sink.h"

/* Counters of a subscription, summed over its workers. */
typedef enum CdcCounter
{
	CDC_COUNT_RECORDS,			/* records applied, skipped ones included */
	CDC_COUNT_BYTES,			/* of their keys and values */
	CDC_COUNT_BATCHES,
	CDC_COUNT_RETRIES,
	CDC_COUNT_ERRORS,
	CDC_COUNT_DEAD_LETTERS,
	CDC_COUNT_SKIPPED,			/* control records and others passed over */
	CDC_NCOUNTERS
} CdcCounter;

/* One apply worker that should run: worker_no of a subscription. */
typedef struct CdcSlot
{
	/* identity; cdc_shared->lock */
	bool		in_use;			/* the subscription is enabled */
	bool		stopping;		/* its worker must exit, none be started: sum
								 * of the next four and of cdc_sink.enabled,
								 * see cdc_slot_update_stopping */
	bool		retired;		/* the subscription is disabled */
	uint64		retired_by;		/* the scan that may end that at the earliest */
	bool		stale;			/* the subscription is gone */
	bool		replaced;		/* its worker runs with another owner, or as
								 * one of another number, than it should */
	int			stop_holds;		/* open transactions that rely on its
								 * standing still */
	Oid			dboid;
	Oid			extension;		/* oid of the extension: ids start again at 1
								 * when it is created anew */
	int64		subid;			/* 0: the slot was never used */
	int32		worker_no;
	int32		nworkers;
	Oid			owner;
	NameData	subscription;
	int			retry_backoff_ms;
	int			retry_backoff_max_ms;
	uint64		generation;		/* grows with each reuse of the slot */
	/* process; cdc_shared->lock */
	pid_t		pid;			/* 0: not running */
	PGPROC	   *proc;			/* for its latch; NULL: not attached */
	bool		fruitless;		/* its last run committed no batch */
	TimestampTz next_start;		/* launcher: not before this time */
	int			delay_ms;		/* launcher: present back-off */
	int			runs;			/* starts since the subscription was enabled */
	/* requests to the worker */
	pg_atomic_uint64 config_count;	/* grows at commit of each change */
	pg_atomic_uint64 end_request;	/* grows with each wait_for_catchup */
	pg_atomic_uint32 gathered;	/* of worker 0: it consumes every partition of
								 * the subscription, the others pause */
	/* from the worker; mutex */
	slock_t		mutex;
	CdcState	state;
	char		reason[CDC_REASON_LEN];
	char		hint[CDC_HINT_LEN];
	TimestampTz state_since;
	TimestampTz next_retry;		/* 0: none */
	TimestampTz last_receive_time;
	TimestampTz last_apply_time;
	TimestampTz last_commit_time;
	TimestampTz stats_reset;
	pg_atomic_uint64 batches_run;	/* batches committed by this run: back-off
									 * grows only when 0 */
	pg_atomic_uint64 end_served;	/* last end_request answered */
	pg_atomic_uint64 config_seen;	/* last config_count acted upon */
	pg_atomic_uint64 publications;	/* how many times it has published all
									 * states of partitions */
	pg_atomic_uint64 counters[CDC_NCOUNTERS];
	ConditionVariable progress; /* broadcast after each commit and each
								 * change of state */
} CdcSlot;

/* State of one partition, as its worker last published it. */
typedef struct CdcPartitionStatus
{
	CdcState	state;
	char		reason[CDC_REASON_LEN];
	char		hint[CDC_HINT_LEN];
	pid_t		pid;
	int64		next_offset;	/* committed; -1: no position yet */
	int64		low_watermark;	/* -1: unknown */
	int64		end_offset;		/* last stable offset; -1: unknown */
	int64		high_watermark; /* as the last fetch told it, for the view; -1 */
	TimestampTz watermark_time;
	uint64		end_request;	/* the wait_for_catchup that end_offset
								 * answers (slot's end_request at that time) */
	int64		last_ts_ms;		/* time of the last applied record; -1 */
	int64		retention_ms;	/* until the low watermark reaches next_offset
								 * at the pace seen so far; -1: unknown */
	CdcAnchorState anchor;
	bool		mapping_disabled;	/* wait_for_catchup does not wait for it */
} CdcPartitionStatus;

/* Counters of one target relation of a subscription; also used as deltas. */
typedef struct CdcTableCounts
{
	uint64		inserted;
	uint64		updated;
	uint64		deleted;
	uint64		truncated;
	uint64		noop;
	uint64		dead_letters;
	uint64		update_missing;
	uint64		delete_missing;
	TimestampTz last_apply_time;
} CdcTableCounts;

/* One line of pg_stat_cdc_sink_error. */
typedef struct CdcErrorReport
{
	Oid			dboid;
	int64		subid;			/* 0: this place is free */
	Oid			owner;			/* of the subscription, then */
	NameData	subscription;
	TimestampTz occurred_at;
	char		topic[CDC_TOPIC_LEN];	/* "": none */
	int32		partition;		/* -1: none */
	int64		offset;			/* -1: none */
	char		relation[2 * NAMEDATALEN + 8];
	int			sqlstate;
	char		message[CDC_MESSAGE_LEN];
	char		detail[CDC_MESSAGE_LEN];
	char		hint[CDC_HINT_LEN];
	int			attempts;
	char		disposition[16];	/* retry, stop, dead_letter, skip */
} CdcErrorReport;

/* Places in shared memory, next to cdc_sink.max_workers slots. */
#define CDC_MAX_SCANS		128 /* more databases: all are scanned */
#define CDC_MAX_ERRORS		256
#define CDC_MAX_PARTITIONS	(1024 + 64 * cdc_guc_max_workers)
#define CDC_MAX_TABLES		(1024 + 64 * cdc_guc_max_workers)

typedef struct CdcPartitionKey
{
	Oid			dboid;
	int32		partition;
	int64		subid;
	char		topic[CDC_TOPIC_LEN];	/* zero-filled: compared as bytes */
	char		padding[6];
} CdcPartitionKey;

typedef struct CdcPartitionEntry
{
	CdcPartitionKey key;
	CdcPartitionStatus status;
	TimestampTz state_since;
	/* who said so: a slot, and the configuration that it acted upon */
	int			slot;
	uint64		generation;		/* of the slot */
	uint64		config;			/* its config_seen */
	bool		current;		/* of a copy: nothing was changed since; else its
								 * state counts as starting, and where it
								 * stands is not known */
} CdcPartitionEntry;

typedef struct CdcTableKey
{
	int64		subid;
	Oid			dboid;
	Oid			relid;
} CdcTableKey;

typedef struct CdcTableEntry
{
	CdcTableKey key;
	CdcTableCounts counts;
} CdcTableEntry;

typedef enum CdcScanState
{
	CDC_SCAN_NONE,				/* this place is free */
	CDC_SCAN_PENDING,
	CDC_SCAN_RUNNING,
	CDC_SCAN_PARKED				/* slots ran out: again when one is freed */
} CdcScanState;

/* A database to be looked at by a scan worker. */
typedef struct CdcScanRequest
{
	CdcScanState state;
	Oid			dboid;
	uint64		number;			/* of the first request that it answers */
	TimestampTz not_before;		/* set after a scan that failed */
	int			delay_ms;		/* of the last such wait */
} CdcScanRequest;

/* All of it.  Everything is guarded by lock unless a field says otherwise. */
typedef struct CdcShared
{
	LWLock	   *lock;
	PGPROC	   *launcher;		/* for its latch; NULL: not running */
	bool		enabled;		/* cdc_sink.enabled, as the launcher knows it */
	uint64		scan_number;	/* of the last request for a scan */
	uint64		scan_all;		/* number of the request to scan every
								 * database; 0: none */
	uint64		scan_all_running;	/* the same, being carried out */
	CdcScanRequest scans[CDC_MAX_SCANS];
	ConditionVariable scanned;	/* broadcast after each scan */
	CdcErrorReport errors[CDC_MAX_ERRORS];
#ifdef CDC_DEVELOPER
	CdcDebugShared debug;
#endif
	int			nslots;
	CdcSlot		slots[FLEXIBLE_ARRAY_MEMBER];
} CdcShared;

extern CdcShared *cdc_shared;	/* NULL: the library is not preloaded */
extern HTAB *cdc_shared_partitions;
extern HTAB *cdc_shared_tables;

/* the slot this process is attached to; NULL elsewhere */
extern CdcSlot *cdc_my_slot;

/* Installs the hooks that reserve and set up shared memory; for _PG_init. */
extern void cdc_shmem_install(void);
/* Is the library preloaded, so that shared memory exists? */
extern bool cdc_shmem_available(void);
/* ERROR 55000 naming shared_preload_libraries where it is not. */
extern void cdc_shmem_require(void);
/* Name of a state, as the views show it; static. */
extern const char *cdc_state_name(CdcState state);
/* Wakes the launcher, if there is one. */
extern void cdc_launcher_wake(void);

/* --- slots; the lock must be held exclusively where marked X --- */
/* Gives an unused slot to a new subscription: all counters start anew.  X */
extern void cdc_slot_reset(CdcSlot *slot, Oid dboid, int64 subid,
						   int32 worker_no);
/* Sets the state of any slot; takes its mutex, wakes who waits. */
extern void cdc_slot_set_state(CdcSlot *slot, CdcState state,
							   const char *reason, const char *hint,
							   TimestampTz next_retry);
/* Derives stopping; wakes the worker that must exit.  X */
extern void cdc_slot_update_stopping(CdcSlot *slot);
/*
 * Copies what a slot says of itself, under its mutex; the lock need not be
 * held where the slot cannot change its subscription.
 */
extern void cdc_slot_copy(CdcSlot *slot, CdcSlot *copy);
/*
 * Copies the states of the partitions of a database, of one subscription or
 * (0) of all, into *entries, an array of *size that is palloc'd anew in
 * CurrentMemoryContext where it is too small (0: at first).  Returns their
 * number.  Takes the lock.
 */
extern int	cdc_partitions_copy(Oid dboid, int64 subid,
								CdcPartitionEntry **entries, int *size);
/* Has its worker still to look at a committed change of the configuration? */
extern bool cdc_slot_is_behind(CdcSlot *slot);
/* Forgets what is kept of a subscription that is gone; its slots too.  X */
extern void cdc_subscription_forget(Oid dboid, int64 subid);

/*
 * Attaches an apply worker to its slot; exits quietly (proc_exit(0)) where
 * the slot is no longer meant for it.  Registers the detach.
 */
extern void cdc_slot_attach(int index, uint64 generation);

/*
 * --- called by the attached worker; without a slot (one-shot workers) they
 * do nothing, but for the error report ---
 */
/* Must this worker exit now?  Look after each wait and before each batch. */
extern bool cdc_slot_stopping(void);
/*
 * Has worker 0 taken over all partitions of this worker's subscription?  And
 * setting that: every worker of it looks again, as after a change.
 */
extern bool cdc_slot_gathered(void);
extern void cdc_slot_gather(bool gathered);
extern void cdc_slot_report(CdcState state, const char *reason,
							const char *hint, TimestampTz next_retry);
extern void cdc_slot_count(CdcCounter counter, uint64 delta);
extern void cdc_slot_times(TimestampTz received, TimestampTz applied,
						   TimestampTz committed);	/* 0: leave as it is */
/* To be called when the states of all partitions have been published. */
extern void cdc_slot_wake_waiters(void);
/* False where shared memory has no place for the partition. */
extern bool cdc_partition_report(const char *topic, int32 partition,
								 const CdcPartitionStatus *status);
extern void cdc_partition_forget(const char *topic, int32 partition);
extern void cdc_table_count(Oid relid, const CdcTableCounts *delta);
/*
 * Fills dboid, subid, owner, subscription (the last three only where the
 * process has a slot) and the time, and keeps the report.  A repetition of
 * the same error takes the place of the earlier one.
 */
extern void cdc_error_report(CdcErrorReport *report);

#endif							/* CDC_SHMEM_H */
