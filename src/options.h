/*-------------------------------------------------------------------------
 *
 * options.h
 *		Options of subscriptions and mappings.
 *
 * Floor 2.  One table (options_table.h) drives names, levels, types, ranges,
 * defaults and help; the README's table is generated from it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_OPTIONS_H
#define CDC_OPTIONS_H

#include "utils/jsonb.h"

typedef enum CdcOnError
{
	CDC_ON_ERROR_STOP,
	CDC_ON_ERROR_DEAD_LETTER,
	CDC_ON_ERROR_SKIP
} CdcOnError;

typedef enum CdcOnUnknownColumn
{
	CDC_UNKNOWN_COLUMN_ERROR,
	CDC_UNKNOWN_COLUMN_IGNORE,
	CDC_UNKNOWN_COLUMN_ADD
} CdcOnUnknownColumn;

typedef enum CdcOnMissingRow
{
	CDC_MISSING_ROW_INSERT,
	CDC_MISSING_ROW_IGNORE,
	CDC_MISSING_ROW_ERROR
} CdcOnMissingRow;

typedef enum CdcOnTruncate
{
	CDC_TRUNCATE_APPLY,
	CDC_TRUNCATE_IGNORE,
	CDC_TRUNCATE_ERROR
} CdcOnTruncate;

typedef enum CdcMode
{
	CDC_MODE_UPSERT,
	CDC_MODE_APPEND
} CdcMode;

/* most columns that find a row: bits of the masks of their NULLs */
#define CDC_MAX_KEY_COLUMNS 32

/*
 * The options in force: of a subscription, or of a mapping after its own
 * options were laid over those of its subscription.
 */
typedef struct CdcOptions
{
	/* subscription and mapping */
	int			on_error;		/* CdcOnError */
	int			on_unknown_column;	/* CdcOnUnknownColumn */
	int			on_missing_row; /* CdcOnMissingRow */
	int			on_truncate;	/* CdcOnTruncate */
	bool		delete_apply;	/* on_delete: apply (true) or ignore */
	/* mapping only */
	int			mode;			/* CdcMode */
	int			nkey_columns;	/* 0: not set */
	char	  **key_columns;
	bool		enabled;
	/* subscription only */
	int			max_errors;
	int			error_window_ms;
	bool		out_of_range_earliest;	/* on_offset_out_of_range */
	int			batch_rows;
	int64		batch_bytes;
	int			batch_interval_ms;
	int			workers;
	int			retry_backoff_ms;
	int			retry_backoff_max_ms;
	int			synchronous_commit; /* SyncCommitLevel */
	bool		replica_role;	/* session_replication_role: replica, origin */
	bool		run_as_owner;
	char	   *consumer_group; /* or NULL */
	char	   *dead_letter_topic;	/* or NULL */
	int			nproperties;	/* tuning properties of librdkafka set in the
								 * subscription's options */
	char	  **property_names;
	char	  **property_values;
} CdcOptions;

typedef enum CdcOptionLevel
{
	CDC_OPTION_SUBSCRIPTION = 1,
	CDC_OPTION_MAPPING = 2
} CdcOptionLevel;

extern void cdc_options_defaults(CdcOptions *options);
/*
 * Lays the members of a jsonb object over *options.  Unknown keys, wrong
 * types and values out of range raise 22023 with the valid ones as hint.
 * Strings are palloc'd.
 */
extern void cdc_options_parse(CdcOptions *options, Jsonb *json,
							  CdcOptionLevel level);
/* For the options of a subscription as a whole; 22023. */
extern void cdc_options_check(const CdcOptions *options);

/* Is it a name that a topic can have? */
extern bool cdc_options_is_topic(const char *text);

/* Text of a scalar JSON value, palloc'd; NULL for null, an array, an object. */
extern char *cdc_options_scalar_text(const JsonbValue *value);

#endif							/* CDC_OPTIONS_H */
