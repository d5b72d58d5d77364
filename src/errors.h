/*-------------------------------------------------------------------------
 *
 * errors.h
 *		Classes of errors, and where in the stream the worker is.
 *
 * Floor 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ERRORS_H
#define CDC_ERRORS_H

#include "compat.h"
#include "event.h"

typedef enum CdcErrorClass
{
	CDC_ERROR_TRANSIENT,		/* retried without limit, with back-off */
	CDC_ERROR_CONFIGURATION,	/* stops the partition; looked at again after
								 * DDL, GRANT or enable */
	CDC_ERROR_DATA,				/* to the error policy */
	CDC_ERROR_INTERNAL			/* XX: five tries, then stopped */
} CdcErrorClass;

/*
 * Where the pipeline is.  Set as work moves on, read by the error-context
 * callback and by whoever must know which record failed.  in_value is true
 * while one value is converted: then the error belongs to that record and
 * is a data error whatever its SQLSTATE says.
 */
typedef struct CdcErrorPosition
{
	const CdcRecord *record;	/* NULL: no single record is at hand */
	const char *relation;		/* qualified name, or NULL */
	const char *field;			/* or NULL */
	bool		in_value;
} CdcErrorPosition;

extern CdcErrorPosition cdc_error_position;

extern CdcErrorClass cdc_error_classify(int sqlstate);
extern CdcErrorClass cdc_error_class_of(const ErrorData *error);
/* Copies a text that may be too long for its buffer. */
extern void cdc_error_copy(char *to, const char *from, size_t size);
/* Resets the position; call between records and after a caught error. */
extern void cdc_error_position_reset(void);
/* error_context_stack callback: record, relation and field, if known. */
extern void cdc_error_context(void *arg);
/* Time of a record (ms since 1970) as text, palloc'd; NULL where it is none. */
extern const char *cdc_record_time_text(int64 ms);
/* ereport(ERROR) of a decoder's error. */
extern void cdc_error_throw(const CdcError *error) pg_attribute_noreturn();

#endif							/* CDC_ERRORS_H */
