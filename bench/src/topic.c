/*-------------------------------------------------------------------------
 *
 * topic.c
 *		Creates and deletes topics without the start of a Java program.
 *
 *	topic create --brokers B --topic T --partitions N
 *	topic delete --brokers B --topic T
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_tool.h"
#include "tool.h"

#include <stdio.h>
#include <string.h>

static void
check_results(const rd_kafka_topic_result_t **results, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (rd_kafka_topic_result_error(results[i]))
			tool_die("%s: %s", rd_kafka_topic_result_name(results[i]),
					 rd_kafka_topic_result_error_string(results[i]));
}

int
main(int argc, char **argv)
{
	const char *name = tool_option(argc, argv, "--topic", NULL);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *kafka;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *answer;
	size_t		n = 0;
	char		message[512];

	kafka_set(conf, "bootstrap.servers", tool_option(argc, argv, "--brokers", NULL));
	kafka = kafka_open(RD_KAFKA_PRODUCER, conf);
	queue = rd_kafka_queue_new(kafka);
	if (argc > 1 && strcmp(argv[1], "create") == 0)
	{
		rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, (int) tool_number(argc, argv, "--partitions", 1),
														   1, message, sizeof(message));

		if (topic == NULL)
			tool_die("%s", message);
		rd_kafka_CreateTopics(kafka, &topic, 1, NULL, queue);
	}
	else
	{
		rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);

		rd_kafka_DeleteTopics(kafka, &topic, 1, NULL, queue);
	}
	answer = rd_kafka_queue_poll(queue, 60000);
	if (answer == NULL || rd_kafka_event_error(answer))
		tool_die("%s: %s", name, answer ? rd_kafka_event_error_string(answer) : "no answer");
	if (rd_kafka_event_type(answer) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
		check_results(rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(answer), &n), n);
	else
		check_results(rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(answer), &n), n);
	return 0;
}
