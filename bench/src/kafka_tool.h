/*-------------------------------------------------------------------------
 *
 * kafka_tool.h
 *		librdkafka handles for the programs of the benchmark.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_KAFKA_TOOL_H
#define BENCH_KAFKA_TOOL_H

#include <librdkafka/rdkafka.h>

#include "event_bytes.h"

/* Sets a property or ends the program: an unknown one must not go unnoticed. */
extern void kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value);
extern rd_kafka_t *kafka_open(rd_kafka_type_t type, rd_kafka_conf_t *conf);

/* The four headers of Debezium, made once and copied for each record. */
extern rd_kafka_headers_t *kafka_headers(const GenHeader headers[GEN_HEADERS]);
/*
 * Produces a record (copied), waiting while the queue is full.  opaque comes
 * back with the delivery report.
 */
extern void kafka_produce(rd_kafka_t *producer, const char *topic, int32_t partition,
						  const GenRecord *record, const rd_kafka_headers_t *headers,
						  void *opaque);

#endif							/* BENCH_KAFKA_TOOL_H */
