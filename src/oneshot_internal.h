/*-------------------------------------------------------------------------
 *
 * oneshot_internal.h
 *		Between the two ends of a one-shot worker.
 *
 * Floor 9.  Included by the oneshot*.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ONESHOT_INTERNAL_H
#define CDC_ONESHOT_INTERNAL_H

#include "lib/stringinfo.h"

#include "oneshot.h"

typedef enum CdcJob
{
	CDC_JOB_CHECK_SERVER,
	CDC_JOB_PEEK,
	CDC_JOB_POSITIONS,
	CDC_JOB_RUN_BATCHES
} CdcJob;

/* Start of the shared segment; request and queue follow. */
typedef struct CdcOneshotHeader
{
	CdcJob		job;
	Oid			dboid;
	Oid			role;
	Size		request_len;
	Size		queue_at;		/* offset of the queue in the segment */
} CdcOneshotHeader;

#define CDC_ONESHOT_REQUEST_AT	MAXALIGN(sizeof(CdcOneshotHeader))

/* --- a request: written by the caller, read by the worker, in one order --- */
extern void cdc_request_put_int(StringInfo request, int64 value);
extern void cdc_request_put_text(StringInfo request, const char *text);	/* or NULL */
extern void cdc_request_put_config(StringInfo request,
								   const CdcKafkaConfig *config);
extern void cdc_request_put_place(StringInfo request, const CdcPlace *place);

extern int64 cdc_request_get_int(StringInfo request);
extern char *cdc_request_get_text(StringInfo request);
extern void cdc_request_get_config(StringInfo request, CdcKafkaConfig *config);
extern void cdc_request_get_place(StringInfo request, CdcPlace *place);

/* Takes one row of the answer; values[i] NULL stands for a null. */
typedef void (*CdcRowFn) (char **values, int n, void *arg);

/*
 * Runs a job in a worker that is connected to this database as role, and
 * hands each row of its answer to take_row.  Overwrites the request.  Errors
 * of the worker are raised here.
 */
extern void cdc_oneshot_run(CdcJob job, Oid role, StringInfo request,
							CdcRowFn take_row, void *arg);

/* In the worker: sends one row. */
extern void cdc_oneshot_emit(const char *const *values, int n);

/* --- oneshot_jobs.c: what the worker does --- */
extern void cdc_job_check_server(StringInfo request);
extern void cdc_job_peek(StringInfo request);
extern void cdc_job_positions(StringInfo request);
/* Opens a client as the request says and overwrites its secrets. */
extern CdcKafka *cdc_job_open(StringInfo request, CdcKafkaConfig *config);
/* Waits for a broker's first answer; ERROR of class 08 with the reason. */
extern void cdc_job_require_contact(CdcKafka *kafka);
/*
 * The partitions of a topic, or the one of them (partition >= 0), with their
 * ends and the offset of a place (RELATIVE: its number).  palloc'd.
 */
extern CdcPartitionEnds *cdc_job_find_places(CdcKafka *kafka, char *topic,
											 int32 partition,
											 const CdcPlace *place, int *n);

#endif							/* CDC_ONESHOT_INTERNAL_H */
