/*-------------------------------------------------------------------------
 *
 * decode.h
 *		Registry of record formats.
 *
 * Floor 4.  A new format is one decode_*.c and a line in decode.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_DECODE_H
#define CDC_DECODE_H

#include "decode_api.h"

/* The decoder of that name, or NULL. */
extern const CdcDecoder *cdc_decoder_find(const char *name);

#endif							/* CDC_DECODE_H */
