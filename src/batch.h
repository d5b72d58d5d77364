/*-------------------------------------------------------------------------
 *
 * batch.h
 *		Arena of one batch: memory for raw records and what is decoded of
 *		them, freed all at once, with things of others that they stand in.
 *
 * Floor 2.  Plain malloc memory and no backend call, so that the decoder
 * can be fuzzed outside a server and could run in a thread of its own.  An
 * arena lives in a static or in the worker's state and survives an ERROR;
 * whoever owns it resets it between batches.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_BATCH_H
#define CDC_BATCH_H

typedef struct CdcArenaChunk CdcArenaChunk;

/* beginnings that an arena remembers */
#define CDC_ARENA_STARTS	4

/* A text in the arena with which values begin. */
typedef struct CdcArenaStart
{
	const char *data;
	size_t		len;
} CdcArenaStart;

/* Gives back a thing that an arena owns; calls nothing of the server. */
typedef void (*CdcRelease) (void *thing);

typedef struct CdcArena
{
	CdcArenaChunk *current;		/* chunk in use; earlier ones hang on it */
	char	   *next;			/* next free byte of the current chunk */
	char	   *end;			/* end of the current chunk */
	size_t		total;			/* bytes of all chunks and of what is owned, for
								 * the memory bound */
	struct CdcArenaOwned *owned;	/* things of others, which it gives back */
	int			nstarts;		/* beginnings that the next value is likely to
								 * have, too: value.c */
	CdcArenaStart starts[CDC_ARENA_STARTS]; /* last used first */
} CdcArena;

/* Returns size bytes, 8-aligned, or NULL when malloc fails. */
extern void *cdc_arena_alloc(CdcArena *arena, size_t size);
/* Copies len bytes and a NUL; NULL on no memory. */
extern char *cdc_arena_copy(CdcArena *arena, const char *data, size_t len);
/*
 * Makes a thing of so many bytes the arena's own: release is called with it
 * when the arena is emptied.  False, and it stays the caller's: malloc failed.
 */
extern bool cdc_arena_own(CdcArena *arena, void *thing, size_t size,
						  CdcRelease release);
/* Makes at least size bytes contiguous and returns them without taking them. */
extern char *cdc_arena_reserve(CdcArena *arena, size_t size);
/* Takes the first used bytes of what cdc_arena_reserve returned. */
extern void cdc_arena_commit(CdcArena *arena, size_t used);
/*
 * A place in the arena, and going back to it: what was allocated since is
 * gone.  Does nothing where the arena has grown by a chunk since.  Not of an
 * arena that owns things.
 */
typedef struct CdcArenaMark
{
	CdcArenaChunk *chunk;
	char	   *next;
} CdcArenaMark;

extern CdcArenaMark cdc_arena_mark(const CdcArena *arena);
extern void cdc_arena_rewind(CdcArena *arena, CdcArenaMark mark);
/*
 * Hands all that from holds over to the arena, which goes on in its own chunk;
 * from is empty then.
 */
extern void cdc_arena_adopt(CdcArena *arena, CdcArena *from);
/* Empties the arena; keeps its last chunk unless that is larger than 1 MB. */
extern void cdc_arena_reset(CdcArena *arena);
/* Gives everything back. */
extern void cdc_arena_free(CdcArena *arena);

#endif							/* CDC_BATCH_H */
