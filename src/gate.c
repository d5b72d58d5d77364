/*-------------------------------------------------------------------------
 *
 * gate.c
 *		Truncates of tables that several partitions feed (design.md 3.9).
 *
 * Floor 8.  A truncate must come after what came before it at the source and
 * before what came after, but its record lies in one partition only.  So it
 * waits until each other partition has reached an end learned after it was
 * read, or stands before a record that is later by source.sequence; and such
 * a record waits for the truncate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "order.h"
#include "pipeline_internal.h"
#include "route.h"

/* A truncate that was not applied yet. */
typedef struct Truncate
{
	const CdcPartition *part;
	int64		offset;
	Oid			root;
	CdcPlaceInSource place;
} Truncate;

struct CdcGate
{
	CdcPipeline *pipeline;
	int			ntruncates;
	Truncate   *truncates;
	int			nevents;
	const CdcEvent *events;
};

/* Place of the record before which a partition is held. */
static CdcPlaceInSource
held_place(const CdcPartition *part)
{
	CdcPlaceInSource place;

	memcpy(place.sequence, part->hold_sequence, sizeof(place.sequence));
	place.source.data = part->hold_source;
	place.source.len = part->hold_source ? (int32) strlen(part->hold_source) : 0;
	return place;
}

/* Root of the relation an event changes, or InvalidOid. */
static Oid
event_root(const CdcPipeline *pipeline, const CdcEvent *event)
{
	const CdcMapping *mapping;
	bool		skip;

	if (event->error || (event->kind != CDC_KIND_CHANGE &&
						 event->kind != CDC_KIND_TOMBSTONE))
		return InvalidOid;
	mapping = cdc_route_mapping(pipeline->parts[event->record->part], event, &skip);
	if (mapping == NULL || mapping->options.mode == CDC_MODE_APPEND)
		return InvalidOid;
	return pipeline->roots[mapping - pipeline->subscription->mappings];
}

/* Is the event a truncate that must mind other partitions? */
static bool
is_shared_truncate(const CdcPipeline *pipeline, const CdcEvent *event, Oid *root)
{
	const CdcMapping *mapping;
	bool		skip;

	if (event->op != CDC_OP_TRUNCATE || event->kind != CDC_KIND_CHANGE)
		return false;
	mapping = cdc_route_mapping(pipeline->parts[event->record->part], event, &skip);
	if (mapping == NULL || mapping->options.on_truncate != CDC_TRUNCATE_APPLY)
		return false;
	*root = event_root(pipeline, event);
	return cdc_hold_several(pipeline, *root);
}

/* Adds a truncate to the list. */
static void
add(CdcGate *gate, Truncate truncate)
{
	if ((gate->ntruncates & (gate->ntruncates - 1)) == 0)
		gate->truncates = gate->ntruncates == 0 ? palloc(sizeof(Truncate)) :
			repalloc(gate->truncates, gate->ntruncates * 2 * sizeof(Truncate));
	gate->truncates[gate->ntruncates++] = truncate;
}

/* Is the record among the events of this attempt? */
static bool
is_at_hand(const CdcEvent *events, int nevents, const CdcPartition *part,
		   int64 offset)
{
	for (int i = 0; i < nevents; i++)
		if (events[i].record->part == part->index &&
			events[i].record->offset == offset)
			return true;
	return false;
}

/* cdc_gate_create: see pipeline_internal.h. */
CdcGate *
cdc_gate_create(CdcPipeline *pipeline, const CdcEvent *events, int nevents)
{
	CdcGate		gate = {pipeline, 0, NULL, nevents, events};
	CdcGate    *result;
	Oid			root;

	for (int i = 0; i < nevents; i++)
		if (is_shared_truncate(pipeline, &events[i], &root))
			add(&gate, (Truncate) {pipeline->parts[events[i].record->part],
				events[i].record->offset, root, cdc_order_place(&events[i])});
	for (int p = 0; p < pipeline->nparts; p++)
	{
		const CdcPartition *part = pipeline->parts[p];

		if (part->mode == CDC_PARTITION_HELD && part->cause == CDC_HOLD_TRUNCATE &&
			part->hold_is_truncate &&
			!is_at_hand(events, nevents, part, part->hold_offset))
			add(&gate, (Truncate) {part, part->hold_offset, part->hold_relid,
				held_place(part)});
	}
	if (gate.ntruncates == 0)
		return NULL;
	result = palloc(sizeof(CdcGate));
	*result = gate;
	return result;
}

/*
 * Does another partition stand where the truncate may come?  At an end that
 * was learned after the truncate was read, or before a later record.
 */
static CdcGateAnswer
stands_right(const CdcGate *gate, const CdcPartition *other,
			 const Truncate *truncate)
{
	const CdcPartition *part = truncate->part;
	bool		held = part->mode == CDC_PARTITION_HELD &&
		part->hold_offset == truncate->offset;
	CdcPlaceInSource place = held_place(other);
	CdcOrder	order;

	if (held && other->end_serial > part->hold_serial &&
		other->next_offset >= other->end_offset)
		return CDC_GATE_OPEN;
	if (other->mode != CDC_PARTITION_HELD || other->cause != CDC_HOLD_TRUNCATE)
		return CDC_GATE_WAIT;
	order = cdc_order_compare(&place, &truncate->place);
	if (order == CDC_ORDER_UNKNOWN)
		return CDC_GATE_UNKNOWN;
	if (order == CDC_ORDER_LATER ||
		(order == CDC_ORDER_SAME && other->hold_is_truncate && other->index > part->index))
		return CDC_GATE_OPEN;
	return CDC_GATE_WAIT;
}

/* May the truncate be applied now? */
static CdcGateAnswer
truncate_answer(const CdcGate *gate, const Truncate *truncate)
{
	const CdcPipeline *pipeline = gate->pipeline;

	if (!truncate->place.sequence[1].valid || truncate->place.source.data == NULL)
		return CDC_GATE_UNKNOWN;
	/* until all partitions are gathered here, nobody knows of the others */
	if (pipeline->shared)
		return CDC_GATE_WAIT;
	for (int p = 0; p < pipeline->nparts; p++)
	{
		const CdcPartition *other = pipeline->parts[p];
		CdcGateAnswer answer;

		if (other == truncate->part ||
			!cdc_hold_feeds(pipeline, other, truncate->root))
			continue;
		answer = stands_right(gate, other, truncate);
		if (answer != CDC_GATE_OPEN)
			return answer;
	}
	return CDC_GATE_OPEN;
}

/*
 * cdc_gate_event: see pipeline_internal.h.  A change whose order against a
 * truncate is not known is let through: the truncate will stop its partition.
 */
CdcGateAnswer
cdc_gate_event(const CdcGate *gate, const CdcEvent *event, Oid *root)
{
	*root = event_root(gate->pipeline, event);
	if (!OidIsValid(*root))
		return CDC_GATE_OPEN;
	for (int i = 0; i < gate->ntruncates; i++)
	{
		const Truncate *truncate = &gate->truncates[i];
		bool		own = truncate->part->index == event->record->part;
		CdcPlaceInSource place;

		if (truncate->root != *root)
			continue;
		if (own && truncate->offset == event->record->offset)
		{
			CdcGateAnswer answer = truncate_answer(gate, truncate);

			if (answer != CDC_GATE_OPEN)
				return answer;
		}
		if (own)
			continue;
		place = cdc_order_place(event);
		if (cdc_order_compare(&place, &truncate->place) == CDC_ORDER_LATER)
			return CDC_GATE_WAIT;
	}
	return CDC_GATE_OPEN;
}
