/*-------------------------------------------------------------------------
 *
 * wait_internal.h
 *		A call of wait_for_catchup or wait_for_offset, shared by wait*.c.
 *
 * Floor 9.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_WAIT_INTERNAL_H
#define CDC_WAIT_INTERNAL_H

#include "catalog.h"
#include "shmem.h"

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

/* --- wait_check.c --- */

/* ERROR 55000 with state, reason and hint; topic NULL: of the subscription. */
extern void cdc_wait_throw_state(const CdcWaiter *waiter, CdcState state,
								 const char *reason, const char *hint,
								 const char *topic, int32 partition);
/*
 * Reads the subscription and its mappings, as committed now; errors where it
 * is gone, not the caller's, or cannot run.
 */
extern void cdc_wait_load(CdcWaiter *waiter);
/* Is the topic mapped?  *enabled: by a mapping that is enabled. */
extern bool cdc_wait_is_mapped(const CdcWaiter *waiter, const char *topic,
							   bool *enabled);
/* Have all workers acted upon what was committed when they were asked? */
extern bool cdc_wait_all_current(CdcWaiter *waiter);
/*
 * Have all workers published their states since then?  To be asked before
 * the states are copied.
 */
extern bool cdc_wait_all_fresh(CdcWaiter *waiter);
/*
 * Raises an error where a worker is stopped, switched off, or waits for the
 * caller; where a partition that is waited for is stopped.
 */
extern void cdc_wait_check_workers(const CdcWaiter *waiter);
extern void cdc_wait_check_partitions(const CdcWaiter *waiter);

#endif							/* CDC_WAIT_INTERNAL_H */
