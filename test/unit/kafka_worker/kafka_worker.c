/*-------------------------------------------------------------------------
 *
 * kafka_worker.c
 *		Test module: runs the record source alone, in a background worker.
 *
 * SELECT kafka_worker_run(script, output) starts a worker that reads commands
 * from the file "script", one a line, runs them against one client and
 * writes what it sees to the file "output".  It returns when the worker has
 * ended.  Commands:
 *
 *   set NAME VALUE | allowed LIST | open | close | time (prints ms since last)
 *   add TOPIC PARTITION OFFSET | remove TOPIC PARTITION
 *   drain MS      poll until MS have passed without an event
 *   records N MS  poll until N records have been seen in all, at most MS
 *   await WORD MS poll until the status has reason WORD ("-": connected)
 *   topics T ... MS | offsets begin|end|MS TOPIC PARTITION
 *   churn TOPIC PARTITIONS ROUNDS  take random partitions out and put them
 *                 back, at once, where they were or further back
 *   watermarks TOPIC PARTITION | cluster | fail | quiet 0|1
 *
 * A record whose offset is not the one after the last of its partition is
 * reported as REPEATED or GAP (topics without transactions have none).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdio.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "kafka.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(kafka_worker_run);
extern PGDLLEXPORT void kafka_worker_main(Datum arg);

typedef struct State
{
	CdcKafka   *kafka;
	CdcArena	arena;
	CdcKafkaProperty properties[32];
	CdcKafkaConfig config;
	FILE	   *out;
	bool		quiet;
	int64		records;
	int64		bytes;
	int64		eofs;
	int64		waits;
	int64		last_offset[64];
	int64		sum;			/* of offsets, to see loss and repeats */
	TimestampTz mark;
} State;

static State state;

static void
say(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vfprintf(state.out, format, args);
	va_end(args);
	fputc('\n', state.out);
	fflush(state.out);
}

static void
show_record(const CdcKafkaEvent *event)
{
	const CdcRecord *record = &event->record;
	int64	   *last = &state.last_offset[record->part % 64];

	state.records++;
	state.bytes += record->key.len + record->value.len;
	state.sum += record->offset;
	if (record->offset <= *last)
		say("REPEATED part %d offset " INT64_FORMAT, record->part,
			record->offset);
	else if (record->offset != *last + 1)
		say("GAP part %d offset " INT64_FORMAT " after " INT64_FORMAT,
			record->part, record->offset, *last);
	*last = record->offset;
	if (!state.quiet)
		say("record %d %s/%d " INT64_FORMAT " key=%s value=%s headers=%d",
			record->part, record->topic, record->partition, record->offset,
			record->key.data == NULL ? "NULL" : record->key.data,
			record->value.data == NULL ? "NULL" : record->value.data,
			record->nheaders);
}

/* Polls until the queue is empty; returns the events seen. */
static int
poll_all(void)
{
	CdcKafkaEvent event;
	int			seen = 0;

	while (cdc_kafka_poll(state.kafka, &state.arena, &event) != CDC_KAFKA_NONE)
	{
		seen++;
		switch (event.type)
		{
			case CDC_KAFKA_RECORD:
				show_record(&event);
				break;
			case CDC_KAFKA_EOF:
				state.eofs++;
				say("eof %d " INT64_FORMAT, event.part, event.offset);
				break;
			case CDC_KAFKA_OUT_OF_RANGE:
				say("out of range %d " INT64_FORMAT " %s: %s", event.part,
					event.offset, event.reason, event.message);
				break;
			case CDC_KAFKA_PARTITION_ERROR:
				say("partition error %d %s transient=%d: %s", event.part,
					event.reason, event.transient, event.message);
				break;
			case CDC_KAFKA_ERROR:
				say("error %s transient=%d: %s", event.reason,
					event.transient, event.message);
				break;
			default:
				break;
		}
		if (state.arena.total > 16 * 1024 * 1024)
			cdc_arena_reset(&state.arena);
	}
	cdc_arena_reset(&state.arena);
	return seen;
}

/* Polls a few events only: records stay queued when the assignment changes. */
static void
poll_some(int n)
{
	CdcKafkaEvent event;

	while (n-- > 0 &&
		   cdc_kafka_poll(state.kafka, &state.arena, &event) != CDC_KAFKA_NONE)
	{
		if (event.type == CDC_KAFKA_RECORD)
			show_record(&event);
		else if (event.type != CDC_KAFKA_EOF)
			say("UNEXPECTED event %d: %s", event.type, event.message);
		if (state.arena.total > 16 * 1024 * 1024)
			cdc_arena_reset(&state.arena);
	}
}

static int
wait_for_events(int timeout_ms)
{
	int			rc;

	state.waits++;
	rc = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE |
						   WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   cdc_kafka_wakeup_fd(state.kafka), timeout_ms,
						   PG_WAIT_EXTENSION);
	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return rc;
}

static void
do_drain(int quiet_ms)
{
	for (;;)
	{
		if (poll_all() == 0 && (wait_for_events(quiet_ms) & WL_TIMEOUT))
			break;
	}
	say("records " INT64_FORMAT " eofs " INT64_FORMAT " sum " INT64_FORMAT,
		state.records, state.eofs, state.sum);
}

static void
do_records(int64 n, int timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();

	while (state.records < n &&
		   !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), timeout_ms))
	{
		if (poll_all() == 0)
			wait_for_events(1000);
	}
	say("records " INT64_FORMAT " bytes " INT64_FORMAT " waits " INT64_FORMAT
		" sum " INT64_FORMAT, state.records, state.bytes, state.waits,
		state.sum);
}

static void
do_await(const char *word, int timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	CdcKafkaStatus status;

	for (;;)
	{
		poll_all();
		cdc_kafka_status(state.kafka, &status);
		if (strcmp(word, "-") == 0 ? status.connected :
			strcmp(word, status.reason) == 0)
			break;
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
									   timeout_ms))
		{
			say("NOT REACHED: %s", word);
			break;
		}
		wait_for_events(100);
	}
	say("status contact=%d connected=%d reason=%s: %s", status.contact,
		status.connected, status.reason, status.message);
}

static void
do_topics(char **words, int n)
{
	CdcTopicInfo topics[16];
	int			count = 0;

	for (int i = 0; i < n - 1 && i < 16; i++)
		topics[count++].topic = words[i];
	if (!cdc_kafka_topics(state.kafka, topics, count, atoi(words[n - 1])))
	{
		say("topics: no answer");
		return;
	}
	for (int i = 0; i < count; i++)
		say("topic %s partitions %d reason %s", topics[i].topic,
			topics[i].npartitions, topics[i].reason);
}

static void
do_offsets(char **words, int n)
{
	CdcTopicPartition parts[32];
	int			count = 0;
	CdcOffsetQuestion question = CDC_OFFSET_AT_TIME;

	if (strcmp(words[0], "begin") == 0)
		question = CDC_OFFSET_BEGINNING;
	else if (strcmp(words[0], "end") == 0)
		question = CDC_OFFSET_END;
	for (int i = 1; i + 1 < n && count < 32; i += 2)
	{
		parts[count].topic = words[i];
		parts[count].partition = atoi(words[i + 1]);
		parts[count++].offset = atoll(words[0]);
	}
	if (!cdc_kafka_offsets(state.kafka, parts, count, question, 5000))
		say("offsets: no answer");
	else
		for (int i = 0; i < count; i++)
			say("offset %s/%d " INT64_FORMAT " error %d", parts[i].topic,
				parts[i].partition, parts[i].offset, parts[i].error);
}

static void
do_assign(char **words, bool add)
{
	CdcTopicPartition part = {0};

	part.topic = words[1];
	part.partition = atoi(words[2]);
	part.part = part.partition;
	if (add)
	{
		part.offset = atoll(words[3]);
		state.last_offset[part.part % 64] = part.offset - 1;
		cdc_kafka_add(state.kafka, &part, 1);
	}
	else
		cdc_kafka_remove(state.kafka, &part, 1);
}

static void
do_churn(const char *topic, int partitions, int rounds)
{
	for (int i = 0; i < rounds; i++)
	{
		CdcTopicPartition part = {0};
		int64		back = random() % 3 == 0 ? random() % 5000 : 0;
		int64		wanted = state.records + random() % 3000;

		for (int turns = 0; state.records < wanted && turns < 50; turns++)
		{
			wait_for_events(20);
			poll_some((int) (wanted - state.records));
		}
		part.topic = topic;
		part.partition = part.part = (int32) (random() % partitions);
		cdc_kafka_remove(state.kafka, &part, 1);
		if (random() % 2 == 0)
			poll_some((int) (random() % 500));
		part.offset = Max(state.last_offset[part.part] + 1 - back, 0);
		state.last_offset[part.part] = part.offset - 1;
		cdc_kafka_add(state.kafka, &part, 1);
	}
	say("churned, records " INT64_FORMAT, state.records);
}

static void
run_command(char **words, int n)
{
	const char *verb = words[0];

	if (strcmp(verb, "set") == 0)
	{
		CdcKafkaProperty *property =
			&state.properties[state.config.nproperties++];

		property->name = pstrdup(words[1]);
		property->value = pstrdup(words[2]);
	}
	else if (strcmp(verb, "allowed") == 0)
		state.config.allowed_brokers = pstrdup(words[1]);
	else if (strcmp(verb, "open") == 0)
		state.kafka = cdc_kafka_open(&state.config);
	else if (strcmp(verb, "close") == 0)
		cdc_kafka_close(state.kafka);
	else if (strcmp(verb, "add") == 0)
		do_assign(words, true);
	else if (strcmp(verb, "remove") == 0)
		do_assign(words, false);
	else if (strcmp(verb, "drain") == 0)
		do_drain(atoi(words[1]));
	else if (strcmp(verb, "records") == 0)
		do_records(atoll(words[1]), atoi(words[2]));
	else if (strcmp(verb, "await") == 0)
		do_await(words[1], atoi(words[2]));
	else if (strcmp(verb, "churn") == 0)
		do_churn(words[1], atoi(words[2]), atoi(words[3]));
	else if (strcmp(verb, "topics") == 0)
		do_topics(words + 1, n - 1);
	else if (strcmp(verb, "offsets") == 0)
		do_offsets(words + 1, n - 1);
	else if (strcmp(verb, "watermarks") == 0)
	{
		int64		low = -1;
		int64		high = -1;
		bool		known = cdc_kafka_watermarks(state.kafka, words[1],
												 atoi(words[2]), &low, &high);

		say("watermarks %d " INT64_FORMAT " " INT64_FORMAT, known, low, high);
	}
	else if (strcmp(verb, "cluster") == 0)
		say("cluster %s", cdc_kafka_cluster_id(state.kafka) ?
			cdc_kafka_cluster_id(state.kafka) : "unknown");
	else if (strcmp(verb, "quiet") == 0)
		state.quiet = atoi(words[1]) != 0;
	else if (strcmp(verb, "fail") == 0)
		ereport(ERROR, (errmsg("asked to fail")));
	else if (strcmp(verb, "time") == 0)
	{
		TimestampTz now = GetCurrentTimestamp();

		say("ms %ld", TimestampDifferenceMilliseconds(state.mark, now));
		state.mark = now;
	}
	else
		say("UNKNOWN COMMAND %s", verb);
}

void
kafka_worker_main(Datum arg)
{
	char		script[BGW_EXTRALEN];
	char	   *output;
	char		line[1024];
	FILE	   *in;

	strlcpy(script, MyBgworkerEntry->bgw_extra, sizeof(script));
	output = strchr(script, '|');
	*output++ = '\0';
	cdc_kafka_register_exit();
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection("postgres", NULL, 0);
	state.config.properties = state.properties;
	state.config.allowed_brokers = "";
	state.config.group = "kafka_worker";
	state.mark = GetCurrentTimestamp();
	in = fopen(script, "r");
	state.out = fopen(output, "w");
	if (in == NULL || state.out == NULL)
		ereport(FATAL, (errmsg("could not open script or output: %m")));
	while (fgets(line, sizeof(line), in) != NULL)
	{
		char	   *words[64];
		char	   *save = NULL;
		int			n = 0;

		for (char *word = strtok_r(line, " \n", &save);
			 word != NULL && n < 64; word = strtok_r(NULL, " \n", &save))
			words[n++] = word;
		if (n == 0 || words[0][0] == '#')
			continue;
		for (int i = n; i < 8; i++)
			words[i] = "";
		run_command(words, n);
	}
	say("end");
	proc_exit(0);
}

Datum
kafka_worker_run(PG_FUNCTION_ARGS)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "kafka_worker", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "kafka_worker_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "kafka test worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "kafka test worker", BGW_MAXLEN);
	snprintf(worker.bgw_extra, BGW_EXTRALEN, "%s|%s",
			 text_to_cstring(PG_GETARG_TEXT_PP(0)),
			 text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR, (errmsg("no free worker slot")));
	WaitForBackgroundWorkerShutdown(handle);
	PG_RETURN_VOID();
}
