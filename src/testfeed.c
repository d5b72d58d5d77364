/*-------------------------------------------------------------------------
 *
 * testfeed.c
 *		Feeds recorded events to the pipeline without a broker, for tests.
 *
 * Floor 9.  No SQL of the extension declares this function; only test
 * scripts do:
 *
 * CREATE FUNCTION cdc_test_feed(subscription name, events text)
 * RETURNS TABLE (topic text, partition int, next_offset bigint, state text,
 * state_reason text, sqlstate text, message text)
 * AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
 *
 * events holds one JSON object a line: topic, partition, offset (else counted
 * per partition), ts, key, value, headers (list of [name, value]); a string
 * stands for its UTF-8 bytes, {"b64": …} for others, null for a Kafka null.
 * Everything happens in the caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "pipeline.h"
#include "position.h"
#include "session.h"

PG_FUNCTION_INFO_V1(cdc_test_feed);

PGDLLEXPORT Datum cdc_test_feed(PG_FUNCTION_ARGS);

/* Reads one line; its nodes are palloc'd. */
static const CdcJsonNode *
read_line(CdcJsonParser *parser, const char *line, int len)
{
	CdcJsonOutput out;

	memset(&out, 0, sizeof(out));
	out.max_nodes = len / 2 + 16;
	out.nodes = palloc_extended(out.max_nodes * sizeof(CdcJsonNode), MCXT_ALLOC_HUGE);
	out.max_strings = len;
	out.strings = palloc(out.max_strings);
	if (cdc_json_parse(parser, line, len, &out) != CDC_JSON_OK)
		elog(ERROR, "line of events is no JSON: %s", out.message);
	return out.nodes;
}

/* The member, or an error. */
static const CdcJsonNode *
member(const CdcJsonNode *object, const char *name)
{
	const CdcJsonNode *node = cdc_json_member(object, name);

	if (node == NULL)
		elog(ERROR, "line of events has no member %s", name);
	return node;
}

static int64
number(const CdcJsonNode *node)
{
	return pg_strtoint64(pnstrdup(node->text, node->len));
}

/* Bytes that a member stands for, in the pipeline's arena. */
static CdcBytes
bytes(CdcPipeline *pipeline, const CdcJsonNode *node)
{
	CdcBytes	result = {NULL, 0};

	if (node == NULL || node->type == CDC_JSON_NULL)
		return result;
	if (node->type == CDC_JSON_OBJECT)
	{
		const CdcJsonNode *b64 = member(node, "b64");
		int			max = pg_b64_dec_len(b64->len);
		void	   *decoded = palloc(max + 1);	/* signed or not, by version */

		result.len = pg_b64_decode(b64->text, b64->len, decoded, max);
		if (result.len < 0)
			elog(ERROR, "bad base64 in events");
		result.data = cdc_arena_copy(&pipeline->arena, decoded, result.len);
	}
	else
	{
		result.data = cdc_arena_copy(&pipeline->arena, node->text, node->len);
		result.len = node->len;
	}
	return result;
}

/* The partition of a record, made at its first record. */
static CdcPartition *
partition_of(CdcPipeline *pipeline, const char *topic, int32 partition,
			 int64 offset)
{
	CdcPartition *part = cdc_pipeline_partition(pipeline, topic, partition);

	if (part == NULL)
	{
		const char *name = pipeline->subscription->name;
		CdcPosition position;

		(void) cdc_position_create(name, topic, partition, Max(offset, 0), NULL);
		cdc_position_claim(name, topic, partition, 0, &position);
		part = cdc_pipeline_add_partition(pipeline, topic, partition,
										  position.next_offset);
		part->skip_offset = position.skip_offset;
		part->anchor = position.anchor;
	}
	return part;
}

/* Headers of a line, which a record asks for as it does Kafka's. */
typedef struct Headers
{
	const CdcHeader *headers;
	int			n;
} Headers;

/* read_headers of CdcRecordSource. */
static bool
read_headers(CdcRecord *record, CdcArena *arena)
{
	const Headers *found = record->message;

	record->headers = found->headers;
	record->nheaders = found->n;
	record->source = NULL;
	return true;
}

/* Has the record ask for the headers of a line. */
static void
set_headers(CdcPipeline *pipeline, CdcRecord *record, const CdcJsonNode *list)
{
	static const CdcRecordSource source = {read_headers};
	CdcHeader  *copies = cdc_arena_alloc(&pipeline->arena,
										 Max(list->nchildren, 1) * sizeof(CdcHeader));
	Headers    *headers = cdc_arena_alloc(&pipeline->arena, sizeof(Headers));
	const CdcJsonNode *pair = cdc_json_first(list);

	for (uint32 i = 0; i < list->nchildren; i++)
	{
		const CdcJsonNode *name = cdc_json_first(pair);

		copies[i].name = cdc_arena_copy(&pipeline->arena, name->text, name->len);
		copies[i].value = bytes(pipeline, cdc_json_next(name));
		pair = cdc_json_next(pair);
	}
	headers->headers = copies;
	headers->n = list->nchildren;
	record->message = headers;
	record->source = &source;
}

/* Turns a line into a record and puts it into the pipeline. */
static void
put_line(CdcPipeline *pipeline, const CdcJsonNode *line)
{
	CdcRecord	record;
	const CdcJsonNode *topic = member(line, "topic");
	const CdcJsonNode *node = cdc_json_member(line, "offset");
	const CdcJsonNode *headers = cdc_json_member(line, "headers");
	CdcPartition *part;

	memset(&record, 0, sizeof(record));
	record.offset = node ? number(node) : -1;
	node = cdc_json_member(line, "partition");
	part = partition_of(pipeline, pnstrdup(topic->text, topic->len),
						node ? (int32) number(node) : 0, record.offset);
	if (record.offset < 0)
		record.offset = part->read_offset;
	record.topic = part->topic;
	record.partition = part->partition;
	record.part = part->index;
	node = cdc_json_member(line, "ts");
	record.ts_ms = node && node->type == CDC_JSON_NUMBER ? number(node) : -1;
	record.key = bytes(pipeline, cdc_json_member(line, "key"));
	record.value = bytes(pipeline, cdc_json_member(line, "value"));
	if (headers && headers->type == CDC_JSON_ARRAY)
		set_headers(pipeline, &record, headers);
	if (part->nmappings > 0)
		cdc_pipeline_put(pipeline, &record);
}

/* Works until nothing can move before more arrives. */
static void
drain(CdcPipeline *pipeline)
{
	while (cdc_pipeline_step(pipeline) == CDC_STEP_DONE)
		;
}

/* All records were put: every partition is at its end, and knows it. */
static void
finish(CdcPipeline *pipeline)
{
	do
	{
		pipeline->ends_serial++;
		for (int i = 0; i < pipeline->nparts; i++)
		{
			CdcPartition *part = pipeline->parts[i];

			cdc_pipeline_eof(pipeline, i, part->read_offset);
			part->end_offset = part->read_offset;
			part->end_serial = pipeline->ends_serial;
		}
		cdc_pipeline_ends_learned(pipeline);
		drain(pipeline);
	} while (pipeline->ends_wanted);
}

/* One row a partition. */
static void
return_partitions(CdcPipeline *pipeline, ReturnSetInfo *rsinfo)
{
	for (int i = 0; i < pipeline->nparts; i++)
	{
		const CdcPartition *part = pipeline->parts[i];
		bool		stopped = part->mode == CDC_PARTITION_STOPPED;
		Datum		values[7];
		bool		nulls[7] = {false};

		values[0] = CStringGetTextDatum(part->topic);
		values[1] = Int32GetDatum(part->partition);
		values[2] = Int64GetDatum(part->next_offset);
		values[3] = CStringGetTextDatum(stopped ? "stopped" :
										part->mode == CDC_PARTITION_HELD ? "waiting" :
										"streaming");
		values[4] = CStringGetTextDatum(part->reason);
		nulls[4] = part->reason[0] == '\0';
		nulls[5] = nulls[6] = !stopped;
		values[5] = stopped ? CStringGetTextDatum(unpack_sql_state(part->sqlstate)) : 0;
		values[6] = stopped ? CStringGetTextDatum(part->message) : 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* One more row, without a topic: what was counted, as JSON in message. */
static void
return_counts(CdcPipeline *pipeline, ReturnSetInfo *rsinfo)
{
	const CdcTableCounts *totals = &pipeline->relmap->totals;
	Datum		values[7] = {0};
	bool		nulls[7] = {true, true, true, true, true, true, false};

	values[6] = CStringGetTextDatum(psprintf("{\"skipped\":" UINT64_FORMAT ",\"noop\":" UINT64_FORMAT
											 ",\"update_missing\":" UINT64_FORMAT ",\"delete_missing\":" UINT64_FORMAT "}",
											 pipeline->skipped, totals->noop,
											 totals->update_missing,
											 totals->delete_missing));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Adds the partitions of all lines, as a consumer does before it reads: a
 * partition must know from the start who else feeds its table.
 */
static void
add_partitions(CdcPipeline *pipeline, CdcJsonParser *parser, const char *events)
{
	for (const char *line = events; *line;)
	{
		int			len = strcspn(line, "\n");

		if (len > 0)
		{
			const CdcJsonNode *node = read_line(parser, line, len);
			const CdcJsonNode *topic = member(node, "topic");
			const CdcJsonNode *partition = cdc_json_member(node, "partition");
			const CdcJsonNode *offset = cdc_json_member(node, "offset");

			(void) partition_of(pipeline, pnstrdup(topic->text, topic->len),
								partition ? (int32) number(partition) : 0,
								offset ? number(offset) : -1);
		}
		line += len + (line[len] == '\n');
	}
}

/* Feeds the lines, a batch after the other. */
static void
feed(CdcPipeline *pipeline, char *events)
{
	CdcJsonParser *parser = cdc_json_create();
	MemoryContext lines = AllocSetContextCreate(CurrentMemoryContext, "lines",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(lines);

	add_partitions(pipeline, parser, events);
	for (char *line = events; *line;)
	{
		int			len = strcspn(line, "\n");

		if (len > 0)
			put_line(pipeline, read_line(parser, line, len));
		MemoryContextReset(lines);
		if (cdc_pipeline_full(pipeline, 1))
			drain(pipeline);
		line += len + (line[len] == '\n');
	}
	MemoryContextSwitchTo(old);
	cdc_json_free(parser);
}

/*
 * cdc_test_feed: see the banner.  What it leaves behind is what a worker
 * would have committed.
 */
Datum
cdc_test_feed(PG_FUNCTION_ARGS)
{
	CdcSubscription *subscription = cdc_catalog_find(NameStr(*PG_GETARG_NAME(0)));
	CdcPipeline *pipeline;
	int			level = NewGUCNestLevel();

	if (subscription == NULL)
		elog(ERROR, "no such subscription");
	InitMaterializedSRF(fcinfo, 0);
	cdc_session_pin_level(subscription);
	pipeline = cdc_pipeline_create(CurrentMemoryContext, subscription);
	pipeline->in_caller = true;
	cdc_pipeline_decode_ahead(pipeline);
	PG_TRY();
	{
		feed(pipeline, text_to_cstring(PG_GETARG_TEXT_PP(1)));
		drain(pipeline);
		finish(pipeline);
		return_partitions(pipeline, (ReturnSetInfo *) fcinfo->resultinfo);
		return_counts(pipeline, (ReturnSetInfo *) fcinfo->resultinfo);
	}
	PG_FINALLY();
	{
		cdc_pipeline_free(pipeline);
	}
	PG_END_TRY();
	AtEOXact_GUC(false, level);
	return (Datum) 0;
}
