/*-------------------------------------------------------------------------
 *
 * decode.c
 *		The decoder alone: events of the generator in memory, from bytes to
 *		decoded change, with the extension's own objects and no server.
 *
 *	decode [--schema] [--events N]
 *
 * Records are copied into the arena a few at a time, whole: so each schema is
 * compared here, which the consumer does while it copies.  Only decoding is
 * timed, in CPU time.  Values are not converted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <malloc.h>
#include <time.h>

#include "decode_api.h"
#include "event_bytes.h"
#include "tool.h"

#define BATCH	10000			/* events until the arena is emptied */
#define GROUP	100				/* records that are copied, then decoded */
#define KEPT	20000			/* events in memory, read round and round */

static double
thread_cpu(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static CdcRecord *
make_records(bool schema, int64_t *bytes)
{
	GenStream  *stream = gen_stream_open(gen_table("ev"), "insert", 0, KEPT, false);
	GenEvents  *maker = gen_events_open(gen_table("ev"), schema, "bench", "bench");
	CdcRecord  *records = calloc(KEPT, sizeof(*records));
	GenPlace	place;

	gen_place_start(&place);
	for (int i = 0; i < KEPT; i++)
	{
		GenChange	change;
		GenRecord	record;
		char	   *copy;

		gen_stream_next(stream, &change);
		gen_place_next(&place, i + 1, 1000);
		gen_events_make(maker, &change, &place, &record);
		copy = calloc(1, record.key_len + record.value_len);
		memcpy(copy, record.key, record.key_len);
		memcpy(copy + record.key_len, record.value, record.value_len);
		records[i].topic = "bench.public.ev";
		records[i].offset = i;
		records[i].key = (CdcBytes) {copy, (int32) record.key_len};
		records[i].value = (CdcBytes) {copy + record.key_len, (int32) record.value_len};
		*bytes += (int64_t) (record.key_len + record.value_len);
	}
	return records;
}

/* Copies a group of records into the arena. */
static void
copy_group(CdcArena *arena, const CdcRecord *from, CdcRecord *to)
{
	for (int i = 0; i < GROUP; i++)
	{
		to[i] = from[i];
		to[i].key.data = cdc_arena_copy(arena, from[i].key.data, (size_t) from[i].key.len);
		to[i].value.data = cdc_arena_copy(arena, from[i].value.data, (size_t) from[i].value.len);
	}
}

/* Decodes a group; every event must be understood, else the rate means nothing. */
static void
decode_group(CdcDecodeState *state, CdcArena *arena, const CdcRecord *records, CdcEvent *events)
{
	for (int i = 0; i < GROUP; i++)
	{
		if (!cdc_decoder_debezium.decode(state, &records[i], arena, &events[i]))
			tool_die("out of memory");
		if (events[i].error || events[i].op != CDC_OP_CREATE || events[i].after == NULL)
			tool_die("event at offset " INT64_FORMAT " was not understood", records[i].offset);
	}
}

int
main(int argc, char **argv)
{
	int64_t		total = tool_number(argc, argv, "--events", 500000) / BATCH * BATCH,
				bytes = 0;
	CdcRecord  *records = make_records(tool_flag(argc, argv, "--schema"), &bytes);
	static CdcEvent events[BATCH];
	CdcRecord	group[GROUP];
	CdcArena	arena = {0};
	CdcSourceSettings settings;
	CdcDecodeState *state;
	double		seconds = 0;

	/* as a worker does (session.c): memory that a batch has freed is the next one's */
	mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
	mallopt(M_TRIM_THRESHOLD, 48 * 1024 * 1024);
	cdc_source_defaults(&settings);
	state = cdc_decoder_debezium.open(&settings);
	for (int64_t i = 0; i < total; i += GROUP)
	{
		double		start;

		if (i % BATCH == 0)
			cdc_arena_reset(&arena);
		copy_group(&arena, records + i % KEPT, group);
		start = thread_cpu();
		decode_group(state, &arena, group, events + i % BATCH);
		seconds += thread_cpu() - start;
	}
	printf("{\"events\": " INT64_FORMAT ", \"seconds\": %.4f, \"bytes\": %.0f}\n", total, seconds,
		   (double) bytes / KEPT * (double) total);
	return 0;
}
