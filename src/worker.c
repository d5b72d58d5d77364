/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The apply worker: one process a subscription (or a part of one).
 *
 * Floor 10.  Attach to the slot, connect as the subscription's owner, then
 * one loop: take what the client has, run one transaction, publish, wait for
 * the latch or the client's eventfd.  Errors of a batch are handled below
 * (attempt.c); errors of opening the subscription are shown and tried again;
 * any other error ends the process, and the launcher starts another.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "consumer.h"
#include "guc.h"
#include "publisher.h"
#include "retry.h"
#include "session.h"
#include "shmem.h"

#define DDL_MS			1000
/* while the connection is bad: how often to look whether its settings changed */
#define CONNECTION_MS	2000
#define IDLE_MS			10000
#define REPORT_MS		1000
#define LAST_PUBLISH_MS	500
/* pause after a question of wait_for_catchup that was not answered */
#define ANSWER_MS		1000

PGDLLEXPORT void cdc_apply_main(Datum slot_index);

typedef struct Worker
{
	CdcConsumer *consumer;		/* NULL: could not be opened */
	bool		open_failed;
	uint64		config_seen;
	CdcRetry	retry;
	TimestampTz clock;			/* at the last turn */
	TimestampTz ddl_checked;	/* or when something more was found stopped */
	int			stopped;		/* how much was, at the last look */
	TimestampTz connection_checked;
	TimestampTz report_at;		/* statistics are due; 0: none wait */
	TimestampTz answer_at;		/* a wait_for_catchup that got no answer is
								 * tried again; 0: none */
	WaitEventSet *waits;
	int			waits_fd;		/* eventfd in the set, -1: none */
	bool		busy;			/* the last turn found work */
	CdcPublisher publisher;		/* of dead letters */
} Worker;

/* set by any invalidation that may repair a configuration error */
static volatile bool ddl_seen = false;
/* set by one of a server or user mapping */
static volatile bool server_seen = false;

static void
syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	ddl_seen = true;
	if (cacheid == FOREIGNSERVEROID || cacheid == USERMAPPINGOID)
		server_seen = true;
}

static void
relcache_callback(Datum arg, Oid relid)
{
	ddl_seen = true;
}

/* Catalogs whose change may make a stopped partition work again. */
static void
watch_ddl(void)
{
	static const int caches[] = {RELOID, AUTHMEMROLEMEM, AUTHOID, NAMESPACEOID,
		PROCOID, TYPEOID, FOREIGNSERVEROID, USERMAPPINGOID, DATABASEOID};

	for (size_t i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], syscache_callback, (Datum) 0);
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

/*
 * Frees the set of what is waited for.  A new client's eventfd may bear the
 * number of the old one, which the set has lost when that was closed.
 */
static void
forget_waits(Worker *worker)
{
	if (worker->waits)
		FreeWaitEventSet(worker->waits);
	worker->waits = NULL;
}

/*
 * Opens the consumer, again after a change of the configuration.  Exits where
 * the subscription is not to run any more.
 */
static void
open_consumer(Worker *worker)
{
	CdcConsumer *old = worker->consumer;
	uint64		config = pg_atomic_read_u64(&cdc_my_slot->config_count);

	worker->consumer = NULL;
	worker->open_failed = false;
	worker->retry.at = 0;
	worker->answer_at = 0;
	ddl_seen = server_seen = false;
	forget_waits(worker);
	PG_TRY();
	{
		worker->consumer = cdc_consumer_open(cdc_my_slot->subid,
											 cdc_my_slot->worker_no,
											 cdc_my_slot->nworkers, false, old);
		if (worker->consumer == NULL)
			proc_exit(0);
		StartTransactionCommand();
		cdc_session_apply_options(worker->consumer->subscription);
		CommitTransactionCommand();
		cdc_publisher_restart(&worker->publisher);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(TopMemoryContext);
		worker->open_failed = true;
		cdc_retry_open(&worker->retry, error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	/* an older configuration stopped it; what this one does is still to come */
	if (worker->config_seen != config && cdc_my_slot->state == CDC_STATE_STOPPED)
		cdc_slot_report(CDC_STATE_STARTING, "", "", 0);
	worker->config_seen = config;
	pg_atomic_write_u64(&cdc_my_slot->config_seen, config);
}

/* How much there is that DDL or a GRANT might set going again. */
static int
count_stopped(const Worker *worker)
{
	const CdcPipeline *pipeline;
	int			stopped = 0;

	if (worker->open_failed)
		return 1;
	if (worker->consumer == NULL)
		return 0;
	pipeline = worker->consumer->pipeline;
	for (int i = 0; i < pipeline->nparts; i++)
		stopped += pipeline->parts[i]->mode == CDC_PARTITION_STOPPED;
	return stopped;
}

/*
 * Looks whether DDL or a GRANT came by since; partitions that a configuration
 * error stopped then try again.  At most once a second.
 */
static void
look_at_ddl(Worker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	int			stopped = count_stopped(worker);

	/* what stops is seen to be stopped, also where its attempt was DDL */
	if (stopped > worker->stopped)
		worker->ddl_checked = now;
	worker->stopped = stopped;
	if (stopped == 0 ||
		!TimestampDifferenceExceeds(worker->ddl_checked, now, DDL_MS))
		return;
	worker->ddl_checked = now;
	StartTransactionCommand();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	if (!ddl_seen)
		return;
	ddl_seen = false;
	worker->stopped = 0;
	if (worker->open_failed)
		worker->retry.at = 0;
	else if (worker->consumer)
	{
		cdc_pipeline_resume(worker->consumer->pipeline, false);
		cdc_consumer_assign(worker->consumer);
	}
}

/*
 * Opens the consumer anew where its server or user mapping was altered, and,
 * while the connection is bad, where a secret file or a setting was: each
 * handle reads them once.
 */
static void
look_at_connection(Worker *worker)
{
	CdcConsumer *consumer = worker->consumer;
	TimestampTz now = GetCurrentTimestamp();
	bool		good = consumer && consumer->status.connected;

	if (consumer == NULL || worker->open_failed ||
		(!server_seen &&
		 !TimestampDifferenceExceeds(worker->connection_checked, now,
									 good ? IDLE_MS : CONNECTION_MS)))
		return;
	worker->connection_checked = now;
	/* an idle worker learns of DDL only by asking */
	StartTransactionCommand();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	if (good && !server_seen)
		return;
	if (!cdc_consumer_is_current(consumer, !server_seen))
		open_consumer(worker);
	server_seen = false;
}

/* Counts and times of a committed batch. */
static void
note_done(Worker *worker)
{
	const CdcPipeline *pipeline = worker->consumer->pipeline;
	TimestampTz now = GetCurrentTimestamp();

	cdc_retry_clear(&worker->retry);
	cdc_slot_count(CDC_COUNT_BATCHES, 1);
	cdc_slot_count(CDC_COUNT_RECORDS, pipeline->nrecords);
	cdc_slot_count(CDC_COUNT_BYTES, pipeline->nbytes);
	cdc_slot_times(0, pipeline->nrecords > 0 ? now : 0, now);
}

/*
 * Answers a wait_for_catchup that came since the last turn.  Where some
 * broker does not answer, the others' partitions must not wait for it at
 * every turn, with the caller or after it has gone.
 */
static void
answer_requests(Worker *worker)
{
	CdcConsumer *consumer = worker->consumer;
	uint64		request = pg_atomic_read_u64(&cdc_my_slot->end_request);

	if (request == consumer->request_asked ||
		GetCurrentTimestamp() < worker->answer_at)
		return;
	/* topics first: a partition made just now is to be waited for, too */
	if (!cdc_consumer_discover(consumer, true) ||
		!cdc_consumer_learn_ends(consumer, true))
	{
		worker->answer_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														ANSWER_MS);
		return;
	}
	worker->answer_at = 0;
	consumer->request_asked = request;
}

/* Publishes states; only then the answer to a request counts. */
static void
publish(Worker *worker)
{
	char		reason[CDC_REASON_LEN] = "";
	char		hint[CDC_HINT_LEN] = "";
	CdcState	state = CDC_STATE_STARTING;

	/* a log that is not known to be the right one is not caught up with */
	if (worker->consumer && !cdc_consumer_checking(worker->consumer))
		worker->consumer->request_served = worker->consumer->request_asked;
	if (worker->consumer)
	{
		state = cdc_consumer_publish(worker->consumer, reason, hint);
		cdc_publisher_hint(&worker->publisher, worker->consumer, hint);
	}
	if (worker->retry.at != 0 && worker->retry.state > state)
		cdc_slot_report(worker->retry.state, worker->retry.reason,
						worker->retry.hint, worker->retry.at);
	else
		cdc_slot_report(state, reason, hint, 0);
	/* whoever waits would not see the partitions that have no place */
	if (worker->consumer && worker->consumer->nunplaced == 0 &&
		pg_atomic_read_u64(&cdc_my_slot->end_served) != worker->consumer->request_served)
		pg_atomic_write_u64(&cdc_my_slot->end_served,
							worker->consumer->request_served);
	cdc_slot_wake_waiters();
}

/* Puts latch, postmaster and eventfd into the set, anew for a new eventfd. */
static void
prepare_waits(Worker *worker)
{
	int			fd = worker->consumer ?
		cdc_kafka_wakeup_fd(worker->consumer->kafka) : -1;

	if (worker->waits && worker->waits_fd == fd)
		return;
	forget_waits(worker);
	worker->waits = cdc_compat_create_wait_event_set(3);
	AddWaitEventToSet(worker->waits, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(worker->waits, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (fd >= 0)
		AddWaitEventToSet(worker->waits, WL_SOCKET_READABLE, fd, NULL, NULL);
	worker->waits_fd = fd;
}

/*
 * Reports what was done to tables: nobody else does that for a background
 * worker, and autovacuum would not hear of them.  Busy workers report as
 * others do; pgstat's clock stands still while no transaction ends, so an
 * idle one has to insist.  Returns the time in ms until the next report is
 * due, 0: nothing to report.
 */
static long
report_statistics(Worker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		due = worker->report_at != 0 && now >= worker->report_at;

	if (pgstat_report_stat(due) == 0)
	{
		worker->report_at = 0;
		return 0;
	}
	if (worker->report_at == 0)
		worker->report_at = TimestampTzPlusMilliseconds(now, REPORT_MS);
	return TimestampDifferenceMilliseconds(now, worker->report_at) + 1;
}

/* Waits for timeout ms at most; before a retry, only for other processes. */
static void
wait_events(Worker *worker, long timeout)
{
	static uint32 retry_event = 0;
	static uint32 apply_event = 0;
	WaitEvent	event;

	if (worker->retry.at != 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, cdc_compat_wait_event(&retry_event, "CdcSinkRetry"));
		return;
	}
	prepare_waits(worker);
	(void) WaitEventSetWait(worker->waits, timeout, &event, 1,
							cdc_compat_wait_event(&apply_event, "CdcSinkApply"));
}

/* Waits for work, a message from another process, or the next due time. */
static void
wait_for_work(Worker *worker)
{
	long		timeout = IDLE_MS;
	long		report;

	report = report_statistics(worker);
	if (worker->busy)
		return;
	if (report > 0)
		timeout = Min(timeout, report);
	if (worker->retry.at != 0)
		timeout = Min(timeout, TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
															   worker->retry.at) + 1);
	if (worker->answer_at != 0)
		timeout = Min(timeout, TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
															   worker->answer_at) + 1);
	if (worker->consumer)
	{
		long		group = cdc_consumer_group_due(worker->consumer);
		long		letters = cdc_publisher_due(&worker->publisher);

		if (group >= 0)
			timeout = Min(timeout, group);
		if (letters >= 0)
			timeout = Min(timeout, letters);
		timeout = Min(timeout, TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
															   worker->consumer->next_metadata) + 1);
		timeout = Min(timeout, TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
															   worker->consumer->next_ends) + 1);
		if (worker->consumer->pipeline->ends_wanted)
			timeout = Min(timeout, 100);
	}
	if (count_stopped(worker) > 0)
		timeout = Min(timeout, DDL_MS);
	if (worker->consumer && !worker->consumer->status.connected)
		timeout = Min(timeout, CONNECTION_MS);
	if (worker->consumer && cdc_consumer_waits(worker->consumer))
		timeout = Min(timeout, CDC_SIBLINGS_MS);
	wait_events(worker, timeout);
	ResetLatch(MyLatch);
}

/*
 * Has the clock been set back?  Then what is due by the old one would not be
 * for long: it is due now.
 */
static void
look_at_clock(Worker *worker)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < worker->clock)
	{
		cdc_retry_clock_back(&worker->retry, now);
		worker->report_at = Min(worker->report_at, now);
		worker->ddl_checked = 0;
		worker->answer_at = Min(worker->answer_at, now);
		if (worker->consumer)
			cdc_consumer_clock_back(worker->consumer, now);
	}
	worker->clock = now;
}

/* Signals and requests that every turn looks at. */
static void
serve_signals(Worker *worker)
{
	CHECK_FOR_INTERRUPTS();
	look_at_clock(worker);
	if (cdc_slot_stopping())
	{
		if (worker->consumer)
			cdc_consumer_publish_last(worker->consumer, LAST_PUBLISH_MS);
		proc_exit(0);
	}
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		cdc_debug_arm();
		if (worker->consumer && !worker->open_failed &&
			!cdc_consumer_is_current(worker->consumer, true))
			open_consumer(worker);
	}
	if (worker->config_seen != pg_atomic_read_u64(&cdc_my_slot->config_count) ||
		(worker->open_failed && GetCurrentTimestamp() >= worker->retry.at))
		open_consumer(worker);
}

/* One turn: pull, apply, see to what is due. */
static void
turn(Worker *worker)
{
	CdcConsumer *consumer = worker->consumer;
	const CdcPartition *stalled;
	CdcStep		step = CDC_STEP_IDLE;
	bool		due;

	(void) cdc_consumer_discover(consumer, false);
	answer_requests(worker);
	cdc_consumer_pull(consumer);
	stalled = cdc_consumer_stalled(consumer);
	if (stalled)
	{
		cdc_consumer_abandon(consumer, stalled);
		open_consumer(worker);
		return;
	}
	if (consumer->received)
		cdc_slot_times(GetCurrentTimestamp(), 0, 0);
	consumer->received = false;
	due = worker->retry.at == 0 || GetCurrentTimestamp() >= worker->retry.at;
	if (due)
		step = cdc_consumer_step(consumer, worker->retry.at != 0);
	switch (step)
	{
		case CDC_STEP_DONE:
			note_done(worker);
			break;
		case CDC_STEP_RETRY:
			cdc_retry_batch(&worker->retry, consumer->subscription,
							consumer->pipeline->failure);
			break;
		case CDC_STEP_FENCED:
			/*
			 * Partitions changed hands among the workers, or a skip was armed
			 * meanwhile: look again.
			 */
			if (consumer->nworkers > 1 ||
				worker->config_seen != pg_atomic_read_u64(&cdc_my_slot->config_count))
			{
				open_consumer(worker);
				return;
			}
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("subscription \"%s\" is consumed by another worker",
							consumer->subscription->name)));
			break;
		case CDC_STEP_IDLE:
			/* what was to be tried again is not there any more */
			if (due)
				cdc_retry_clear(&worker->retry);
			break;
	}
	(void) cdc_consumer_learn_ends(consumer, false);
	cdc_consumer_tend(consumer);
	cdc_consumer_gather(consumer);
	cdc_consumer_publish_group(consumer);
	cdc_publisher_turn(&worker->publisher, consumer);
	worker->busy = step == CDC_STEP_DONE;
}

/* Session of a worker: signals, connection, settings. */
static void
start_session(Oid dboid, Oid owner)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, owner,
											  CDC_WORKER_CONNECT_FLAGS);
	StartTransactionCommand();
	cdc_session_pin();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	watch_ddl();
	cdc_session_keep_memory();
}

/*
 * cdc_apply_main is the entry of an apply worker; the launcher starts it for
 * a slot.  The cleanup of the client is registered before the connection, so
 * that it runs after the transaction was aborted.
 */
void
cdc_apply_main(Datum slot_index)
{
	Worker		worker;
	ErrorContextCallback context;
	uint64		generation;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	cdc_slot_attach(DatumGetInt32(slot_index), generation);
	cdc_kafka_register_exit();
	start_session(cdc_my_slot->dboid, cdc_my_slot->owner);
	context.callback = cdc_error_context;
	context.arg = NULL;
	context.previous = error_context_stack;
	error_context_stack = &context;

	memset(&worker, 0, sizeof(worker));
	worker.waits_fd = -1;
	cdc_slot_report(CDC_STATE_STARTING, "connecting", "", 0);
	cdc_debug_arm();
	open_consumer(&worker);
	for (;;)
	{
		serve_signals(&worker);
		if (worker.consumer)
			turn(&worker);
		look_at_ddl(&worker);
		look_at_connection(&worker);
		publish(&worker);
		if (worker.consumer && worker.consumer->status.contact)
			cdc_debug_point("connected");
		wait_for_work(&worker);
	}
}
