/*-------------------------------------------------------------------------
 *
 * gen.c
 *		Generator: a stream as Kafka records, as the table it leads to, or as
 *		the statements that would cause it.
 *
 *	gen produce --brokers B --topic T [--schema] [--partitions N]
 *				[--compression C] [--tx-rows N] STREAM
 *	gen table STREAM				the table after --events events, as COPY text;
 *				--records N: after as many records; --above ID: only rows above
 *	gen changes STREAM				the changes as COPY text: number, op, row
 *	gen ddl --table T				CREATE TABLE
 *	gen statements --tx-rows N STREAM	SQL that makes a source emit the stream
 *	gen probe STREAM				"id version n" of the row of the last event
 *	gen records --prefix P --database D --run-id R [--schema] STREAM
 *				frames of the records; places are read from standard input
 *	STREAM: --table T --pattern P --before N --events N
 *
 *-------------------------------------------------------------------------
 */
#include "event_bytes.h"
#include "kafka_tool.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t failures = 0;

static void
delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
	if (message->err && failures++ == 0)
		fprintf(stderr, "not delivered: %s\n", rd_kafka_err2str(message->err));
}

static rd_kafka_t *
open_producer(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	kafka_set(conf, "bootstrap.servers", tool_option(argc, argv, "--brokers", NULL));
	/* order must survive a retry */
	kafka_set(conf, "enable.idempotence", "true");
	kafka_set(conf, "linger.ms", "50");
	kafka_set(conf, "batch.size", "1000000");
	kafka_set(conf, "batch.num.messages", "100000");
	kafka_set(conf, "queue.buffering.max.messages", "1000000");
	kafka_set(conf, "queue.buffering.max.kbytes", "131072");
	kafka_set(conf, "delivery.report.only.error", "true");
	kafka_set(conf, "compression.type", tool_option(argc, argv, "--compression", "none"));
	/* the Java producer's choice of partition, so Debezium's */
	kafka_set(conf, "partitioner", "murmur2_random");
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	return kafka_open(RD_KAFKA_PRODUCER, conf);
}

static int
produce(int argc, char **argv)
{
	const char *topic = tool_option(argc, argv, "--topic", NULL);
	int64_t		events = tool_number(argc, argv, "--events", 0);
	int64_t		tx_rows = tool_number(argc, argv, "--tx-rows", 1000);
	int32_t		partition = tool_number(argc, argv, "--partitions", 1) > 1 ? RD_KAFKA_PARTITION_UA : 0;
	GenStream  *stream = tool_stream(argc, argv, false);
	GenEvents  *maker = gen_events_open(gen_stream_table(stream), tool_flag(argc, argv, "--schema"),
										"bench", "bench");
	rd_kafka_t *producer = open_producer(argc, argv);
	GenHeader	headers[GEN_HEADERS];
	rd_kafka_headers_t *made;
	GenPlace	place;
	int64_t		records = 0,
				bytes = 0;
	double		start = tool_now();

	gen_events_headers("bench", "01a206c7-3557-798d-9980-772d08dd8a9a", headers);
	made = kafka_headers(headers);
	gen_place_start(&place);
	for (int64_t i = 1; i <= events; i++)
	{
		GenChange	change;
		GenRecord	record;

		gen_stream_next(stream, &change);
		gen_place_next(&place, i, tx_rows);
		gen_events_make(maker, &change, &place, &record);
		kafka_produce(producer, topic, partition, &record, made, NULL);
		bytes += (int64_t) (record.key_len + record.value_len);
		records++;
		if (change.op == 'd')
		{
			gen_events_tombstone(maker, &record);
			kafka_produce(producer, topic, partition, &record, made, NULL);
			records++;
		}
		if (i % 1000 == 0)
			rd_kafka_poll(producer, 0);
	}
	while (rd_kafka_outq_len(producer) > 0 && failures == 0)
		rd_kafka_flush(producer, 1000);
	printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.3f}\n",
		   records, bytes, tool_now() - start);
	rd_kafka_headers_destroy(made);
	rd_kafka_destroy(producer);
	return failures ? 1 : 0;
}

/* Writes one row as a line of COPY text. */
static void
print_row(const GenTable *table, int64_t id, uint32_t version)
{
	static char line[GEN_ROW_MAX];
	char	   *out = line;

	for (int i = 0; i < table->ncolumns; i++)
	{
		int			len = gen_value_text(table, i, id, version, out);

		if (len < 0)
			out = stpcpy(out, "\\N");
		else
			out += len;
		*out++ = i + 1 < table->ncolumns ? '\t' : '\n';
	}
	fwrite(line, 1, (size_t) (out - line), stdout);
}

static int
print_table(int argc, char **argv)
{
	int64_t		events = tool_number(argc, argv, "--events", 0);
	int64_t		records = tool_number(argc, argv, "--records", INT64_MAX);
	GenStream  *stream = tool_stream(argc, argv, true);
	GenChange	change;

	for (int64_t i = 0; i < events && records > 0; i++)
	{
		gen_stream_next(stream, &change);
		/* a delete is two records; the first one suffices */
		records -= change.op == 'd' ? 2 : 1;
	}
	for (int64_t id = tool_number(argc, argv, "--above", 0) + 1; id <= gen_stream_max_id(stream); id++)
		if (gen_stream_version(stream, id) != 0)
			print_row(gen_stream_table(stream), id, gen_stream_version(stream, id));
	return 0;
}

static int
print_changes(int argc, char **argv)
{
	int64_t		events = tool_number(argc, argv, "--events", 0);
	GenStream  *stream = tool_stream(argc, argv, false);
	GenChange	change;

	for (int64_t i = 1; i <= events; i++)
	{
		gen_stream_next(stream, &change);
		printf("%" PRId64 "\t%c\t", i, change.op);
		print_row(gen_stream_table(stream), change.id, change.version);
	}
	return 0;
}

static int
print_ddl(int argc, char **argv)
{
	const GenTable *table = gen_table(tool_option(argc, argv, "--table", "ev"));

	if (table == NULL)
		tool_die("no such table");
	printf("CREATE TABLE %s (", table->name);
	for (int i = 0; i < table->ncolumns; i++)
		printf("%s%s %s", i ? ", " : "", table->columns[i].name, gen_sql_type(table->columns[i].kind));
	puts(");");
	return 0;
}

static void
print_statement(const GenTable *table, const GenChange *change)
{
	char		value[GEN_VALUE_MAX];

	if (change->op == 'd')
	{
		printf("DELETE FROM %s WHERE id = %" PRId64 ";\n", table->name, change->id);
		return;
	}
	printf(change->op == 'c' ? "INSERT INTO %s VALUES (" : "UPDATE %s SET ", table->name);
	for (int i = change->op == 'c' ? 0 : 1; i < table->ncolumns; i++)
	{
		int			len = gen_value_text(table, i, change->id, change->version, value);

		if (i > (change->op == 'c' ? 0 : 1))
			printf(", ");
		if (change->op == 'u')
			printf("%s = ", table->columns[i].name);
		if (len < 0)
			printf("NULL");
		else
			printf("'%s'", value);
	}
	if (change->op == 'c')
		puts(");");
	else
		printf(" WHERE id = %" PRId64 ";\n", change->id);
}

static int
print_statements(int argc, char **argv)
{
	int64_t		events = tool_number(argc, argv, "--events", 0);
	int64_t		tx_rows = tool_number(argc, argv, "--tx-rows", 1000);
	GenStream  *stream = tool_stream(argc, argv, false);
	GenChange	change;

	for (int64_t i = 0; i < events; i++)
	{
		if (i % tx_rows == 0)
			puts(i ? "COMMIT;\nBEGIN;" : "BEGIN;");
		gen_stream_next(stream, &change);
		print_statement(gen_stream_table(stream), &change);
	}
	puts("COMMIT;");
	return 0;
}

/* The row of the last event, by which a peer's progress is seen. */
static int
print_probe(int argc, char **argv)
{
	int64_t		events = tool_number(argc, argv, "--events", 0);
	GenStream  *stream = tool_stream(argc, argv, false);
	GenChange	change = {'c', 0, 0};
	char		value[GEN_VALUE_MAX];

	for (int64_t i = 0; i < events; i++)
		gen_stream_next(stream, &change);
	gen_value_text(gen_stream_table(stream), 1, change.id, change.version, value);
	printf("%" PRId64 " %" PRId64 " %s\n", gen_stream_max_id(stream), change.id, value);
	return 0;
}

/* A frame: length (4 bytes, this machine's order; -1 for null) and bytes. */
static void
print_frame(const char *data, size_t len)
{
	int32_t		header = data ? (int32_t) len : -1;

	fwrite(&header, sizeof(header), 1, stdout);
	if (data)
		fwrite(data, 1, len, stdout);
}

static void
print_record(const GenRecord *record, const GenHeader headers[GEN_HEADERS])
{
	print_frame(record->key, record->key_len);
	print_frame(record->value, record->value_len);
	for (int i = 0; i < GEN_HEADERS; i++)
	{
		print_frame(headers[i].name, strlen(headers[i].name));
		print_frame(headers[i].value, strlen(headers[i].value));
	}
}

static int
print_records(int argc, char **argv)
{
	int64_t		events = tool_number(argc, argv, "--events", 0);
	const char *prefix = tool_option(argc, argv, "--prefix", NULL);
	GenStream  *stream = tool_stream(argc, argv, false);
	GenEvents  *maker = gen_events_open(gen_stream_table(stream), tool_flag(argc, argv, "--schema"),
										prefix, tool_option(argc, argv, "--database", NULL));
	GenHeader	headers[GEN_HEADERS];

	gen_events_headers(prefix, tool_option(argc, argv, "--run-id", NULL), headers);
	for (int64_t i = 0; i < events; i++)
	{
		GenChange	change;
		GenRecord	record;
		GenPlace	place;

		if (scanf("%" SCNd64 "%" SCNd64 "%" SCNd64 "%" SCNd64 "%" SCNd64, &place.txid, &place.lsn,
				  &place.commit_lsn, &place.ts_us, &place.ts_ns) != 5)
			tool_die("no place for event %" PRId64, i + 1);
		gen_stream_next(stream, &change);
		gen_events_make(maker, &change, &place, &record);
		print_record(&record, headers);
		if (change.op == 'd')
		{
			gen_events_tombstone(maker, &record);
			print_record(&record, headers);
		}
	}
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct
	{
		const char *name;
		int			(*run) (int argc, char **argv);
	}			commands[] =

	{
		{"produce", produce}, {"table", print_table}, {"changes", print_changes},
		{"ddl", print_ddl}, {"statements", print_statements}, {"probe", print_probe}, {"records", print_records},
	};

	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc, argv);
	tool_die("usage: see the head of gen.c");
}
