/*-------------------------------------------------------------------------
 *
 * kafka_ask.c
 *		Questions to the brokers: topics and offsets.
 *
 * Floor 3.  The one hard thing: librdkafka's questions block and know no
 * interrupt.  They are asked in slices of at most a second, and what they
 * hold meanwhile hangs on the handle, so that an ERROR between two slices
 * leaves nothing behind that would block the destruction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/memutils.h"

#include "kafka_internal.h"
#include "shmem.h"

/* a question's slices: what a cancel may have to wait for */
#define FIRST_SLICE_MS		200
#define LONGEST_SLICE_MS	1000
/* "host:port" of a broker */
#define BROKER_NAME_LEN		300

void
cdc_kafka_make_list(CdcKafka *kafka, const CdcTopicPartition *parts, int n)
{
	cdc_kafka_release_question(kafka);
	kafka->list = rd_kafka_topic_partition_list_new(n);
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(kafka->list, parts[i].topic,
										  parts[i].partition)->offset =
			parts[i].offset;
}

void
cdc_kafka_release_question(CdcKafka *kafka)
{
	while (kafka->nasked > 0)
		rd_kafka_topic_destroy(kafka->asked[--kafka->nasked]);
	if (kafka->asked != NULL)
		pfree(kafka->asked);
	kafka->asked = NULL;
	if (kafka->list != NULL)
		rd_kafka_topic_partition_list_destroy(kafka->list);
	kafka->list = NULL;
}

/* Time that a question may take, cut into slices. */
typedef struct Deadline
{
	TimestampTz until;
	int			slice;			/* ms */
} Deadline;

static void
start_deadline(Deadline *deadline, int timeout_ms)
{
	deadline->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout_ms);
	/* a short question is one slice, for the same reason */
	deadline->slice = timeout_ms <= LONGEST_SLICE_MS ? timeout_ms : FIRST_SLICE_MS;
}

/*
 * The next slice in ms, or 0 when time is up, as it is for an apply worker
 * that was told to stop.  Slices grow, so that a slow broker can answer
 * within one: an answer that comes later is lost.  Ends the process where the
 * postmaster has gone.
 */
static int
next_slice(Deadline *deadline)
{
	long		left;
	int			slice;

	CHECK_FOR_INTERRUPTS();
	if (!PostmasterIsAlive())
		proc_exit(1);
	if (cdc_slot_stopping())
		return 0;
	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   deadline->until);
	slice = (int) Min(left, deadline->slice);
	deadline->slice = Min(deadline->slice * 2, LONGEST_SLICE_MS);
	return slice;
}

/* A broker answered a client: of the consumer's own that is good news. */
static void
note_answer(CdcKafka *kafka, rd_kafka_t *rk)
{
	if (rk == kafka->rk)
		cdc_kafka_note_answer(kafka);
}

/*
 * Asks a client for metadata of the topics in kafka->asked, or of all.  NULL
 * when time is up; the caller destroys the result.
 */
static const struct rd_kafka_metadata *
ask_metadata(CdcKafka *kafka, rd_kafka_t *rk, bool all, int timeout_ms)
{
	Deadline	deadline;
	int			slice;

	start_deadline(&deadline, timeout_ms);
	while ((slice = next_slice(&deadline)) > 0)
	{
		const struct rd_kafka_metadata *metadata;

		if (!cdc_debug_kafka() &&
			rd_kafka_metadata(rk, all, NULL, &metadata, slice) ==
			RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			note_answer(kafka, rk);
			return metadata;
		}
	}
	return NULL;
}

/* Fills one answer from what metadata says of a topic (NULL: nothing). */
static void
fill_topic(CdcTopicInfo *info, const struct rd_kafka_metadata_topic *found)
{
	bool		halts;

	info->npartitions = 0;
	info->error = found == NULL ? RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART :
		found->err;
	info->reason[0] = '\0';
	if (info->error == 0)
	{
		info->npartitions = found->partition_cnt;
		return;
	}
	if (info->error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
		strlcpy(info->reason, "topic_unavailable", CDC_REASON_LEN);
	else
		strlcpy(info->reason, cdc_kafka_partition_reason(info->error, &halts),
				CDC_REASON_LEN);
}

static const struct rd_kafka_metadata_topic *
search_topic(const struct rd_kafka_metadata *metadata, const char *topic)
{
	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		if (strcmp(metadata->topics[i].topic, topic) == 0)
			return &metadata->topics[i];
	}
	return NULL;
}

/* cdc_kafka_ask_topics: see kafka_internal.h. */
bool
cdc_kafka_ask_topics(CdcKafka *kafka, rd_kafka_t *rk, CdcTopicInfo *topics,
					 int n, int timeout_ms)
{
	const struct rd_kafka_metadata *metadata;
	bool		same = true;

	if (n == 0)
		return true;
	/* a handle makes a topic known, and only known topics are asked for */
	cdc_kafka_release_question(kafka);
	kafka->asked = MemoryContextAlloc(kafka->context, n * sizeof(*kafka->asked));
	for (int i = 0; i < n; i++)
	{
		rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topics[i].topic, NULL);

		if (rkt != NULL)		/* else no topic can have this name */
			kafka->asked[kafka->nasked++] = rkt;
	}
	/* a question without any topic might let the broker create old ones */
	if (kafka->nasked == 0)
	{
		for (int i = 0; i < n; i++)
			fill_topic(&topics[i], NULL);
		cdc_kafka_release_question(kafka);
		return true;
	}
	metadata = ask_metadata(kafka, rk, false, timeout_ms);
	cdc_kafka_release_question(kafka);
	if (metadata == NULL)
		return false;
	for (int i = 0; i < n; i++)
	{
		const struct rd_kafka_metadata_topic *found =
			search_topic(metadata, topics[i].topic);

		fill_topic(&topics[i], found);
		if (found == NULL)
			continue;
		if (rk == kafka->rk)
			cdc_kafka_note_leaders(kafka, found);
		else
			same &= cdc_kafka_same_leaders(kafka, found);
	}
	rd_kafka_metadata_destroy(metadata);
	return same;
}

bool
cdc_kafka_topics(CdcKafka *kafka, CdcTopicInfo *topics, int n, int timeout_ms)
{
	return cdc_kafka_ask_topics(kafka, kafka->rk, topics, n, timeout_ms);
}

bool
cdc_kafka_all_topics(CdcKafka *kafka, CdcTopicInfo **topics, int *n,
					 int timeout_ms)
{
	const struct rd_kafka_metadata *metadata = ask_metadata(kafka, kafka->rk,
															true, timeout_ms);

	if (metadata == NULL)
		return false;
	/* nothing below may raise while the answer is held: no such allocation */
	*topics = palloc_extended((Size) Max(metadata->topic_cnt, 1) *
							  sizeof(CdcTopicInfo), MCXT_ALLOC_NO_OOM);
	*n = 0;
	for (int i = 0; *topics != NULL && i < metadata->topic_cnt; i++)
	{
		CdcTopicInfo *info = &(*topics)[i];
		size_t		size = strlen(metadata->topics[i].topic) + 1;
		char	   *name = palloc_extended(size, MCXT_ALLOC_NO_OOM);

		if (name == NULL)
			break;
		memcpy(name, metadata->topics[i].topic, size);
		info->topic = name;
		fill_topic(info, &metadata->topics[i]);
		(*n)++;
	}
	if (*topics == NULL || *n < metadata->topic_cnt)
	{
		rd_kafka_metadata_destroy(metadata);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	rd_kafka_metadata_destroy(metadata);
	return true;
}

bool
cdc_kafka_brokers(CdcKafka *kafka, char ***brokers, int *n, int timeout_ms)
{
	const struct rd_kafka_metadata *metadata = ask_metadata(kafka, kafka->rk,
															true, timeout_ms);
	char	   *names;

	if (metadata == NULL)
		return false;
	/* one allocation that does not raise, then nothing is held any more */
	*n = metadata->broker_cnt;
	names = palloc_extended((Size) Max(*n, 1) * BROKER_NAME_LEN,
							MCXT_ALLOC_NO_OOM);
	for (int i = 0; names != NULL && i < *n; i++)
		snprintf(names + i * BROKER_NAME_LEN, BROKER_NAME_LEN, "%s:%d",
				 metadata->brokers[i].host, metadata->brokers[i].port);
	rd_kafka_metadata_destroy(metadata);
	if (names == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	*brokers = palloc(Max(*n, 1) * sizeof(char *));
	for (int i = 0; i < *n; i++)
		(*brokers)[i] = names + i * BROKER_NAME_LEN;
	return true;
}

/* Does the library say that asking again may help? */
static bool
is_passing(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
		code == RD_KAFKA_RESP_ERR__TRANSPORT ||
		code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
		code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
		code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
		code == RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE ||
		code == RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
}

/*
 * Asks for the offsets of n partitions, whose parts[].offset is the question
 * in librdkafka's form.  An error of one partition spoils the whole answer,
 * so the question is halved until the culprit is alone.  False: time is up.
 */
static bool
ask_offsets(CdcKafka *kafka, rd_kafka_t *rk, CdcTopicPartition *parts, int n,
			Deadline *deadline)
{
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
	int			slice;

	while (is_passing(code))
	{
		slice = next_slice(deadline);
		if (slice == 0)
			return false;
		cdc_kafka_make_list(kafka, parts, n);
		code = cdc_debug_kafka() ? RD_KAFKA_RESP_ERR__FAIL :
			rd_kafka_offsets_for_times(rk, kafka->list, slice);
	}
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR && n > 1)
		return ask_offsets(kafka, rk, parts, n / 2, deadline) &&
			ask_offsets(kafka, rk, parts + n / 2, n - n / 2, deadline);
	note_answer(kafka, rk);
	for (int i = 0; i < n; i++)
	{
		const rd_kafka_topic_partition_t *answer = &kafka->list->elems[i];

		parts[i].error = code != RD_KAFKA_RESP_ERR_NO_ERROR ? code :
			answer->err;
		parts[i].offset = parts[i].error == 0 ? answer->offset : -1;
	}
	cdc_kafka_release_question(kafka);
	return true;
}

/* Where no record is at or after a time, the answer is the end. */
static bool
ask_missing_ends(CdcKafka *kafka, rd_kafka_t *rk, CdcTopicPartition *parts,
				 int n, Deadline *deadline)
{
	for (int i = 0; i < n; i++)
	{
		if (parts[i].error != 0 || parts[i].offset >= 0)
			continue;
		parts[i].offset = RD_KAFKA_OFFSET_END;
		if (!ask_offsets(kafka, rk, &parts[i], 1, deadline))
			return false;
	}
	return true;
}

/* cdc_kafka_ask_offsets: see kafka_internal.h. */
bool
cdc_kafka_ask_offsets(CdcKafka *kafka, rd_kafka_t *rk,
					  CdcTopicPartition *parts, int n,
					  CdcOffsetQuestion question, int timeout_ms)
{
	Deadline	deadline;

	if (n == 0)
		return true;
	start_deadline(&deadline, timeout_ms);
	for (int i = 0; i < n; i++)
	{
		if (question == CDC_OFFSET_BEGINNING)
			parts[i].offset = RD_KAFKA_OFFSET_BEGINNING;
		else if (question == CDC_OFFSET_END)
			parts[i].offset = RD_KAFKA_OFFSET_END;
	}
	return ask_offsets(kafka, rk, parts, n, &deadline) &&
		ask_missing_ends(kafka, rk, parts, n, &deadline);
}

bool
cdc_kafka_offsets(CdcKafka *kafka, CdcTopicPartition *parts, int n,
				  CdcOffsetQuestion question, int timeout_ms)
{
	return cdc_kafka_ask_offsets(kafka, kafka->rk, parts, n, question,
								 timeout_ms);
}

/*
 * A broker's thread that finds the fetch queue full sleeps for up to 1 s,
 * whatever is taken out meanwhile; fetch.queue.backoff.ms mends that in 2.2.0.
 * Any request wakes it.  So ask each leader for an end and do not wait.
 */
void
cdc_kafka_wake_fetchers(CdcKafka *kafka)
{
	if (kafka->assigned == NULL)
		return;
	for (int i = 0; i < kafka->assigned->cnt; i++)
		kafka->assigned->elems[i].offset = RD_KAFKA_OFFSET_END;
	(void) rd_kafka_offsets_for_times(kafka->rk, kafka->assigned, 0);
}

bool
cdc_kafka_watermarks(CdcKafka *kafka, const char *topic, int32 partition,
					 int64 *low, int64 *high)
{
	return rd_kafka_get_watermark_offsets(kafka->rk, topic, partition, low,
										  high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
		*low >= 0 && *high >= 0;
}

const char *
cdc_kafka_error_text(int code)
{
	return rd_kafka_err2str((rd_kafka_resp_err_t) code);
}

const char *
cdc_kafka_cluster_id(CdcKafka *kafka)
{
	char	   *id;

	/* it changes where another cluster comes to answer at the same address */
	id = rd_kafka_clusterid(kafka->rk, 0);
	if (id == NULL)
		return kafka->cluster_id;
	if (kafka->cluster_id != NULL)
		pfree(kafka->cluster_id);
	kafka->cluster_id = MemoryContextStrdup(kafka->context, id);
	rd_kafka_mem_free(kafka->rk, id);
	return kafka->cluster_id;
}
