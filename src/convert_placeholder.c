/*-------------------------------------------------------------------------
 *
 * convert_placeholder.c
 *		"Unchanged TOAST": recognizing unavailable.value.placeholder in every
 *		encoding it can have.
 *
 * Floor 3.  The hard thing: the placeholder takes the shape of the column's
 * type (base64, a map, an array of one string, a list of byte values, a
 * name-based UUID), so that its shapes are worked out once per column.  Only
 * whole values are compared.  An int4[], int8[] or date[] that really holds
 * the placeholder's byte values cannot be told from it and counts as
 * unchanged (docs/types.md).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/md5.h"
#include "mb/pg_wchar.h"

#include "convert_rows.h"

typedef enum CdcPlaceholderShape
{
	CDC_SHAPE_STRING,			/* the text */
	CDC_SHAPE_ARRAY,			/* an array of just the text */
	CDC_SHAPE_MAP,				/* an object, text: text */
	CDC_SHAPE_BYTES				/* an array of the byte values */
} CdcPlaceholderShape;

struct CdcPlaceholder
{
	CdcPlaceholderShape shape;
	const char *text;
	size_t		len;
};

/* No type has more encodings than this. */
#define MAX_PLACEHOLDERS 6

static void
add(CdcConversion *conv, CdcPlaceholderShape shape, const char *text,
	size_t len)
{
	struct CdcPlaceholder *added = &conv->placeholders[conv->nplaceholders++];

	Assert(conv->nplaceholders <= MAX_PLACEHOLDERS);
	added->shape = shape;
	added->text = text;
	added->len = len;
}

static void
add_string(CdcConversion *conv, CdcPlaceholderShape shape, char *text)
{
	add(conv, shape, text, strlen(text));
}

/*
 * Length of what Java's decoder replaces by one U+FFFD: the bytes, from the
 * first, that could begin a character.
 */
static int
malformed_length(const unsigned char *bytes, int len)
{
	int			wanted = pg_utf_mblen(bytes);
	unsigned char least = 0x80;
	unsigned char greatest = 0xBF;
	int			size = 1;

	if (bytes[0] < 0xC2 || bytes[0] > 0xF4)
		return 1;
	if (bytes[0] == 0xE0)
		least = 0xA0;
	else if (bytes[0] == 0xF0)
		least = 0x90;
	else if (bytes[0] == 0xF4)
		greatest = 0x8F;
	while (size < wanted && size < len && bytes[size] >= least &&
		   bytes[size] <= greatest)
	{
		size++;
		least = 0x80;
		greatest = 0xBF;
	}
	return size;
}

/*
 * The placeholder as a Java string: what is not UTF-8 in a hex: placeholder
 * has become U+FFFD.
 */
static char *
java_string(const char *placeholder, int len)
{
	const unsigned char *bytes = (const unsigned char *) placeholder;
	StringInfoData out;
	int			size;

	initStringInfo(&out);
	for (int at = 0; at < len; at += size)
	{
		size = pg_utf_mblen(bytes + at);
		if (at + size <= len && pg_utf8_islegal(bytes + at, size))
			appendBinaryStringInfo(&out, (const char *) bytes + at, size);
		else
		{
			size = malformed_length(bytes + at, len - at);
			appendStringInfoString(&out, "\xEF\xBF\xBD");
		}
	}
	return out.data;
}

/*
 * java.util.UUID.nameUUIDFromBytes: MD5 with version 3 and variant set.
 * ERROR 0A000 where the TLS library forbids MD5: without it a placeholder
 * would be stored as a value.
 */
static char *
name_uuid(const char *bytes, int len)
{
	unsigned char digest[MD5_DIGEST_LENGTH];
	const char *problem = NULL;
	char	   *hex;

	if (!pg_md5_binary(bytes, len, digest, &problem))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("could not compute the MD5 hash of unavailable.value.placeholder: %s",
						problem ? problem : "unknown error")));
	digest[6] = (digest[6] & 0x0f) | 0x30;
	digest[8] = (digest[8] & 0x3f) | 0x80;
	hex = cdc_hex_encode(digest, MD5_DIGEST_LENGTH);
	return psprintf("%.8s-%.4s-%.4s-%.4s-%s", hex, hex + 8, hex + 12,
					hex + 16, hex + 20);
}

/* A map of one pair as Debezium's JSON text of an hstore. */
static char *
hstore_document(const char *text)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	for (; *text; text++)
	{
		if (*text == '"' || *text == '\\')
			appendStringInfoChar(&quoted, '\\');
		appendStringInfoChar(&quoted, *text);
	}
	return psprintf("{\"%s\":\"%s\"}", quoted.data, quoted.data);
}

/* Encodings inside an array, by its element type. */
static void
prepare_array(CdcConversion *conv, char *string, char *base64)
{
	const CdcSourceSettings *source = conv->source;

	switch ((CdcTo) conv->element->target)
	{
		case CDC_TO_BYTEA:
			add_string(conv, CDC_SHAPE_ARRAY, base64);
			break;
		case CDC_TO_UUID:
			add_string(conv, CDC_SHAPE_ARRAY,
					   name_uuid(source->placeholder, source->placeholder_len));
			break;
		case CDC_TO_INT4:
		case CDC_TO_INT8:
		case CDC_TO_DATE:
			add(conv, CDC_SHAPE_BYTES, source->placeholder,
				source->placeholder_len);
			break;
		default:
			break;
	}
	add_string(conv, CDC_SHAPE_ARRAY, string);
}

/*
 * Fills conv->placeholders.  The string itself can stand in any column: in
 * string or double mode even in a numeric one.
 */
void
cdc_prepare_placeholders(CdcConversion *conv)
{
	const CdcSourceSettings *source = conv->source;
	char	   *string;
	char	   *base64;

	if (source->placeholder == NULL || source->placeholder_len == 0)
		return;
	conv->placeholders = palloc(MAX_PLACEHOLDERS *
								sizeof(struct CdcPlaceholder));
	string = java_string(source->placeholder, source->placeholder_len);
	base64 = cdc_base64_encode((const unsigned char *) source->placeholder,
							   source->placeholder_len);
	add_string(conv, CDC_SHAPE_STRING, string);
	if (conv->from == CDC_FROM_BYTES || conv->target == CDC_TO_BYTEA ||
		conv->target == CDC_TO_OTHER)
		add_string(conv, CDC_SHAPE_STRING, base64);
	/* hstore, and what a JSON column makes of an hstore */
	if (conv->target == CDC_TO_HSTORE || conv->target == CDC_TO_JSON ||
		conv->target == CDC_TO_JSONB || conv->from == CDC_FROM_MAP)
	{
		add_string(conv, CDC_SHAPE_STRING, hstore_document(string));
		add_string(conv, CDC_SHAPE_MAP, string);
	}
	if (conv->target == CDC_TO_ARRAY)
		prepare_array(conv, string, base64);
	else if (conv->from == CDC_FROM_ARRAY || conv->target == CDC_TO_JSON ||
			 conv->target == CDC_TO_JSONB)
		add_string(conv, CDC_SHAPE_ARRAY, string);
}

static bool
is_text(const struct CdcPlaceholder *wanted, const CdcJsonNode *value)
{
	return value->type == CDC_JSON_STRING && value->len == wanted->len &&
		memcmp(value->text, wanted->text, wanted->len) == 0;
}

/* Java's bytes are signed. */
static bool
is_byte_list(const struct CdcPlaceholder *wanted, const CdcJsonNode *value)
{
	const CdcJsonNode *child = cdc_json_first(value);

	if (value->type != CDC_JSON_ARRAY || value->nchildren != wanted->len)
		return false;
	for (size_t i = 0; i < wanted->len; i++, child = cdc_json_next(child))
	{
		int64		number;

		if (child->type != CDC_JSON_NUMBER ||
			!cdc_parse_int64(child->text, child->len, &number) ||
			number != (signed char) wanted->text[i])
			return false;
	}
	return true;
}

static bool
matches(const struct CdcPlaceholder *wanted, const CdcJsonNode *value)
{
	switch (wanted->shape)
	{
		case CDC_SHAPE_STRING:
			return is_text(wanted, value);
		case CDC_SHAPE_ARRAY:
			return value->type == CDC_JSON_ARRAY && value->nchildren == 1 &&
				is_text(wanted, cdc_json_first(value));
		case CDC_SHAPE_MAP:
			return value->type == CDC_JSON_OBJECT && value->nchildren == 1 &&
				is_text(wanted, cdc_json_first(value)) &&
				is_text(wanted, cdc_json_next(cdc_json_first(value)));
		case CDC_SHAPE_BYTES:
			return is_byte_list(wanted, value);
	}
	return false;
}

bool
cdc_convert_is_placeholder(const CdcConversion *conv, const CdcJsonNode *value)
{
	for (int i = 0; i < conv->nplaceholders; i++)
		if (matches(&conv->placeholders[i], value))
			return true;
	return false;
}
