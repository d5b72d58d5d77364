/*-------------------------------------------------------------------------
 *
 * latency.c
 *		Time from an event being in the topic to its row being visible.
 *
 * A producer writes inserts at a steady rate.  The moment of an event is its
 * delivery report: the broker has it.  A second thread asks the table for
 * its highest id, at most every half millisecond; rows of one partition
 * appear in order, so that all events up to that id are visible then.  What
 * is reported is therefore too long by up to that interval and the time of
 * the query, for every system alike.
 *
 *	latency --brokers B --topic T --dsn D --rate N --seconds N
 *			[--warm-up S] [--schema]
 *
 *-------------------------------------------------------------------------
 */
#include "event_bytes.h"
#include "kafka_tool.h"
#include "tool.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define POLL_NS 500000

/*
 * The last visible row after one that is: looked for in steps that double,
 * then between the last two.
 */
static const char search[] =
"CREATE FUNCTION pg_temp.last_visible(seen bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$\n"
"DECLARE\n"
"  lo bigint := seen;\n"
"  hi bigint := seen + 1;\n"
"  mid bigint;\n"
"BEGIN\n"
"  WHILE EXISTS (SELECT FROM ev WHERE id = hi) LOOP\n"
"    lo := hi;\n"
"    hi := hi + (hi - seen);\n"
"  END LOOP;\n"
"  WHILE hi - lo > 1 LOOP\n"
"    mid := (lo + hi) / 2;\n"
"    IF EXISTS (SELECT FROM ev WHERE id = mid) THEN lo := mid; ELSE hi := mid; END IF;\n"
"  END LOOP;\n"
"  RETURN lo;\n"
"END $$";

static const char *dsn;
static int64_t total;			/* events of the run */
static _Atomic double *sent;	/* when event i was handed to librdkafka */
static _Atomic double *stored;	/* when the broker was known to have it */
static double *visible;			/* when its row was seen */
static atomic_bool given_up;

static void
delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
	if (message->err)
		tool_die("not delivered: %s", rd_kafka_err2str(message->err));
	atomic_store(&stored[(intptr_t) message->_private], tool_now());
}

/* Room for a moment of each event, there at once: a fault for each page later would be taken from the time of what is measured. */
static void *
moments(void)
{
	void	   *room = mmap(NULL, (size_t) (total + 1) * sizeof(double), PROT_READ | PROT_WRITE,
							MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (room == MAP_FAILED)
		tool_die("out of memory");
	return room;
}

static void
pause_ns(long ns)
{
	struct timespec pause = {0, ns};

	nanosleep(&pause, NULL);
}

static void *
watch(void *arg)
{
	PGconn	   *conn = PQconnectdb(dsn);
	int64_t		seen = 0;

	if (PQstatus(conn) != CONNECTION_OK)
		tool_die("%s", PQerrorMessage(conn));
	/* planned while the table is empty, it would read all of it ever after */
	PQclear(PQexec(conn, "SET enable_seqscan = off"));
	PQclear(PQexec(conn, search));
	PQclear(PQprepare(conn, "last", "SELECT pg_temp.last_visible($1)", 0, NULL));
	while (seen < total && !atomic_load(&given_up))
	{
		char		from[24];
		const char *value = from;
		PGresult   *result;
		double		now;
		int64_t		top;

		snprintf(from, sizeof(from), "%" PRId64, seen);
		result = PQexecPrepared(conn, "last", 1, &value, NULL, NULL, 0);
		now = tool_now();
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			tool_die("%s", PQerrorMessage(conn));
		top = atoll(PQgetvalue(result, 0, 0));
		PQclear(result);
		while (seen < top && seen < total)
			visible[++seen] = now;
		pause_ns(POLL_NS);
	}
	PQfinish(conn);
	return NULL;
}

static rd_kafka_t *
open_producer(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	kafka_set(conf, "bootstrap.servers", tool_option(argc, argv, "--brokers", NULL));
	/* Kafka's own default, which the producer of a connector has */
	kafka_set(conf, "linger.ms", "5");
	/* larger ones are humongous objects to the broker's collector, which then never rests */
	kafka_set(conf, "batch.size", "200000");
	kafka_set(conf, "acks", "1");
	kafka_set(conf, "queue.buffering.max.messages", "1000000");
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	return kafka_open(RD_KAFKA_PRODUCER, conf);
}

/* Produces event i at start + i / rate, several at once when late. */
static void
produce(rd_kafka_t *producer, int argc, char **argv, double rate)
{
	const char *topic = tool_option(argc, argv, "--topic", NULL);
	GenStream  *stream = gen_stream_open(gen_table("ev"), "insert", 0, total, false);
	GenEvents  *maker = gen_events_open(gen_table("ev"), tool_flag(argc, argv, "--schema"), "bench", "bench");
	GenHeader	headers[GEN_HEADERS];
	rd_kafka_headers_t *made;
	GenPlace	place;
	double		start = tool_now();

	gen_events_headers("bench", "01a206c7-3557-798d-9980-772d08dd8a9a", headers);
	made = kafka_headers(headers);
	gen_place_start(&place);
	for (int64_t i = 1; i <= total; i++)
	{
		GenChange	change;
		GenRecord	record;

		while (tool_now() < start + (double) i / rate)
		{
			rd_kafka_poll(producer, 0);
			pause_ns(200000);
		}
		gen_stream_next(stream, &change);
		gen_place_next(&place, i, 1);
		gen_events_make(maker, &change, &place, &record);
		atomic_store(&sent[i], tool_now());
		kafka_produce(producer, topic, 0, &record, made, (void *) (intptr_t) i);
		if (i % 100 == 0)
			rd_kafka_poll(producer, 0);
	}
	rd_kafka_flush(producer, 30000);
	rd_kafka_headers_destroy(made);
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
percentile(const double *sorted, int64_t n, double p)
{
	return sorted[(int64_t) (p * (double) (n - 1) + 0.5)] * 1000;
}

/*
 * Prints percentiles of what came after the warm-up, in milliseconds, and how many events a second were produced and became visible
 * from start to end, or to the last row.
 */
static void
report(double rate, double start, double end, int64_t skip)
{
	double	   *from_stored = calloc((size_t) total, sizeof(double)),
			   *from_sent = calloc((size_t) total, sizeof(double));
	int64_t		n = 0,
				unseen = 0;

	for (int64_t i = skip + 1; i <= total; i++)
	{
		double		late = visible[i] - stored[i];

		if (visible[i] == 0)
		{
			unseen++;
			continue;
		}
		/* the report may reach us after the row was seen */
		from_stored[n] = late > 0 ? late : 0;
		from_sent[n++] = visible[i] - sent[i];
	}
	qsort(from_stored, (size_t) n, sizeof(double), compare);
	qsort(from_sent, (size_t) n, sizeof(double), compare);
	if (n == 0)
		tool_die("no row became visible");
	printf("{\"rate\": %.0f, \"achieved\": %.0f, \"visible\": %.0f, \"events\": %" PRId64 ", \"unseen\": %" PRId64 ", "
		   "\"p50\": %.2f, \"p99\": %.2f, \"p999\": %.2f, \"max\": %.2f, \"sent_p50\": %.2f, \"sent_p99\": %.2f}\n",
		   rate, (double) total / (end - start), (double) total / (visible[total] - start), n, unseen,
		   percentile(from_stored, n, 0.5), percentile(from_stored, n, 0.99), percentile(from_stored, n, 0.999),
		   percentile(from_stored, n, 1), percentile(from_sent, n, 0.5), percentile(from_sent, n, 0.99));
}

int
main(int argc, char **argv)
{
	double		rate = atof(tool_option(argc, argv, "--rate", NULL));
	double		warm_up = atof(tool_option(argc, argv, "--warm-up", "1"));
	double		seconds = atof(tool_option(argc, argv, "--seconds", NULL)) + warm_up;
	rd_kafka_t *producer = open_producer(argc, argv);
	pthread_t	watcher;
	double		start,
				end;

	/* what is freed is used again: page faults would be taken from the time of what is measured */
	mallopt(M_TRIM_THRESHOLD, 1024 * 1024 * 1024);
	dsn = tool_option(argc, argv, "--dsn", NULL);
	total = (int64_t) (rate * seconds);
	sent = moments();
	stored = moments();
	visible = moments();
	if (pthread_create(&watcher, NULL, watch, NULL) != 0)
		tool_die("cannot start a thread");
	start = tool_now();
	produce(producer, argc, argv, rate);
	end = tool_now();
	/* a sink that cannot keep up is given as long again */
	while (visible[total] == 0 && tool_now() < end + seconds + 10)
		pause_ns(1000000);
	atomic_store(&given_up, true);
	pthread_join(watcher, NULL);
	report(rate, start, end, (int64_t) (rate * warm_up));
	return 0;
}
