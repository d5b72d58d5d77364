/*-------------------------------------------------------------------------
 *
 * kafka_open.c
 *		Beginning of the consumer, and the end of all clients.
 *
 * Floor 3.  The one hard thing is the end of a process: a live TLS client at
 * exit() can crash the server, an object still held makes the destruction
 * hang, and a broker that is gone makes it slow.  So what is held is reachable
 * from cdc_open_kafka or the producer, the destruction runs in a helper thread
 * that is waited for at most 2 s, and not at all where records of a batch are
 * held, and a process that ever opened a handle leaves by _exit().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "kafka_internal.h"

/* longest wait for the destruction of a handle */
#define CLOSE_TIMEOUT_MS	2000
/* parts of the queue after which the fetchers are woken */
#define WAKE_PARTS			4

CdcKafka   *cdc_open_kafka;
pthread_mutex_t cdc_kafka_reading = PTHREAD_MUTEX_INITIALIZER;

static bool exit_registered;
static bool ever_opened;

/* --------------------------------------------------------------------
 * The end of a handle
 * --------------------------------------------------------------------
 */

/* A client that is being destroyed; leaked where the thread is not back. */
struct CdcDestruction
{
	rd_kafka_t *rk;
	ClientShared *shared;		/* freed after the client */
	bool		unattended;		/* nobody waits: the thread frees this, too */
	sem_t		done;
};

/* Frees what nobody uses any more. */
static void
finish(CdcDestruction *destruction)
{
	cdc_kafka_free_shared(destruction->shared);
	sem_destroy(&destruction->done);
	free(destruction);
}

static void *
destruction_main(void *arg)
{
	CdcDestruction *destruction = arg;

	/* the consumer is in no group: there is nothing to leave */
	rd_kafka_destroy_flags(destruction->rk,
						   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	if (destruction->unattended)
		finish(destruction);
	else
		sem_post(&destruction->done);
	return NULL;
}

/* Starts the thread with every signal blocked: handlers are the server's. */
static bool
start_thread(CdcDestruction *destruction)
{
	sigset_t	all;
	sigset_t	before;
	pthread_t	thread;
	bool		started;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&thread, NULL, destruction_main,
							 destruction) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		pthread_detach(thread);
	return started;
}

CdcDestruction *
cdc_kafka_start_destruction(rd_kafka_t *rk, ClientShared *shared, bool wait)
{
	CdcDestruction *destruction = malloc(sizeof(*destruction));

	if (destruction == NULL)
		return NULL;
	destruction->rk = rk;
	destruction->shared = shared;
	destruction->unattended = !wait;
	if (sem_init(&destruction->done, 0, 0) != 0)
		return NULL;
	return start_thread(destruction) && wait ? destruction : NULL;
}

void
cdc_kafka_await_destructions(CdcDestruction **destructions, int n)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CLOSE_TIMEOUT_MS / 1000;
	for (int i = 0; i < n; i++)
	{
		int			rc;

		if (destructions[i] == NULL)
			continue;
		do
			rc = sem_timedwait(&destructions[i]->done, &until);
		while (rc != 0 && errno == EINTR);
		/* else its threads still run, and nothing that they use may go */
		if (rc == 0)
			finish(destructions[i]);
	}
}

/*
 * Lets go of all that the handle holds, and begins to destroy the client.
 * NULL where nobody is to wait for that.
 */
static CdcDestruction *
begin_close(CdcKafka *kafka)
{
	CdcDestruction *destruction;

	pthread_mutex_lock(&cdc_kafka_reading);
	cdc_open_kafka = NULL;
	pthread_mutex_unlock(&cdc_kafka_reading);
	cdc_kafka_watch_end(kafka);
	/* what cannot be relied on is left as it is to the end of the process */
	if (kafka->tainted)
		return NULL;
	cdc_kafka_release_event(kafka);
	cdc_kafka_release_question(kafka);
	cdc_kafka_end_asker(kafka);
	rd_kafka_conf_destroy(kafka->settings);
	if (kafka->assigned != NULL)
		rd_kafka_topic_partition_list_destroy(kafka->assigned);
	if (kafka->commits != NULL)
		rd_kafka_queue_destroy(kafka->commits);
	rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(kafka->queue);
	/* it ends when the records that were taken are released, perhaps never */
	destruction = cdc_kafka_start_destruction(kafka->rk, kafka->shared,
											  cdc_kafka_records_taken() == 0);
	if (kafka->fd >= 0)
	{
		close(kafka->fd);
		ReleaseExternalFD();
	}
	MemoryContextDelete(kafka->context);
	return destruction;
}

void
cdc_kafka_close(CdcKafka *kafka)
{
	CdcDestruction *destruction;

	if (kafka == NULL || kafka != cdc_open_kafka || kafka->pid != getpid())
		return;
	destruction = begin_close(kafka);
	cdc_kafka_await_destructions(&destruction, 1);
}

/* before_shmem_exit callback: both clients at once, in the time of one. */
static void
close_at_exit(int code, Datum arg)
{
	CdcDestruction *destructions[2] = {NULL, NULL};

	if (cdc_open_kafka != NULL && cdc_open_kafka->pid == getpid())
		destructions[0] = begin_close(cdc_open_kafka);
	destructions[1] = cdc_producer_begin_close(true);
	cdc_kafka_await_destructions(destructions, 2);
}

/*
 * on_proc_exit callback: leaves without exit(), whose handlers would tear
 * down OpenSSL under threads that may still run.  Shared memory has been
 * cleaned up by now, so the postmaster sees an ordinary exit.
 */
static void
exit_without_handlers(int code, Datum arg)
{
	if (ever_opened)
		_exit(code);
}

void
cdc_kafka_register_exit(void)
{
	if (exit_registered)
		return;
	exit_registered = true;
	before_shmem_exit(close_at_exit, (Datum) 0);
	on_proc_exit(exit_without_handlers, (Datum) 0);
}

void
cdc_kafka_prepare_exit(void)
{
	cdc_kafka_register_exit();
	ever_opened = true;
}

/* --------------------------------------------------------------------
 * Opening
 * --------------------------------------------------------------------
 */

/* Allocates the struct, with an empty assignment. */
static CdcKafka *
make_kafka(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "cdc_sink Kafka client",
												  ALLOCSET_DEFAULT_SIZES);
	CdcKafka   *kafka = MemoryContextAllocZero(context, sizeof(*kafka));
	HASHCTL		control = {0};

	kafka->context = context;
	kafka->pid = getpid();
	kafka->fd = -1;
	control.keysize = sizeof(PartitionKey);
	control.entrysize = sizeof(Partition);
	control.hcxt = context;
	kafka->partitions = hash_create("cdc_sink partitions", 64, &control,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return kafka;
}

/*
 * The eventfd that wakes the worker.  It starts readable: events that were
 * queued before librdkafka knew the descriptor would wake nobody.
 */
static void
open_wakeup(CdcKafka *kafka)
{
	const uint64 one = 1;

	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not reserve a file descriptor: %m")));
	kafka->fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	if (kafka->fd < 0)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create an eventfd: %m")));
	}
	rd_kafka_queue_io_event_enable(kafka->queue, kafka->fd, &one,
								   sizeof(one));
	cdc_kafka_watch_begin(kafka);
}

CdcKafka *
cdc_kafka_open(const CdcKafkaConfig *config)
{
	CdcKafka   *kafka;
	const char *warning = cdc_kafka_library_warning();

	if (cdc_open_kafka != NULL)
		elog(ERROR, "a Kafka client is open already");
	if (warning != NULL)
		ereport(WARNING, (errmsg("%s", warning)));

	kafka = make_kafka();
	PG_TRY();
	{
		kafka->allowed_brokers = MemoryContextStrdup(kafka->context,
													 config->allowed_brokers ? config->allowed_brokers : "");
		kafka->rk = cdc_kafka_make_client(config, false, &kafka->shared,
										  &kafka->settings);
		kafka->wake_bytes = INT64CONST(1024) * cdc_kafka_queue_kbytes(config) / WAKE_PARTS;
		rd_kafka_poll_set_consumer(kafka->rk);
		kafka->queue = rd_kafka_queue_get_consumer(kafka->rk);
		cdc_open_kafka = kafka;
		rd_kafka_set_log_queue(kafka->rk, kafka->queue);
		open_wakeup(kafka);
	}
	PG_CATCH();
	{
		if (cdc_open_kafka == kafka)
			cdc_kafka_close(kafka);
		else
			MemoryContextDelete(kafka->context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return kafka;
}

int
cdc_kafka_wakeup_fd(CdcKafka *kafka)
{
	return kafka->fd;
}

/* A number of the client's settings; 0 where the library does not know it. */
static int
get_number(CdcKafka *kafka, const char *name)
{
	char		value[16];
	size_t		size = sizeof(value);

	if (rd_kafka_conf_get(rd_kafka_conf(kafka->rk), name, value, &size) !=
		RD_KAFKA_CONF_OK)
		return 0;
	return atoi(value);
}

int
cdc_kafka_answer_ms(CdcKafka *kafka)
{
	return get_number(kafka, "socket.timeout.ms") +
		get_number(kafka, "socket.connection.setup.timeout.ms");
}

int
cdc_kafka_error_backoff_ms(CdcKafka *kafka)
{
	return get_number(kafka, "fetch.error.backoff.ms");
}
