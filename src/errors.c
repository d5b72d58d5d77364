/*-------------------------------------------------------------------------
 *
 * errors.c
 *		Classes of errors, and where in the stream the worker is.
 *
 * Floor 1.  The hard thing: an SQLSTATE says what went wrong, not whose
 * fault it is.  The same 53100 of a full disk must never cost a record, and
 * the same 42704 that a GRANT or a CREATE repairs is a property of one value
 * when a type's input function raised it.  cdc_error_position.in_value tells
 * the two apart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#include "errors.h"

CdcErrorPosition cdc_error_position;

/*
 * Errors that are not of the value although they came up while one was
 * converted: somebody cancelled, or memory ran out.
 */
static bool
from_outside(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_OPERATOR_INTERVENTION ||
		sqlstate == ERRCODE_OUT_OF_MEMORY;
}

/*
 * Tells the class of a caught error.  Looks at cdc_error_position, so call
 * it before the position is reset.
 */
CdcErrorClass
cdc_error_classify(int sqlstate)
{
	if (cdc_error_position.in_value && !from_outside(sqlstate))
		return CDC_ERROR_DATA;

	switch (sqlstate)
	{
		case ERRCODE_READ_ONLY_SQL_TRANSACTION:
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_OBJECT_IN_USE:
			return CDC_ERROR_TRANSIENT;
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return CDC_ERROR_CONFIGURATION;
		default:
			break;
	}

	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_CONNECTION_EXCEPTION:	/* 08 */
		case ERRCODE_TRANSACTION_ROLLBACK:	/* 40 */
		case ERRCODE_INSUFFICIENT_RESOURCES:	/* 53 */
		case ERRCODE_OPERATOR_INTERVENTION: /* 57 */
		case ERRCODE_SYSTEM_ERROR:	/* 58 */
			return CDC_ERROR_TRANSIENT;
		case ERRCODE_FEATURE_NOT_SUPPORTED: /* 0A */
		case ERRCODE_INVALID_TRANSACTION_STATE: /* 25 */
		case ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION:	/* 28 */
		case ERRCODE_INVALID_CATALOG_NAME:	/* 3D */
		case ERRCODE_INVALID_SCHEMA_NAME:	/* 3F */
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION: /* 42 */
		case ERRCODE_FDW_ERROR: /* HV */
			return CDC_ERROR_CONFIGURATION;
		case ERRCODE_INTERNAL_ERROR:	/* XX */
			return CDC_ERROR_INTERNAL;
		default:
			return CDC_ERROR_DATA;
	}
}

/*
 * Tells the class of a caught error like cdc_error_classify, knowing one more
 * thing than its SQLSTATE: 54000 is a row that is too large, or a server that
 * has run out of transaction ids, which no record is to blame for.
 */
CdcErrorClass
cdc_error_class_of(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
		error->filename != NULL &&
		(strstr(error->filename, "varsup.c") != NULL ||
		 strstr(error->filename, "multixact.c") != NULL))
		return CDC_ERROR_TRANSIENT;
	return cdc_error_classify(error->sqlerrcode);
}

/*
 * cdc_error_copy copies a text into a buffer of size bytes, cut before the
 * character that does not fit: a part of one would be no text any more.
 */
void
cdc_error_copy(char *to, const char *from, size_t size)
{
	size_t		len = strlen(from);

	if (len >= size)
		len = pg_mbcliplen(from, len, size - 1);
	memcpy(to, from, len);
	to[len] = '\0';
}

/* Forgets where the pipeline was. */
void
cdc_error_position_reset(void)
{
	memset(&cdc_error_position, 0, sizeof(cdc_error_position));
}

/*
 * Error context callback: names the record, the relation and the field at
 * hand.  It prints no key and no value; those are for members of the
 * subscription's owner only.
 */
void
cdc_error_context(void *arg)
{
	const CdcErrorPosition *pos = &cdc_error_position;

	if (pos->field != NULL)
		errcontext("field \"%s\"", pos->field);
	if (pos->relation != NULL)
		errcontext("relation %s", pos->relation);
	if (pos->record != NULL)
		errcontext("record of topic \"%s\", partition %d, offset " INT64_FORMAT,
				   pos->record->topic, pos->record->partition,
				   pos->record->offset);
}

/*
 * Raises the error of an event that could not be decoded.  Its texts live in
 * the arena of the batch, which outlives the copy that ereport makes.
 */
void
cdc_error_throw(const CdcError *error)
{
	if (error->field != NULL)
		cdc_error_position.field = error->field;
	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg_internal("%s", error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
}

/* cdc_record_time_text: see errors.h. */
const char *
cdc_record_time_text(int64 ms)
{
	if (ms < 0 || ms > CDC_MAX_TIME_MS)
		return NULL;
	return pstrdup(timestamptz_to_str(ms * 1000 -
									  (int64) (POSTGRES_EPOCH_JDATE -
											   UNIX_EPOCH_JDATE) *
									  USECS_PER_DAY));
}
