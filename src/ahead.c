/*-------------------------------------------------------------------------
 *
 * ahead.c
 *		Decoding ahead: a thread decodes records while more are read.
 *
 * Floor 4.  Decoding is a quarter of the work of an insert and needs nothing
 * of the server, so it runs beside the worker's own thread, from the moment
 * that a batch has become large.  The hard thing is what two threads share:
 * everything the thread touches is malloc'ed and none of it is freed or
 * written by the worker while a lot is in work, so an ERROR anywhere in the
 * worker needs no care but cdc_ahead_reset before the bytes of the records go.
 * The thread calls nothing of the server and has every signal blocked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>

#include "ahead.h"

/* records handed over at once: waking a thread costs as much as ten of them */
#ifdef CDC_DEVELOPER
#define LOT_RECORDS		2		/* tests have small batches */
#else
#define LOT_RECORDS		128
#endif
/* records from which the thread is worth waking */
#define FIRST_RECORDS	(2 * LOT_RECORDS)
/* most records of a batch that are decoded ahead */
#define MAX_RECORDS		16384
/* bytes that a processor fetches at once */
#define CACHE_LINE		64
/* most bytes of a row that are worth fetching in advance */
#define PREFETCH_BYTES	1024

struct CdcAhead
{
	const CdcDecoder *decoder;
	CdcDecodeState *state;
	size_t		max_bytes;		/* the thread stops where its arena is larger */

	/* the worker's own */
	bool		started;
	pthread_t	thread;
	int			nput;			/* records of the batch so far */
	int			ntaken;			/* what it knows of done */

	/* written by whoever is named, read by both under the mutex */
	pthread_mutex_t mutex;
	pthread_cond_t to_thread;
	pthread_cond_t to_worker;
	int			ready;			/* worker: records to be decoded */
	int			done;			/* thread: records decoded; worker: reset */
	bool		busy;			/* thread: a lot is in work */
	bool		full;			/* thread: no more of this batch */
	bool		quit;			/* worker */

	/* the thread's while it is busy */
	CdcArena	arena;
	CdcRecord  *records;		/* MAX_RECORDS of each */
	CdcEvent   *events;
};

/* Decodes records lo to hi; returns how many of all are decoded then. */
static int
decode_lot(CdcAhead *ahead, int lo, int hi)
{
	for (int i = lo; i < hi; i++)
	{
		if (ahead->arena.total > ahead->max_bytes ||
			!ahead->decoder->decode(ahead->state, &ahead->records[i],
									&ahead->arena, &ahead->events[i]))
			return i;
	}
	return hi;
}

static void *
thread_main(void *arg)
{
	CdcAhead   *ahead = arg;

	pthread_mutex_lock(&ahead->mutex);
	while (!ahead->quit)
	{
		int			lo = ahead->done;
		int			hi = Min(ahead->ready, lo + LOT_RECORDS);
		int			done;

		if (lo >= hi || ahead->full)
		{
			pthread_cond_wait(&ahead->to_thread, &ahead->mutex);
			continue;
		}
		ahead->busy = true;
		pthread_mutex_unlock(&ahead->mutex);
		done = decode_lot(ahead, lo, hi);
		pthread_mutex_lock(&ahead->mutex);
		ahead->busy = false;
		ahead->done = done;
		ahead->full = done < hi;
		pthread_cond_signal(&ahead->to_worker);
	}
	pthread_mutex_unlock(&ahead->mutex);
	return NULL;
}

static void
free_memory(CdcAhead *ahead)
{
	cdc_arena_free(&ahead->arena);
	free(ahead->records);
	free(ahead->events);
	free(ahead);
}

CdcAhead *
cdc_ahead_create(const CdcDecoder *decoder, CdcDecodeState *state,
				 size_t max_bytes)
{
	CdcAhead   *ahead = calloc(1, sizeof(*ahead));

	if (ahead == NULL)
		return NULL;
	ahead->decoder = decoder;
	ahead->state = state;
	ahead->max_bytes = max_bytes;
	/* touched only as far as batches are large */
	ahead->records = malloc(MAX_RECORDS * sizeof(CdcRecord));
	ahead->events = malloc(MAX_RECORDS * sizeof(CdcEvent));
	pthread_mutex_init(&ahead->mutex, NULL);
	pthread_cond_init(&ahead->to_thread, NULL);
	pthread_cond_init(&ahead->to_worker, NULL);
	if (ahead->records != NULL && ahead->events != NULL)
		return ahead;
	free_memory(ahead);
	return NULL;
}

void
cdc_ahead_free(CdcAhead *ahead)
{
	if (ahead == NULL)
		return;
	if (ahead->started)
	{
		pthread_mutex_lock(&ahead->mutex);
		ahead->quit = true;
		pthread_cond_signal(&ahead->to_thread);
		pthread_mutex_unlock(&ahead->mutex);
		pthread_join(ahead->thread, NULL);
	}
	pthread_cond_destroy(&ahead->to_worker);
	pthread_cond_destroy(&ahead->to_thread);
	pthread_mutex_destroy(&ahead->mutex);
	free_memory(ahead);
}

/* Starts the thread with every signal blocked: handlers are the server's. */
static void
start_thread(CdcAhead *ahead)
{
	sigset_t	all;
	sigset_t	before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ahead->started = pthread_create(&ahead->thread, NULL, thread_main,
									ahead) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/*
 * Hands over all records that were put.  Without a thread they are left to
 * the worker, until the next batch tries again to have one.
 */
static void
hand_over(CdcAhead *ahead)
{
	if (!ahead->started)
		start_thread(ahead);
	if (!ahead->started)
		return;
	pthread_mutex_lock(&ahead->mutex);
	ahead->ready = ahead->nput;
	pthread_cond_signal(&ahead->to_thread);
	pthread_mutex_unlock(&ahead->mutex);
}

void
cdc_ahead_put(CdcAhead *ahead, const CdcRecord *record)
{
	if (ahead->nput == MAX_RECORDS)
		return;
	ahead->records[ahead->nput++] = *record;
	if (ahead->nput >= FIRST_RECORDS && ahead->nput % LOT_RECORDS == 0)
		hand_over(ahead);
}

/*
 * Waits until record i is decoded; false where it will not be, and then the
 * thread is at rest.  A wait is a lot or two long, so it looks for no
 * interrupt.
 */
static bool
wait_for(CdcAhead *ahead, int i)
{
	/* what came after the last full lot */
	if (ahead->ready < ahead->nput)
		hand_over(ahead);
	pthread_mutex_lock(&ahead->mutex);
	while (ahead->done <= i &&
		   (ahead->busy || (ahead->done < ahead->ready && !ahead->full)))
		pthread_cond_wait(&ahead->to_worker, &ahead->mutex);
	ahead->ntaken = ahead->done;
	pthread_mutex_unlock(&ahead->mutex);
	return i < ahead->ntaken;
}

/* Asks the processor for what stands behind a pointer. */
static void
prefetch(const void *start, int bytes)
{
	for (int i = 0; i < bytes; i += CACHE_LINE)
		__builtin_prefetch((const char *) start + i);
}

/* Nodes of a row or key, and the text that they point to. */
static void
prefetch_nodes(const CdcJsonNode *node, bool text)
{
	if (node == NULL)
		return;
	if (text)
		prefetch(node->text, Min(node->len, PREFETCH_BYTES));
	else
		prefetch(node, Min(node->span * sizeof(CdcJsonNode), PREFETCH_BYTES));
}

/*
 * Fetches what the events after i need: another core wrote it, and one
 * event's work is about as long as its way here.
 */
static void
prefetch_after(const CdcAhead *ahead, int i)
{
	int			last = ahead->ntaken - 1;
	const CdcEvent *nodes = &ahead->events[Min(i + 4, last)];
	const CdcEvent *texts = &ahead->events[Min(i + 2, last)];

	prefetch(&ahead->events[Min(i + 8, last)], sizeof(CdcEvent));
	/* of an event that failed only the record is valid */
	if (nodes->error == NULL)
	{
		prefetch_nodes(nodes->key, false);
		prefetch_nodes(nodes->after, false);
	}
	if (texts->error == NULL)
	{
		prefetch_nodes(texts->key, true);
		prefetch_nodes(texts->after, true);
	}
}

bool
cdc_ahead_take(CdcAhead *ahead, int i, CdcEvent *event)
{
	if (ahead->nput < FIRST_RECORDS)
		return false;
	if (i >= ahead->ntaken && !wait_for(ahead, i))
		return false;
	prefetch_after(ahead, i);
	*event = ahead->events[i];
	return true;
}

void
cdc_ahead_reset(CdcAhead *ahead)
{
	if (ahead->ready > 0)
	{
		pthread_mutex_lock(&ahead->mutex);
		ahead->ready = 0;
		while (ahead->busy)
			pthread_cond_wait(&ahead->to_worker, &ahead->mutex);
		ahead->done = 0;
		ahead->full = false;
		pthread_mutex_unlock(&ahead->mutex);
		cdc_arena_reset(&ahead->arena);
	}
	ahead->nput = ahead->ntaken = 0;
}
