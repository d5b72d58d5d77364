/*-------------------------------------------------------------------------
 *
 * batch.c
 *		Arena of one batch.
 *
 * Floor 2.  No backend call and no server header, so that the decoder runs
 * in a fuzzer too.  The one hard thing: pointers stay valid until the reset,
 * so chunks are never moved, only added.
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"

#define FIRST_CHUNK		((size_t) 1024 * 1024)
#define LARGEST_CHUNK	((size_t) 1024 * 1024)
#define ALIGNMENT		((size_t) 8)
#define OWNED_THINGS	125

/* Header of a malloc'ed block; the bytes follow it. */
struct CdcArenaChunk
{
	CdcArenaChunk *previous;
	size_t		size;			/* of the whole block, header included */
};

/* Things that an arena owns, some of them; lies in the arena itself. */
typedef struct CdcArenaOwned
{
	struct CdcArenaOwned *previous;
	CdcRelease	release;
	int			n;
	void	   *things[OWNED_THINGS];
} CdcArenaOwned;

#define CHUNK_HEADER \
	((sizeof(CdcArenaChunk) + ALIGNMENT - 1) & ~(ALIGNMENT - 1))

/*
 * Size of the chunk after one of "last" bytes (0: the first), which must have
 * room for "needed" bytes.
 */
static size_t
next_chunk_size(size_t last, size_t needed)
{
	size_t		size = last == 0 ? FIRST_CHUNK : last * 2;

	if (size > LARGEST_CHUNK)
		size = LARGEST_CHUNK;
	if (size < needed + CHUNK_HEADER)
		size = needed + CHUNK_HEADER;
	return size;
}

/*
 * Makes a new chunk with room for size bytes the current one.  Returns false
 * when malloc fails; the arena is then as before.
 */
static bool
add_chunk(CdcArena *arena, size_t size)
{
	size_t		last = arena->current ? arena->current->size : 0;
	size_t		chunk_size;
	CdcArenaChunk *chunk;

	if (size > SIZE_MAX / 2)
		return false;
	chunk_size = next_chunk_size(last, size);
	chunk = malloc(chunk_size);
	if (chunk == NULL)
		return false;
	chunk->previous = arena->current;
	chunk->size = chunk_size;
	arena->current = chunk;
	arena->next = (char *) chunk + CHUNK_HEADER;
	arena->end = (char *) chunk + chunk_size;
	arena->total += chunk_size;
	return true;
}

/*
 * Puts a block of exactly size bytes behind the current chunk, so that one
 * large value does not waste what is left of it.  Returns its bytes or NULL.
 */
static char *
add_large(CdcArena *arena, size_t size)
{
	CdcArenaChunk *chunk;

	if (size > SIZE_MAX / 2)
		return NULL;
	chunk = malloc(CHUNK_HEADER + size);
	if (chunk == NULL)
		return NULL;
	chunk->size = CHUNK_HEADER + size;
	chunk->previous = arena->current->previous;
	arena->current->previous = chunk;
	arena->total += chunk->size;
	return (char *) chunk + CHUNK_HEADER;
}

char *
cdc_arena_reserve(CdcArena *arena, size_t size)
{
	/* arena->next is NULL in an arena that is all zeros */
	if (arena->current == NULL || (size_t) (arena->end - arena->next) < size)
	{
		if (!add_chunk(arena, size))
			return NULL;
	}
	return arena->next;
}

void
cdc_arena_commit(CdcArena *arena, size_t used)
{
	size_t		room = arena->end - arena->next;

	/* the next allocation is aligned again */
	used = (used + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	arena->next += used < room ? used : room;
}

void *
cdc_arena_alloc(CdcArena *arena, size_t size)
{
	char	   *bytes;

	if (size >= LARGEST_CHUNK / 4 && arena->current != NULL &&
		(size_t) (arena->end - arena->next) < size)
		return add_large(arena, size);
	bytes = cdc_arena_reserve(arena, size);
	if (bytes != NULL)
		cdc_arena_commit(arena, size);
	return bytes;
}

char *
cdc_arena_copy(CdcArena *arena, const char *data, size_t len)
{
	char	   *copy;

	if (len > SIZE_MAX / 2)
		return NULL;
	copy = cdc_arena_alloc(arena, len + 1);
	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	return copy;
}

/* cdc_arena_own: see batch.h. */
bool
cdc_arena_own(CdcArena *arena, void *thing, size_t size, CdcRelease release)
{
	CdcArenaOwned *owned = arena->owned;

	if (owned == NULL || owned->n == OWNED_THINGS || owned->release != release)
	{
		owned = cdc_arena_alloc(arena, sizeof(*owned));
		if (owned == NULL)
			return false;
		owned->previous = arena->owned;
		owned->release = release;
		owned->n = 0;
		arena->owned = owned;
	}
	owned->things[owned->n++] = thing;
	arena->total += size;
	return true;
}

/* Gives back what the arena owns, before the memory of the list goes. */
static void
release_owned(CdcArena *arena)
{
	for (CdcArenaOwned *owned = arena->owned; owned != NULL; owned = owned->previous)
		for (int i = 0; i < owned->n; i++)
			owned->release(owned->things[i]);
	arena->owned = NULL;
}

CdcArenaMark
cdc_arena_mark(const CdcArena *arena)
{
	CdcArenaMark mark = {arena->current, arena->next};

	return mark;
}

void
cdc_arena_rewind(CdcArena *arena, CdcArenaMark mark)
{
	if (arena->current == mark.chunk)
		arena->next = mark.next;
	/* what was remembered may be gone */
	arena->nstarts = 0;
}

/* Puts what another arena owned behind what this one owns. */
static void
adopt_owned(CdcArena *arena, CdcArenaOwned *others)
{
	CdcArenaOwned **end = &arena->owned;

	while (*end != NULL)
		end = &(*end)->previous;
	*end = others;
}

void
cdc_arena_adopt(CdcArena *arena, CdcArena *from)
{
	CdcArenaChunk *oldest = from->current;

	if (arena->current == NULL)
		*arena = *from;
	else if (oldest != NULL)
	{
		while (oldest->previous != NULL)
			oldest = oldest->previous;
		oldest->previous = arena->current->previous;
		arena->current->previous = from->current;
		arena->total += from->total;
		adopt_owned(arena, from->owned);
	}
	memset(from, 0, sizeof(*from));
}

void
cdc_arena_reset(CdcArena *arena)
{
	CdcArenaChunk *kept = arena->current;
	CdcArenaChunk *chunk;

	if (kept == NULL)
		return;
	release_owned(arena);
	arena->nstarts = 0;
	chunk = kept->previous;
	while (chunk != NULL)
	{
		CdcArenaChunk *previous = chunk->previous;

		free(chunk);
		chunk = previous;
	}
	kept->previous = NULL;
	arena->total = kept->size;
	if (kept->size > LARGEST_CHUNK)
	{
		free(kept);
		arena->current = NULL;
		arena->next = arena->end = NULL;
		arena->total = 0;
		return;
	}
	arena->next = (char *) kept + CHUNK_HEADER;
}

void
cdc_arena_free(CdcArena *arena)
{
	CdcArenaChunk *chunk = arena->current;

	release_owned(arena);
	while (chunk != NULL)
	{
		CdcArenaChunk *previous = chunk->previous;

		free(chunk);
		chunk = previous;
	}
	memset(arena, 0, sizeof(*arena));
}
