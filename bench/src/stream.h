/*-------------------------------------------------------------------------
 *
 * stream.h
 *		The streams of the benchmark: tables, their values, and the order in
 *		which rows change.
 *
 * Everything is a function of (table, pattern, rows before, event number),
 * so that the generator of events, the row-wise peer and the expected table
 * agree without talking to each other, for every prefix of a stream.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum GenKind
{
	GEN_KEY,					/* bigint, the row's id */
	GEN_INT8,
	GEN_INT4,
	GEN_INT2,
	GEN_NUMERIC,				/* numeric(12,2) */
	GEN_TIMESTAMPTZ,
	GEN_TIMESTAMP,
	GEN_DATE,
	GEN_BOOL,
	GEN_FLOAT8,
	GEN_UUID,
	GEN_TEXT
} GenKind;

typedef struct GenColumn
{
	char		name[16];
	GenKind		kind;
	int			size;			/* characters of a text */
	bool		nulls;			/* a tenth of the values are NULL */
} GenColumn;

typedef struct GenTable
{
	const char *name;
	int			ncolumns;
	const GenColumn *columns;
} GenTable;

/* One change of one row.  version tells what the values are. */
typedef struct GenChange
{
	char		op;				/* c, u or d, as Debezium writes it */
	int64_t		id;
	uint32_t	version;
} GenChange;

typedef struct GenStream GenStream;

/* longest text of one value, and of one whole row */
#define GEN_VALUE_MAX	8200
#define GEN_ROW_MAX		65536

/* NULL where no table is called so. */
extern const GenTable *gen_table(const char *name);
extern const char *gen_sql_type(GenKind kind);

/*
 * Opens a stream of the given pattern over a table that holds the rows
 * 1..before.  With track, gen_stream_version works (four bytes a row).
 * Ends the program when the pattern is unknown.
 */
extern GenStream *gen_stream_open(const GenTable *table, const char *pattern,
								  int64_t before, int64_t events, bool track);
extern const GenTable *gen_stream_table(const GenStream *stream);
extern void gen_stream_next(GenStream *stream, GenChange *change);
extern int64_t gen_stream_max_id(const GenStream *stream);
/* 0: no such row now */
extern uint32_t gen_stream_version(const GenStream *stream, int64_t id);

/*
 * Value of a column in PostgreSQL's text form, unescaped (no value needs
 * it); -1 for NULL, else the length.  out has room for GEN_VALUE_MAX.
 */
extern int	gen_value_text(const GenTable *table, int column, int64_t id,
						   uint32_t version, char *out);
/* The same as Debezium's default modes write it in JSON; null included. */
extern int	gen_value_json(const GenTable *table, int column, int64_t id,
						   uint32_t version, char *out);

#endif							/* BENCH_STREAM_H */
