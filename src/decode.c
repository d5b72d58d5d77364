/*-------------------------------------------------------------------------
 *
 * decode.c
 *		Registry of record formats.
 *
 * Floor 4.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode.h"

static const CdcDecoder *const decoders[] =
{
	&cdc_decoder_debezium,
};

const CdcDecoder *
cdc_decoder_find(const char *name)
{
	for (size_t i = 0; i < lengthof(decoders); i++)
	{
		if (strcmp(decoders[i]->name, name) == 0)
			return decoders[i];
	}
	return NULL;
}
