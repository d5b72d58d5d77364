/*-------------------------------------------------------------------------
 *
 * convert_binary.c
 *		bytea, bit and varbit.
 *
 * Floor 3.  The hard thing: Debezium's Bits are little-endian with leading
 * zero bytes cut, PostgreSQL's bit strings begin with their highest bit and
 * know their length.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/varbit.h"

#include "convert_rows.h"

static Datum
bytea_of(const CdcBuffer *bytes)
{
	bytea	   *result = palloc(VARHDRSZ + bytes->len);

	SET_VARSIZE(result, VARHDRSZ + bytes->len);
	memcpy(VARDATA(result), bytes->data, bytes->len);
	return PointerGetDatum(result);
}

static Datum
bytea_from_bytes(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	cdc_bytes_decode(value, &bytes);
	return bytea_of(&bytes);
}

static Datum
bytea_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	cdc_binary_decode(conv->source->binary_mode, value, &bytes);
	return bytea_of(&bytes);
}

/*
 * A string field: binary.handling.mode of source must tell its form, since
 * most hex text is valid base64 too.  The form that bytea prints is its own
 * mark.
 */
static Datum
bytea_from_string(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (conv->source->binary_mode != CDC_BINARY_BYTES)
		return bytea_from_any(conv, value);
	if (value->type != CDC_JSON_STRING || value->len < 2 ||
		memcmp(value->text, "\\x", 2) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("a string cannot be read as bytea without knowing its form"),
				 errhint("Name binary.handling.mode in the subscription's source.")));
	return cdc_input(conv, cdc_node_cstring(value));
}

/* --- bit strings --- */

/* Number of bits without leading zeros. */
static int
significant_bits(const CdcBuffer *bytes)
{
	for (size_t i = bytes->len; i-- > 0;)
		for (int bit = 7; bit >= 0; bit--)
			if (bytes->data[i] & (1 << bit))
				return i * 8 + bit + 1;
	return 0;
}

/* The lowest nbits bits, highest one first. */
static Datum
bits_of(const CdcBuffer *bytes, int nbits)
{
	VarBit	   *result = palloc0(VARBITTOTALLEN(nbits));

	SET_VARSIZE(result, VARBITTOTALLEN(nbits));
	VARBITLEN(result) = nbits;
	for (int i = 0; i < nbits; i++)
	{
		size_t		byte = i / 8;
		int			place = nbits - 1 - i;

		if (byte < bytes->len && (bytes->data[byte] & (1 << (i % 8))))
			VARBITS(result)[place / 8] |= 0x80 >> (place % 8);
	}
	return VarBitPGetDatum(result);
}

/* typmod of bit and varbit is the plain length; without one there is none */
static Datum
finish_bits(const CdcConversion *conv, const CdcBuffer *bytes,
			const CdcJsonNode *value)
{
	int			nbits = significant_bits(bytes);
	int			length = conv->basetypmod;

	if (length > 0 && nbits > length)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("bit string of %d bits is too long for type %s(%d)",
						nbits, conv->target == CDC_TO_BIT ? "bit" :
						"bit varying", length)));
	if (conv->target == CDC_TO_BIT && length > 0)
		nbits = length;
	return bits_of(bytes, nbits);
}

static Datum
bits_from_bytes(const CdcConversion *conv, const CdcJsonNode *value)
{
	CdcBuffer	bytes;

	cdc_bytes_decode(value, &bytes);
	return finish_bits(conv, &bytes, value);
}

/* bit(1) and varbit(1) arrive as booleans, where 0 is one bit, not none. */
static Datum
bits_from_boolean(const CdcConversion *conv, const CdcJsonNode *value)
{
	unsigned char bit = value->type == CDC_JSON_TRUE;
	CdcBuffer	bytes = {&bit, 1};

	if (value->type != CDC_JSON_TRUE && value->type != CDC_JSON_FALSE)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "a bit string");
	if (conv->target == CDC_TO_VARBIT)
		return bits_of(&bytes, 1);
	return finish_bits(conv, &bytes, value);
}

static Datum
bits_from_any(const CdcConversion *conv, const CdcJsonNode *value)
{
	if (value->type != CDC_JSON_STRING)
		return bits_from_boolean(conv, value);
	return bits_from_bytes(conv, value);
}

static const CdcConvertRow rows[] = {
	{CDC_FROM_ANY, CDC_TO_BYTEA, bytea_from_any, "bytea_from_any"},
	{CDC_FROM_BYTES, CDC_TO_BYTEA, bytea_from_bytes, "bytea_from_bytes"},
	{CDC_FROM_STRING, CDC_TO_BYTEA, bytea_from_string, "bytea_from_string"},

	{CDC_FROM_ANY, CDC_TO_BIT, bits_from_any, "bits_from_any"},
	{CDC_FROM_BITS, CDC_TO_BIT, bits_from_bytes, "bits_from_bytes"},
	{CDC_FROM_BOOLEAN, CDC_TO_BIT, bits_from_boolean, "bits_from_boolean"},

	{CDC_FROM_ANY, CDC_TO_VARBIT, bits_from_any, "bits_from_any"},
	{CDC_FROM_BITS, CDC_TO_VARBIT, bits_from_bytes, "bits_from_bytes"},
	{CDC_FROM_BOOLEAN, CDC_TO_VARBIT, bits_from_boolean, "bits_from_boolean"},
};

const CdcConvertTable cdc_rows_binary = {rows, lengthof(rows)};
