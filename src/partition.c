/*-------------------------------------------------------------------------
 *
 * partition.c
 *		Queue and state of one partition of the assignment.
 *
 * Floor 3.  See partition.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "partition.h"
#include "value.h"

/* an arena below this is left as it is */
#define COMPACT_BYTES	(4 * 1024 * 1024)

/* ERROR 53200, which is transient: the queue is as before. */
static void
fail_no_memory(const CdcPartition *part)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory while holding back a record of topic \"%s\"",
					part->topic)));
}

/* Copies bytes into the partition's arena; ERROR 53200 when malloc fails. */
static CdcBytes
copy_bytes(CdcPartition *part, CdcBytes bytes)
{
	CdcBytes	copy = {NULL, 0};

	if (bytes.data == NULL)
		return copy;
	copy.data = cdc_arena_copy(&part->arena, bytes.data, bytes.len);
	copy.len = bytes.len;
	if (copy.data == NULL)
		fail_no_memory(part);
	return copy;
}

/* Copies headers into the partition's arena; as copy_bytes. */
static CdcHeader *
copy_headers(CdcPartition *part, const CdcHeader *headers, int n)
{
	CdcHeader  *copy;

	if (n == 0)
		return NULL;
	copy = cdc_arena_alloc(&part->arena, n * sizeof(CdcHeader));
	if (copy == NULL)
		fail_no_memory(part);
	for (int i = 0; i < n; i++)
	{
		CdcBytes	name = {headers[i].name, (int32) strlen(headers[i].name)};

		copy[i].name = copy_bytes(part, name).data;
		copy[i].value = copy_bytes(part, headers[i].value);
	}
	return copy;
}

/*
 * Copies all of a record into the partition's arena: its value whole, as the
 * start stays with the batch.  As copy_bytes.
 */
static void
copy_record(CdcPartition *part, CdcRecord *record)
{
	CdcBytes	value;

	record->key = copy_bytes(part, record->key);
	if (!cdc_value_join(&part->arena, record, &value) ||
		!cdc_record_read_headers(record, &part->arena))
		fail_no_memory(part);
	memset(&record->start, 0, sizeof(record->start));
	record->value = value;
	record->headers = copy_headers(part, record->headers, record->nheaders);
}

/* What copy_bytes takes for so many bytes. */
static int64
copy_cost(int32 len)
{
	return Max(len, 0) + 1;
}

/* What a record takes in the queue and its arena, about. */
static int64
record_cost(const CdcRecord *record)
{
	int64		cost = sizeof(CdcRecord) + copy_cost(record->key.len) +
		copy_cost(record->value.len);

	for (int i = 0; i < record->nheaders; i++)
		cost += sizeof(CdcHeader) + copy_cost(strlen(record->headers[i].name)) +
			copy_cost(record->headers[i].value.len);
	return cost;
}

/*
 * cdc_partition_hold_record appends a deep copy of a record to the queue.
 */
void
cdc_partition_hold_record(CdcPartition *part, const CdcRecord *record)
{
	CdcRecord	copy = *record;

	if (part->nqueue == part->maxqueue)
	{
		int			n = Max(64, part->maxqueue * 2);
		CdcRecord  *queue = realloc(part->queue, n * sizeof(CdcRecord));

		if (queue == NULL)
			fail_no_memory(part);
		part->queue = queue;
		part->maxqueue = n;
	}
	copy_record(part, &copy);
	part->queue[part->nqueue++] = copy;
	part->queue_bytes += record_cost(&copy);
}

/*
 * Gives back what dropped records have left in the arena, where that is most
 * of it: the records are copied into a new one.  ERROR 53200 as copy_bytes.
 */
static void
compact(CdcPartition *part)
{
	CdcArena	old = part->arena;

	if (old.total < COMPACT_BYTES || (int64) old.total < 4 * part->queue_bytes)
		return;
	memset(&part->arena, 0, sizeof(part->arena));
	for (int i = 0; i < part->nqueue; i++)
		copy_record(part, &part->queue[i]);
	cdc_arena_free(&old);
}

/*
 * cdc_partition_drop removes the first n records of the queue.  Pointers to
 * the others, and to their bytes, are not valid any more.
 */
void
cdc_partition_drop(CdcPartition *part, int n)
{
	Assert(n <= part->nqueue);
	for (int i = 0; i < n; i++)
		part->queue_bytes -= record_cost(&part->queue[i]);
	part->nqueue -= n;
	if (part->nqueue > 0)
	{
		memmove(part->queue, part->queue + n, part->nqueue * sizeof(CdcRecord));
		compact(part);
	}
	else
	{
		cdc_arena_reset(&part->arena);
		part->queue_bytes = 0;
	}
}

/*
 * cdc_partition_release lets the partition go on from its queue.
 */
void
cdc_partition_release(CdcPartition *part)
{
	part->mode = CDC_PARTITION_ACTIVE;
	part->cause = CDC_HOLD_NONE;
	free(part->hold_source);
	part->hold_source = NULL;
	part->hold_final = false;
	part->runnable = false;
	part->attempts = 0;
	part->reason[0] = '\0';
	part->hint[0] = '\0';
}

/*
 * cdc_partition_rewind forgets what was read ahead of the position, so that
 * the source must deliver it again.
 */
void
cdc_partition_rewind(CdcPartition *part)
{
	cdc_partition_drop(part, part->nqueue);
	part->read_offset = part->next_offset;
	part->eof_offset = -1;
}
