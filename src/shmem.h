/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		What the processes share: worker slots, states of partitions,
 *		counters of tables, the last errors.
 *
 * Floor 2.  Only values live here: no pointer, descriptor or handle of one
 * process (PGPROC pointers into the server's own array excepted).
 *
 * Locking.  CdcShared->lock (LWLock) guards identity: which slot belongs to
 * which subscription, entries of the hashes, the error ring.  Each slot's
 * mutex (spinlock) guards the text and state fields of that slot; counters
 * are 64-bit atomics with one writer, the attached worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_SHMEM_H
#define CDC_SHMEM_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/s_lock.h"
#include "utils/timestamp.h"

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
	/* identity; CdcShared->lock */
	bool		in_use;			/* the subscription is enabled */
	bool		stopping;		/* told to exit and not to be started again */
	Oid			dboid;
	int64		subid;
	int32		worker_no;
	int32		nworkers;
	Oid			owner;
	NameData	subscription;
	int			retry_backoff_ms;
	int			retry_backoff_max_ms;
	uint64		generation;		/* grows with each reuse of the slot */
	/* process; CdcShared->lock */
	pid_t		pid;			/* 0: not running */
	PGPROC	   *proc;			/* for its latch; NULL: not attached */
	TimestampTz next_start;		/* launcher: not before this time */
	int			delay_ms;		/* launcher: present back-off */
	int			runs;			/* starts since the subscription was enabled */
	/* requests to the worker */
	pg_atomic_uint64 config_count;	/* grows at commit of each change */
	pg_atomic_uint64 end_request;	/* grows with each wait_for_catchup */
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
	pg_atomic_uint64 batches_run;	/* batches committed by this run: back-off
									 * grows only when 0 */
	pg_atomic_uint64 end_served;	/* last end_request answered */
	pg_atomic_uint64 config_seen;	/* last config_count acted upon */
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
	TimestampTz watermark_time;
	uint64		end_request;	/* the wait_for_catchup that end_offset
								 * answers (slot's end_request at that time) */
	int64		last_ts_ms;		/* time of the last applied record; -1 */
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
	int64		subid;
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

/* the slot this process is attached to; NULL elsewhere */
extern CdcSlot *cdc_my_slot;

/* Is the library preloaded, so that shared memory exists? */
extern bool cdc_shmem_available(void);
/* ERROR 55000 naming shared_preload_libraries where it is not. */
extern void cdc_shmem_require(void);

/*
 * Attaches an apply worker to its slot; exits quietly (proc_exit(0)) where
 * the slot is no longer meant for it.  Registers the detach.
 */
extern void cdc_slot_attach(int index, uint64 generation);

/* --- called by the attached worker --- */
extern void cdc_slot_report(CdcState state, const char *reason,
							const char *hint, TimestampTz next_retry);
extern void cdc_slot_count(CdcCounter counter, uint64 delta);
extern void cdc_slot_times(TimestampTz received, TimestampTz applied,
						   TimestampTz committed);	/* 0: leave as it is */
extern void cdc_slot_wake_waiters(void);
extern void cdc_partition_report(const char *topic, int32 partition,
								 const CdcPartitionStatus *status);
extern void cdc_partition_forget(const char *topic, int32 partition);
extern void cdc_table_count(Oid relid, const CdcTableCounts *delta);
extern void cdc_error_report(CdcErrorReport *report);	/* fills dboid, subid,
														 * subscription, time */

#endif							/* CDC_SHMEM_H */
