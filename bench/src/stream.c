/*-------------------------------------------------------------------------
 *
 * stream.c
 *		Which rows change in which order.
 *
 * A pattern draws its keys from a seeded generator or from a permutation,
 * never from a clock.  Those that pick existing rows need to know which rows
 * exist, so they keep the version of each row in an array.
 *
 *-------------------------------------------------------------------------
 */
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* keys that the mixed patterns touch again soon after */
#define RECENT 256

typedef void (*NextFn) (GenStream *stream, GenChange *change);

struct GenStream
{
	const GenTable *table;
	NextFn		next;
	int64_t		before;
	int64_t		max_id;			/* highest id that was ever given */
	int64_t		number;			/* of the event in work, from 1 */
	uint64_t	random;			/* state of the generator */
	int			bits;			/* of each half of the permutation's block */
	uint32_t   *versions;		/* by id, or NULL */
	int64_t		recent[RECENT];
};

static uint64_t
draw(GenStream *stream)
{
	uint64_t	z = (stream->random += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* Maps 0..before-1 onto itself: four Feistel rounds, walked into range. */
static int64_t
permute(const GenStream *stream, int64_t n)
{
	uint64_t	mask = (UINT64_C(1) << stream->bits) - 1;
	uint64_t	x = (uint64_t) n;

	do
	{
		uint64_t	left = x >> stream->bits,
					right = x & mask;

		for (int round = 0; round < 4; round++)
		{
			uint64_t	mixed = (right + round + 1) * UINT64_C(0x9E3779B97F4A7C15);
			uint64_t	next = left ^ ((mixed >> 29) & mask);

			left = right;
			right = next;
		}
		x = left << stream->bits | right;
	} while ((int64_t) x >= stream->before);
	return (int64_t) x;
}

static void
next_insert(GenStream *stream, GenChange *change)
{
	change->op = 'c';
	change->id = ++stream->max_id;
}

static void
next_update_seq(GenStream *stream, GenChange *change)
{
	change->op = 'u';
	change->id = (stream->number - 1) % stream->before + 1;
}

static void
next_update_random(GenStream *stream, GenChange *change)
{
	change->op = 'u';
	change->id = permute(stream, (stream->number - 1) % stream->before) + 1;
}

static void
next_delete(GenStream *stream, GenChange *change)
{
	change->op = 'd';
	change->id = permute(stream, (stream->number - 1) % stream->before) + 1;
}

static void
next_hot(GenStream *stream, GenChange *change)
{
	change->op = 'u';
	change->id = (int64_t) (draw(stream) % (uint64_t) stream->before) + 1;
}

/* Any row that exists; the patterns never let the table run empty. */
static int64_t
existing(GenStream *stream)
{
	int64_t		id;

	do
		id = (int64_t) (draw(stream) % (uint64_t) stream->max_id) + 1;
	while (stream->versions[id] == 0);
	return id;
}

/* 40 % inserts, 40 % updates, 20 % deletes; 1 % touch a recent key again. */
static void
next_mix(GenStream *stream, GenChange *change)
{
	uint64_t	dice = draw(stream) % 1000;

	if (dice < 10)
	{
		change->id = stream->recent[draw(stream) % RECENT];
		if (change->id == 0)
			change->id = existing(stream);
		change->op = stream->versions[change->id] ? 'u' : 'c';
	}
	else if (dice < 406)
		next_insert(stream, change);
	else
	{
		change->op = dice < 802 ? 'u' : 'd';
		change->id = existing(stream);
	}
	stream->recent[draw(stream) % RECENT] = change->id;
}

/* Inserts of which 1 % repeat a key: of the table, or a recent one. */
static void
next_repeats(GenStream *stream, GenChange *change)
{
	uint64_t	dice = draw(stream) % 1000;

	next_insert(stream, change);
	if (dice >= 10)
		return;
	stream->max_id--;
	change->id = dice < 5 && stream->max_id > RECENT
		? stream->max_id - (int64_t) (draw(stream) % RECENT)
		: (int64_t) (draw(stream) % (uint64_t) stream->max_id) + 1;
}

static const struct
{
	const char *name;
	NextFn		next;
	bool		needs_versions;
}			patterns[] =

{
	{"insert", next_insert, false},
	{"update-seq", next_update_seq, false},
	{"update-random", next_update_random, false},
	{"delete", next_delete, false},
	{"hot", next_hot, false},
	{"mix", next_mix, true},
	{"repeats", next_repeats, false},
};

GenStream *
gen_stream_open(const GenTable *table, const char *pattern, int64_t before,
				int64_t events, bool track)
{
	GenStream  *stream = calloc(1, sizeof(*stream));

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (strcmp(patterns[i].name, pattern) == 0)
		{
			stream->next = patterns[i].next;
			track |= patterns[i].needs_versions;
		}
	if (stream->next == NULL || (before == 0 && stream->next != next_insert))
	{
		fprintf(stderr, "no pattern \"%s\" over %lld rows\n", pattern, (long long) before);
		exit(2);
	}
	stream->table = table;
	stream->before = stream->max_id = before;
	stream->random = 42;
	for (stream->bits = 1; (INT64_C(1) << (2 * stream->bits)) < before; stream->bits++)
		;
	if (track)
	{
		stream->versions = calloc((size_t) (before + events + 1), sizeof(uint32_t));
		for (int64_t id = 1; id <= before; id++)
			stream->versions[id] = 1;
	}
	return stream;
}

const GenTable *
gen_stream_table(const GenStream *stream)
{
	return stream->table;
}

/* Makes the next change; its version is one more than the event's number. */
void
gen_stream_next(GenStream *stream, GenChange *change)
{
	stream->number++;
	stream->next(stream, change);
	change->version = (uint32_t) stream->number + 1;
	if (stream->versions != NULL)
		stream->versions[change->id] = change->op == 'd' ? 0 : change->version;
}

int64_t
gen_stream_max_id(const GenStream *stream)
{
	return stream->max_id;
}

uint32_t
gen_stream_version(const GenStream *stream, int64_t id)
{
	return stream->versions[id];
}
