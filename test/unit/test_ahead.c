/*-------------------------------------------------------------------------
 *
 * test_ahead.c
 *		What the thread reads and decodes is what reading and decoding in
 *		place gives, for batches of every size, whenever the worker takes it
 *		or forgets it.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include <glob.h>

#include "ahead.h"
#include "value.h"

/* more than are ever decoded ahead in one batch */
#define MOST	20000

static CdcRecord records[MOST];

static bool
same_node(const CdcJsonNode *a, const CdcJsonNode *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	for (uint32 i = 0; i < a->span; i++)
		if (a[i].type != b[i].type || a[i].span != b[i].span ||
			a[i].len != b[i].len || a[i].nchildren != b[i].nchildren ||
			memcmp(a[i].text, b[i].text, a[i].len) != 0)
			return false;
	return a->span == b->span;
}

static bool
same_str(CdcStr a, CdcStr b)
{
	return a.len == b.len && (a.data == NULL) == (b.data == NULL) &&
		(a.data == NULL || memcmp(a.data, b.data, a.len) == 0);
}

/* Do two events of the same record say the same? */
static bool
same_event(const CdcEvent *a, const CdcEvent *b)
{
	if ((a->error == NULL) != (b->error == NULL))
		return false;
	if (a->error != NULL)
		return strcmp(a->error->message, b->error->message) == 0;
	return a->kind == b->kind && a->op == b->op &&
		a->flattened == b->flattened && a->snapshot == b->snapshot &&
		same_node(a->key, b->key) && same_node(a->before, b->before) &&
		same_node(a->after, b->after) && same_node(a->newkey, b->newkey) &&
		same_node(a->oldkey, b->oldkey) &&
		same_str(a->source_table, b->source_table) &&
		a->sequence[1].value == b->sequence[1].value &&
		a->source_ts_ms == b->source_ts_ms && a->ts_ms == b->ts_ms;
}

/* Fills records[] with those of all recorded streams, over and over. */
static void
fill(void)
{
	glob_t		found;
	int			n = 0;

	if (glob("../fixtures/decode/*.jsonl", 0, NULL, &found) != 0)
		exit(1);
	while (n < MOST)
		for (size_t f = 0; f < found.gl_pathc && n < MOST; f++)
		{
			static Stream streams[1000];

			if (streams[f].records == NULL)
				streams[f] = unit_read_stream(found.gl_pathv[f]);
			for (int i = 0; i < streams[f].nrecords && n < MOST; i++)
			{
				records[n] = streams[f].records[i];
				records[n].part = (int32) f;
				records[n].offset = n;
				n++;
			}
		}
	globfree(&found);
}

/*
 * Takes every step-th of n records, which begin at records[first]; counts
 * those that are not as decoded in place, and those that the thread left.
 */
static void
take(CdcAhead *ahead, CdcDecodeState *own, int first, int n, int step,
	 int *wrong, int *left)
{
	static CdcArena arena;
	static CdcArena rest;

	for (int i = 0; i < n; i += step)
	{
		CdcEvent	there;
		CdcEvent	here;

		memset(&there, 0, sizeof(there));
		if (!cdc_ahead_take(ahead, i, &there))
		{
			(*left)++;
			if (!cdc_decoder_debezium.decode(own, &records[first + i], &rest, &there))
				exit(1);
		}
		if (!cdc_decoder_debezium.decode(own, &records[first + i], &arena, &here))
			exit(1);
		if (!same_event(&there, &here))
			(*wrong)++;
		cdc_arena_reset(&arena);
		cdc_arena_reset(&rest);
	}
}

/* Puts n records and takes every step-th of them. */
static void
batch(CdcAhead *ahead, CdcDecodeState *own, int n, int step, int *wrong,
	  int *left)
{
	for (int i = 0; i < n; i++)
		cdc_ahead_put(ahead, &records[i]);
	take(ahead, own, 0, n, step, wrong, left);
	cdc_ahead_reset(ahead);
}

/* Where the thread reads: records[] from next on, up to end. */
typedef struct Log
{
	int			next;
	int			end;
} Log;

/* read of CdcAheadSource; cuts the value, as the client does. */
static bool
read_log(void *arg, CdcArena *arena, CdcRecord *record)
{
	Log		   *log = arg;
	CdcBytes	value;

	if (log->next == log->end)
		return false;
	*record = records[log->next];
	value = record->value;
	cdc_value_cut(arena, record, value.data, value.len);
	log->next++;
	return true;
}

/*
 * A drain as the worker does it: while a batch is taken the thread reads the
 * next one, and what it did not read is put.  Counts records that are wrong,
 * and returns how many came in all.  forget: what was read is put again.
 */
static int
drain(CdcAhead *ahead, CdcDecodeState *own, int end, int size, bool forget,
	  int *wrong, int *read)
{
	static CdcArena arena;
	Log			log = {0, end};
	int			begin = 0;
	int			n = 0;
	int			left = 0;

	while (begin + n < end || n > 0)
	{
		CdcAheadSource source = {read_log, &log, size, INT64_MAX, INT64_MAX};
		const CdcRecord *found;
		int			nfound;

		for (; n < size && log.next < end; n++)
			cdc_ahead_put(ahead, &records[log.next++]);
		cdc_ahead_read(ahead, &source);
		take(ahead, own, begin, n, 1, wrong, &left);
		begin += n;
		cdc_ahead_reset(ahead);
		nfound = cdc_ahead_stop(ahead, &found);
		for (int i = 0; i < nfound; i++)
			*wrong += found[i].offset != records[begin + i].offset;
		*read += nfound;
		cdc_arena_reset(&arena);
		cdc_ahead_turn(ahead, &arena, !forget);
		for (int i = 0; forget && i < nfound; i++)
			cdc_ahead_put(ahead, &records[begin + i]);
		n = nfound;
	}
	cdc_arena_free(&arena);
	return begin;
}

int
main(void)
{
	static const int sizes[] = {0, 1, 255, 256, 257, 300, 384, 1000, 5000, MOST};
	CdcSourceSettings settings;
	CdcDecodeState *own;
	CdcAhead   *ahead;
	int			wrong = 0;
	int			left = 0;
	int			read = 0;

	cdc_source_defaults(&settings);
	fill();
	own = cdc_decoder_debezium.open(&settings);
	ahead = cdc_ahead_create(&cdc_decoder_debezium, &settings, 8 * 1024 * 1024);

	for (int i = 0; i < (int) lengthof(sizes); i++)
		batch(ahead, own, sizes[i], 1, &wrong, &left);
	unit_is_int(wrong, 0, "batches of every size are decoded as in place");
	unit_ok(left >= 256 + MOST - 16384,
			"small batches and what is beyond the bound are left to the worker");

	left = wrong = 0;
	batch(ahead, own, 5000, 1, &wrong, &left);
	unit_is_int(left, 0, "a whole batch of 5000 is decoded ahead");

	for (int i = 0; i < 300; i++)
	{
		batch(ahead, own, 256 + 7 * i, 257 + i, &wrong, &left);
		batch(ahead, own, 256 + i, 100000, &wrong, &left);
	}
	unit_is_int(wrong, 0, "batches of which little is taken do not disturb the next");

	wrong = 0;
	for (int size = 300; size <= 6000; size += 1900)
		wrong += drain(ahead, own, MOST, size, false, &wrong, &read) != MOST;
	unit_is_int(wrong, 0, "what is read while a batch is taken is the next, in its order");
	unit_ok(read > 0, "something is read meanwhile");
	wrong += drain(ahead, own, MOST, 3000, true, &wrong, &read) != MOST;
	unit_is_int(wrong, 0, "what was read can be put anew");

	cdc_ahead_free(ahead);
	ahead = cdc_ahead_create(&cdc_decoder_debezium, &settings, 8 * 1024 * 1024);
	for (int i = 0; i < 1000; i++)
		cdc_ahead_put(ahead, &records[i]);
	cdc_ahead_free(ahead);
	unit_ok(true, "the thread ends in the midst of a batch");
	ahead = cdc_ahead_create(&cdc_decoder_debezium, &settings, 8 * 1024 * 1024);
	for (int i = 0; i < 1000; i++)
		cdc_ahead_put(ahead, &records[i]);
	{
		Log			log = {1000, MOST};
		CdcAheadSource source = {read_log, &log, MOST, INT64_MAX, INT64_MAX};

		cdc_ahead_read(ahead, &source);
		cdc_ahead_free(ahead);
	}
	unit_ok(true, "and while it reads the next one");
	cdc_decoder_debezium.close(own);
	return unit_done();
}
