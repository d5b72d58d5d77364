/*-------------------------------------------------------------------------
 *
 * pipeline_internal.h
 *		What pipeline.c, attempt.c and hold.c share.
 *
 * Floor 8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_PIPELINE_INTERNAL_H
#define CDC_PIPELINE_INTERNAL_H

#include "pipeline.h"

/* --- pipeline.c --- */

/* No fresh record is left: gives the memory of what was read back. */
extern void cdc_pipeline_forget_read(CdcPipeline *pipeline);

/* --- attempt.c: one transaction --- */

/*
 * Applies records (in their order; of each partition from its position on)
 * and moves the positions.  Partitions without records whose log was read
 * further than their position move too.  fresh: they are pipeline->fresh, all
 * of them; together: records of several partitions that hold each other.
 */
extern CdcStep cdc_attempt(CdcPipeline *pipeline, const CdcRecord **records,
						   int nrecords, bool fresh, bool together);

/* --- hold.c: partitions that wait for each other --- */

/* Reads the roots of all mappings again after DDL; needs a transaction. */
extern void cdc_hold_refresh_roots(CdcPipeline *pipeline);
/* Do several partitions feed the partition tree of this root? */
extern bool cdc_hold_several(const CdcPipeline *pipeline, Oid root);
/* others_pending of CdcApplyContext; arg is the pipeline. */
extern bool cdc_hold_others_pending(void *arg, const CdcRelation *rel,
									const CdcEvent *event);
/* Holds the partition before the record of an event. */
extern void cdc_hold_before(CdcPipeline *pipeline, CdcPartition *part,
							CdcHoldCause cause, Oid root,
							const CdcEvent *event);
/* Does a partition feed the partition tree of this root? */
extern bool cdc_hold_feeds(const CdcPipeline *pipeline,
						   const CdcPartition *part, Oid root);
/* Is any partition held? */
extern bool cdc_hold_any(const CdcPipeline *pipeline);
/*
 * What held partitions can try now: records of one queue, or of several
 * together (*together); palloc'd list, NULL where nothing can be tried.
 * While fresh records wait to be tried, nothing is tried together.
 */
extern const CdcRecord **cdc_hold_pick(CdcPipeline *pipeline, int *nrecords,
									   bool *together);
/* The try of these records was put off by a transient error: once more. */
extern void cdc_hold_again(CdcPipeline *pipeline, const CdcRecord **records,
						   int nrecords, bool together);
/*
 * Asks once whether an earlier process has left kept rows of key changes;
 * where it has not, inserts are not asked for their headers.  Needs a
 * transaction.  A row that another process keeps later (a dead letter that is
 * tried again) may outlive its insert.
 */
extern void cdc_hold_find_kept(CdcPipeline *pipeline);
/* After ends were learned: may kept rows of key changes go? */
extern void cdc_hold_check_sweep(CdcPipeline *pipeline);
extern void cdc_hold_swept(CdcPipeline *pipeline);

/* --- gate.c: truncates among several partitions --- */

typedef struct CdcGate CdcGate;

typedef enum CdcGateAnswer
{
	CDC_GATE_OPEN,
	CDC_GATE_WAIT,				/* a truncate that waits for others, or a change
								 * that a truncate must come before */
	CDC_GATE_UNKNOWN			/* a truncate whose order cannot be told */
} CdcGateAnswer;

/*
 * Looks for truncates among the events and the held partitions; NULL where
 * there is none to think of.  palloc'd; needs the roots to be fresh.
 */
extern CdcGate *cdc_gate_create(CdcPipeline *pipeline, const CdcEvent *events,
								int nevents);
/*
 * After a commit: keeps the place of the last record that was applied of each
 * partition, where a truncate in another one may have to know it.  records
 * are those of the attempt, stays tells which were not applied.
 */
extern void cdc_gate_note_places(CdcPipeline *pipeline,
								 const CdcRecord **records, int nrecords,
								 bool (*stays) (void *arg, int event),
								 void *arg);
/* Gives back what it keeps of a partition. */
extern void cdc_gate_free_places(CdcPartition *part);
/* May the event go on?  *root is the relation concerned where not. */
extern CdcGateAnswer cdc_gate_event(const CdcGate *gate, const CdcEvent *event,
									Oid *root);

#endif							/* CDC_PIPELINE_INTERNAL_H */
