/*-------------------------------------------------------------------------
 *
 * retry.c
 *		What a worker waits for after an error, and how it tells of it.
 *
 * Floor 9.  The pause doubles from retry_backoff_ms to retry_backoff_max_ms;
 * only a lock is tried for at a steady pace.  Each error counts and is shown
 * in the list of errors; the log has the first, then one a minute.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "errors.h"
#include "retry.h"

#define LOCK_RETRY_MS	100
/* an error that repeats is logged so often */
#define LOG_MS			60000

/* Puts trouble into the list of errors; repeated ones take one place. */
static void
report_trouble(int sqlstate, const char *message, const char *detail,
			   const char *hint, const char *disposition)
{
	CdcErrorReport report;

	memset(&report, 0, sizeof(report));
	report.subid = cdc_my_slot->subid;
	report.partition = -1;
	report.offset = -1;
	report.sqlstate = sqlstate;
	cdc_error_copy(report.message, message ? message : "", sizeof(report.message));
	cdc_error_copy(report.detail, detail ? detail : "", sizeof(report.detail));
	cdc_error_copy(report.hint, hint ? hint : "", sizeof(report.hint));
	report.attempts = 1;
	strlcpy(report.disposition, disposition, sizeof(report.disposition));
	cdc_error_report(&report);
	cdc_slot_count(CDC_COUNT_ERRORS, 1);
}

/* Sets a pause of ms before the next try. */
static void
pause_for(CdcRetry *retry, int ms, CdcState state, const char *reason,
		  const char *hint)
{
	retry->backoff_ms = ms;
	retry->at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	retry->state = state;
	strlcpy(retry->reason, reason, sizeof(retry->reason));
	cdc_error_copy(retry->hint, hint ? hint : "", sizeof(retry->hint));
}

/* The pause after the last one: it doubles up to the maximum. */
static int
next_pause(const CdcRetry *retry, int first, int most)
{
	return retry->backoff_ms == 0 ? first :
		Min(retry->backoff_ms * 2, Max(first, most));
}

/* cdc_transient_reason: see retry.h. */
const char *
cdc_transient_reason(int sqlstate)
{
	if (sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
		return "lock";
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
			return "connection_error";
		case ERRCODE_TRANSACTION_ROLLBACK:
			return "transaction_rollback";
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:	/* transaction ids */
			return "insufficient_resources";
		case ERRCODE_OPERATOR_INTERVENTION:
			return "operator_intervention";
		case ERRCODE_SYSTEM_ERROR:
			return "system_error";
		case ERRCODE_READ_ONLY_SQL_TRANSACTION:
			return "read_only";
		default:
			return "internal_error";
	}
}

/*
 * Is a line of the log due for an error that is tried again?  The first one,
 * then one a minute; *unlogged is how many came between.
 */
static bool
log_is_due(CdcRetry *retry, int sqlstate, int *unlogged)
{
	TimestampTz now = GetCurrentTimestamp();

	*unlogged = retry->unlogged;
	if (retry->logged_at != 0 && retry->logged_sqlstate == sqlstate &&
		!TimestampDifferenceExceeds(retry->logged_at, now, LOG_MS))
	{
		retry->unlogged++;
		return false;
	}
	retry->logged_sqlstate = sqlstate;
	retry->logged_at = now;
	retry->unlogged = 0;
	return true;
}

void
cdc_retry_batch(CdcRetry *retry, const CdcSubscription *subscription,
				const CdcFailure *failure)
{
	char		hint[CDC_HINT_LEN];
	int			unlogged;

	cdc_slot_count(CDC_COUNT_RETRIES, 1);
	if (failure->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		/* it waits most of the time, and only then can be asked for whom */
		snprintf(hint, sizeof(hint),
				 "SELECT pg_blocking_pids(%d) tells who holds the lock: %s",
				 MyProcPid, failure->context ? failure->context : failure->message);
		pause_for(retry, LOCK_RETRY_MS, CDC_STATE_WAITING, "lock", hint);
		return;
	}
	pause_for(retry, next_pause(retry, subscription->options.retry_backoff_ms,
								subscription->options.retry_backoff_max_ms),
			  CDC_STATE_RETRYING, cdc_transient_reason(failure->sqlstate),
			  failure->message);
	report_trouble(failure->sqlstate, failure->message, failure->detail,
				   failure->hint, "retry");
	if (log_is_due(retry, failure->sqlstate, &unlogged))
		ereport(LOG,
				(errcode(failure->sqlstate),
				 errmsg("subscription \"%s\" tries a batch again in %d ms: %s",
						subscription->name, retry->backoff_ms, failure->message),
				 unlogged > 0 ? errdetail("%d tries before were not logged.", unlogged) : 0));
}

void
cdc_retry_open(CdcRetry *retry, const ErrorData *error)
{
	CdcErrorClass class = cdc_error_classify(error->sqlerrcode);
	bool		stopped = class == CDC_ERROR_CONFIGURATION || class == CDC_ERROR_DATA;
	int			unlogged;

	pause_for(retry, next_pause(retry, cdc_my_slot->retry_backoff_ms,
								cdc_my_slot->retry_backoff_max_ms),
			  stopped ? CDC_STATE_STOPPED : CDC_STATE_RETRYING,
			  stopped ? "configuration_error" : cdc_transient_reason(error->sqlerrcode),
			  error->hint ? error->hint : error->message);
	report_trouble(error->sqlerrcode, error->message, error->detail, error->hint,
				   stopped ? "stop" : "retry");
	if (log_is_due(retry, error->sqlerrcode, &unlogged))
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("subscription \"%s\" cannot be consumed: %s",
						NameStr(cdc_my_slot->subscription), error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 error->hint ? errhint("%s", error->hint) : 0));
}

void
cdc_retry_clear(CdcRetry *retry)
{
	retry->backoff_ms = 0;
	retry->at = 0;
}

void
cdc_retry_clock_back(CdcRetry *retry, TimestampTz now)
{
	retry->at = Min(retry->at, now);
	retry->logged_at = 0;
}
