/*-------------------------------------------------------------------------
 *
 * oneshot_main.c
 *		Entry of a one-shot worker.
 *
 * Floor 10.  Above the apply worker, whose loop is one of the jobs.  The one
 * hard thing is the order: the answer's queue first, so that the caller hears
 * of every failure, even one to connect.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/shm_mq.h"
#include "tcop/tcopprot.h"
#include "utils/resowner.h"

#include "compat.h"
#include "kafka.h"
#include "oneshot_internal.h"

extern PGDLLEXPORT void cdc_oneshot_main(Datum arg);

/* Takes the request out of the segment and overwrites it there. */
static void
take_request(CdcOneshotHeader *header, StringInfo request)
{
	char	   *shared = (char *) header + CDC_ONESHOT_REQUEST_AT;

	initStringInfo(request);
	appendBinaryStringInfo(request, shared, header->request_len);
	explicit_bzero(shared, header->request_len);
}

static void
run_batches(StringInfo request)
{
	int64		subid = cdc_request_get_int(request);
	int			max_batches = (int) cdc_request_get_int(request);
	int64		timeout_ms = cdc_request_get_int(request);

	cdc_worker_run_batches(subid, max_batches, timeout_ms);
}

static void
run_job(CdcJob job, StringInfo request)
{
	switch (job)
	{
		case CDC_JOB_CHECK_SERVER:
			cdc_job_check_server(request);
			break;
		case CDC_JOB_PEEK:
			cdc_job_peek(request);
			break;
		case CDC_JOB_POSITIONS:
			cdc_job_positions(request);
			break;
		case CDC_JOB_RUN_BATCHES:
			run_batches(request);
			break;
	}
}

/*
 * Entry of the worker.  From the redirection on, whatever is ereport'ed goes
 * to the caller, FATAL errors of the connection included.
 */
void
cdc_oneshot_main(Datum arg)
{
	dsm_segment *segment;
	CdcOneshotHeader *header;
	shm_mq	   *queue;
	StringInfoData request;

	pqsignal(SIGTERM, die);
	cdc_kafka_register_exit();
	BackgroundWorkerUnblockSignals();
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "cdc_sink one-shot");
	segment = dsm_attach(DatumGetUInt32(arg));
	if (segment == NULL)
		proc_exit(0);			/* the caller is gone */
	dsm_pin_mapping(segment);
	header = dsm_segment_address(segment);
	queue = (shm_mq *) ((char *) header + header->queue_at);
	shm_mq_set_sender(queue, MyProc);
	pq_redirect_to_shm_mq(segment, shm_mq_attach(queue, segment, NULL));

	BackgroundWorkerInitializeConnectionByOid(header->dboid, header->role,
											  CDC_WORKER_CONNECT_FLAGS);
	SetClientEncoding(GetDatabaseEncoding());
	take_request(header, &request);
	run_job(header->job, &request);
	pq_putemptymessage('C');
	proc_exit(0);
}
