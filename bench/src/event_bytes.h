/*-------------------------------------------------------------------------
 *
 * event_bytes.h
 *		Debezium's bytes for a change of a row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_EVENT_BYTES_H
#define BENCH_EVENT_BYTES_H

#include "stream.h"

/* What differs from event to event beside the row: where and when it was. */
typedef struct GenPlace
{
	int64_t		txid;
	int64_t		lsn;			/* of the change */
	int64_t		commit_lsn;		/* of the last commit seen, -1: none */
	int64_t		ts_us;			/* commit time, microseconds since 1970 */
	int64_t		ts_ns;			/* when Debezium processed it, nanoseconds */
} GenPlace;

typedef struct GenHeader
{
	const char *name;
	const char *value;
} GenHeader;

#define GEN_HEADERS 4

typedef struct GenEvents GenEvents;

/* Key and value of a record; they live until the next event is made. */
typedef struct GenRecord
{
	const char *key;
	size_t		key_len;
	const char *value;			/* NULL: a tombstone */
	size_t		value_len;
} GenRecord;

/* Events of a table; prefix and database are the connector's. */
extern GenEvents *gen_events_open(const GenTable *table, bool schema,
								  const char *prefix, const char *database);
extern void gen_events_make(GenEvents *events, const GenChange *change,
							const GenPlace *place, GenRecord *record);
/* The tombstone that follows a delete; call after gen_events_make. */
extern void gen_events_tombstone(GenEvents *events, GenRecord *record);
/* The headers that Debezium puts on every record. */
extern void gen_events_headers(const char *prefix, const char *run_id,
							   GenHeader headers[GEN_HEADERS]);

/* A made-up place: transactions of tx_rows changes. */
extern void gen_place_start(GenPlace *place);
extern void gen_place_next(GenPlace *place, int64_t number, int64_t tx_rows);

#endif							/* BENCH_EVENT_BYTES_H */
