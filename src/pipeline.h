/*-------------------------------------------------------------------------
 *
 * pipeline.h
 *		The straight line from raw records to a committed batch.
 *
 * Floor 8.  Everything after "pull": takes bytes and is plain PostgreSQL, so
 * that tests can feed recorded events without a broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_PIPELINE_H
#define CDC_PIPELINE_H

#include "ahead.h"
#include "apply.h"
#include "decode_api.h"
#include "partition.h"

typedef enum CdcStep
{
	CDC_STEP_IDLE,				/* nothing can be done before more arrives */
	CDC_STEP_DONE,				/* a transaction was committed */
	CDC_STEP_RETRY,				/* a transient error: try again after a pause */
	CDC_STEP_FENCED				/* another worker moved a position: start over */
} CdcStep;

typedef struct CdcPipeline
{
	MemoryContext context;		/* lives as long as the subscription as loaded */
	MemoryContext batch_context;	/* one step */
	const CdcSubscription *subscription;
	const CdcDecoder *decoder;
	CdcDecodeState *decode;
	CdcRelmap  *relmap;
	int			nparts;
	CdcPartition **parts;
	const char *cluster_id;		/* that the brokers report; NULL: not known */
	int64		generation;		/* of this run of the worker; 0: unfenced test */
	bool		shared;			/* other workers consume other partitions */
	bool		gather_wanted;	/* partitions of several workers may have to
								 * wait for each other */
	int32	   *topic_partitions;	/* by mapping: partitions of its topic */
	bool		in_caller;		/* inside the caller's transaction (tests) */

	/* records read and not yet tried, of active partitions, in their order */
	CdcArena	arena;
	CdcRecord  *fresh;
	int			nfresh;
	int			maxfresh;
	int64		fresh_bytes;	/* of their keys and values */
	int64		fresh_cost;		/* as cdc_record_cost counts */
	TimestampTz fresh_since;	/* when the first of them came; 0: none */
	bool		held_turn;		/* held partitions come next: fresh records had
								 * their turn */

	CdcArena	event_arena;	/* what is decoded in one attempt */
	CdcAhead   *ahead;			/* decodes fresh records; NULL: no thread */

	uint64		ends_serial;	/* number of the last asking for ends */
	bool		ends_wanted;	/* a held partition needs them asked again */
	uint64		sweep_serial;	/* ends_serial at sweep_mark */
	TimestampTz sweep_mark;		/* rows kept long before may go when all
								 * partitions are past ends learned since; 0:
								 * not set */
	TimestampTz sweep_at;		/* no mark is set earlier */
	bool		sweep;			/* they may go now */
	bool		kept_found;		/* it is known whether there were any */
	int64		progress;		/* grows with each committed batch */
	int64		changes;		/* grows with progress and with each record put
								 * into a queue: a new chance for held ones */
	int			internal_tries; /* XX errors in a row, of fresh records ... */
	int			held_tries;		/* ... and of held ones */
	Oid		   *roots;			/* of each mapping: cdc_relation_root */
	struct CdcLetterKeys *letters;	/* keys with open dead letters; NULL: to be
									 * read */
	bool		letters_written;	/* a committed transaction wrote dead letters;
									 * the publisher takes it back */

	/* of the last step */
	CdcFailure *failure;		/* RETRY: why; in batch_context */
	int			nrecords;		/* DONE: records that took effect */
	int64		nbytes;
	uint64		skipped;		/* records passed over, since the start */
} CdcPipeline;

extern CdcPipeline *cdc_pipeline_create(MemoryContext parent,
										const CdcSubscription *subscription);
extern void cdc_pipeline_free(CdcPipeline *pipeline);
/* Lets a thread work ahead of large batches; for workers. */
extern void cdc_pipeline_decode_ahead(CdcPipeline *pipeline);
/* Adds a partition at its stored position; the copy of topic is kept. */
extern CdcPartition *cdc_pipeline_add_partition(CdcPipeline *pipeline,
												const char *topic,
												int32 partition,
												int64 next_offset);
/* The partition, or NULL. */
extern CdcPartition *cdc_pipeline_partition(CdcPipeline *pipeline,
											const char *topic, int32 partition);

/*
 * Takes a record whose bytes pipeline->arena has.  One that is not the
 * next (a repeat) is dropped; one of a held partition joins its queue.
 */
extern void cdc_pipeline_put(CdcPipeline *pipeline, const CdcRecord *record);
/*
 * Lets the thread read the next batch while a step applies this one, if that
 * is large.  read is CdcAheadSource's; cdc_ahead_stop ends it.
 */
extern void cdc_pipeline_read_ahead(CdcPipeline *pipeline,
									bool (*read) (void *arg, CdcArena *arena,
												  CdcRecord *record),
									void *arg);
/*
 * Takes the records that it read, those that wanted says yes to, as if they
 * were put; wanted may change the record's topic.
 */
extern void cdc_pipeline_put_read(CdcPipeline *pipeline, const CdcRecord *records,
								  int n,
								  bool (*wanted) (void *arg, CdcRecord *record),
								  void *arg);
/* The log of a partition was read up to offset. */
extern void cdc_pipeline_eof(CdcPipeline *pipeline, int part, int64 offset);
/* Is a batch full?  parts = 2: is it half full? */
extern bool cdc_pipeline_full(const CdcPipeline *pipeline, int parts);
/* Bytes that the queue of each held partition may take now. */
extern int64 cdc_pipeline_hold_room(const CdcPipeline *pipeline);
/* Does one transaction's work, if there is any. */
extern CdcStep cdc_pipeline_step(CdcPipeline *pipeline);
/* The ends of all partitions were asked for again (end_offset, end_serial). */
extern void cdc_pipeline_ends_learned(CdcPipeline *pipeline);
/*
 * Stops a partition before a record: state, error list and log say where,
 * why, and what to do.  Of the record only its coordinates are read.
 */
extern void cdc_pipeline_stop(CdcPipeline *pipeline, CdcPartition *part,
							  const CdcRecord *record,
							  const CdcFailure *failure);
/* Lets stopped partitions of these error classes try again. */
extern void cdc_pipeline_resume(CdcPipeline *pipeline, bool data_errors);

#endif							/* CDC_PIPELINE_H */
