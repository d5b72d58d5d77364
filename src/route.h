/*-------------------------------------------------------------------------
 *
 * route.h
 *		From an event to what it means for a relation.
 *
 * Floor 6.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ROUTE_H
#define CDC_ROUTE_H

#include "partition.h"
#include "relmap.h"
#include "role.h"

typedef enum CdcAction
{
	CDC_ACTION_SKIP,			/* nothing to do: control record, other table,
								 * ignored by an option */
	CDC_ACTION_NOOP,			/* counted for the relation, changes nothing */
	CDC_ACTION_WRITE,
	CDC_ACTION_DELETE,
	CDC_ACTION_TRUNCATE,
	CDC_ACTION_APPEND
} CdcAction;

/* One event, ready to be folded and applied. */
typedef struct CdcChange
{
	CdcEvent   *event;
	CdcAction	action;
	CdcOp		op;				/* as Debezium says; a Kafka null is d */
	bool		tombstone;		/* a Kafka null: no row is nothing unusual */
	CdcRelation *rel;			/* NULL for SKIP */
	CdcKey	   *key;			/* NULL: record without a key */
	CdcRow		row;			/* new row; of a delete the key columns, or
								 * without a key the old row */
	CdcRow		before;			/* old row of an update without a key */
} CdcChange;

/* The relations at hand while a range of events is routed and applied. */
typedef struct CdcRouter
{
	CdcRelmap  *relmap;
	CdcRoleScope *role;			/* values are converted as the table's owner */
	CdcPartition **parts;		/* by record->part */
	CdcRelation **relations;	/* by index of the mapping; NULL: not yet asked
								 * for in this range */
	bool		begun;			/* an event of the range was routed */
} CdcRouter;

/* Points an error to come at the record of a change, as one of its data. */
extern void cdc_change_blame(const CdcChange *change);

/* Starts a range; allocates in CurrentMemoryContext. */
extern void cdc_route_begin(CdcRouter *router, CdcRelmap *relmap,
							CdcRoleScope *role, CdcPartition **parts);
/*
 * Routes one event.  Values go to CurrentMemoryContext.  Raises data errors
 * (those of one value with cdc_error_position.in_value set) and
 * configuration errors of the target.
 */
extern void cdc_route_event(CdcRouter *router, CdcEvent *event,
							CdcChange *change);
/*
 * Mapping for an event of this partition, or NULL where the topic's mappings
 * name other tables only; *skip is false where the record had to name one.
 */
extern const CdcMapping *cdc_route_mapping(const CdcPartition *part,
										   const CdcEvent *event, bool *skip);

#endif							/* CDC_ROUTE_H */
