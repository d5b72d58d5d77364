/*-------------------------------------------------------------------------
 *
 * position.h
 *		cdc_sink.position: where each partition stands.
 *
 * Floor 4.  Every function needs a transaction and works as the extension's
 * owner.  Positions are read from the table only, and move only in the
 * transaction that applies the records.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_POSITION_H
#define CDC_POSITION_H

#include "partition.h"

typedef struct CdcPosition
{
	char	   *topic;
	int32		partition;
	int64		next_offset;
	int64		skip_offset;	/* -1: none */
	CdcAnchor	anchor;			/* of the last record before next_offset */
	char	   *cluster_id;		/* NULL: not known */
} CdcPosition;

/* Stored positions of a subscription, palloc'd; returns how many. */
extern int	cdc_position_load(const char *subscription, CdcPosition **positions);
/* A number that no other run of a worker has. */
extern int64 cdc_position_new_generation(void);
/* Adds the position of a partition met for the first time; false: it has one. */
extern bool cdc_position_create(const char *subscription, const char *topic,
								int32 partition, int64 next_offset,
								const char *cluster_id);
/*
 * Makes this generation the one that may move the partition, and tells its
 * position (topic excepted, which is the argument; palloc'd); waits for a
 * transaction of the generation before.
 */
extern void cdc_position_claim(const char *subscription, const char *topic,
							   int32 partition, int64 generation,
							   CdcPosition *position);
/*
 * Moves a partition from part->next_offset to next; a skip that lies before
 * is over.  anchor tells the last record before next; cluster_id NULL leaves
 * the stored one.  ERROR 40001 where it is not there, has another skip armed
 * or belongs to another generation; cdc_position_fenced is set then.
 */
extern void cdc_position_store(const char *subscription,
							   const CdcPartition *part, int64 generation,
							   int64 next, const CdcAnchor *anchor,
							   const char *cluster_id);
/*
 * Has the record at offset skipped when it is reached.  Returns offset; where
 * the partition has passed it, its position, greater; -1: no such partition.
 */
extern int64 cdc_position_arm_skip(const char *subscription,
								   const char *topic, int32 partition,
								   int64 offset, const char *note);
extern bool cdc_position_fenced;

/* Was the topic met before (present or missing)?  Remembers that it was. */
extern bool cdc_position_meet_topic(const char *subscription, const char *topic);

#endif							/* CDC_POSITION_H */
