/*-------------------------------------------------------------------------
 *
 * kafka_tool.c
 *		librdkafka handles for the programs of the benchmark.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_tool.h"

#include "tool.h"

void
kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		message[512];

	if (rd_kafka_conf_set(conf, name, value, message, sizeof(message)) != RD_KAFKA_CONF_OK)
		tool_die("%s", message);
}

rd_kafka_t *
kafka_open(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char		message[512];
	rd_kafka_t *kafka = rd_kafka_new(type, conf, message, sizeof(message));

	if (kafka == NULL)
		tool_die("%s", message);
	return kafka;
}

rd_kafka_headers_t *
kafka_headers(const GenHeader headers[GEN_HEADERS])
{
	rd_kafka_headers_t *made = rd_kafka_headers_new(GEN_HEADERS);

	for (int i = 0; i < GEN_HEADERS; i++)
		rd_kafka_header_add(made, headers[i].name, -1, headers[i].value, -1);
	return made;
}

void
kafka_produce(rd_kafka_t *producer, const char *topic, int32_t partition,
			  const GenRecord *record, const rd_kafka_headers_t *headers, void *opaque)
{
	for (;;)
	{
		rd_kafka_headers_t *copy = rd_kafka_headers_copy(headers);
		rd_kafka_resp_err_t error;

		error = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
								  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								  RD_KAFKA_V_KEY((void *) record->key, record->key_len),
								  RD_KAFKA_V_VALUE((void *) record->value, record->value_len),
								  RD_KAFKA_V_HEADERS(copy), RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
		if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
			return;
		rd_kafka_headers_destroy(copy);
		if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			tool_die("cannot produce: %s", rd_kafka_err2str(error));
		rd_kafka_poll(producer, 20);
	}
}
