/*-------------------------------------------------------------------------
 *
 * decode_source.c
 *		What an event says of where it comes from: source block and headers.
 *
 * Floor 3.  Members that are absent, null or of an unexpected type leave
 * their part of the event empty: no release of Debezium has all of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_internal.h"

/* of one length, by which most other headers are passed over */
#define NEWKEY		"__debezium.newkey"
#define OLDKEY		"__debezium.oldkey"

/* A string value; not one (null included): data NULL. */
CdcStr
cdc_decode_str(const CdcJsonNode *value)
{
	CdcStr		str = {NULL, 0};

	if (value != NULL && value->type == CDC_JSON_STRING)
	{
		str.data = value->text;
		str.len = value->len;
	}
	return str;
}

/* An integer, as number or as string of digits; -1 where it is none. */
int64
cdc_decode_int64(const CdcJsonNode *value)
{
	uint64		result = 0;

	if (value == NULL || value->len == 0 || value->len > 18 ||
		(value->type != CDC_JSON_NUMBER && value->type != CDC_JSON_STRING))
		return -1;
	for (uint32 i = 0; i < value->len; i++)
	{
		char		c = value->text[i];

		if (c < '0' || c > '9')
			return -1;
		result = result * 10 + (c - '0');
	}
	return result;
}

/* source.snapshot: null is false, old releases write booleans. */
bool
cdc_decode_snapshot(const CdcJsonNode *value)
{
	if (value == NULL)
		return false;
	if (value->type == CDC_JSON_STRING)
		return !cdc_json_is(value, "false");
	return value->type == CDC_JSON_TRUE;
}

/* Reads one item of a sequence at p; returns what follows it, or NULL. */
static const char *
read_sequence_item(const char *p, const char *end, CdcSequencePart *part)
{
	uint64		value = 0;
	int			digits = 0;

	if (end - p >= 4 && memcmp(p, "null", 4) == 0)
		return p + 4;
	if (p == end || *p++ != '"')
		return NULL;
	for (; p < end && *p >= '0' && *p <= '9'; p++, digits++)
	{
		if (value > (PG_UINT64_MAX - (*p - '0')) / 10)
			return NULL;
		value = value * 10 + (*p - '0');
	}
	if (digits == 0 || p == end || *p != '"')
		return NULL;
	part->valid = true;
	part->value = value;
	return p + 1;
}

static const char *
skip_blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

/*
 * Reads source.sequence, a JSON array of two strings of digits or nulls
 * written into a string.  Anything else leaves both parts invalid.
 */
void
cdc_decode_sequence(CdcSequencePart *parts, const char *text, size_t len)
{
	CdcSequencePart read[2] = {{false, 0}, {false, 0}};
	const char *end = text + len;
	const char *p = skip_blanks(text, end);

	for (int i = 0; i < 2; i++)
	{
		if (p == end || *p++ != (i == 0 ? '[' : ','))
			return;
		p = read_sequence_item(skip_blanks(p, end), end, &read[i]);
		if (p == NULL)
			return;
		p = skip_blanks(p, end);
	}
	if (p == end || *p != ']')
		return;
	parts[0] = read[0];
	parts[1] = read[1];
}

/* Is this member name exactly the literal? */
#define IS_NAME(node, literal) \
	(memcmp((node)->text, literal, sizeof(literal) - 1) == 0)

/*
 * Fills the event's source fields from the members of a source block.  They
 * point into the record's text.  Switching on the length first makes this
 * cheap: it runs for every record.
 */
void
cdc_decode_source(CdcEvent *event, const CdcJsonNode *source)
{
	const CdcJsonNode *name = cdc_json_first(source);

	for (uint32 i = 0; i < source->nchildren; i++)
	{
		const CdcJsonNode *value = name + 1;

		switch (name->len)
		{
			case 2:
				if (IS_NAME(name, "db"))
					event->source_db = cdc_decode_str(value);
				break;
			case 4:
				if (IS_NAME(name, "name"))
					event->source_name = cdc_decode_str(value);
				break;
			case 5:
				if (IS_NAME(name, "table"))
					event->source_table = cdc_decode_str(value);
				else if (IS_NAME(name, "ts_ms"))
					event->source_ts_ms = cdc_decode_int64(value);
				break;
			case 6:
				if (IS_NAME(name, "schema"))
					event->source_schema = cdc_decode_str(value);
				break;
			case 8:
				if (IS_NAME(name, "sequence"))
					cdc_decode_sequence(event->sequence, value->text,
										value->len);
				else if (IS_NAME(name, "snapshot"))
					event->snapshot = cdc_decode_snapshot(value);
				break;
			default:
				break;
		}
		name = cdc_json_next(value);
	}
}

/*
 * Copies a header's text with control characters written as JSON escapes:
 * Connect's SimpleHeaderConverter writes them as they are.
 */
static char *
escape_controls(CdcArena *arena, const CdcBytes *value, size_t *len)
{
	static const char hex[] = "0123456789abcdef";
	char	   *text = cdc_arena_alloc(arena, (size_t) value->len * 6);
	char	   *p = text;

	if (text == NULL)
		return NULL;
	for (int32 i = 0; i < value->len; i++)
	{
		unsigned char c = value->data[i];

		if (c >= 0x20)
		{
			*p++ = c;
			continue;
		}
		memcpy(p, "\\u00", 4);
		p[4] = hex[c >> 4];
		p[5] = hex[c & 15];
		p += 6;
	}
	*len = p - text;
	return text;
}

/*
 * Reads the key in a header: an object, or one in an envelope with schema.
 * A header that is anything else is as good as none: *key stays NULL.
 */
static bool
read_key_header(CdcDecodeState *state, CdcArena *arena, const CdcBytes *value,
				const CdcJsonNode **key)
{
	const CdcJsonNode *payload;
	const CdcJsonNode *schema;
	CdcJsonOutput out;
	CdcJsonResult result;

	*key = NULL;
	if (value->data == NULL)
		return true;
	if (!cdc_decode_parse(state, arena, value->data, value->len, &out,
						  &result))
		return false;
	if (result == CDC_JSON_INVALID)
	{
		size_t		len;
		char	   *text = escape_controls(arena, value, &len);

		if (text == NULL ||
			!cdc_decode_parse(state, arena, text, len, &out, &result))
			return false;
		if (result == CDC_JSON_INVALID)
			return true;
	}
	payload = cdc_decode_unwrap(out.nodes, &schema);
	if (payload == NULL)
		payload = out.nodes;
	if (payload->type != CDC_JSON_OBJECT)
		return true;
	*key = cdc_decode_keep(arena, payload);
	return *key != NULL;
}

/*
 * Reads the two headers that name the other key of a key change.  Of a
 * header that occurs twice the last one counts, as in Connect.
 */
bool
cdc_decode_headers(CdcDecodeState *state, CdcArena *arena, CdcEvent *event)
{
	CdcRecord	record = *event->record;

	event->headers_left = false;
	if (!cdc_record_read_headers(&record, arena))
		return false;
	for (int32 i = 0; i < record.nheaders; i++)
	{
		const CdcHeader *header = &record.headers[i];
		const CdcJsonNode **key;

		if (strlen(header->name) != sizeof(NEWKEY) - 1)
			continue;
		if (strcmp(header->name, NEWKEY) == 0)
			key = &event->newkey;
		else if (strcmp(header->name, OLDKEY) == 0)
			key = &event->oldkey;
		else
			continue;
		if (!read_key_header(state, arena, &header->value, key))
			return false;
	}
	return true;
}
