/*-------------------------------------------------------------------------
 *
 * consume.c
 *		Bare librdkafka loop: reads a topic and throws it away.  The bound of
 *		what any consumer of the library can reach.  With --dump it prints
 *		the records instead, in the frames of gen.c, each led by one with
 *		its partition.
 *
 *	consume --brokers B --topic T --partitions N --records N [--dump]
 *			[--kbytes N] [--min-messages N]
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_tool.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 1000

static rd_kafka_t *
open_consumer(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	kafka_set(conf, "bootstrap.servers", tool_option(argc, argv, "--brokers", NULL));
	kafka_set(conf, "group.id", "bench-consume");
	kafka_set(conf, "enable.auto.commit", "false");
	kafka_set(conf, "queued.max.messages.kbytes", tool_option(argc, argv, "--kbytes", "65536"));
	/* the default makes the fetcher pause for a second whenever it is ahead */
	kafka_set(conf, "queued.min.messages", tool_option(argc, argv, "--min-messages", "10000000"));
	return kafka_open(RD_KAFKA_CONSUMER, conf);
}

static void
assign_from_start(rd_kafka_t *consumer, const char *topic, int32_t partitions)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);

	for (int32_t i = 0; i < partitions; i++)
		rd_kafka_topic_partition_list_add(list, topic, i)->offset = 0;
	if (rd_kafka_assign(consumer, list))
		tool_die("cannot assign %s", topic);
	rd_kafka_topic_partition_list_destroy(list);
}

static void
dump_frame(const void *data, size_t len)
{
	int32_t		header = data ? (int32_t) len : -1;

	fwrite(&header, sizeof(header), 1, stdout);
	if (data)
		fwrite(data, 1, len, stdout);
}

static void
dump(const rd_kafka_message_t *message)
{
	rd_kafka_headers_t *headers;
	int32_t		count = 0;

	dump_frame(&message->partition, sizeof(message->partition));
	dump_frame(message->key, message->key_len);
	dump_frame(message->payload, message->len);
	if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
		count = (int32_t) rd_kafka_header_cnt(headers);
	dump_frame(&count, sizeof(count));
	for (int32_t i = 0; i < count; i++)
	{
		const char *name;
		const void *value;
		size_t		len;

		rd_kafka_header_get_all(headers, (size_t) i, &name, &value, &len);
		dump_frame(name, strlen(name));
		dump_frame(value, len);
	}
}

int
main(int argc, char **argv)
{
	const char *topic = tool_option(argc, argv, "--topic", NULL);
	int64_t		wanted = tool_number(argc, argv, "--records", 0);
	bool		dumping = tool_flag(argc, argv, "--dump");
	rd_kafka_t *consumer = open_consumer(argc, argv);
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer);
	rd_kafka_message_t **batch = calloc(BATCH, sizeof(*batch));
	int64_t		seen = 0,
				bytes = 0;
	double		first = 0,
				cpu = 0,
				quiet = tool_now();

	assign_from_start(consumer, topic, (int32_t) tool_number(argc, argv, "--partitions", 1));
	while (seen < wanted)
	{
		ssize_t		n = rd_kafka_consume_batch_queue(queue, 5, batch, BATCH);

		if (n > 0)
			quiet = tool_now();
		else if (tool_now() - quiet > 60)
			tool_die("%" PRId64 " of %" PRId64 " records within a minute", seen, wanted);
		for (ssize_t i = 0; i < n; i++)
		{
			if (batch[i]->err)
				tool_die("%s", rd_kafka_message_errstr(batch[i]));
			if (first == 0)
			{
				first = tool_now();
				cpu = tool_cpu();
			}
			if (dumping)
				dump(batch[i]);
			seen++;
			bytes += (int64_t) (batch[i]->len + batch[i]->key_len);
			rd_kafka_message_destroy(batch[i]);
		}
	}
	if (!dumping)
		printf("{\"rows\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.4f, \"cpu\": %.4f}\n",
			   seen, bytes, tool_now() - first, tool_cpu() - cpu);
	fflush(stdout);
	/* a helper that ends at once: closing a consumer could take seconds */
	_Exit(0);
}
