/*-------------------------------------------------------------------------
 *
 * unit.h
 *		What the unit tests of the decoder share: TAP output, recorded
 *		streams, records written in place.
 *
 * These programs run without a server: they link the files of the decoder,
 * and of PostgreSQL only libpgport and libpgcommon.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_UNIT_H
#define CDC_UNIT_H

#include "postgres.h"

#undef snprintf
#undef printf
#undef fprintf
#include <stdio.h>

#include "decode.h"

/*
 * A recorded stream; everything is malloc'ed and stays.  A file made by
 * make_streams.py begins with the connector's settings and says of each
 * record what to expect.
 */
typedef struct Stream
{
	int			nrecords;
	CdcRecord  *records;
	const CdcJsonNode **expect; /* of each record: an object, or NULL */
	const CdcJsonNode *settings;	/* an object, or NULL */
} Stream;

extern void unit_ok(bool passed, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern void unit_is_int(long long got, long long expected, const char *what);
extern void unit_is_text(const char *got, size_t len, const char *expected,
						 const char *what);
/* Prints the plan; returns the exit code. */
extern int	unit_done(void);

/* Reads a stream, one JSON object a line; exits where it is not readable. */
extern Stream unit_read_stream(const char *path);
/* Copy of a text, with no byte to spare. */
extern CdcBytes unit_bytes(const char *text);
extern CdcBytes unit_bytes_len(const char *data, size_t len);
/* Names of kinds, for counts. */
extern const char *unit_kind_name(CdcKind kind);

#endif							/* CDC_UNIT_H */
