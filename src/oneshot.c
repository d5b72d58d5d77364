/*-------------------------------------------------------------------------
 *
 * oneshot.c
 *		One-shot workers: starting one, sending the request, taking the answer.
 *
 * Floor 9.  The one hard thing is that neither end may outlive the other for
 * long: the queue tells the caller when the worker is gone, and a caller that
 * fails, is cancelled or terminated ends its worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/shm_mq.h"

#include "compat.h"
#include "oneshot_internal.h"

/* longest wait for a place among the background workers, ms */
#define PLACE_MS	3000
/* bytes of answer on their way */
#define QUEUE_SIZE	((Size) 65536)

/* --------------------------------------------------------------------
 * Requests
 * --------------------------------------------------------------------
 */

void
cdc_request_put_int(StringInfo request, int64 value)
{
	pq_sendint64(request, value);
}

void
cdc_request_put_text(StringInfo request, const char *text)
{
	int32		len = text == NULL ? -1 : (int32) strlen(text);

	pq_sendint32(request, len);
	if (len > 0)
		appendBinaryStringInfo(request, text, len);
}

void
cdc_request_put_config(StringInfo request, const CdcKafkaConfig *config)
{
	cdc_request_put_int(request, config->nproperties);
	for (int i = 0; i < config->nproperties; i++)
	{
		cdc_request_put_text(request, config->properties[i].name);
		cdc_request_put_text(request, config->properties[i].value);
		cdc_request_put_int(request, config->properties[i].secret);
	}
	cdc_request_put_text(request, config->allowed_brokers);
	cdc_request_put_text(request, config->group);
	cdc_request_put_int(request, config->queue_kbytes);
}

void
cdc_request_put_place(StringInfo request, const CdcPlace *place)
{
	cdc_request_put_int(request, place->kind);
	cdc_request_put_int(request, place->number);
}

int64
cdc_request_get_int(StringInfo request)
{
	return pq_getmsgint64(request);
}

char *
cdc_request_get_text(StringInfo request)
{
	int32		len = (int32) pq_getmsgint(request, 4);

	if (len < 0)
		return NULL;
	return pnstrdup(pq_getmsgbytes(request, len), len);
}

void
cdc_request_get_config(StringInfo request, CdcKafkaConfig *config)
{
	config->nproperties = (int) cdc_request_get_int(request);
	config->properties = palloc(Max(config->nproperties, 1) *
								sizeof(CdcKafkaProperty));
	for (int i = 0; i < config->nproperties; i++)
	{
		config->properties[i].name = cdc_request_get_text(request);
		config->properties[i].value = cdc_request_get_text(request);
		config->properties[i].secret = cdc_request_get_int(request) != 0;
	}
	config->allowed_brokers = cdc_request_get_text(request);
	config->group = cdc_request_get_text(request);
	config->queue_kbytes = (int) cdc_request_get_int(request);
}

void
cdc_request_get_place(StringInfo request, CdcPlace *place)
{
	place->kind = (CdcPlaceKind) cdc_request_get_int(request);
	place->number = cdc_request_get_int(request);
}

/* --------------------------------------------------------------------
 * The caller
 * --------------------------------------------------------------------
 */

/*
 * Makes the segment and puts the request into it; the caller's copy is
 * overwritten, for it may hold secrets.  Result: the segment, mapped as long
 * as the current resource owner lives.
 */
static dsm_segment *
make_segment(CdcJob job, Oid role, StringInfo request)
{
	Size		queue_at = MAXALIGN(CDC_ONESHOT_REQUEST_AT + request->len);
	dsm_segment *segment = dsm_create(queue_at + QUEUE_SIZE, 0);
	CdcOneshotHeader *header = dsm_segment_address(segment);
	shm_mq	   *queue;

	header->job = job;
	header->dboid = MyDatabaseId;
	header->role = role;
	header->request_len = request->len;
	header->queue_at = queue_at;
	memcpy((char *) header + CDC_ONESHOT_REQUEST_AT, request->data, request->len);
	explicit_bzero(request->data, request->len);
	queue = shm_mq_create((char *) header + queue_at, QUEUE_SIZE);
	shm_mq_set_receiver(queue, MyProc);
	return segment;
}

/*
 * Has the postmaster start the worker.  Places are often taken for a moment
 * only (by a scan, by a parallel query), so it asks for a while.
 */
static BackgroundWorkerHandle *
start_worker(dsm_segment *segment)
{
	static uint32 wait_event = 0;
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	TimestampTz start = GetCurrentTimestamp();

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "cdc_sink", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cdc_oneshot_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "cdc_sink one-shot worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cdc_sink one-shot worker", BGW_MAXLEN);
	while (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), PLACE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("no background worker slot is free for a one-shot worker of cdc_sink"),
					 errhint("Try again later, or increase max_worker_processes.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 100, cdc_compat_wait_event(&wait_event, "CdcSinkPlace"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return handle;
}

/* Hands the columns of a row message to the caller's function. */
static void
take_row_message(StringInfo message, CdcRowFn take_row, void *arg)
{
	int			n = pq_getmsgint(message, 2);
	char	  **values = palloc(Max(n, 1) * sizeof(char *));

	for (int i = 0; i < n; i++)
	{
		int32		len = (int32) pq_getmsgint(message, 4);

		values[i] = len < 0 ? NULL :
			pnstrdup(pq_getmsgbytes(message, len), len);
	}
	take_row(values, n, arg);
}

/* Raises an error of the worker, or passes on its notice. */
static void
take_notice_message(StringInfo message)
{
	ErrorData	edata;

	pq_parse_errornotice(message, &edata);
	/* its death need not be ours */
	edata.elevel = Min(edata.elevel, ERROR);
	ThrowErrorData(&edata);
}

/*
 * Reads the answer up to its end.  The queue's functions wait on our latch
 * and look for interrupts.
 */
static void
read_answer(shm_mq_handle *queue, CdcRowFn take_row, void *arg)
{
	for (;;)
	{
		Size		len;
		void	   *data;
		StringInfoData message;
		char		type;

		if (shm_mq_receive(queue, &len, &data, false) != SHM_MQ_SUCCESS)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("the one-shot worker of cdc_sink ended without an answer"),
					 errhint("More details may be in the server's log.")));
		initStringInfo(&message);
		appendBinaryStringInfo(&message, data, len);
		type = pq_getmsgbyte(&message);
		if (type == 'D' && take_row != NULL)
			take_row_message(&message, take_row, arg);
		else if (type == 'E' || type == 'N')
			take_notice_message(&message);
		else if (type == 'C')
			return;
		pfree(message.data);
	}
}

/* Callback of an error or exit of the caller. */
static void
end_worker(int code, Datum arg)
{
	TerminateBackgroundWorker((BackgroundWorkerHandle *) DatumGetPointer(arg));
}

void
cdc_oneshot_run(CdcJob job, Oid role, StringInfo request, CdcRowFn take_row,
				void *arg)
{
	dsm_segment *segment = make_segment(job, role, request);
	CdcOneshotHeader *header = dsm_segment_address(segment);
	BackgroundWorkerHandle *handle = start_worker(segment);

	PG_ENSURE_ERROR_CLEANUP(end_worker, PointerGetDatum(handle));
	{
		shm_mq_handle *queue =
			shm_mq_attach((shm_mq *) ((char *) header + header->queue_at),
						  segment, handle);

		read_answer(queue, take_row, arg);
		/* what it did shall be over when we return: slots, locks */
		WaitForBackgroundWorkerShutdown(handle);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_worker, PointerGetDatum(handle));
	pfree(handle);
	dsm_detach(segment);
}

/* --------------------------------------------------------------------
 * The worker's answer
 * --------------------------------------------------------------------
 */

void
cdc_oneshot_emit(const char *const *values, int n)
{
	StringInfoData message;

	pq_beginmessage(&message, 'D');
	pq_sendint16(&message, n);
	for (int i = 0; i < n; i++)
	{
		int32		len = values[i] == NULL ? -1 : (int32) strlen(values[i]);

		pq_sendint32(&message, len);
		if (len > 0)
			pq_sendbytes(&message, values[i], len);
	}
	pq_endmessage(&message);
}
