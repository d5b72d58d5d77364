/*-------------------------------------------------------------------------
 *
 * publisher.c
 *		Dead letters, published to the subscription's dead_letter_topic.
 *
 * Floor 9.  At least once: the table says which letters are unpublished, from
 * the transaction that wrote them on; they are read from there after it has
 * committed, and marked in a transaction of its own once the broker has them.
 * So a crash in between has them published again, and one before it loses
 * nothing.  The hard thing is that none of it may hold up the apply path: no
 * call waits, for brokers or for locks, and an error ends a round of letters,
 * not the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"
#include "catalog_server.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "deadletter.h"
#include "guc.h"
#include "publisher.h"

/* most letters and bytes on their way at a time */
#define MOST_LETTERS		500
#define MOST_BYTES			(8 * 1024 * 1024)
/* nothing more is sent while so many deliveries could not be noted */
#define MOST_MARKS			(4 * MOST_LETTERS)
/* deliveries are looked for so often while some are to come */
#define POLL_MS				50
/* between two tries of letters that failed, and of a row that was locked */
#define FIRST_BACKOFF_MS	1000
#define LAST_BACKOFF_MS		60000
#define MARK_MS				1000
/* letters that the library refuses are looked at so many at a time ... */
#define MOST_REFUSED		16
/* ... with a pause, as each is read and none is waited for */
#define REFUSED_MS			100
/* a producer without work is closed after this time */
#define IDLE_MS				60000
/* longest text of one header */
#define MOST_TEXT			8192

/* ------------------------------------------------------------------------
 * A letter as a record
 * ------------------------------------------------------------------------ */

/* Appends a header with a text; nothing where there is none. */
static void
add_text(CdcHeader *headers, int *n, const char *name, const char *text)
{
	if (text == NULL)
		return;
	text = pg_server_to_any(text, strlen(text), PG_UTF8);
	headers[*n].name = name;
	headers[*n].value.data = text;
	headers[(*n)++].value.len = pg_encoding_mbcliplen(PG_UTF8, text,
													  strlen(text), MOST_TEXT);
}

/*
 * What Kafka Connect says of a record in its dead letter queue, in its words,
 * and two of our own.  Returns the number of headers; palloc's texts.
 */
static int
describe(const CdcUnpublished *letter, const CdcConsumer *consumer,
		 CdcHeader *headers)
{
	int			n = 0;

	add_text(headers, &n, "__connect.errors.topic", letter->record.topic);
	add_text(headers, &n, "__connect.errors.partition",
			 psprintf("%d", letter->record.partition));
	add_text(headers, &n, "__connect.errors.offset",
			 psprintf(INT64_FORMAT, letter->record.offset));
	add_text(headers, &n, "__connect.errors.connector.name",
			 consumer->subscription->name);
	add_text(headers, &n, "__connect.errors.task.id",
			 psprintf("%d", consumer->worker_no));
	/* without an operation it was not understood */
	add_text(headers, &n, "__connect.errors.stage",
			 letter->op ? "TASK_PUT" : "VALUE_CONVERTER");
	add_text(headers, &n, "__connect.errors.class.name", letter->sqlstate);
	add_text(headers, &n, "__connect.errors.exception.class.name",
			 letter->sqlstate);
	add_text(headers, &n, "__connect.errors.exception.message",
			 letter->message);
	add_text(headers, &n, "__connect.errors.exception.stacktrace",
			 letter->context);
	add_text(headers, &n, "__cdc_sink.dead_letter.id",
			 psprintf(INT64_FORMAT, letter->id));
	add_text(headers, &n, "__cdc_sink.dead_letter.status", letter->status);
	add_text(headers, &n, "__cdc_sink.dead_letter.relation", letter->relation);
	return n;
}

#define DESCRIPTION_HEADERS 13

/* ------------------------------------------------------------------------
 * Rounds
 * ------------------------------------------------------------------------ */

/* Logs an error: a new one at once, one that stays now and then. */
static void
complain(CdcPublisher *publisher, const CdcConsumer *consumer,
		 const char *error)
{
	const char *topic = consumer->subscription->options.dead_letter_topic;

	strlcpy(publisher->error, error, sizeof(publisher->error));
	if (!cdc_complaint_is_new(&publisher->complaint, error))
		return;
	ereport(LOG,
			(errmsg("could not publish dead letters of subscription \"%s\" to topic \"%s\": %s",
					consumer->subscription->name, topic ? topic : "", error),
			 errdetail("They are kept in cdc_sink.dead_letter and tried again. Records are applied all the same.")));
}

/* The next round begins after a pause, which doubles. */
static void
back_off(CdcPublisher *publisher)
{
	publisher->backoff_ms = publisher->backoff_ms == 0 ? FIRST_BACKOFF_MS :
		Min(2 * publisher->backoff_ms, LAST_BACKOFF_MS);
	publisher->look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 publisher->backoff_ms);
	publisher->looking = true;
	publisher->after = 0;
	publisher->waiting = Max(publisher->failures, 1);
	publisher->failures = 0;
}

/* All letters were looked at: the round is over. */
static void
end_round(CdcPublisher *publisher)
{
	publisher->after = 0;
	if (publisher->failures > 0)
	{
		back_off(publisher);
		return;
	}
	publisher->looking = false;
	publisher->waiting = 0;
	publisher->backoff_ms = 0;
	publisher->error[0] = '\0';
	publisher->complaint.text[0] = '\0';
}

/* Makes room for one more entry of a list in TopMemoryContext. */
static CdcPosted *
grow(CdcPosted *list, int n, int *max)
{
	if (n < *max)
		return list;
	*max = Max(64, 2 * *max);
	return list == NULL ?
		MemoryContextAlloc(TopMemoryContext, *max * sizeof(CdcPosted)) :
		repalloc(list, *max * sizeof(CdcPosted));
}

/* What reading the letters needs to know. */
typedef struct Sending
{
	CdcPublisher *publisher;
	CdcConsumer *consumer;
} Sending;

/*
 * Are the partition's letters ours to publish?  With several workers each has
 * those of its partitions, and the first one those that nobody reads.
 */
static bool
is_ours(const CdcConsumer *consumer, const CdcRecord *record)
{
	if (consumer->nworkers == 1 ||
		cdc_pipeline_partition(consumer->pipeline, record->topic,
							   record->partition))
		return true;
	if (consumer->worker_no != 0)
		return false;
	for (int i = 0; i < consumer->ntopics; i++)
		if (strcmp(consumer->topics[i].topic, record->topic) == 0 &&
			record->partition < consumer->topics[i].npartitions)
			return false;
	return true;
}

/* Was it delivered, and the table could not be told yet? */
static bool
is_marked(const CdcPublisher *publisher, const CdcUnpublished *letter)
{
	for (int i = 0; i < publisher->nmarks; i++)
		if (publisher->marks[i].id == letter->id &&
			publisher->marks[i].attempts == letter->attempts)
			return true;
	return false;
}

/* CdcTakeLetter: sends one. */
static bool
send_letter(void *arg, const CdcUnpublished *letter)
{
	Sending    *sending = arg;
	CdcPublisher *publisher = sending->publisher;
	CdcHeader	headers[DESCRIPTION_HEADERS];
	CdcPosted  *posted;
	int			error;

	publisher->after = letter->id;
	if (!is_ours(sending->consumer, &letter->record) ||
		is_marked(publisher, letter))
		return true;
	publisher->posted = grow(publisher->posted, publisher->nposted,
							 &publisher->maxposted);
	posted = &publisher->posted[publisher->nposted];
	posted->id = letter->id;
	posted->attempts = letter->attempts;
	posted->state = CDC_POSTED_SENT;
	error = cdc_producer_send(publisher->producer,
							  sending->consumer->subscription->options.dead_letter_topic,
							  &letter->record, headers,
							  describe(letter, sending->consumer, headers),
							  publisher->nposted);
	if (error != 0)
	{
		publisher->failures++;
		complain(publisher, sending->consumer, cdc_kafka_error_text(error));
		if (++publisher->refused < MOST_REFUSED)
			return true;
		publisher->look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														 REFUSED_MS);
		return false;
	}
	publisher->nposted++;
	publisher->nopen++;
	publisher->bytes += letter->record.key.len + letter->record.value.len;
	return publisher->nposted < MOST_LETTERS && publisher->bytes < MOST_BYTES;
}

/* CdcTakeLetter: finds out whether there is one to send. */
static bool
find_letter(void *arg, const CdcUnpublished *letter)
{
	Sending    *sending = arg;

	/* nothing was sent in this round: the field is free to tell */
	sending->publisher->bytes = is_ours(sending->consumer, &letter->record) &&
		!is_marked(sending->publisher, letter);
	return sending->publisher->bytes == 0;
}

/* Makes the producer, in the transaction at hand. */
static void
open_producer(CdcPublisher *publisher, CdcConsumer *consumer)
{
	CdcKafkaConfig config;

	cdc_catalog_kafka_config(consumer->subscription, &config);
	publisher->producer = cdc_producer_open(&config);
	cdc_properties_wipe(config.properties, config.nproperties);
	publisher->connection = MemoryContextStrdup(TopMemoryContext,
												consumer->connection);
}

/* Sends what has not been looked at in this round, in one transaction. */
static void
send_letters(CdcPublisher *publisher, CdcConsumer *consumer)
{
	Sending		sending = {publisher, consumer};
	const char *name = consumer->subscription->name;
	bool		end = false;

	publisher->nposted = publisher->nopen = publisher->refused = 0;
	publisher->bytes = 0;
	StartTransactionCommand();
	if (publisher->producer == NULL)
	{
		(void) cdc_deadletter_unpublished(name, publisher->after,
										  &publisher->arena, find_letter, &sending);
		end = publisher->bytes == 0;
		publisher->bytes = 0;
		if (!end)
			open_producer(publisher, consumer);
	}
	/* what is published must not be undone by a crash of the server */
	if (!end && XactLastCommitEnd != InvalidXLogRecPtr)
		XLogFlush(XactLastCommitEnd);
	if (!end)
		end = cdc_deadletter_unpublished(name, publisher->after,
										 &publisher->arena, send_letter, &sending);
	CommitTransactionCommand();
	publisher->used_at = GetCurrentTimestamp();
	if (end && publisher->nposted == 0)
		end_round(publisher);
}

/* Takes what the broker has answered. */
static void
take_deliveries(CdcPublisher *publisher, const CdcConsumer *consumer)
{
	CdcDelivery delivery;

	while (publisher->producer && cdc_producer_poll(publisher->producer, &delivery))
	{
		CdcPosted  *posted;

		Assert(delivery.number < publisher->nposted);
		posted = &publisher->posted[delivery.number];
		publisher->nopen--;
		posted->state = delivery.error == 0 ? CDC_POSTED_DELIVERED :
			CDC_POSTED_FAILED;
		if (delivery.error != 0)
		{
			const char *why = cdc_producer_complaint(publisher->producer);

			publisher->failures++;
			/* the library's own word is only that it waited in vain */
			complain(publisher, consumer, delivery.error < 0 && why[0] ? why :
					 cdc_kafka_error_text(delivery.error));
		}
	}
}

/* All that was sent is answered: what was delivered is to be noted. */
static void
settle_posted(CdcPublisher *publisher)
{
	for (int i = 0; i < publisher->nposted; i++)
	{
		if (publisher->posted[i].state != CDC_POSTED_DELIVERED)
			continue;
		publisher->marks = grow(publisher->marks, publisher->nmarks,
								&publisher->maxmarks);
		publisher->marks[publisher->nmarks++] = publisher->posted[i];
	}
	publisher->nposted = 0;
	publisher->mark_at = 0;
}

/* Notes in the table what was delivered, but for rows that are locked. */
static void
mark_delivered(CdcPublisher *publisher)
{
	int			n = publisher->nmarks;
	int64	   *ids;
	int64	   *attempts;
	int64	   *left;
	int			nleft;
	int			kept = 0;

	StartTransactionCommand();
	/* a mark that is lost has its letter published again, no more */
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_OVERRIDE, GUC_ACTION_LOCAL, true, 0, false);
	ids = palloc(n * sizeof(int64));
	attempts = palloc(n * sizeof(int64));
	left = palloc(n * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		ids[i] = publisher->marks[i].id;
		attempts[i] = publisher->marks[i].attempts;
	}
	cdc_debug_point("before_mark");
	nleft = cdc_deadletter_published(ids, attempts, n, left);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < nleft; j++)
			if (publisher->marks[i].id == left[j])
			{
				publisher->marks[kept++] = publisher->marks[i];
				break;
			}
	CommitTransactionCommand();
	publisher->nmarks = kept;
	publisher->mark_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 MARK_MS);
}

/* Runs one of the two steps that need a transaction; errors are logged. */
static void
step(CdcPublisher *publisher, CdcConsumer *consumer, bool send)
{
	PG_TRY();
	{
		if (send)
			send_letters(publisher, consumer);
		else
			mark_delivered(publisher);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(TopMemoryContext);
		cdc_arena_reset(&publisher->arena);
		complain(publisher, consumer, error->message);
		FreeErrorData(error);
		if (send)
			back_off(publisher);
		else
			publisher->mark_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
															 MARK_MS);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
}

/* Ends a producer that has nothing to do, or that has other settings. */
static void
close_unused(CdcPublisher *publisher, const CdcConsumer *consumer)
{
	if (publisher->producer == NULL || publisher->nopen > 0)
		return;
	if (publisher->connection &&
		strcmp(publisher->connection, consumer->connection) == 0 &&
		(publisher->looking ||
		 !TimestampDifferenceExceeds(publisher->used_at, GetCurrentTimestamp(),
									 IDLE_MS)))
		return;
	cdc_producer_close(publisher->producer);
	publisher->producer = NULL;
	if (publisher->connection)
		pfree(publisher->connection);
	publisher->connection = NULL;
}

/* Are there letters that nobody has looked at yet?  Then a round begins. */
static void
notice_letters(CdcPublisher *publisher, CdcConsumer *consumer)
{
	CdcPipeline *pipeline = consumer->pipeline;

	if (publisher->looking ||
		(!pipeline->letters_written && pipeline->nparts == publisher->nparts))
		return;
	pipeline->letters_written = false;
	publisher->nparts = pipeline->nparts;
	publisher->looking = true;
	publisher->after = 0;
}

/* cdc_publisher_restart: see publisher.h. */
void
cdc_publisher_restart(CdcPublisher *publisher)
{
	publisher->looking = true;
	publisher->after = 0;
	publisher->nparts = 0;
	publisher->look_at = 0;
	publisher->backoff_ms = 0;
	publisher->error[0] = '\0';
}

/* cdc_publisher_turn: see publisher.h. */
void
cdc_publisher_turn(CdcPublisher *publisher, CdcConsumer *consumer)
{
	bool		wanted = consumer->subscription->options.dead_letter_topic != NULL;

	if (!wanted && publisher->producer == NULL && publisher->nmarks == 0)
	{
		publisher->looking = false;
		return;
	}
	take_deliveries(publisher, consumer);
	if (publisher->nopen == 0 && publisher->nposted > 0)
		settle_posted(publisher);
	if (publisher->nmarks > 0 && GetCurrentTimestamp() >= publisher->mark_at)
		step(publisher, consumer, false);
	close_unused(publisher, consumer);
	if (!wanted)
	{
		publisher->looking = false;
		return;
	}
	notice_letters(publisher, consumer);
	if (publisher->looking && publisher->nopen == 0 &&
		publisher->nmarks < MOST_MARKS &&
		GetCurrentTimestamp() >= publisher->look_at)
		step(publisher, consumer, true);
}

/* cdc_publisher_due: see publisher.h. */
long
cdc_publisher_due(const CdcPublisher *publisher)
{
	TimestampTz now = GetCurrentTimestamp();
	long		due = publisher->producer ? IDLE_MS : -1;

	if (publisher->nopen > 0)
		return POLL_MS;
	if (publisher->nmarks > 0)
		due = TimestampDifferenceMilliseconds(now, publisher->mark_at) + 1;
	if (publisher->looking && publisher->nmarks < MOST_MARKS)
	{
		long		look = TimestampDifferenceMilliseconds(now, publisher->look_at) + 1;

		due = due < 0 ? look : Min(due, look);
	}
	return due;
}

/* cdc_publisher_flush: see publisher.h. */
void
cdc_publisher_flush(CdcPublisher *publisher, CdcConsumer *consumer,
					int timeout_ms)
{
	static uint32 wait_event = 0;
	TimestampTz start = GetCurrentTimestamp();

	do
	{
		long		due;

		cdc_publisher_turn(publisher, consumer);
		if (!publisher->looking && publisher->nopen == 0 && publisher->nmarks == 0)
			break;
		due = cdc_publisher_due(publisher);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(due, POLL_MS),
						 cdc_compat_wait_event(&wait_event, "CdcSinkPublish"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	} while (!TimestampDifferenceExceeds(start, GetCurrentTimestamp(), timeout_ms));
}

/* cdc_publisher_hint: see publisher.h. */
void
cdc_publisher_hint(const CdcPublisher *publisher, const CdcConsumer *consumer,
				   char *hint)
{
	const char *topic = consumer->subscription->options.dead_letter_topic;

	if (hint[0] == '\0' && topic != NULL && publisher->error[0] != '\0')
		snprintf(hint, CDC_HINT_LEN, "Dead letters wait to be published to topic \"%s\" (%d at the last try): %s",
				 topic, publisher->waiting, publisher->error);
}
