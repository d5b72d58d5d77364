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

/*
 * Copies bytes into the partition's arena.  ERROR 53200 when malloc fails,
 * which is transient: the queue is as before.
 */
static CdcBytes
copy_bytes(CdcPartition *part, CdcBytes bytes)
{
	CdcBytes	copy = {NULL, 0};

	if (bytes.data == NULL)
		return copy;
	copy.data = cdc_arena_copy(&part->arena, bytes.data, bytes.len);
	copy.len = bytes.len;
	if (copy.data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while holding back a record of topic \"%s\"",
						part->topic)));
	return copy;
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
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory while holding back a record of topic \"%s\"",
							part->topic)));
		part->queue = queue;
		part->maxqueue = n;
	}
	copy.key = copy_bytes(part, record->key);
	copy.value = copy_bytes(part, record->value);
	copy.headers = NULL;
	if (record->nheaders > 0)
	{
		copy.headers = cdc_arena_alloc(&part->arena,
									   record->nheaders * sizeof(CdcHeader));
		if (copy.headers == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory while holding back a record of topic \"%s\"",
							part->topic)));
		for (int i = 0; i < record->nheaders; i++)
		{
			CdcBytes	name = {record->headers[i].name,
			(int32) strlen(record->headers[i].name)};

			copy.headers[i].name = copy_bytes(part, name).data;
			copy.headers[i].value = copy_bytes(part, record->headers[i].value);
		}
	}
	part->queue[part->nqueue++] = copy;
	part->queue_bytes += Max(copy.key.len, 0) + Max(copy.value.len, 0) +
		sizeof(CdcRecord);
}

/*
 * cdc_partition_drop removes the first n records of the queue.  Their bytes
 * go when the queue is empty.
 */
void
cdc_partition_drop(CdcPartition *part, int n)
{
	Assert(n <= part->nqueue);
	for (int i = 0; i < n; i++)
		part->queue_bytes -= Max(part->queue[i].key.len, 0) +
			Max(part->queue[i].value.len, 0) + sizeof(CdcRecord);
	part->nqueue -= n;
	if (part->nqueue > 0)
		memmove(part->queue, part->queue + n, part->nqueue * sizeof(CdcRecord));
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
