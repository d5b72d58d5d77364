/*-------------------------------------------------------------------------
 *
 * partition.h
 *		A partition of the worker's assignment: where it stands, whether it
 *		may go on, and the records it holds back.
 *
 * Floor 2.  A partition that may not go on (HELD) keeps the records that
 * were read already in an arena of its own, so that it can be tried again,
 * or together with others, without asking the broker.  All of it belongs to
 * the one worker (or test call) and needs no lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_PARTITION_H
#define CDC_PARTITION_H

#include "datatype/timestamp.h"

#include "anchor.h"
#include "batch.h"
#include "errors.h"
#include "event.h"

typedef enum CdcPartitionMode
{
	CDC_PARTITION_ACTIVE,
	CDC_PARTITION_HELD,			/* waits for another partition */
	CDC_PARTITION_STOPPED		/* needs a human, or DDL or a GRANT */
} CdcPartitionMode;

/* Why a partition is held before a record. */
typedef enum CdcHoldCause
{
	CDC_HOLD_NONE,
	CDC_HOLD_VIOLATION,			/* 23505 or 23503 that another partition may
								 * resolve */
	CDC_HOLD_MOVED_ROW,			/* insert of a key change waits for the delete */
	CDC_HOLD_TRUNCATE			/* truncate waits for the other partitions */
} CdcHoldCause;

/*
 * What the source must show before its records count: after each assignment
 * it delivers from the anchor of what was read last.
 */
typedef enum CdcCheck
{
	CDC_CHECK_NONE,				/* records are taken as they come */
	CDC_CHECK_ANCHOR,			/* the anchor must come first */
	CDC_CHECK_GAP,				/* nothing may come before read_offset */
	CDC_CHECK_LOST				/* nothing is taken any more, see loss */
} CdcCheck;

/* Why the source can deliver nothing more; dealt with once what was read
 * before is applied. */
typedef struct CdcLoss
{
	bool		out_of_range;	/* the log does not hold read_offset; the rest is
								 * asked for then */
	TimestampTz not_before;		/* and not yet */
	char		reason[CDC_REASON_LEN];
	char		message[CDC_MESSAGE_LEN];
	char		hint[CDC_HINT_LEN];
} CdcLoss;

/* Place in its source of the last record that was applied of a mapping. */
typedef struct CdcLastPlace
{
	CdcSequencePart sequence[2];
	char	   *source;			/* source.name, malloc'd; NULL: not known */
} CdcLastPlace;

typedef struct CdcPartition
{
	char	   *topic;
	int32		partition;
	int32		index;			/* in the worker's list */
	const struct CdcMapping *mappings;	/* of its topic; owned by the
										 * subscription */
	int			nmappings;
	CdcPartitionMode mode;
	bool		stale;			/* not in the assignment any more */
	bool		disabled;		/* mapping_disabled: position is kept */
	int64		next_offset;	/* committed: next record to apply */
	int64		read_offset;	/* next record expected from the source */
	int64		eof_offset;		/* the log was read up to here; -1: not yet */
	int64		low_watermark;	/* -1: unknown */
	int64		end_offset;		/* last stable offset when last asked; -1 */
	uint64		end_serial;		/* which asking that was */
	int64		last_ts_ms;		/* time of the last applied record; -1 */
	int64		progress;		/* pipeline's progress when it last moved on */
	bool		assigned;		/* the source delivers it, worker.c */
	bool		heard;			/* something came of it since the last look */
	TimestampTz silent_since;	/* nothing came though more is there; 0 */
	int64		skip_offset;	/* armed by skip_record; -1: none */
	CdcLastPlace *last_places;	/* by mapping, in the pipeline's context; NULL:
								 * none known yet */

	/* is the log still the one that was read? */
	CdcAnchor	anchor;			/* committed: last record before next_offset */
	const char *cluster_id;		/* committed; NULL: not known */
	CdcCheck	check;
	CdcAnchor	checked;		/* ANCHOR, GAP: of the last record read */
	bool		anchor_gone;	/* the next assignment need not look for it */
	CdcAnchorState anchor_state;	/* of the last check that ended */
	CdcLoss    *loss;			/* NULL: none; in the pipeline's context */
	bool		waits;			/* knows no log: others of its topic come first */
	TimestampTz waits_since;
	TimestampTz gone_since;		/* when the topic was first seen without this
								 * partition; 0: it has it */
	int64		low_first;		/* low watermark as first learned; -1: none */
	TimestampTz low_first_time;
	TimestampTz low_moved;		/* when it last rose */

	/* HELD */
	CdcHoldCause cause;
	Oid			hold_relid;		/* root of the relation concerned */
	int64		hold_offset;	/* record before which it stands */
	uint64		hold_serial;	/* ends must be asked for after this one */
	bool		hold_is_truncate;	/* the record is the truncate itself */
	CdcSequencePart hold_sequence[2];	/* of the record; TRUNCATE only */
	char	   *hold_source;	/* source.name of the record, malloc'd or NULL;
								 * TRUNCATE only */
	bool		hold_final;		/* every partition has passed its end: what
								 * still fails there is a data error */
	bool		runnable;		/* the last try succeeded, the queue goes on; or a
								 * transient error ended it */
	int64		tried_at;		/* pipeline's progress when last tried */
	int64		combined_at;	/* pipeline's changes when last tried with the
								 * others */
	CdcArena	arena;			/* of the queue */
	CdcRecord  *queue;			/* records read and not applied, in order */
	int			nqueue;
	int			maxqueue;
	int64		queue_bytes;	/* that they take, of the arena, too */

	/* STOPPED and retried errors */
	CdcErrorClass error_class;
	int			sqlstate;
	int			attempts;
	char		reason[CDC_REASON_LEN];
	char		hint[CDC_HINT_LEN];
	char		message[CDC_MESSAGE_LEN];	/* STOPPED: the error's */
	char		detail[CDC_MESSAGE_LEN];
	int64		logged_offset;	/* the log tells of a stop here ... */
	TimestampTz logged_at;		/* ... since then; 0: of none */
} CdcPartition;

/* Appends a copy of the record to the partition's queue; ERROR 53200. */
extern void cdc_partition_hold_record(CdcPartition *part, const CdcRecord *record);
/*
 * Drops the first n records of the queue; ERROR 53200.  The others, and their
 * bytes, may move.
 */
extern void cdc_partition_drop(CdcPartition *part, int n);
/* Lets a held or stopped partition go on; its queue stays. */
extern void cdc_partition_release(CdcPartition *part);
/* Empties the queue and forgets what was read: next read at next_offset. */
extern void cdc_partition_rewind(CdcPartition *part);

/* Memory that the queue takes. */
static inline int64
cdc_partition_held_bytes(const CdcPartition *part)
{
	return part->nqueue == 0 ? 0 :
		Max(part->queue_bytes, (int64) part->arena.total);
}

#endif							/* CDC_PARTITION_H */
