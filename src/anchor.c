/*-------------------------------------------------------------------------
 *
 * anchor.c
 *		Fingerprint of a record.
 *
 * Floor 2.  Fingerprints are stored and dumped, so they must never change:
 * CRC-32C of the key in the upper half, of the value in the lower one, which
 * is the same in every release and on every machine.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"

#include "anchor.h"

/*
 * Of the length (-1: a Kafka null), in network order, and the bytes, which
 * follow those of start.
 */
static uint32
fingerprint(CdcBytes start, CdcBytes bytes)
{
	uint32		length = pg_hton32(bytes.data == NULL ? PG_UINT32_MAX :
								   (uint32) (start.len + bytes.len));
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &length, sizeof(length));
	if (start.data != NULL)
		COMP_CRC32C(crc, start.data, start.len);
	if (bytes.data != NULL)
		COMP_CRC32C(crc, bytes.data, bytes.len);
	FIN_CRC32C(crc);
	return crc;
}

/* cdc_anchor_make: see anchor.h. */
void
cdc_anchor_make(CdcAnchor *anchor, const CdcRecord *record)
{
	const CdcBytes none = {NULL, 0};

	anchor->offset = record->offset;
	anchor->hash = (int64) ((uint64) fingerprint(none, record->key) << 32 |
							fingerprint(record->start, record->value));
	anchor->ts_ms = record->ts_ms;
}

/* cdc_anchor_matches: see anchor.h. */
bool
cdc_anchor_matches(const CdcAnchor *anchor, const CdcRecord *record)
{
	CdcAnchor	found;

	cdc_anchor_make(&found, record);
	return found.offset == anchor->offset && found.hash == anchor->hash &&
		found.ts_ms == anchor->ts_ms;
}
