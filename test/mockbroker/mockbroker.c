/*-------------------------------------------------------------------------
 *
 * mockbroker.c
 *		librdkafka's mock cluster as a program of its own, for tests of faults
 *		that a real broker does not produce on command.
 *
 *   mockbroker [BROKERS]
 *
 * Prints "ready host:port,..." and then answers each line of standard input
 * with "ok" or "error ...".  It ends at "quit" or at the end of input.
 *
 *   create TOPIC PARTITIONS [REPLICAS]
 *   produce TOPIC PARTITION KEY VALUE     hexadecimal; "-" is a Kafka null,
 *                                         "" (two quotes) an empty value
 *   produce_file TOPIC PARTITION FILE     a line is KEY or "-", tab, VALUE or
 *                                         "-", as plain text
 *   timestamp MS                          of the records sent from now on, ms
 *                                         since 1970; 0: the time of sending
 *   fill TOPIC PARTITION COUNT SIZE       values of SIZE bytes, keys 0,1,2...
 *   down [BROKER] | up [BROKER]           without a number: all
 *   rtt MS [BROKER]
 *   topic_error TOPIC CODE                0 ends it
 *   request_errors APIKEY CODE...         for the next requests of that kind
 *   clear_errors APIKEY
 *   leader TOPIC PARTITION BROKER         -1: none
 *   quit
 *
 * Never run the mock inside a server process: its thread blocks no signals.
 *
 *-------------------------------------------------------------------------
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 64

static rd_kafka_t *mock_handle;
static rd_kafka_mock_cluster_t *cluster;
static rd_kafka_t *producer;
static int	nbrokers = 1;
static long long timestamp;		/* of records; 0: now */

/* first error of a delivery since the last flush */
static rd_kafka_resp_err_t delivery_error;

static void
fail(const char *what, const char *why)
{
	printf("error %s: %s\n", what, why);
	fflush(stdout);
	exit(1);
}

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err && !delivery_error)
		delivery_error = message->err;
}

/* Decodes hex text in place; -1 where it is none. */
static ssize_t
decode_hex(char *text)
{
	size_t		len = strlen(text);

	if (len % 2 != 0)
		return -1;
	for (size_t i = 0; i < len / 2; i++)
	{
		unsigned int byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return -1;
		text[i] = (char) byte;
	}
	return (ssize_t) len / 2;
}

/* Sends one record; a NULL key or value is a Kafka null. */
static rd_kafka_resp_err_t
send_record(const char *topic, int partition, const char *key, size_t key_len,
			const char *value, size_t value_len)
{
	rd_kafka_resp_err_t code;

	do
	{
		code = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic),
								 RD_KAFKA_V_PARTITION(partition),
								 RD_KAFKA_V_KEY((void *) key, key_len),
								 RD_KAFKA_V_VALUE((void *) value, value_len),
								 RD_KAFKA_V_TIMESTAMP(timestamp),
								 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								 RD_KAFKA_V_END);
		rd_kafka_poll(producer, code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 100 : 0);
	} while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL);
	return code;
}

/* Waits until everything sent has been stored. */
static rd_kafka_resp_err_t
flush_records(void)
{
	rd_kafka_resp_err_t code;

	code = rd_kafka_flush(producer, 30000);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		code = delivery_error;
	delivery_error = RD_KAFKA_RESP_ERR_NO_ERROR;
	return code;
}

/* A key or value of the command "produce". */
static bool
read_bytes(char *word, const char **data, size_t *len)
{
	ssize_t		n;

	*data = NULL;
	*len = 0;
	if (strcmp(word, "-") == 0)
		return true;
	*data = word;
	if (strcmp(word, "\"\"") == 0)
		return true;
	n = decode_hex(word);
	*len = n < 0 ? 0 : (size_t) n;
	return n >= 0;
}

static const char *
do_produce(char **words, int n)
{
	const char *key;
	const char *value;
	size_t		key_len;
	size_t		value_len;
	rd_kafka_resp_err_t code;

	if (n != 5 || !read_bytes(words[3], &key, &key_len) ||
		!read_bytes(words[4], &value, &value_len))
		return "usage: produce TOPIC PARTITION KEY VALUE";
	code = send_record(words[1], atoi(words[2]), key, key_len, value, value_len);
	if (!code)
		code = flush_records();
	return code ? rd_kafka_err2str(code) : NULL;
}

static const char *
do_produce_file(char **words, int n)
{
	FILE	   *file = n == 4 ? fopen(words[3], "r") : NULL;
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		len;
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

	if (file == NULL)
		return "usage: produce_file TOPIC PARTITION FILE (which can be read)";
	while (!code && (len = getline(&line, &room, file)) > 0)
	{
		char	   *tab;

		if (line[len - 1] == '\n')
			line[--len] = '\0';
		tab = strchr(line, '\t');
		if (tab == NULL)
		{
			code = RD_KAFKA_RESP_ERR__INVALID_ARG;
			break;
		}
		*tab = '\0';
		code = send_record(words[1], atoi(words[2]),
						   strcmp(line, "-") == 0 ? NULL : line, strlen(line),
						   strcmp(tab + 1, "-") == 0 ? NULL : tab + 1,
						   strlen(tab + 1));
	}
	free(line);
	fclose(file);
	if (!code)
		code = flush_records();
	return code ? rd_kafka_err2str(code) : NULL;
}

static const char *
do_fill(char **words, int n)
{
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
	long		count;
	size_t		size;
	char	   *value;

	if (n != 5)
		return "usage: fill TOPIC PARTITION COUNT SIZE";
	count = atol(words[3]);
	size = (size_t) atol(words[4]);
	value = malloc(size + 1);
	if (value == NULL)
		return "out of memory";
	memset(value, 'x', size);
	for (long i = 0; i < count && !code; i++)
	{
		char		key[32];

		snprintf(key, sizeof(key), "%ld", i);
		code = send_record(words[1], atoi(words[2]), key, strlen(key), value,
						   size);
	}
	free(value);
	if (!code)
		code = flush_records();
	return code ? rd_kafka_err2str(code) : NULL;
}

/* Applies down, up or rtt to one broker or to all. */
static const char *
do_brokers(const char *verb, const char *broker, int rtt)
{
	int			first = broker ? atoi(broker) : 1;
	int			last = broker ? first : nbrokers;

	for (int id = first; id <= last; id++)
	{
		rd_kafka_resp_err_t code;

		if (strcmp(verb, "down") == 0)
			code = rd_kafka_mock_broker_set_down(cluster, id);
		else if (strcmp(verb, "up") == 0)
			code = rd_kafka_mock_broker_set_up(cluster, id);
		else
			code = rd_kafka_mock_broker_set_rtt(cluster, id, rtt);
		if (code)
			return rd_kafka_err2str(code);
	}
	return NULL;
}

static const char *
do_request_errors(char **words, int n)
{
	rd_kafka_resp_err_t codes[MAX_WORDS];

	if (n < 3)
		return "usage: request_errors APIKEY CODE...";
	for (int i = 2; i < n; i++)
		codes[i - 2] = (rd_kafka_resp_err_t) atoi(words[i]);
	rd_kafka_mock_push_request_errors_array(cluster, (int16_t) atoi(words[1]),
											(size_t) n - 2, codes);
	return NULL;
}

/* Runs one command; returns NULL or what was wrong. */
static const char *
run_command(char **words, int n)
{
	const char *verb = words[0];
	rd_kafka_resp_err_t code;

	if (strcmp(verb, "produce") == 0)
		return do_produce(words, n);
	if (strcmp(verb, "produce_file") == 0)
		return do_produce_file(words, n);
	if (strcmp(verb, "timestamp") == 0 && n == 2)
	{
		timestamp = atoll(words[1]);
		return NULL;
	}
	if (strcmp(verb, "fill") == 0)
		return do_fill(words, n);
	if (strcmp(verb, "down") == 0 || strcmp(verb, "up") == 0)
		return do_brokers(verb, n > 1 ? words[1] : NULL, 0);
	if (strcmp(verb, "rtt") == 0 && n > 1)
		return do_brokers(verb, n > 2 ? words[2] : NULL, atoi(words[1]));
	if (strcmp(verb, "request_errors") == 0)
		return do_request_errors(words, n);
	if (strcmp(verb, "clear_errors") == 0 && n == 2)
	{
		rd_kafka_mock_clear_request_errors(cluster, (int16_t) atoi(words[1]));
		return NULL;
	}
	if (strcmp(verb, "topic_error") == 0 && n == 3)
	{
		rd_kafka_mock_topic_set_error(cluster, words[1],
									  (rd_kafka_resp_err_t) atoi(words[2]));
		return NULL;
	}
	if (strcmp(verb, "create") == 0 && n >= 3)
		code = rd_kafka_mock_topic_create(cluster, words[1], atoi(words[2]),
										  n > 3 ? atoi(words[3]) : 1);
	else if (strcmp(verb, "leader") == 0 && n == 4)
		code = rd_kafka_mock_partition_set_leader(cluster, words[1],
												  atoi(words[2]),
												  atoi(words[3]));
	else
		return "unknown command, or wrong number of arguments";
	return code ? rd_kafka_err2str(code) : NULL;
}

static rd_kafka_t *
make_handle(const char *bootstrap)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		text[512];
	rd_kafka_t *rk;

	rd_kafka_conf_set(conf, "log_level", "2", NULL, 0);
	rd_kafka_conf_set(conf, "linger.ms", "2", NULL, 0);
	rd_kafka_conf_set(conf, "message.max.bytes", "100000000", NULL, 0);
	if (bootstrap != NULL)
		rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, NULL, 0);
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	if (rk == NULL)
		fail("rd_kafka_new", text);
	return rk;
}

int
main(int argc, char **argv)
{
	char	   *line = NULL;
	size_t		room = 0;

	if (argc > 1)
		nbrokers = atoi(argv[1]);
	mock_handle = make_handle(NULL);
	cluster = rd_kafka_mock_cluster_new(mock_handle, nbrokers);
	if (cluster == NULL)
		fail("rd_kafka_mock_cluster_new", "failed");
	producer = make_handle(rd_kafka_mock_cluster_bootstraps(cluster));
	printf("ready %s\n", rd_kafka_mock_cluster_bootstraps(cluster));
	fflush(stdout);

	while (getline(&line, &room, stdin) > 0)
	{
		char	   *words[MAX_WORDS];
		char	   *save = NULL;
		const char *problem;
		int			n = 0;

		for (char *word = strtok_r(line, " \t\n", &save);
			 word != NULL && n < MAX_WORDS;
			 word = strtok_r(NULL, " \t\n", &save))
			words[n++] = word;
		if (n == 0)
			continue;
		if (strcmp(words[0], "quit") == 0)
			break;
		problem = run_command(words, n);
		if (problem == NULL)
			printf("ok\n");
		else
			printf("error %s\n", problem);
		fflush(stdout);
	}
	free(line);
	rd_kafka_destroy(producer);
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(mock_handle);
	return 0;
}
