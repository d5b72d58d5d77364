/*-------------------------------------------------------------------------
 *
 * ahead.c
 *		Working ahead: a thread decodes records while more are read, and
 *		reads and decodes the next batch while one is applied.
 *
 * Floor 4.  Reading and decoding is half of the work of an insert and needs
 * nothing of the server, so it runs beside the worker's own thread, from the
 * moment that a batch has become large.  The hard thing is what two threads
 * share: everything the thread touches is malloc'ed and none of it is freed
 * or written by the worker while a lot is in work, so an ERROR anywhere in
 * the worker needs no care but cdc_ahead_reset before the bytes of the
 * records go.  The thread calls nothing of the server and has every signal
 * blocked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>

#include "ahead.h"
#include "value.h"

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

/* A batch: of its first nrecords records, done are decoded. */
typedef struct Batch
{
	CdcRecord  *records;		/* MAX_RECORDS of each */
	CdcEvent   *events;
	CdcArena	decoded;
	int			nrecords;
	int			ready;			/* records to be decoded */
	int			done;			/* records decoded */
	bool		full;			/* no more of this batch is decoded */
} Batch;

struct CdcAhead
{
	const CdcDecoder *decoder;
	CdcDecodeState *state;		/* the thread's own */
	size_t		max_bytes;		/* the thread stops where an arena is larger */

	/* the worker's own */
	bool		started;
	pthread_t	thread;
	int			ntaken;			/* what it knows of done */

	/* under the mutex */
	pthread_mutex_t mutex;
	pthread_cond_t to_thread;
	pthread_cond_t to_worker;
	Batch	   *busy;			/* a lot of it is in work: it is the thread's,
								 * but for nrecords of the one at hand */
	bool		reading;		/* the thread may read the next batch */
	bool		quit;

	/* written by the worker while the thread is not busy with them */
	Batch		batches[2];
	Batch	   *at_hand;
	Batch	   *next;
	CdcAheadSource source;
	CdcArena	raw;			/* bytes of the next batch */
	int64		read_bytes;		/* of its records */
	int64		read_cost;

	/* set by the worker at any time: it wants what was read, at once */
	bool		enough;
};

/* Has the worker enough of the next batch? */
static bool
is_enough(CdcAhead *ahead)
{
	return __atomic_load_n(&ahead->enough, __ATOMIC_RELAXED);
}

/*
 * Decodes records lo to hi; of the next batch only until the worker has
 * enough.  Returns how many of all are decoded then; *full: memory ended it.
 */
static int
decode_lot(CdcAhead *ahead, Batch *batch, int lo, int hi, bool *full)
{
	*full = false;
	for (int i = lo; i < hi; i++)
	{
		if (batch == ahead->next && is_enough(ahead))
			return i;
		*full = batch->decoded.total > ahead->max_bytes ||
			!ahead->decoder->decode(ahead->state, &batch->records[i],
									&batch->decoded, &batch->events[i]);
		if (*full)
			return i;
	}
	return hi;
}

/* Decodes the next lot of the batch at hand; enters and leaves locked. */
static void
decode_some(CdcAhead *ahead, Batch *batch)
{
	int			lo = batch->done;
	int			hi = Min(batch->ready, lo + LOT_RECORDS);
	bool		full;

	pthread_mutex_unlock(&ahead->mutex);
	lo = decode_lot(ahead, batch, lo, hi, &full);
	pthread_mutex_lock(&ahead->mutex);
	batch->done = lo;
	batch->full = full;
}

/*
 * Reads the next lot of the next batch and decodes it while the cache has it;
 * false where that was all.  What is not decoded when the worker has enough
 * will be when the batch is at hand.
 */
static bool
read_lot(CdcAhead *ahead, Batch *batch)
{
	const CdcAheadSource *source = &ahead->source;
	int			lo = batch->nrecords;
	int			hi = Min(lo + LOT_RECORDS, source->max_records);

	while (batch->nrecords < hi && ahead->read_bytes < source->max_bytes &&
		   ahead->read_cost < source->max_cost && !is_enough(ahead))
	{
		CdcRecord  *record = &batch->records[batch->nrecords];

		if (!source->read(source->arg, &ahead->raw, record))
			break;
		ahead->read_bytes += cdc_record_bytes(record);
		ahead->read_cost += cdc_record_cost(record);
		batch->nrecords++;
	}
	batch->ready = batch->nrecords;
	batch->done = decode_lot(ahead, batch, lo, batch->nrecords, &batch->full);
	return batch->done == lo + LOT_RECORDS;
}

static void *
thread_main(void *arg)
{
	CdcAhead   *ahead = arg;

	pthread_mutex_lock(&ahead->mutex);
	while (!ahead->quit)
	{
		Batch	   *batch = ahead->at_hand;
		bool		more;

		if (batch->done < batch->ready && !batch->full)
		{
			/* the worker waits for it, or will soon */
			ahead->busy = batch;
			decode_some(ahead, batch);
		}
		else if (ahead->reading)
		{
			ahead->busy = ahead->next;
			pthread_mutex_unlock(&ahead->mutex);
			more = read_lot(ahead, ahead->next);
			pthread_mutex_lock(&ahead->mutex);
			ahead->reading &= more;
		}
		else
		{
			pthread_cond_wait(&ahead->to_thread, &ahead->mutex);
			continue;
		}
		ahead->busy = NULL;
		pthread_cond_signal(&ahead->to_worker);
	}
	pthread_mutex_unlock(&ahead->mutex);
	return NULL;
}

static void
free_memory(CdcAhead *ahead)
{
	for (int i = 0; i < 2; i++)
	{
		cdc_arena_free(&ahead->batches[i].decoded);
		free(ahead->batches[i].records);
		free(ahead->batches[i].events);
	}
	cdc_arena_free(&ahead->raw);
	if (ahead->state != NULL)
		ahead->decoder->close(ahead->state);
	free(ahead);
}

/* Room for the records of a batch: touched only as far as it is large. */
static bool
make_room(Batch *batch)
{
	batch->records = malloc(MAX_RECORDS * sizeof(CdcRecord));
	batch->events = malloc(MAX_RECORDS * sizeof(CdcEvent));
	return batch->records != NULL && batch->events != NULL;
}

CdcAhead *
cdc_ahead_create(const CdcDecoder *decoder, const CdcSourceSettings *settings,
				 size_t max_bytes)
{
	CdcAhead   *ahead = calloc(1, sizeof(*ahead));

	if (ahead == NULL)
		return NULL;
	ahead->decoder = decoder;
	ahead->state = decoder->open(settings);
	ahead->max_bytes = max_bytes;
	ahead->at_hand = &ahead->batches[0];
	ahead->next = &ahead->batches[1];
	if (ahead->state == NULL || !make_room(ahead->at_hand) ||
		!make_room(ahead->next))
	{
		free_memory(ahead);
		return NULL;
	}
	pthread_mutex_init(&ahead->mutex, NULL);
	pthread_cond_init(&ahead->to_thread, NULL);
	pthread_cond_init(&ahead->to_worker, NULL);
	return ahead;
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
	ahead->at_hand->ready = ahead->at_hand->nrecords;
	pthread_cond_signal(&ahead->to_thread);
	pthread_mutex_unlock(&ahead->mutex);
}

void
cdc_ahead_put(CdcAhead *ahead, const CdcRecord *record)
{
	Batch	   *batch = ahead->at_hand;

	if (batch->nrecords == MAX_RECORDS)
		return;
	batch->records[batch->nrecords++] = *record;
	if (batch->nrecords >= FIRST_RECORDS && batch->nrecords % LOT_RECORDS == 0)
		hand_over(ahead);
}

/*
 * Waits until record i is decoded; false where it will not be.  A wait is a
 * lot or two long, so it looks for no interrupt.
 */
static bool
wait_for(CdcAhead *ahead, int i)
{
	const Batch *batch = ahead->at_hand;

	/* what came after the last full lot */
	if (batch->ready < batch->nrecords)
		hand_over(ahead);
	pthread_mutex_lock(&ahead->mutex);
	while (batch->done <= i && (ahead->busy == batch ||
								(batch->done < batch->ready && !batch->full)))
		pthread_cond_wait(&ahead->to_worker, &ahead->mutex);
	ahead->ntaken = batch->done;
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
	const CdcEvent *events = ahead->at_hand->events;
	const CdcEvent *nodes = &events[Min(i + 4, last)];
	const CdcEvent *texts = &events[Min(i + 2, last)];

	prefetch(&events[Min(i + 8, last)], sizeof(CdcEvent));
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
	if (i >= ahead->ntaken &&
		(ahead->at_hand->nrecords < FIRST_RECORDS || !wait_for(ahead, i)))
		return false;
	prefetch_after(ahead, i);
	*event = ahead->at_hand->events[i];
	return true;
}

/* Empties a batch with which the thread is not busy. */
static void
forget(Batch *batch)
{
	batch->nrecords = batch->ready = batch->done = 0;
	batch->full = false;
	cdc_arena_reset(&batch->decoded);
}

void
cdc_ahead_reset(CdcAhead *ahead)
{
	Batch	   *batch = ahead->at_hand;

	pthread_mutex_lock(&ahead->mutex);
	batch->ready = 0;
	while (ahead->busy == batch)
		pthread_cond_wait(&ahead->to_worker, &ahead->mutex);
	forget(batch);
	pthread_mutex_unlock(&ahead->mutex);
	ahead->ntaken = 0;
}

void
cdc_ahead_read(CdcAhead *ahead, const CdcAheadSource *source)
{
	if (!ahead->started || ahead->at_hand->nrecords < FIRST_RECORDS)
		return;
	ahead->source = *source;
	ahead->source.max_records = Min(source->max_records, MAX_RECORDS);
	ahead->read_bytes = ahead->read_cost = 0;
	pthread_mutex_lock(&ahead->mutex);
	ahead->reading = true;
	pthread_cond_signal(&ahead->to_thread);
	pthread_mutex_unlock(&ahead->mutex);
}

int
cdc_ahead_stop(CdcAhead *ahead, const CdcRecord **records)
{
	__atomic_store_n(&ahead->enough, true, __ATOMIC_RELAXED);
	pthread_mutex_lock(&ahead->mutex);
	ahead->reading = false;
	while (ahead->busy == ahead->next)
		pthread_cond_wait(&ahead->to_worker, &ahead->mutex);
	pthread_mutex_unlock(&ahead->mutex);
	__atomic_store_n(&ahead->enough, false, __ATOMIC_RELAXED);
	*records = ahead->next->records;
	return ahead->next->nrecords;
}

void
cdc_ahead_turn(CdcAhead *ahead, CdcArena *arena, bool keep)
{
	Batch	   *read = ahead->next;

	pthread_mutex_lock(&ahead->mutex);
	if (keep)
	{
		CdcArena	empty = *arena;

		Assert(ahead->at_hand->nrecords == 0);
		*arena = ahead->raw;
		ahead->raw = empty;
		ahead->next = ahead->at_hand;
		ahead->at_hand = read;
		ahead->ntaken = read->done;
		/* what the thread has read and not decoded */
		pthread_cond_signal(&ahead->to_thread);
	}
	else
	{
		cdc_arena_adopt(arena, &ahead->raw);
		forget(read);
	}
	pthread_mutex_unlock(&ahead->mutex);
}
