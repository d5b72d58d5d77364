/*-------------------------------------------------------------------------
 *
 * bench_decode.c
 *		How fast records are decoded, without conversions.
 *
 * usage: bench_decode STREAM.jsonl ...
 * Prints for each stream the best of several runs over its change events.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include <time.h>

#define BATCH	2000
#define RUNS	9

static double
now(void)
{
	struct timespec ts;

	/* CPU time: the machine is shared */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Decodes total records, round and round; returns seconds. */
static double
run(CdcDecodeState *state, const Stream *stream, CdcArena *arena,
	CdcEvent *events, int total)
{
	double		start = now();
	int			next = 0;

	for (int done = 0; done < total; done++)
	{
		if (done % BATCH == 0)
			cdc_arena_reset(arena);
		if (!cdc_decoder_debezium.decode(state, &stream->records[next], arena,
										 &events[done % BATCH]))
			abort();
		next = next + 1 < stream->nrecords ? next + 1 : 0;
	}
	return now() - start;
}

int
main(int argc, char **argv)
{
	CdcSourceSettings settings;
	static CdcArena arena;
	static CdcEvent events[BATCH];

	cdc_source_defaults(&settings);
	for (int i = 1; i < argc; i++)
	{
		Stream		stream = unit_read_stream(argv[i]);
		CdcDecodeState *state = cdc_decoder_debezium.open(&settings);
		double		best = 1e9;
		double		bytes = 0;
		int			total = 200000;

		for (int j = 0; j < stream.nrecords; j++)
			bytes += stream.records[j].key.len + stream.records[j].value.len;
		for (int j = 0; j < RUNS; j++)
		{
			double		seconds = run(state, &stream, &arena, events, total);

			best = seconds < best ? seconds : best;
		}
		printf("%-60s %6.0f B/event %6.0f ns %8.0f events/s\n", argv[i],
			   bytes / stream.nrecords, best / total * 1e9, total / best);
		cdc_decoder_debezium.close(state);
		cdc_arena_reset(&arena);
	}
	return 0;
}
