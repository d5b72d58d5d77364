/*-------------------------------------------------------------------------
 *
 * test_batch.c
 *		The arena of a batch: what it gave stays valid until the reset.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "batch.h"

static void
test_allocations_stay_apart(void)
{
	CdcArena	arena = {0};
	char	   *pieces[3000];
	size_t		sizes[3000];
	bool		aligned = true;
	bool		intact = true;

	for (int i = 0; i < 3000; i++)
	{
		sizes[i] = i % 500 == 499 ? 3000000 : (size_t) (i * 37 % 5000);
		pieces[i] = cdc_arena_alloc(&arena, sizes[i]);
		aligned = aligned && (uintptr_t) pieces[i] % 8 == 0;
		memset(pieces[i], i % 251, sizes[i]);
	}
	for (int i = 0; i < 3000; i++)
		for (size_t j = 0; j < sizes[i]; j++)
			intact = intact && pieces[i][j] == (char) (i % 251);
	unit_ok(aligned, "allocations are aligned to 8 bytes");
	unit_ok(intact, "allocations of all sizes do not touch each other");
	cdc_arena_free(&arena);
	unit_ok(arena.total == 0 && arena.current == NULL, "free gives everything back");
}

static void
test_copy(void)
{
	CdcArena	arena = {0};
	char	   *copy;

	memset(cdc_arena_reserve(&arena, 100000), 'x', 100000);
	copy = cdc_arena_copy(&arena, "abc", 3);
	unit_ok(memcmp(copy, "abc", 3) == 0, "a copy is equal");
	unit_is_int(copy[3], 0, "a copy is followed by a terminator");
	copy = cdc_arena_copy(&arena, "", 0);
	unit_ok(copy != NULL && *copy == '\0', "an empty value has a copy");
	cdc_arena_free(&arena);
}

static void
test_reserve(void)
{
	CdcArena	arena = {0};
	char	   *first;
	char	   *second;

	first = cdc_arena_reserve(&arena, 1000);
	memset(first, 'a', 1000);
	cdc_arena_commit(&arena, 10);
	second = cdc_arena_alloc(&arena, 1000);
	memset(second, 'b', 1000);
	unit_ok(second >= first + 10 && second < first + 32,
			"only what is taken of a reservation is used up");
	unit_ok(first[9] == 'a', "and it stays as it is");
	first = cdc_arena_reserve(&arena, 10 * 1024 * 1024);
	memset(first, 'c', 10 * 1024 * 1024);
	cdc_arena_commit(&arena, 10 * 1024 * 1024);
	unit_ok(second[999] == 'b', "a large reservation does not move earlier bytes");
	cdc_arena_free(&arena);
}

static void
test_reset(void)
{
	CdcArena	arena = {0};
	size_t		kept;

	for (int i = 0; i < 10000; i++)
		cdc_arena_alloc(&arena, 2000);
	unit_ok(arena.total >= 20000000, "total counts all chunks");
	cdc_arena_reset(&arena);
	kept = arena.total;
	unit_ok(kept > 0 && kept <= 4 * 1024 * 1024, "a reset keeps one chunk");
	for (int i = 0; i < 500; i++)
		cdc_arena_alloc(&arena, 1000);
	unit_ok(arena.total == kept, "and it is used again");
	cdc_arena_reset(&arena);
	memset(cdc_arena_reserve(&arena, 8 * 1024 * 1024), 0, 1);
	cdc_arena_reset(&arena);
	unit_ok(arena.total == 0, "a chunk above 4 MB is not kept");
	unit_ok(cdc_arena_alloc(&arena, 10) != NULL, "the arena works on after that");
	cdc_arena_free(&arena);
}

static int	released;			/* sum of what was */

static void
release(void *thing)
{
	released += *(int *) thing;
}

/* What an arena owns is given back once, when it is emptied or by who adopted it. */
static void
test_owned(void)
{
	CdcArena	arena = {0};
	CdcArena	other = {0};
	int			things[1000];
	size_t		total;

	for (int i = 0; i < 1000; i++)
	{
		things[i] = 1;
		cdc_arena_own(&arena, &things[i], 100000, release);
	}
	unit_ok(arena.total >= 100000000, "what is owned counts");
	unit_is_int(released, 0, "nothing is given back before its time");
	cdc_arena_reset(&arena);
	unit_is_int(released, 1000, "a reset gives everything back");
	unit_ok(arena.total <= 4 * 1024 * 1024, "and counts it no more");
	cdc_arena_reset(&arena);
	unit_is_int(released, 1000, "once");
	released = 0;
	for (int i = 0; i < 300; i++)
		cdc_arena_own(i % 2 ? &arena : &other, &things[i], 1000, release);
	total = arena.total + other.total;
	cdc_arena_adopt(&arena, &other);
	unit_is_int(arena.total, total, "who adopts has all of it");
	cdc_arena_reset(&other);
	unit_is_int(released, 0, "the other has nothing");
	cdc_arena_free(&arena);
	unit_is_int(released, 300, "free gives back what was adopted, too");
	cdc_arena_own(&other, &things[0], 1, release);
	cdc_arena_adopt(&arena, &other);
	cdc_arena_free(&arena);
	unit_is_int(released, 301, "an empty one adopts");
}

static void
test_no_memory(void)
{
	CdcArena	arena = {0};

	cdc_arena_alloc(&arena, 10);
	unit_ok(cdc_arena_alloc(&arena, SIZE_MAX - 100) == NULL &&
			cdc_arena_copy(&arena, "x", SIZE_MAX - 10) == NULL &&
			cdc_arena_reserve(&arena, SIZE_MAX / 2 + 1) == NULL,
			"impossible sizes give NULL");
	unit_ok(cdc_arena_alloc(&arena, 10) != NULL, "and leave the arena usable");
	cdc_arena_free(&arena);
}

int
main(void)
{
	test_allocations_stay_apart();
	test_copy();
	test_reserve();
	test_reset();
	test_owned();
	test_no_memory();
	return unit_done();
}
