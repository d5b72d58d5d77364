/*-------------------------------------------------------------------------
 *
 * ahead.h
 *		Decoding ahead: a thread decodes records while more are read.
 *
 * Floor 4.  For workers only.  The records and what is decoded of them stay
 * until cdc_ahead_reset; between the first cdc_ahead_put and the reset the
 * decode state belongs to the thread unless cdc_ahead_take said no.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_AHEAD_H
#define CDC_AHEAD_H

#include "decode_api.h"

typedef struct CdcAhead CdcAhead;

/*
 * NULL where memory is short: decode without it then.  decoder and state must
 * live until cdc_ahead_free.  What is decoded ahead takes not much more than
 * max_bytes.
 */
extern CdcAhead *cdc_ahead_create(const CdcDecoder *decoder,
								  CdcDecodeState *state, size_t max_bytes);
/* Ends the thread and gives everything back; NULL is allowed. */
extern void cdc_ahead_free(CdcAhead *ahead);
/*
 * The next record of a batch; its bytes must stay until the reset.  Few
 * records, and those beyond a bound of memory, are left to the caller.
 */
extern void cdc_ahead_put(CdcAhead *ahead, const CdcRecord *record);
/*
 * Waits for what became of record i, counted from the first that was put.
 * False: the caller has to decode it, and may use the decode state.
 */
extern bool cdc_ahead_take(CdcAhead *ahead, int i, CdcEvent *event);
/* Stops decoding and forgets the batch. */
extern void cdc_ahead_reset(CdcAhead *ahead);

#endif							/* CDC_AHEAD_H */
