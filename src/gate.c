/*-------------------------------------------------------------------------
 *
 * gate.c
 *		Truncates of tables that several partitions feed (design.md 3.9).
 *
 * Floor 8.  A truncate must come after what came before it at the source and
 * before what came after, but its record lies in one partition only.  So it
 * waits until each other partition has reached an end learned after it was
 * read, or stands before a record that is later by source.sequence; and such
 * a record waits for the truncate.  One that was applied already cannot wait
 * any more: where that is known, the truncate stops instead of taking it away.
 * It is known of this run of the worker only, by the last record of each
 * batch.
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

/* Has a partition applied a record of the root that came after the truncate? */
static bool
has_passed(const CdcGate *gate, const CdcPartition *part, const Truncate *truncate)
{
	const CdcPipeline *pipeline = gate->pipeline;

	for (int i = 0; part->last_places != NULL && i < part->nmappings; i++)
	{
		const CdcLastPlace *last = &part->last_places[i];
		CdcPlaceInSource place;

		if (last->source == NULL ||
			pipeline->roots[part->mappings + i - pipeline->subscription->mappings] != truncate->root)
			continue;
		memcpy(place.sequence, last->sequence, sizeof(place.sequence));
		place.source.data = last->source;
		place.source.len = (int32) strlen(last->source);
		if (cdc_order_compare(&place, &truncate->place) == CDC_ORDER_LATER)
			return true;
	}
	return false;
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

	if (has_passed(gate, other, truncate))
		return CDC_GATE_UNKNOWN;
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

/* Keeps an event's place; without memory for its source it is not known. */
static void
keep_place(const CdcPipeline *pipeline, CdcPartition *part, int mapping,
		   const CdcEvent *event)
{
	CdcLastPlace *last;

	if (part->last_places == NULL)
		part->last_places = MemoryContextAllocZero(pipeline->context,
												   part->nmappings * sizeof(CdcLastPlace));
	last = &part->last_places[mapping];
	memcpy(last->sequence, event->sequence, sizeof(last->sequence));
	if (last->source != NULL &&
		strncmp(last->source, event->source_name.data, event->source_name.len) == 0 &&
		last->source[event->source_name.len] == '\0')
		return;
	free(last->source);
	last->source = strndup(event->source_name.data, event->source_name.len);
}

/*
 * Keeps the place of a record that was applied, if it has one.  The record is
 * decoded anew for that, as what was decoded of it may be gone.
 */
static void
note_place(CdcPipeline *pipeline, const CdcRecord *record)
{
	CdcPartition *part = pipeline->parts[record->part];
	/* behind the events of the attempt, which are still of use */
	CdcArenaMark mark = cdc_arena_mark(&pipeline->event_arena);
	const CdcMapping *mapping = NULL;
	CdcEvent	event;
	bool		skip;

	memset(&event, 0, sizeof(event));
	event.record = record;
	if (pipeline->decoder->decode(pipeline->decode, record,
								  &pipeline->event_arena, &event) &&
		!event.error && event.kind == CDC_KIND_CHANGE &&
		event.sequence[1].valid && event.source_name.data != NULL)
		mapping = cdc_route_mapping(part, &event, &skip);
	if (mapping != NULL && mapping->options.mode != CDC_MODE_APPEND)
		keep_place(pipeline, part, mapping - part->mappings, &event);
	cdc_arena_rewind(&pipeline->event_arena, mark);
}

/* May a truncate in another partition concern a table of this one? */
static bool
is_concerned(const CdcPipeline *pipeline, const CdcPartition *part)
{
	for (int i = 0; i < part->nmappings; i++)
		if (part->mappings[i].options.on_truncate == CDC_TRUNCATE_APPLY &&
			cdc_hold_several(pipeline, pipeline->roots[part->mappings + i - pipeline->subscription->mappings]))
			return true;
	return false;
}

/* cdc_gate_note_places: see pipeline_internal.h. */
void
cdc_gate_note_places(CdcPipeline *pipeline, const CdcRecord **records,
					 int nrecords, bool (*stays) (void *arg, int event),
					 void *arg)
{
	const CdcRecord **last = palloc0(Max(pipeline->nparts, 1) * sizeof(CdcRecord *));
	bool		concerned = false;

	for (int p = 0; p < pipeline->nparts && !concerned; p++)
		concerned = is_concerned(pipeline, pipeline->parts[p]);
	/* a tombstone has no place; the delete before it has */
	for (int i = 0; i < nrecords && concerned; i++)
		if (records[i]->value.data != NULL && !stays(arg, i))
			last[records[i]->part] = records[i];
	for (int p = 0; p < pipeline->nparts; p++)
		if (last[p] != NULL && is_concerned(pipeline, pipeline->parts[p]))
			note_place(pipeline, last[p]);
	pfree(last);
}

/* cdc_gate_free_places: see pipeline_internal.h. */
void
cdc_gate_free_places(CdcPartition *part)
{
	for (int i = 0; part->last_places != NULL && i < part->nmappings; i++)
		free(part->last_places[i].source);
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
