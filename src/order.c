/*-------------------------------------------------------------------------
 *
 * order.c
 *		Which of two records came first at the source.
 *
 * Floor 2.  By source.sequence, [commit position before, own position]: the
 * only numbers of Debezium that do not fall from one event to the next.
 * source.lsn does, when transactions overlap.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "order.h"

/* Place of an event; that of one without source block is unknown. */
CdcPlaceInSource
cdc_order_place(const CdcEvent *event)
{
	CdcPlaceInSource place;

	memcpy(place.sequence, event->sequence, sizeof(place.sequence));
	place.source = event->source_name;
	return place;
}

static CdcOrder
compare_numbers(uint64 a, uint64 b)
{
	return a < b ? CDC_ORDER_EARLIER : a > b ? CDC_ORDER_LATER : CDC_ORDER_SAME;
}

/*
 * cdc_order_compare: see order.h.  Where a first number is null (no commit
 * was seen yet) the second ones are compared.
 */
CdcOrder
cdc_order_compare(const CdcPlaceInSource *a, const CdcPlaceInSource *b)
{
	if (a->source.data == NULL || b->source.data == NULL ||
		a->source.len != b->source.len ||
		memcmp(a->source.data, b->source.data, a->source.len) != 0 ||
		!a->sequence[1].valid || !b->sequence[1].valid)
		return CDC_ORDER_UNKNOWN;
	if (a->sequence[0].valid && b->sequence[0].valid &&
		a->sequence[0].value != b->sequence[0].value)
		return compare_numbers(a->sequence[0].value, b->sequence[0].value);
	return compare_numbers(a->sequence[1].value, b->sequence[1].value);
}

/* Records of one partition on their way into the merged order. */
typedef struct Lane
{
	int			next;
	int			end;
	CdcPlaceInSource place;		/* of the record at next; of a tombstone that
								 * of the delete before it */
} Lane;

/* Moves a lane's place to its next record. */
static void
look(Lane *lane, const CdcEvent *events)
{
	if (lane->next < lane->end && events[lane->next].sequence[1].valid)
		lane->place = cdc_order_place(&events[lane->next]);
}

/* Should lane a go before lane b?  Of one key change the delete comes first. */
static bool
goes_before(const Lane *a, const Lane *b, const CdcEvent *events)
{
	CdcOrder	order = cdc_order_compare(&a->place, &b->place);

	if (order == CDC_ORDER_SAME)
		return events[a->next].op == CDC_OP_DELETE &&
			events[b->next].op != CDC_OP_DELETE;
	return order == CDC_ORDER_EARLIER;
}

/* cdc_order_merge: see order.h. */
void
cdc_order_merge(const CdcEvent *events, int nevents, int *order)
{
	Lane	   *lanes = palloc0(Max(nevents, 1) * sizeof(Lane));
	int			nlanes = 0;

	for (int i = 0; i < nevents; i++)
	{
		if (i == 0 || events[i].record->part != events[i - 1].record->part)
		{
			lanes[nlanes].next = i;
			nlanes++;
		}
		lanes[nlanes - 1].end = i + 1;
	}
	for (int l = 0; l < nlanes; l++)
		look(&lanes[l], events);
	for (int n = 0; n < nevents; n++)
	{
		Lane	   *best = NULL;

		for (int l = 0; l < nlanes; l++)
			if (lanes[l].next < lanes[l].end &&
				(best == NULL || goes_before(&lanes[l], best, events)))
				best = &lanes[l];
		order[n] = best->next++;
		look(best, events);
	}
	pfree(lanes);
}
