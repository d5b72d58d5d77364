/*-------------------------------------------------------------------------
 *
 * decode_read.c
 *		Bytes of a key or value to its payload, with the schema beside it.
 *
 * Floor 3.  Nodes are read into one array of the state, because most of a
 * record (its source block, its schema) is not needed after decoding; what
 * an event keeps is copied into the arena.  The hard thing is to skip a
 * known schema and still check the whole text: see read_rest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_internal.h"
#include "value.h"

/* nodes to begin with, and how many are kept from one record to the next */
#define FIRST_NODES		1024
#define KEPT_NODES		(1024 * 1024)
/* more are refused: a text of 16 MB can hold as many, and needs 12 times that */
#define MAX_NODES		(8 * 1024 * 1024)

/* Makes room for count nodes; what was in them is lost. */
static bool
make_room(CdcDecodeState *state, size_t count)
{
	CdcJsonNode *nodes = malloc(count * sizeof(CdcJsonNode));

	if (nodes == NULL)
		return false;
	free(state->nodes);
	state->nodes = nodes;
	state->max_nodes = count;
	return true;
}

/*
 * Parses text into state->nodes; unescaped strings go to the arena.  Returns
 * false when memory ran out, else *result is CDC_JSON_OK, or _INVALID with
 * out->message.
 */
bool
cdc_decode_parse(CdcDecodeState *state, CdcArena *arena, const char *text,
				 size_t len, CdcJsonOutput *out, CdcJsonResult *result)
{
	if (state->max_nodes == 0 ||
		(state->max_nodes > KEPT_NODES && len < KEPT_NODES))
	{
		if (!make_room(state, FIRST_NODES))
			return false;
	}
	out->strings = cdc_arena_reserve(arena, len);
	out->max_strings = len;
	if (out->strings == NULL)
		return false;
	for (;;)
	{
		out->nodes = state->nodes;
		out->max_nodes = state->max_nodes;
		*result = cdc_json_parse(state->json, text, len, out);
		if (*result != CDC_JSON_MORE_ROOM)
			break;
		if (state->max_nodes >= MAX_NODES)
		{
			out->message = "there are too many values in it";
			*result = CDC_JSON_INVALID;
			break;
		}
		if (!make_room(state, state->max_nodes * 2))
			return false;
	}
	if (*result == CDC_JSON_OK)
		cdc_arena_commit(arena, out->nstrings);
	return *result != CDC_JSON_NO_MEMORY;
}

/*
 * Payload of a schema-enabled document, with its schema in *schema (JSON
 * null: NULL); NULL where root is not one.  Exactly the two members, and the
 * schema null or an object with a type: a row may have columns so named.
 */
const CdcJsonNode *
cdc_decode_unwrap(const CdcJsonNode *root, const CdcJsonNode **schema)
{
	const CdcJsonNode *payload;

	if (root->type != CDC_JSON_OBJECT || root->nchildren != 2)
		return NULL;
	payload = cdc_json_member(root, "payload");
	*schema = payload ? cdc_json_member(root, "schema") : NULL;
	if (*schema == NULL)
		return NULL;
	if ((*schema)->type == CDC_JSON_NULL)
		*schema = NULL;
	else if ((*schema)->type != CDC_JSON_OBJECT ||
			 cdc_json_member(*schema, "type") == NULL)
		return NULL;
	return payload;
}

/*
 * How many bytes of text stand before the payload, where the payload is the
 * last member and its raw text is known; else 0.
 */
static size_t
find_prefix(const char *text, const CdcJsonNode *root,
			const CdcJsonNode *payload)
{
	if (cdc_json_next(payload) != cdc_json_next(root) ||
		payload->type == CDC_JSON_STRING)
		return 0;
	return payload->text - text;
}

/*
 * Reads a document whose first bytes are those of an earlier one, up to its
 * payload: they were checked then, and end where a value begins.  So the
 * text is a document of the same form exactly if what follows is one value
 * and a closing brace.  *done stays false where it is not that simple; the
 * whole text is read then.
 */
static bool
read_rest(CdcDecodeState *state, CdcArena *arena, const char *rest, size_t len,
		  const CdcSchemaEntry *entry, CdcDocument *document, bool *done)
{
	CdcJsonOutput out;
	CdcJsonResult result;

	if (len == 0 || rest[len - 1] != '}')
		return true;
	if (!cdc_decode_parse(state, arena, rest, len - 1, &out, &result))
		return false;
	if (result == CDC_JSON_OK)
	{
		document->payload = out.nodes;
		document->schema = entry;
		*done = true;
	}
	return true;
}

/* Notes what the reader said about a text that is not JSON. */
static bool
not_json(CdcArena *arena, const CdcJsonOutput *out, CdcDocument *document)
{
	char	   *detail = cdc_arena_alloc(arena, 128);

	if (detail == NULL)
		return false;
	if (out->at > 0)
		snprintf(detail, 128, "At byte %zu: %s.", out->at, out->message);
	else
		snprintf(detail, 128, "The JSON reader said: %s.", out->message);
	document->problem = "is not valid JSON";
	document->detail = detail;
	document->sqlstate = ERRCODE_INVALID_JSON_TEXT;
	return true;
}

/*
 * Reads a key, or a value that stands together, which is no Kafka null.  slot
 * tells apart the partitions, and key and value, for the cache of schemas.
 * Returns false when memory ran out; document->problem is set where it is
 * not readable.  The payload stands in state->nodes until the next text is
 * parsed.
 */
bool
cdc_decode_read(CdcDecodeState *state, CdcArena *arena, const CdcBytes *bytes,
				int slot, CdcDocument *document)
{
	const CdcSchemaEntry *entry;
	const CdcJsonNode *payload;
	const CdcJsonNode *schema;
	CdcJsonOutput out;
	CdcJsonResult result;
	bool		done = false;

	memset(document, 0, sizeof(*document));
	entry = cdc_schemas_recent(state->schemas, slot, bytes->data, bytes->len);
	if (entry != NULL &&
		!read_rest(state, arena, bytes->data + entry->prefix_len,
				   bytes->len - entry->prefix_len, entry, document, &done))
		return false;
	if (done)
		return true;
	if (!cdc_decode_parse(state, arena, bytes->data, bytes->len, &out,
						  &result))
		return false;
	if (result == CDC_JSON_INVALID)
		return not_json(arena, &out, document);
	document->payload = out.nodes;
	payload = cdc_decode_unwrap(out.nodes, &schema);
	if (payload == NULL)
		return true;
	document->payload = payload;
	document->sqlstate = ERRCODE_DATA_EXCEPTION;
	if (schema == NULL)
		return true;
	return cdc_schemas_find(state->schemas, arena, slot, bytes->data,
							find_prefix(bytes->data, out.nodes, payload),
							schema, &document->schema, &document->problem);
}

/*
 * Reads the value of a record as cdc_decode_read does.  One whose beginning
 * stands elsewhere, and is not what stands before a payload, is joined.
 */
bool
cdc_decode_read_value(CdcDecodeState *state, CdcArena *arena,
					  const CdcRecord *record, CdcDocument *document)
{
	const CdcBytes *start = &record->start;
	int			slot = record->part * 2;
	const CdcSchemaEntry *entry;
	CdcBytes	whole;
	bool		done = false;

	if (start->data == NULL)
		return cdc_decode_read(state, arena, &record->value, slot, document);
	memset(document, 0, sizeof(*document));
	entry = cdc_schemas_recent(state->schemas, slot, start->data, start->len);
	if (entry != NULL && entry->prefix_len == (size_t) start->len &&
		!read_rest(state, arena, record->value.data, record->value.len, entry,
				   document, &done))
		return false;
	if (done)
		return true;
	return cdc_value_join(arena, record, &whole) &&
		cdc_decode_read(state, arena, &whole, slot, document);
}

/* Copies a subtree out of state->nodes into the arena.  NULL: no memory. */
const CdcJsonNode *
cdc_decode_keep(CdcArena *arena, const CdcJsonNode *node)
{
	size_t		size = (size_t) node->span * sizeof(CdcJsonNode);
	CdcJsonNode *copy = cdc_arena_alloc(arena, size);

	if (copy != NULL)
		memcpy(copy, node, size);
	return copy;
}

/*
 * Makes the event an error.  field and hint must live as long as the event
 * (static or in its arena) or be NULL; the message is formatted into the
 * arena.
 */
bool
cdc_decode_fail(CdcEvent *event, CdcArena *arena, int sqlstate,
				const char *field, const char *hint, const char *format,...)
{
	CdcError   *error = cdc_arena_alloc(arena, sizeof(*error));
	char		text[256];
	va_list		args;

	if (error == NULL)
		return false;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	memset(error, 0, sizeof(*error));
	error->sqlstate = sqlstate;
	error->message = cdc_arena_copy(arena, text, strlen(text));
	error->field = field;
	error->hint = hint;
	event->error = error;
	return error->message != NULL;
}

/*
 * Writes the beginning of a value into buffer (CDC_EXCERPT_LEN bytes) for a
 * message: whole characters only, "..." where it was cut.
 */
const char *
cdc_decode_excerpt(const CdcJsonNode *node, char *buffer)
{
	size_t		len = node->len;
	size_t		room = CDC_EXCERPT_LEN - 4;

	if (len > room)
	{
		len = room;
		while (len > 0 && ((unsigned char) node->text[len] & 0xC0) == 0x80)
			len--;
		memcpy(buffer, node->text, len);
		memcpy(buffer + len, "...", 4);
	}
	else
	{
		memcpy(buffer, node->text, len);
		buffer[len] = '\0';
	}
	return buffer;
}

/* Error of a document that was not readable; what: "record key" or so. */
bool
cdc_decode_fail_document(CdcEvent *event, CdcArena *arena, const char *what,
						 const CdcDocument *document)
{
	bool		limit = document->problem == CDC_SCHEMA_LIMIT;

	if (!cdc_decode_fail(event, arena, limit ?
						 ERRCODE_PROGRAM_LIMIT_EXCEEDED : document->sqlstate,
						 NULL, limit ?
						 "Disable and enable the subscription: it then starts with none." : NULL,
						 "%s %s", what, document->problem))
		return false;
	event->error->detail = document->detail;
	return true;
}
