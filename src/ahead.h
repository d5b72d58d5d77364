/*-------------------------------------------------------------------------
 *
 * ahead.h
 *		Working ahead: a thread decodes records while more are read, and
 *		reads and decodes the next batch while one is applied.
 *
 * Floor 4.  For workers only.  There are two batches: the one at hand, and
 * the next one, which only the thread fills.  The records of the one at hand
 * and what is decoded of them stay until cdc_ahead_reset.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_AHEAD_H
#define CDC_AHEAD_H

#include "decode_api.h"
#include "value.h"

typedef struct CdcAhead CdcAhead;

/*
 * Where the thread reads.  read takes the next record into the arena; false:
 * nothing there, or nothing that a thread can take.  It calls nothing of the
 * server.
 */
typedef struct CdcAheadSource
{
	bool		(*read) (void *arg, CdcArena *arena, CdcRecord *record);
	void	   *arg;
	int			max_records;
	int64		max_bytes;		/* of keys and values */
	int64		max_cost;		/* as cdc_record_cost counts it */
} CdcAheadSource;

/* What a record costs in memory until it is applied, about. */
static inline int64
cdc_record_cost(const CdcRecord *record)
{
	/*
	 * What is decoded of it, its change and its row, without its values; and
	 * the whole message, though others begin alike.
	 */
	return 1536 + cdc_record_bytes(record);
}

/*
 * NULL where memory is short: work without it then.  decoder and settings
 * must live until cdc_ahead_free.  What is decoded of one batch takes not
 * much more than max_bytes.
 */
extern CdcAhead *cdc_ahead_create(const CdcDecoder *decoder,
								  const CdcSourceSettings *settings,
								  size_t max_bytes);
/* Ends the thread and gives everything back; NULL is allowed. */
extern void cdc_ahead_free(CdcAhead *ahead);
/*
 * The next record of the batch at hand; its bytes must stay until the reset.
 * Few records, and those beyond a bound of memory, are left to the caller.
 */
extern void cdc_ahead_put(CdcAhead *ahead, const CdcRecord *record);
/*
 * Waits for what became of record i, counted from the first that was put.
 * False: the caller has to decode it.
 */
extern bool cdc_ahead_take(CdcAhead *ahead, int i, CdcEvent *event);
/* Stops decoding the batch at hand and forgets it. */
extern void cdc_ahead_reset(CdcAhead *ahead);

/*
 * Lets the thread read the next batch from now on, where the one at hand is
 * so large that it runs at all.  The source is the thread's until
 * cdc_ahead_stop, which comes before anything else is read from it.
 */
extern void cdc_ahead_read(CdcAhead *ahead, const CdcAheadSource *source);
/*
 * Ends that and returns the number of records read, which stay until
 * cdc_ahead_turn; 0 where it was not begun.
 */
extern int	cdc_ahead_stop(CdcAhead *ahead, const CdcRecord **records);
/*
 * Hands over the bytes of what was read, behind what the arena holds.  keep:
 * the batch at hand was reset and its records are now exactly these, as if
 * they had been put; else they are forgotten, and are to be put.
 */
extern void cdc_ahead_turn(CdcAhead *ahead, CdcArena *arena, bool keep);

#endif							/* CDC_AHEAD_H */
