/*-------------------------------------------------------------------------
 *
 * oneshot_sql.c
 *		SQL functions that a one-shot worker answers.
 *
 * Floor 9.  The one hard thing: rights are checked and secrets resolved here,
 * in the session, for the worker does what its request says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog_server.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "notify.h"
#include "oneshot_internal.h"
#include "shmem.h"
#include "sqlargs.h"

/* most records that peek shows */
#define PEEK_MAX_RECORDS 10000

extern PGDLLEXPORT Datum cdc_sink_check_server(PG_FUNCTION_ARGS);
PG_FUNCTION_INFO_V1(cdc_sink_check_server);
extern PGDLLEXPORT Datum cdc_sink_peek(PG_FUNCTION_ARGS);
PG_FUNCTION_INFO_V1(cdc_sink_peek);
extern PGDLLEXPORT Datum cdc_sink_run_batches(PG_FUNCTION_ARGS);
PG_FUNCTION_INFO_V1(cdc_sink_run_batches);

/* Reads a whole number that may have a sign; false where text is none. */
static bool
parse_number(const char *text, int64 *number)
{
	char	   *end;

	errno = 0;
	*number = strtoi64(text, &end, 10);
	return errno == 0 && end != text && *end == '\0';
}

/* Milliseconds since 1970 of a finite time-stamp. */
static int64
parse_time(const char *text)
{
	Datum		datum = DirectFunctionCall3(timestamptz_in,
											CStringGetDatum(text),
											ObjectIdGetDatum(InvalidOid),
											Int32GetDatum(-1));
	TimestampTz time = DatumGetTimestampTz(datum);
	TimestampTz epoch = SetEpochTimestamp();

	if (TIMESTAMP_NOT_FINITE(time) || time < epoch)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time-stamp \"%s\" is before 1970 or not finite", text)));
	return (time - epoch) / 1000;
}

void
cdc_place_parse(const char *text, CdcPlace *place)
{
	bool		sign = text[0] == '+' || text[0] == '-';

	place->number = 0;
	if (pg_strcasecmp(text, "earliest") == 0)
		place->kind = CDC_PLACE_EARLIEST;
	else if (pg_strcasecmp(text, "latest") == 0)
		place->kind = CDC_PLACE_LATEST;
	else if (parse_number(text, &place->number))
		place->kind = sign ? CDC_PLACE_RELATIVE : CDC_PLACE_OFFSET;
	else if (text[0] >= '0' && text[0] <= '9')
	{
		place->kind = CDC_PLACE_TIME;
		place->number = parse_time(text);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid position: \"%s\"", text),
				 errhint("It must be earliest, latest, an offset, +n, -n or an ISO 8601 time-stamp.")));
}

/* --- positions --- */

/* Rows of the answer so far. */
typedef struct Ends
{
	CdcPartitionEnds *rows;
	int			n;
} Ends;

static void
take_ends(char **values, int n, void *arg)
{
	Ends	   *ends = arg;
	CdcPartitionEnds *row;

	if (ends->n % 64 == 0)
		ends->rows = ends->rows == NULL ?
			palloc(64 * sizeof(CdcPartitionEnds)) :
			repalloc(ends->rows, (ends->n + 64) * sizeof(CdcPartitionEnds));
	row = &ends->rows[ends->n++];
	row->topic = values[0];
	row->partition = atoi(values[1]);
	row->low = strtoi64(values[2], NULL, 10);
	row->end = strtoi64(values[3], NULL, 10);
	row->offset = strtoi64(values[4], NULL, 10);
}

CdcPartitionEnds *
cdc_oneshot_positions(const CdcSubscription *subscription,
					  const char *const *topics, int ntopics, int32 partition,
					  const CdcPlace *place, int *n)
{
	CdcKafkaConfig config;
	StringInfoData request;
	Ends		ends = {0};

	cdc_catalog_kafka_config(subscription, &config);
	initStringInfo(&request);
	cdc_request_put_config(&request, &config);
	cdc_properties_wipe(config.properties, config.nproperties);
	cdc_request_put_int(&request, partition);
	cdc_request_put_place(&request, place);
	cdc_request_put_int(&request, ntopics);
	for (int i = 0; i < ntopics; i++)
		cdc_request_put_text(&request, topics[i]);
	cdc_oneshot_run(CDC_JOB_POSITIONS, GetAuthenticatedUserId(), &request,
					take_ends, &ends);
	*n = ends.n;
	return ends.rows;
}

/* --- set-returning functions --- */

/* Where the rows of a function go. */
typedef struct RowSink
{
	Tuplestorestate *store;
	AttInMetadata *input;
} RowSink;

/* Takes a row of texts in UTF-8 through the columns' input functions. */
static void
take_row(char **values, int n, void *arg)
{
	RowSink    *sink = arg;
	HeapTuple	tuple;

	Assert(n == sink->input->tupdesc->natts);
	for (int i = 0; i < n; i++)
	{
		if (values[i] != NULL)
			values[i] = pg_any_to_server(values[i], strlen(values[i]), PG_UTF8);
	}
	tuple = BuildTupleFromCStrings(sink->input, values);
	tuplestore_puttuple(sink->store, tuple);
	heap_freetuple(tuple);
}

/* Starts a request with the configuration of a server, for the caller. */
static void
start_request(StringInfo request, const char *server)
{
	CdcKafkaConfig config;

	cdc_catalog_server_config(server, GetUserId(), &config);
	initStringInfo(request);
	cdc_request_put_config(request, &config);
	cdc_properties_wipe(config.properties, config.nproperties);
}

/* Runs a job and returns its rows as those of the function. */
static void
return_rows(FunctionCallInfo fcinfo, CdcJob job, StringInfo request)
{
	ReturnSetInfo *info;
	RowSink		sink;

	InitMaterializedSRF(fcinfo, 0);
	info = (ReturnSetInfo *) fcinfo->resultinfo;
	sink.store = info->setResult;
	sink.input = TupleDescGetAttInMetadata(info->setDesc);
	cdc_oneshot_run(job, GetAuthenticatedUserId(), request, take_row, &sink);
}

/* check_server(server) */
Datum
cdc_sink_check_server(PG_FUNCTION_ARGS)
{
	StringInfoData request;

	cdc_arg_require(fcinfo, 0, "server");
	cdc_shmem_require();
	start_request(&request, cdc_arg_name(fcinfo, 0));
	return_rows(fcinfo, CDC_JOB_CHECK_SERVER, &request);
	return (Datum) 0;
}

/* peek(server, topic, partition, start, max_records) */
Datum
cdc_sink_peek(PG_FUNCTION_ARGS)
{
	StringInfoData request;
	CdcPlace	place;
	int			max_records;

	cdc_arg_require(fcinfo, 0, "server");
	cdc_arg_require(fcinfo, 1, "topic");
	cdc_arg_require(fcinfo, 3, "start");
	cdc_arg_require(fcinfo, 4, "max_records");
	cdc_shmem_require();
	max_records = PG_GETARG_INT32(4);
	if (max_records < 1 || max_records > PEEK_MAX_RECORDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_records must be between 1 and %d",
						PEEK_MAX_RECORDS)));
	if (!PG_ARGISNULL(2) && PG_GETARG_INT32(2) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition must not be negative")));
	cdc_place_parse(cdc_arg_text(fcinfo, 3), &place);
	start_request(&request, cdc_arg_name(fcinfo, 0));
	cdc_request_put_text(&request, cdc_arg_text(fcinfo, 1));
	cdc_request_put_int(&request, PG_ARGISNULL(2) ? -1 : PG_GETARG_INT32(2));
	cdc_request_put_place(&request, &place);
	cdc_request_put_int(&request, max_records);
	return_rows(fcinfo, CDC_JOB_PEEK, &request);
	return (Datum) 0;
}

/* --- run_batches --- */

/* 25001 where the procedure could not commit what others must see. */
static void
check_not_atomic(FunctionCallInfo fcinfo)
{
	if (fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("%s cannot run inside a transaction block",
					"cdc_sink.run_batches")));
}

/* 55000 where the subscription is enabled or its worker still attached. */
static void
check_idle(const CdcSubscription *subscription)
{
	if (subscription->enabled && !subscription->restored)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subscription \"%s\" is enabled", subscription->name),
				 errhint("Call disable_subscription first.")));
	if (cdc_subscription_attached(subscription->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a worker of subscription \"%s\" is still running",
						subscription->name),
				 errhint("Call disable_subscription with wait => true.")));
}

/* An interval as milliseconds; NULL (no limit) is -1. */
static int64
timeout_arg(FunctionCallInfo fcinfo, int n)
{
	Interval   *interval;
	double		ms;

	if (PG_ARGISNULL(n))
		return -1;
	interval = PG_GETARG_INTERVAL_P(n);
	ms = interval->time / 1000.0 +
		(interval->day + interval->month * (double) DAYS_PER_MONTH) *
		SECS_PER_DAY * 1000.0;
	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	return ms > (double) PG_INT32_MAX ? PG_INT32_MAX : (int64) ms;
}

/* CALL run_batches(subscription, max_batches, timeout) */
Datum
cdc_sink_run_batches(PG_FUNCTION_ARGS)
{
	CdcSubscription *subscription;
	StringInfoData request;
	int64		timeout_ms;

	check_not_atomic(fcinfo);
	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_shmem_require();
	subscription = cdc_catalog_find(cdc_arg_name(fcinfo, 0));
	if (subscription == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" does not exist",
						cdc_arg_name(fcinfo, 0))));
	cdc_subscription_check_member(subscription->name, subscription->owner);
	check_idle(subscription);
	if (!PG_ARGISNULL(1) && PG_GETARG_INT32(1) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_batches must be positive")));
	timeout_ms = timeout_arg(fcinfo, 2);
	initStringInfo(&request);
	cdc_request_put_int(&request, subscription->id);
	cdc_request_put_int(&request, PG_ARGISNULL(1) ? -1 : PG_GETARG_INT32(1));
	cdc_request_put_int(&request, timeout_ms);
	cdc_oneshot_run(CDC_JOB_RUN_BATCHES, subscription->owner, &request, NULL,
					NULL);
	PG_RETURN_VOID();
}
