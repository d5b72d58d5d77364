/*-------------------------------------------------------------------------
 *
 * kafka_watch.c
 *		Watches for signs that a log was exchanged while it is read.
 *
 * Floor 3.  librdkafka repeats a fetch that failed without a word.  That a
 * topic was away for a moment shows only in the watermarks which it keeps of
 * the last answer, until the next one comes.  So the thread that sends the
 * fetches looks at them after each is sent: whatever the next answer brings,
 * the doubt about its partition is known before.
 *
 * Two hard things.  To look costs something for each partition, so it is not
 * done each time where the library waits before it repeats a fetch: to look
 * twice in that time is enough.  And its documentation allows no call from
 * on_request_sent.  rd_kafka_get_watermark_offsets is made there knowingly: it
 * takes the locks of the client, of a topic and of a partition, and the only
 * caller of the interceptor holds none (seen in releases 2.0 to 2.14); no
 * other place is certain to come before the next answer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>
#include <unistd.h>

#include "kafka_internal.h"

/* Kafka's number of the fetch request */
#define FETCH_REQUEST	1

/* cdc_kafka_watch_init: see kafka_internal.h; so all that are not static. */
void
cdc_kafka_watch_init(Watch *watch)
{
	memset(watch, 0, sizeof(*watch));
	pthread_mutex_init(&watch->mutex, NULL);
	watch->fd = -1;
}

void
cdc_kafka_watch_free(Watch *watch)
{
	pthread_mutex_destroy(&watch->mutex);
	free(watch->parts);
}

/* --- on librdkafka's threads --- */

/* Looks at one partition; true where its watermark fell. */
static bool
look_at(rd_kafka_t *rk, Watch *watch, Watched *part)
{
	int64		low;
	int64		high;
	bool		fell;

	if (rd_kafka_get_watermark_offsets(rk, part->topic, part->partition, &low,
									   &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		high < 0)
		high = -1;
	fell = high < part->high;
	part->doubt |= fell;
	part->high = high;
	watch->unknown |= high < 0;
	return fell;
}

/* Tells the worker, under the mutex. */
static void
raise_doubts(Watch *watch)
{
	const uint64 one = 1;

	__atomic_store_n(&watch->doubts, true, __ATOMIC_RELEASE);
	/* fails only where the descriptor is readable already */
	if (watch->fd >= 0 && write(watch->fd, &one, sizeof(one)) < 0)
		return;
}

/* Looks at all, or at those of which nothing is known. */
static void
look(rd_kafka_t *rk, Watch *watch, bool all)
{
	bool		fell = false;

	watch->unknown = false;
	for (int i = 0; i < watch->n; i++)
		if (all || watch->parts[i].high < 0)
			fell |= look_at(rk, watch, &watch->parts[i]);
	if (fell)
		raise_doubts(watch);
}

static int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}

/* on_request_sent: the answer is read by the same thread, later. */
static rd_kafka_resp_err_t
on_request_sent(rd_kafka_t *rk, int sock, const char *name, int32_t id,
				int16_t request, int16_t version, int32_t correlation,
				size_t size, void *opaque)
{
	Watch	   *watch = opaque;
	int64		now;
	bool		due;

	if (request != FETCH_REQUEST)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	now = now_us();
	pthread_mutex_lock(&watch->mutex);
	due = now - watch->looked_us >= watch->interval_us;
	if (due)
		watch->looked_us = now;
	if (due || watch->unknown)
		look(rk, watch, due);
	pthread_mutex_unlock(&watch->mutex);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* on_new: the client is there, and has no thread yet. */
static rd_kafka_resp_err_t
on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
	   char *text, size_t text_size)
{
	Watch	   *watch = opaque;
	char		value[16] = "0";
	size_t		size = sizeof(value);

	/* from 2.10 on, a partition that gets another leader does not wait */
	if (rd_kafka_version() < 0x020a0000)
		(void) rd_kafka_conf_get(conf, "fetch.error.backoff.ms", value, &size);
	watch->interval_us = atoi(value) * INT64CONST(1000) / 2;
	watch->hooked = rd_kafka_interceptor_add_on_request_sent(rk, "cdc_sink",
															 on_request_sent, watch) ==
		RD_KAFKA_RESP_ERR_NO_ERROR;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* --- on the worker's --- */

void
cdc_kafka_watch_hook(rd_kafka_conf_t *conf, Watch *watch)
{
	(void) rd_kafka_conf_interceptor_add_on_new(conf, "cdc_sink", on_new, watch);
}

void
cdc_kafka_watch_begin(CdcKafka *kafka)
{
	Watch	   *watch = &kafka->shared->watch;

	pthread_mutex_lock(&watch->mutex);
	watch->fd = kafka->fd;
	pthread_mutex_unlock(&watch->mutex);
}

void
cdc_kafka_watch_end(CdcKafka *kafka)
{
	Watch	   *watch = &kafka->shared->watch;

	pthread_mutex_lock(&watch->mutex);
	watch->fd = -1;
	watch->n = 0;
	pthread_mutex_unlock(&watch->mutex);
}

/*
 * Makes the entry of an assigned partition.  What was seen of one that was
 * there before is put in later, under the mutex: before is its old index.
 */
static void
make_entry(Watched *entry, int *before, int index, Partition *partition)
{
	entry->topic = partition->key.topic;
	entry->partition = (int32) partition->key.partition;
	entry->part = partition->part;
	entry->high = -1;
	entry->doubt = false;
	*before = partition->watched;
	partition->watched = index;
}

void
cdc_kafka_watch_assigned(CdcKafka *kafka)
{
	Watch	   *watch = &kafka->shared->watch;
	int			n = (int) hash_get_num_entries(kafka->partitions);
	int		   *before = palloc(Max(n, 1) * sizeof(int));
	Watched    *parts = malloc(Max(n, 1) * sizeof(Watched));
	Watched    *old;
	HASH_SEQ_STATUS all;
	Partition  *partition;

	if (parts == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	n = 0;
	hash_seq_init(&all, kafka->partitions);
	while ((partition = hash_seq_search(&all)) != NULL)
	{
		make_entry(&parts[n], &before[n], n, partition);
		n++;
	}
	pthread_mutex_lock(&watch->mutex);
	for (int i = 0; i < n; i++)
	{
		if (before[i] < 0)
			continue;
		parts[i].high = watch->parts[before[i]].high;
		parts[i].doubt = watch->parts[before[i]].doubt;
	}
	old = watch->parts;
	watch->parts = parts;
	watch->n = n;
	watch->unknown = true;
	pthread_mutex_unlock(&watch->mutex);
	free(old);
	pfree(before);
}

void
cdc_kafka_doubt(CdcKafka *kafka, const Partition *partition)
{
	Watch	   *watch = &kafka->shared->watch;

	pthread_mutex_lock(&watch->mutex);
	if (partition->watched >= 0 && partition->watched < watch->n)
	{
		watch->parts[partition->watched].doubt = true;
		raise_doubts(watch);
	}
	pthread_mutex_unlock(&watch->mutex);
}

void
cdc_kafka_doubt_leader(CdcKafka *kafka, int32 broker)
{
	HASH_SEQ_STATUS all;
	Partition  *partition;

	hash_seq_init(&all, kafka->partitions);
	while ((partition = hash_seq_search(&all)) != NULL)
		if (partition->leader == broker || partition->leader == LEADER_UNKNOWN)
			cdc_kafka_doubt(kafka, partition);
}

bool
cdc_kafka_has_doubts(const CdcKafka *kafka)
{
	return __atomic_load_n(&kafka->shared->watch.doubts, __ATOMIC_ACQUIRE);
}

int32
cdc_kafka_take_doubt(CdcKafka *kafka)
{
	Watch	   *watch = &kafka->shared->watch;
	int32		part = -1;

	if (!cdc_kafka_has_doubts(kafka))
		return -1;
	pthread_mutex_lock(&watch->mutex);
	for (int i = 0; i < watch->n && part < 0; i++)
	{
		if (!watch->parts[i].doubt)
			continue;
		watch->parts[i].doubt = false;
		part = watch->parts[i].part;
	}
	if (part < 0)
		__atomic_store_n(&watch->doubts, false, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&watch->mutex);
	return part;
}
