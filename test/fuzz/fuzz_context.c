/*-------------------------------------------------------------------------
 *
 * fuzz_context.c
 *		A memory context of which the address sanitizer sees each allocation.
 *
 * An ordinary context cuts its chunks out of large blocks, where a read past
 * a chunk goes unseen.  Here each chunk is a malloc of its own.  Only up to
 * PostgreSQL 15 can a context have methods of its own; later an ordinary one
 * is used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "utils/memutils.h"

#include "fuzz_context.h"

#if PG_VERSION_NUM >= 160000

MemoryContext
cdc_fuzz_context_create(MemoryContext parent)
{
	return AllocSetContextCreate(parent, "fuzz", ALLOCSET_DEFAULT_SIZES);
}

#else

#include "nodes/memnodes.h"

typedef struct FuzzContext
{
	MemoryContextData header;
	dlist_head	chunks;
} FuzzContext;

/* Stands before each allocation; the context has to come last. */
typedef struct Chunk
{
	dlist_node	node;
	Size		size;
	MemoryContext context;
} Chunk;

#define chunk_of(pointer) ((Chunk *) (pointer) - 1)

static void *
chunk_alloc(MemoryContext context, Size size)
{
	Chunk	   *chunk = malloc(sizeof(Chunk) + size);

	if (chunk == NULL)
		return NULL;
	chunk->size = size;
	chunk->context = context;
	dlist_push_head(&((FuzzContext *) context)->chunks, &chunk->node);
	context->mem_allocated += size;
	return chunk + 1;
}

static void
chunk_free(MemoryContext context, void *pointer)
{
	Chunk	   *chunk = chunk_of(pointer);

	dlist_delete(&chunk->node);
	context->mem_allocated -= chunk->size;
	free(chunk);
}

static void *
chunk_realloc(MemoryContext context, void *pointer, Size size)
{
	void	   *copy = chunk_alloc(context, size);

	if (copy == NULL)
		return NULL;
	memcpy(copy, pointer, Min(size, chunk_of(pointer)->size));
	chunk_free(context, pointer);
	return copy;
}

static void
free_all(MemoryContext context)
{
	FuzzContext *fuzz = (FuzzContext *) context;

	while (!dlist_is_empty(&fuzz->chunks))
		chunk_free(context, dlist_container(Chunk, node, dlist_head_node(&fuzz->chunks)) + 1);
}

static Size
chunk_space(MemoryContext context, void *pointer)
{
	return chunk_of(pointer)->size;
}

static bool
no_chunks(MemoryContext context)
{
	return dlist_is_empty(&((FuzzContext *) context)->chunks);
}

static void
no_stats(MemoryContext context, MemoryStatsPrintFunc print, void *argument,
		 MemoryContextCounters *totals, bool print_to_stderr)
{
}

static const MemoryContextMethods methods = {
	.alloc = chunk_alloc,
	.free_p = chunk_free,
	.realloc = chunk_realloc,
	.reset = free_all,
	.delete_context = free_all,
	.get_chunk_space = chunk_space,
	.is_empty = no_chunks,
	.stats = no_stats,
};

/* Lives as long as the process. */
MemoryContext
cdc_fuzz_context_create(MemoryContext parent)
{
	FuzzContext *fuzz = calloc(1, sizeof(FuzzContext));

	dlist_init(&fuzz->chunks);
	MemoryContextCreate(&fuzz->header, T_AllocSetContext, &methods, parent,
						"fuzz");
	return &fuzz->header;
}

#endif
