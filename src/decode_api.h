/*-------------------------------------------------------------------------
 *
 * decode_api.h
 *		Interface between the pipeline and a record format.
 *
 * Floor 2.  A decoder turns the bytes of a record into a CdcEvent.  It calls
 * nothing of the backend, keeps malloc memory only (its schema cache), puts
 * everything it makes for an event into the arena and never fails: a record
 * it cannot read becomes an event with error set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_DECODE_API_H
#define CDC_DECODE_API_H

#include "batch.h"
#include "event.h"
#include "source_settings.h"

/* What a decoder keeps from record to record of one subscription. */
typedef struct CdcDecodeState CdcDecodeState;

typedef struct CdcDecoder
{
	const char *name;
	/* NULL: out of memory.  settings must outlive the state. */
	CdcDecodeState *(*open) (const CdcSourceSettings *settings);
	/* Fills *event; false only when memory ran out. */
	bool		(*decode) (CdcDecodeState *state, const CdcRecord *record,
						   CdcArena *arena, CdcEvent *event);
	/*
	 * Sets newkey and oldkey of an event that has its headers left; as
	 * decode.  The event's record must be there still.
	 */
	bool		(*read_headers) (CdcDecodeState *state, CdcArena *arena,
								 CdcEvent *event);
	void		(*close) (CdcDecodeState *state);
} CdcDecoder;

extern const CdcDecoder cdc_decoder_debezium;

#endif							/* CDC_DECODE_API_H */
