/*-------------------------------------------------------------------------
 *
 * oneshot.h
 *		One-shot workers: what a session must not do itself because it needs
 *		librdkafka runs in a background worker of its own.
 *
 * Floor 9.  The caller resolves everything (server, secrets, privileges) and
 * sends it; the worker answers with rows of text.  An error in the worker is
 * raised in the caller as it was.  A cancelled caller ends the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ONESHOT_H
#define CDC_ONESHOT_H

#include "catalog.h"

/* A place in a topic as a user writes it. */
typedef enum CdcPlaceKind
{
	CDC_PLACE_EARLIEST,
	CDC_PLACE_LATEST,
	CDC_PLACE_OFFSET,			/* number: the offset */
	CDC_PLACE_RELATIVE,			/* number: +n or -n */
	CDC_PLACE_TIME				/* number: ms since 1970 */
} CdcPlaceKind;

typedef struct CdcPlace
{
	CdcPlaceKind kind;
	int64		number;
} CdcPlace;

/*
 * Reads 'earliest', 'latest', a number, +n, -n or an ISO time-stamp; 22023
 * for anything else.
 */
extern void cdc_place_parse(const char *text, CdcPlace *place);

/* What a broker says of one partition. */
typedef struct CdcPartitionEnds
{
	char	   *topic;
	int32		partition;
	int64		low;			/* first offset that the log still has */
	int64		end;			/* last stable offset */
	int64		offset;			/* of the place asked for, perhaps outside low
								 * and end; of a RELATIVE one its number, to be
								 * added to the present position */
} CdcPartitionEnds;

/*
 * Asks where a place is in the partitions of some topics (partition -1: all
 * of them), with the connection of the subscription, and returns a palloc'd
 * array ordered by topic and partition.  Errors: 42704 a topic or partition
 * is missing, class 08 the brokers could not be asked, 53000 no free slot for
 * the worker.
 */
extern CdcPartitionEnds *cdc_oneshot_positions(const CdcSubscription *subscription,
											   const char *const *topics, int ntopics,
											   int32 partition,
											   const CdcPlace *place, int *n);

/*
 * Implemented in run_batches.c; runs in the one-shot worker, connected to the
 * database as the subscription's owner, signals unblocked, no transaction.
 * Applies the subscription up to the end as it is at start, at most
 * max_batches (-1: any number) and timeout_ms (-1: any time); errors are
 * raised and reach the caller.
 */
extern void cdc_worker_run_batches(int64 subid, int max_batches,
								   int64 timeout_ms);

#endif							/* CDC_ONESHOT_H */
