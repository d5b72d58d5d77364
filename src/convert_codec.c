/*-------------------------------------------------------------------------
 *
 * convert_codec.c
 *		Base64, hex, and decimals of any length from their unscaled bytes.
 *
 * Floor 2.  The hard thing: an unscaled integer may have thousands of bytes
 * (numeric(5,-2) arrives multiplied by 10^2046), so that the general path is
 * a big-number division; eight bytes and fewer take int64 arithmetic.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "convert_util.h"

/*
 * Digits that a numeric can hold before and after the point; more bytes or
 * a greater scale than these make are refused before any work is done.
 */
#define MAX_WHOLE_DIGITS	131072
#define MAX_SCALE			16383
#define MAX_UNSCALED_BYTES	61500

/* digits that surely fit an int64 */
#define INT64_DIGITS		18

/* from this scale on Debezium means 2048 minus a negative scale */
#define NEGATIVE_SCALE_FROM 1001

/* Values of the letters and digits of base64, which both alphabets share. */
static const signed char base64_values[128] = {
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
	52, 53, 54, 55, 56, 57, 58, 59, 60, 61, -1, -1, -1, -1, -1, -1,
	-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
	15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, -1, -1, -1, -1, -1,
	-1, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
	41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, -1, -1, -1, -1, -1,
};

/* Value of a digit of base64, or -1. */
static inline int
base64_digit(unsigned char c, bool urlsafe)
{
	if (c < lengthof(base64_values) && base64_values[c] >= 0)
		return base64_values[c];
	if (c == (urlsafe ? '-' : '+'))
		return 62;
	if (c == (urlsafe ? '_' : '/'))
		return 63;
	return -1;
}

/*
 * Decodes whole groups of four and a shorter last one; text has no padding
 * any more.  Bits beyond the last byte must be zero, as every encoder makes
 * them, so that two texts never mean the same bytes.
 */
static bool
base64_digits(const char *text, size_t len, bool urlsafe, CdcBuffer *out)
{
	unsigned char *to;
	uint32		group = 0;
	int			bits = 0;

	if (len % 4 == 1)
		return false;
	to = out->data = palloc(len / 4 * 3 + 4);
	for (size_t i = 0; i < len; i++)
	{
		int			digit = base64_digit(text[i], urlsafe);

		if (digit < 0)
			return false;
		group = (group << 6) | digit;
		bits += 6;
		if (bits >= 8)
		{
			bits -= 8;
			*to++ = (unsigned char) (group >> bits);
		}
	}
	out->len = to - out->data;
	return (group & ((1U << bits) - 1)) == 0;
}

bool
cdc_base64_decode(const char *text, size_t len, CdcBuffer *out)
{
	if (len % 4 != 0)
		return false;
	if (len > 0 && text[len - 1] == '=')
		len -= text[len - 2] == '=' ? 2 : 1;
	return base64_digits(text, len, false, out);
}

bool
cdc_base64url_decode(const char *text, size_t len, CdcBuffer *out)
{
	if (len > 0 && len % 4 == 0 && text[len - 1] == '=')
		len -= text[len - 2] == '=' ? 2 : 1;
	return base64_digits(text, len, true, out);
}

bool
cdc_hex_decode(const char *text, size_t len, CdcBuffer *out)
{
	if (len % 2 != 0)
		return false;
	out->data = palloc(len / 2 + 1);
	out->len = len / 2;
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = text[i];
		int			digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (c >= 'a' && c <= 'f')
			digit = c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			digit = c - 'A' + 10;
		else
			return false;
		if (i % 2 == 0)
			out->data[i / 2] = digit << 4;
		else
			out->data[i / 2] |= digit;
	}
	return true;
}

char *
cdc_base64_encode(const unsigned char *data, size_t len)
{
	static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char	   *text = palloc((len + 2) / 3 * 4 + 1);
	char	   *to = text;

	for (size_t i = 0; i < len; i += 3)
	{
		int			left = Min(len - i, 3);
		uint32		group = data[i] << 16;

		if (left > 1)
			group |= data[i + 1] << 8;
		if (left > 2)
			group |= data[i + 2];
		*to++ = digits[group >> 18];
		*to++ = digits[(group >> 12) & 63];
		*to++ = left > 1 ? digits[(group >> 6) & 63] : '=';
		*to++ = left > 2 ? digits[group & 63] : '=';
	}
	*to = '\0';
	return text;
}

char *
cdc_hex_encode(const unsigned char *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char	   *text = palloc(len * 2 + 1);

	for (size_t i = 0; i < len; i++)
	{
		text[2 * i] = digits[data[i] >> 4];
		text[2 * i + 1] = digits[data[i] & 15];
	}
	text[2 * len] = '\0';
	return text;
}

void
cdc_bytes_decode(const CdcJsonNode *value, CdcBuffer *out)
{
	if (value->type != CDC_JSON_STRING ||
		!cdc_base64_decode(value->text, value->len, out))
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "valid base64");
}

void
cdc_binary_decode(CdcBinaryMode mode, const CdcJsonNode *value, CdcBuffer *out)
{
	switch (mode)
	{
		case CDC_BINARY_BYTES:
		case CDC_BINARY_BASE64:
			cdc_bytes_decode(value, out);
			break;
		case CDC_BINARY_BASE64_URL_SAFE:
			if (value->type != CDC_JSON_STRING ||
				!cdc_base64url_decode(value->text, value->len, out))
				cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
						   "valid URL-safe base64");
			break;
		case CDC_BINARY_HEX:
			if (value->type != CDC_JSON_STRING ||
				!cdc_hex_decode(value->text, value->len, out))
				cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
						   "valid hex");
			break;
	}
}

/*
 * Decimal digits of a magnitude given as big-endian bytes, without leading
 * zeros ("0" for zero).  Divides by 10^9 again and again: quadratic, and
 * bounded by MAX_UNSCALED_BYTES.
 */
static char *
magnitude_digits(const unsigned char *bytes, size_t len)
{
	size_t		nwords = (len + 3) / 4;
	uint32	   *words = palloc0((nwords + 1) * sizeof(uint32));
	size_t		size = len * 5 / 2 + 12;
	char	   *digits = palloc(size);
	char	   *at = digits + size;
	size_t		top = 0;

	for (size_t i = 0; i < len; i++)
	{
		size_t		from_end = len - 1 - i;

		words[nwords - 1 - from_end / 4] |= (uint32) bytes[i] << (from_end % 4 * 8);
	}
	*--at = '\0';
	while (top < nwords)
	{
		uint64		rest = 0;

		CHECK_FOR_INTERRUPTS();
		for (size_t i = top; i < nwords; i++)
		{
			rest = (rest << 32) | words[i];
			words[i] = (uint32) (rest / 1000000000);
			rest %= 1000000000;
		}
		for (int i = 0; i < 9; i++)
		{
			*--at = '0' + rest % 10;
			rest /= 10;
		}
		while (top < nwords && words[top] == 0)
			top++;
	}
	while (*at == '0' && at[1] != '\0')
		at++;
	if (*at == '\0')
		*--at = '0';
	pfree(words);
	return at;
}

/* Digits with a point scale places from the right; scale may be negative. */
static char *
place_point(const char *digits, bool negative, int32 scale)
{
	StringInfoData out;
	int			ndigits = strlen(digits);

	initStringInfo(&out);
	if (negative)
		appendStringInfoChar(&out, '-');
	if (scale <= 0)
	{
		appendStringInfoString(&out, digits);
		if (strcmp(digits, "0") != 0)
			for (; scale < 0; scale++)
				appendStringInfoCharMacro(&out, '0');
		return out.data;
	}
	if (ndigits > scale)
		appendBinaryStringInfo(&out, digits, ndigits - scale);
	else
		appendStringInfoChar(&out, '0');
	appendStringInfoChar(&out, '.');
	for (int i = ndigits; i < scale; i++)
		appendStringInfoCharMacro(&out, '0');
	appendStringInfoString(&out,
						   ndigits > scale ? digits + ndigits - scale : digits);
	return out.data;
}

/*
 * NULL where the number is larger than a numeric can be.  Where the scale
 * stands for a negative one, trailing zeros of the fraction (all of them)
 * are left out.
 */
char *
cdc_decimal_text(const CdcBuffer *unscaled, int32 scale)
{
	bool		negative = unscaled->len > 0 && (unscaled->data[0] & 0x80);
	unsigned char *magnitude;
	char	   *text;

	if (unscaled->len == 0 || unscaled->len > MAX_UNSCALED_BYTES ||
		scale > MAX_SCALE || scale < -MAX_WHOLE_DIGITS)
		return NULL;
	magnitude = palloc(unscaled->len);
	memcpy(magnitude, unscaled->data, unscaled->len);
	if (negative)
	{
		bool		carry = true;

		for (size_t i = unscaled->len; i-- > 0;)
		{
			magnitude[i] = ~magnitude[i] + carry;
			carry = carry && magnitude[i] == 0;
		}
	}
	text = place_point(magnitude_digits(magnitude, unscaled->len), negative,
					   scale);
	pfree(magnitude);
	if (scale >= NEGATIVE_SCALE_FROM)
	{
		size_t		len = strlen(text);

		while (text[len - 1] == '0')
			len--;
		if (text[len - 1] == '.')
			len--;
		text[len] = '\0';
	}
	return text;
}

/* Does the value fit numeric(precision, scale) as it is? */
static bool
fits_typmod(int64 unscaled, int32 scale, int32 typmod)
{
	static const int64 power[] = {
		1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000,
		1000000000, INT64CONST(10000000000), INT64CONST(100000000000),
		INT64CONST(1000000000000), INT64CONST(10000000000000),
		INT64CONST(100000000000000), INT64CONST(1000000000000000),
		INT64CONST(10000000000000000), INT64CONST(100000000000000000),
		INT64CONST(1000000000000000000)
	};
	int			precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;

	if (typmod < (int32) VARHDRSZ)
		return true;
	/* the scale is eleven bits, sign included */
	if (((((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024) != scale)
		return false;
	return precision >= (int) lengthof(power) ||
		(unscaled < power[precision] && unscaled > -power[precision]);
}

/* unscaled / 10^scale, with the declared precision and scale applied. */
static Numeric
short_numeric(int64 unscaled, int32 scale, int32 typmod)
{
	Numeric		result = int64_div_fast_to_numeric(unscaled, scale);

	if (fits_typmod(unscaled, scale, typmod))
		return result;
	return DatumGetNumeric(DirectFunctionCall2(numeric,
											   NumericGetDatum(result),
											   Int32GetDatum(typmod)));
}

static Numeric
numeric_of_cstring(char *text, int32 typmod)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in,
											   CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid),
											   Int32GetDatum(typmod)));
}

Numeric
cdc_variable_decimal(const CdcJsonNode *value, int32 typmod)
{
	const CdcJsonNode *scale = cdc_member(value, "scale");
	const CdcJsonNode *unscaled = cdc_member(value, "value");
	CdcBuffer	bytes;
	int64		places;

	if (scale == NULL || unscaled == NULL || scale->type != CDC_JSON_NUMBER ||
		unscaled->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value,
				   "a decimal with scale and value");
	places = cdc_node_int64(scale);
	if (places > MAX_SCALE || places < -MAX_WHOLE_DIGITS)
		cdc_refuse_range(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, value, "numeric");
	cdc_bytes_decode(unscaled, &bytes);
	return cdc_decimal_numeric(value, &bytes, (int32) places, typmod);
}

/*
 * Up to 18 digits with at most one point, no exponent: into unscaled and
 * scale.  False for anything else.
 */
static bool
parse_short_decimal(const char *text, size_t len, int64 *unscaled,
					int32 *scale)
{
	const char *end = text + len;
	bool		negative = len > 0 && *text == '-';
	const char *point = NULL;
	int			ndigits = 0;

	*unscaled = 0;
	for (text += negative; text < end; text++)
	{
		if (*text >= '0' && *text <= '9')
		{
			if (++ndigits > INT64_DIGITS)
				return false;
			*unscaled = *unscaled * 10 + (*text - '0');
		}
		else if (*text == '.' && point == NULL && ndigits > 0)
			point = text;
		else
			return false;
	}
	if (ndigits == 0 || point == end - 1)
		return false;
	*scale = point == NULL ? 0 : end - point - 1;
	if (negative)
		*unscaled = -*unscaled;
	return true;
}

Numeric
cdc_numeric_of_text(const CdcJsonNode *value, int32 typmod)
{
	int64		unscaled;
	int32		scale;

	if (value->type != CDC_JSON_NUMBER && value->type != CDC_JSON_STRING)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a number");
	if (parse_short_decimal(value->text, value->len, &unscaled, &scale))
		return short_numeric(unscaled, scale, typmod);
	if (cdc_node_is(value, "NAN"))
		return numeric_of_cstring("NaN", typmod);
	if (cdc_node_is(value, "POSITIVE_INFINITY"))
		return numeric_of_cstring("Infinity", typmod);
	if (cdc_node_is(value, "NEGATIVE_INFINITY"))
		return numeric_of_cstring("-Infinity", typmod);
	return numeric_of_cstring(cdc_node_cstring(value), typmod);
}

/*
 * value is only for the message.  Eight bytes and a usual scale take the
 * fast way; what does not match the declared precision and scale goes
 * through numeric's own cast, which rounds or refuses as SQL does.
 */
Numeric
cdc_decimal_numeric(const CdcJsonNode *value, const CdcBuffer *unscaled,
					int32 scale, int32 typmod)
{
	char	   *text;

	if (unscaled->len == 0)
		cdc_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, value, "a decimal");
	if (unscaled->len <= 8 && scale >= 0 && scale <= INT64_DIGITS)
	{
		int64		number = (signed char) unscaled->data[0];

		for (size_t i = 1; i < unscaled->len; i++)
			number = (int64) ((uint64) number << 8) | unscaled->data[i];
		return short_numeric(number, scale, typmod);
	}
	text = cdc_decimal_text(unscaled, scale);
	if (text == NULL)
		cdc_refuse_range(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, value, "numeric");
	return numeric_of_cstring(text, typmod);
}
