/*-------------------------------------------------------------------------
 *
 * hold.c
 *		Partitions that wait for each other (design.md 3.3, 3.7).
 *
 * Floor 8.  Between partitions there is no order, so a record may arrive
 * before another that made room for it at the source.  Its partition is held
 * before it; the others go on, and with each of their commits it is tried
 * again.  Where all of them hold each other, what is at hand of all is tried
 * in one transaction.  Only what still fails once every partition has passed
 * an end learned after the failure is an error of the data.
 *
 * Where several workers share the partitions, none of them sees all of that:
 * the first hold asks for all partitions to be gathered in worker 0.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "moved.h"
#include "pipeline_internal.h"

/* records of a queue tried at once, alone */
#define RETRY_RECORDS 64
/* pause between two sweeps of kept rows */
#define SWEEP_MS 60000

/* cdc_hold_refresh_roots: see pipeline_internal.h. */
void
cdc_hold_refresh_roots(CdcPipeline *pipeline)
{
	const CdcSubscription *sub = pipeline->subscription;

	if (!pipeline->relmap->invalidated)
		return;
	pipeline->relmap->invalidated = false;
	for (int i = 0; i < sub->nmappings; i++)
		pipeline->roots[i] = OidIsValid(sub->mappings[i].relid) ?
			cdc_relation_root(sub->mappings[i].relid) : InvalidOid;
}

/* cdc_hold_feeds: see pipeline_internal.h. */
bool
cdc_hold_feeds(const CdcPipeline *pipeline, const CdcPartition *part, Oid root)
{
	if (part->stale || part->disabled)
		return false;
	for (int i = 0; i < part->nmappings; i++)
		if (pipeline->roots[part->mappings + i - pipeline->subscription->mappings] == root)
			return true;
	return false;
}

/* cdc_hold_several: see pipeline_internal.h. */
bool
cdc_hold_several(const CdcPipeline *pipeline, Oid root)
{
	int			n = 0;

	if (!OidIsValid(root))
		return false;
	/* what other workers consume counts, too */
	for (int i = 0; pipeline->shared && i < pipeline->subscription->nmappings; i++)
		if (pipeline->roots[i] == root)
			n += pipeline->topic_partitions[i];
	for (int i = 0; !pipeline->shared && i < pipeline->nparts; i++)
		n += cdc_hold_feeds(pipeline, pipeline->parts[i], root);
	return n > 1;
}

/*
 * cdc_hold_others_pending: can a change that came before this event at the
 * source still arrive from another partition?  Not when each other one has
 * reached an end that was learned while the event's partition was held
 * before it.
 */
bool
cdc_hold_others_pending(void *arg, const CdcRelation *rel,
						const CdcEvent *event)
{
	CdcPipeline *pipeline = arg;
	CdcPartition *part = pipeline->parts[event->record->part];
	bool		held = part->mode == CDC_PARTITION_HELD &&
		part->hold_offset == event->record->offset;

	if (held && part->hold_final)
		return false;
	if (pipeline->shared)
		return cdc_hold_several(pipeline, rel->root_relid);
	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *other = pipeline->parts[i];

		if (other == part || !cdc_hold_feeds(pipeline, other, rel->root_relid))
			continue;
		if (!held || other->end_serial <= part->hold_serial ||
			other->next_offset < other->end_offset)
			return true;
	}
	return false;
}

/* cdc_hold_before: see pipeline_internal.h. */
void
cdc_hold_before(CdcPipeline *pipeline, CdcPartition *part, CdcHoldCause cause,
				Oid root, const CdcEvent *event)
{
	int64		offset = event->record->offset;
	bool		again = part->mode == CDC_PARTITION_HELD &&
		part->hold_offset == offset && part->cause == cause;

	pipeline->gather_wanted = pipeline->shared;
	part->mode = CDC_PARTITION_HELD;
	part->cause = cause;
	part->hold_relid = root;
	part->hold_offset = offset;
	part->hold_final = false;
	part->runnable = false;
	part->tried_at = pipeline->progress;
	if (cause == CDC_HOLD_TRUNCATE)
	{
		part->hold_is_truncate = event->op == CDC_OP_TRUNCATE;
		memcpy(part->hold_sequence, event->sequence, sizeof(part->hold_sequence));
		free(part->hold_source);
		part->hold_source = event->source_name.data == NULL ? NULL :
			strndup(event->source_name.data, event->source_name.len);
	}
	if (!again)
	{
		part->hold_serial = pipeline->ends_serial;
		part->combined_at = -1;
	}
	strlcpy(part->reason, "other_partition", sizeof(part->reason));
	snprintf(part->hint, sizeof(part->hint),
			 "The record at offset " INT64_FORMAT " waits for a change that another partition brings.",
			 offset);
}

/* cdc_hold_any: see pipeline_internal.h. */
bool
cdc_hold_any(const CdcPipeline *pipeline)
{
	for (int i = 0; i < pipeline->nparts; i++)
		if (pipeline->parts[i]->mode == CDC_PARTITION_HELD)
			return true;
	return false;
}

/* Has the partition applied all that is known of its log? */
static bool
at_end(const CdcPartition *part)
{
	return part->mode == CDC_PARTITION_ACTIVE && part->nqueue == 0 &&
		part->eof_offset >= 0 && part->next_offset >= part->eof_offset;
}

/* Can nothing of the tree move before something held does? */
static bool
group_blocked(const CdcPipeline *pipeline, Oid root)
{
	for (int i = 0; i < pipeline->nparts; i++)
	{
		const CdcPartition *part = pipeline->parts[i];

		if (cdc_hold_feeds(pipeline, part, root) && part->mode == CDC_PARTITION_ACTIVE &&
			!at_end(part))
			return false;
	}
	return true;
}

/* Was the whole tree read up to ends learned after the partition was held? */
static bool
group_read(CdcPipeline *pipeline, const CdcPartition *held)
{
	bool		read = true;

	for (int i = 0; i < pipeline->nparts; i++)
	{
		const CdcPartition *part = pipeline->parts[i];

		if (!cdc_hold_feeds(pipeline, part, held->hold_relid))
			continue;
		if (part->end_serial <= held->hold_serial)
		{
			pipeline->ends_wanted = true;
			return false;
		}
		/* what stands behind the record in its own partition came later */
		read &= part == held || part->read_offset >= part->end_offset;
	}
	return read;
}

/* Did another partition of the tree move on since this one was tried? */
static bool
others_moved(const CdcPipeline *pipeline, const CdcPartition *held)
{
	for (int i = 0; i < pipeline->nparts; i++)
	{
		const CdcPartition *part = pipeline->parts[i];

		if (part != held && part->progress > held->tried_at &&
			cdc_hold_feeds(pipeline, part, held->hold_relid))
			return true;
	}
	return false;
}

/* The first records of a partition's queue. */
static const CdcRecord **
pick_queue(CdcPartition *part, int max, int *n)
{
	const CdcRecord **records;

	*n = Min(part->nqueue, max);
	records = palloc(*n * sizeof(CdcRecord *));
	for (int i = 0; i < *n; i++)
		records[i] = &part->queue[i];
	return records;
}

/* What all held partitions of the tree have at hand. */
static const CdcRecord **
pick_group(CdcPipeline *pipeline, Oid root, int *n)
{
	int64		left = (int64) cdc_guc_memory_limit * 1024;
	const CdcRecord **records;
	int			max = 0;

	for (int i = 0; i < pipeline->nparts; i++)
		max += pipeline->parts[i]->nqueue;
	records = palloc(Max(max, 1) * sizeof(CdcRecord *));
	*n = 0;
	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];

		if (part->mode != CDC_PARTITION_HELD || !cdc_hold_feeds(pipeline, part, root))
			continue;
		part->combined_at = pipeline->changes;
		for (int q = 0; q < part->nqueue && left > 0; q++)
		{
			records[(*n)++] = &part->queue[q];
			left -= part->queue[q].key.len + part->queue[q].value.len;
		}
	}
	return records;
}

/*
 * cdc_hold_pick: see pipeline_internal.h.  Order of chances: a queue that
 * goes on; a partition whose peers moved; all of a blocked tree together;
 * the same for the last time, with failures taken for what they are.
 */
const CdcRecord **
cdc_hold_pick(CdcPipeline *pipeline, int *nrecords, bool *together)
{
	*together = false;
	if (pipeline->shared)
		return NULL;
	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];

		if (part->mode == CDC_PARTITION_HELD && part->nqueue > 0 &&
			(part->runnable || others_moved(pipeline, part)))
		{
			part->tried_at = pipeline->progress;
			return pick_queue(part, Min(pipeline->subscription->options.batch_rows,
										RETRY_RECORDS), nrecords);
		}
	}
	/* a partition with fresh records can move */
	if (pipeline->nfresh > 0)
		return NULL;
	*together = true;
	for (int i = 0; i < pipeline->nparts; i++)
	{
		CdcPartition *part = pipeline->parts[i];

		if (part->mode != CDC_PARTITION_HELD || part->nqueue == 0 ||
			!group_blocked(pipeline, part->hold_relid))
			continue;
		if (part->combined_at != pipeline->changes)
			return pick_group(pipeline, part->hold_relid, nrecords);
		if (group_read(pipeline, part))
		{
			part->hold_final = true;
			return pick_group(pipeline, part->hold_relid, nrecords);
		}
	}
	return NULL;
}

/* cdc_hold_again: see pipeline_internal.h. */
void
cdc_hold_again(CdcPipeline *pipeline, const CdcRecord **records, int nrecords,
			   bool together)
{
	for (int i = 0; i < nrecords; i++)
	{
		CdcPartition *part = pipeline->parts[records[i]->part];

		if (together)
			part->combined_at = -1;
		else
			part->runnable = true;
	}
}

/* cdc_hold_find_kept: see pipeline_internal.h. */
void
cdc_hold_find_kept(CdcPipeline *pipeline)
{
	if (pipeline->kept_found || pipeline->shared)
		return;
	cdc_moved_kept = cdc_moved_waits(pipeline->subscription->name, DT_NOEND);
	/* their inserts may come as late as those of rows that are kept now */
	if (cdc_moved_kept)
		cdc_moved_last = GetCurrentTimestamp();
	pipeline->kept_found = true;
}

/*
 * cdc_hold_check_sweep: kept rows go when they are CDC_MOVED_KEEP_MS old and
 * all partitions have reached an end learned after that.  The end alone tells
 * nothing: the insert is written after the delete, into another partition,
 * and may become visible much later, at the end of a transaction for example.
 */
void
cdc_hold_check_sweep(CdcPipeline *pipeline)
{
	TimestampTz now;

	if (!cdc_moved_kept || pipeline->shared)
		return;
	now = GetCurrentTimestamp();
	if (pipeline->sweep_mark == 0)
	{
		if (now < pipeline->sweep_at || (cdc_moved_first != 0 &&
										 !TimestampDifferenceExceeds(cdc_moved_first, now, CDC_MOVED_KEEP_MS)))
			return;
		pipeline->sweep_mark = now;
		pipeline->sweep_serial = pipeline->ends_serial;
		pipeline->ends_wanted = true;
	}
	for (int i = 0; i < pipeline->nparts; i++)
	{
		const CdcPartition *part = pipeline->parts[i];

		if (part->stale)
			continue;
		if (part->end_serial <= pipeline->sweep_serial ||
			part->next_offset < part->end_offset)
			return;
	}
	pipeline->sweep = true;
}

/* cdc_hold_swept: the sweep is committed; the next one comes when it may find something. */
void
cdc_hold_swept(CdcPipeline *pipeline)
{
	if (TimestampDifferenceExceeds(cdc_moved_last, pipeline->sweep_mark, CDC_MOVED_KEEP_MS))
		cdc_moved_kept = false;
	pipeline->sweep = false;
	pipeline->sweep_mark = 0;
	pipeline->sweep_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SWEEP_MS);
}
