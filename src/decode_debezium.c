/*-------------------------------------------------------------------------
 *
 * decode_debezium.c
 *		Debezium records in JSON, in all their forms.
 *
 * Floor 3.  What a record is, it says itself: with or without schema,
 * envelope, flattened row, CloudEvent or control record, each told apart by
 * its content in the order of debezium-format.md 1.1, so one topic may mix
 * them.  The hard thing is that a table may have columns called op, before,
 * source or schema: a form is only believed when the types of its members
 * are right too, and half an envelope is an error rather than a row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_internal.h"

/* Members of a value that make it an envelope, as found; NULL: absent. */
typedef struct Envelope
{
	const CdcJsonNode *before;
	const CdcJsonNode *after;
	const CdcJsonNode *source;
	const CdcJsonNode *op;
} Envelope;

static bool
is_type(const CdcJsonNode *node, CdcJsonType type)
{
	return node != NULL && node->type == type;
}

/* Is this a value in the framing of a schema registry? */
static bool
is_framed(const CdcBytes *bytes)
{
	return bytes->len >= 5 && bytes->data[0] == '\0';
}

static bool
fail_framed(CdcEvent *event, CdcArena *arena, const char *what)
{
	return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, NULL,
						   "Use org.apache.kafka.connect.json.JsonConverter in the connector.",
						   "%s is in the format of a schema registry (Avro, Protobuf), which is not supported yet",
						   what);
}

/*
 * Takes a key that is no JSON: plain text is a key by StringConverter.  What
 * begins like JSON is broken rather than plain.
 */
static bool
keep_plain_key(CdcArena *arena, CdcEvent *event, const CdcBytes *bytes,
			   const CdcDocument *document)
{
	CdcJsonNode *node;

	if (bytes->len > 0 && strchr("{[\"", bytes->data[0]) != NULL)
		return cdc_decode_fail_document(event, arena, "record key", document);
	if (!cdc_json_is_utf8(bytes->data, bytes->len))
		return cdc_decode_fail(event, arena, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
							   NULL, NULL,
							   "record key is neither JSON nor UTF-8 text");
	node = cdc_arena_alloc(arena, sizeof(*node));
	if (node == NULL)
		return false;
	node->text = bytes->data;
	node->len = bytes->len;
	node->span = 1;
	node->nchildren = 0;
	node->type = CDC_JSON_STRING;
	event->key = node;
	return true;
}

/*
 * Reads the record key into event->key and key_schema, or sets the error;
 * the caller drops it again where the record needs no key.
 */
static bool
read_key(CdcDecodeState *state, CdcArena *arena, CdcEvent *event)
{
	const CdcRecord *record = event->record;
	CdcDocument document;

	if (record->key.data == NULL)
		return true;
	if (is_framed(&record->key))
		return fail_framed(event, arena, "record key");
	if (!cdc_decode_read(state, arena, &record->key, record->part * 2 + 1,
						 &document))
		return false;
	if (document.payload == NULL)
		return keep_plain_key(arena, event, &record->key, &document);
	if (document.problem != NULL)
		return cdc_decode_fail_document(event, arena, "record key", &document);
	if (document.payload->type == CDC_JSON_NULL)
		return true;
	if (document.payload->type == CDC_JSON_ARRAY)
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, NULL,
							   NULL, "record key is an array");
	if (document.schema != NULL)
	{
		event->key_schema = document.schema->root;
		if ((event->key_schema->type == CDC_CONNECT_STRUCT) !=
			(document.payload->type == CDC_JSON_OBJECT))
			return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, NULL,
								   NULL, "record key does not fit its schema");
	}
	event->key = cdc_decode_keep(arena, document.payload);
	return event->key != NULL;
}

/* Finds the members of an envelope in one pass; the last of equal ones. */
static void
find_members(const CdcJsonNode *root, Envelope *envelope)
{
	const CdcJsonNode *name = cdc_json_first(root);

	memset(envelope, 0, sizeof(*envelope));
	for (uint32 i = 0; i < root->nchildren; i++)
	{
		const CdcJsonNode *value = name + 1;

		switch (name->len)
		{
			case 2:
				if (memcmp(name->text, "op", 2) == 0)
					envelope->op = value;
				break;
			case 5:
				if (memcmp(name->text, "after", 5) == 0)
					envelope->after = value;
				break;
			case 6:
				if (memcmp(name->text, "before", 6) == 0)
					envelope->before = value;
				else if (memcmp(name->text, "source", 6) == 0)
					envelope->source = value;
				break;
			default:
				break;
		}
		name = cdc_json_next(value);
	}
}

/* Fills the event from an envelope. */
static bool
read_envelope(CdcArena *arena, CdcEvent *event, const Envelope *envelope,
			  const CdcSchemaEntry *schema)
{
	cdc_decode_source(event, envelope->source);
	if (!cdc_decode_op(arena, event, envelope->op, "op"))
		return false;
	if (event->error != NULL)
		return true;
	if (event->op == CDC_OP_READ)
		event->snapshot = true;
	event->row_schema = schema ? schema->row : NULL;
	return cdc_decode_rows(arena, event, envelope->before, envelope->after);
}

/*
 * Is this an envelope that lacks its op or its source block?  A flattened
 * row whose columns before or after are objects next to a column op or
 * source is not believable, and to write it as a row would lose the change.
 */
static bool
is_broken_envelope(const Envelope *envelope)
{
	if (is_type(envelope->source, CDC_JSON_OBJECT))
		return (envelope->before != NULL || envelope->after != NULL) &&
			cdc_json_member(envelope->source, "table") != NULL;
	return envelope->op != NULL && envelope->before != NULL &&
		envelope->after != NULL &&
		(envelope->before->type == CDC_JSON_OBJECT ||
		 envelope->after->type == CDC_JSON_OBJECT);
}

static bool
fail_broken_envelope(CdcEvent *event, CdcArena *arena,
					 const Envelope *envelope)
{
	if (is_type(envelope->source, CDC_JSON_OBJECT))
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, "op",
							   NULL, envelope->op == NULL ?
							   "change event has no operation" :
							   "operation of a change event is not a string");
	return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, "source",
						   NULL, "change event has no source block");
}

/* Fills the event from a value that is an object. */
static bool
read_object(CdcDecodeState *state, CdcArena *arena, CdcEvent *event,
			const CdcJsonNode *root, const CdcSchemaEntry *schema)
{
	Envelope	envelope;

	find_members(root, &envelope);
	if (is_type(envelope.op, CDC_JSON_STRING) &&
		is_type(envelope.source, CDC_JSON_OBJECT))
		return read_envelope(arena, event, &envelope, schema);
	if (is_broken_envelope(&envelope))
		return fail_broken_envelope(event, arena, &envelope);
	if (cdc_decode_is_cloudevent(root))
		return cdc_decode_cloudevent(state, arena, event, root,
									 event->record->part * 2);
	if (cdc_decode_control(event, root))
		return true;
	return cdc_decode_flat(state, arena, event, root, schema);
}

/*
 * Fills the event from the record value, which is no Kafka null.  JSON null,
 * bare or as payload, is how the flattening transform writes a delete.
 */
static bool
read_value(CdcDecodeState *state, CdcArena *arena, CdcEvent *event)
{
	const CdcRecord *record = event->record;
	CdcDocument document;

	event->kind = CDC_KIND_CHANGE;
	if (record->start.data == NULL && is_framed(&record->value))
		return fail_framed(event, arena, "record value");
	if (!cdc_decode_read_value(state, arena, record, &document))
		return false;
	if (document.problem != NULL)
		return cdc_decode_fail_document(event, arena, "record value", &document);
	if (document.payload->type == CDC_JSON_NULL)
	{
		event->kind = CDC_KIND_TOMBSTONE;
		event->flattened = true;
		event->row_schema = document.schema ? document.schema->root : NULL;
		return true;
	}
	if (document.payload->type == CDC_JSON_OBJECT)
		return read_object(state, arena, event, document.payload,
						   document.schema);
	return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, NULL,
						   "A change event is a JSON object.",
						   "record value is not a change event");
}

/*
 * Is the key of no use to this event?  Then its being unreadable does not
 * matter.
 */
static bool
ignores_key(const CdcEvent *event)
{
	switch (event->kind)
	{
		case CDC_KIND_CHANGE:
			return event->op == CDC_OP_TRUNCATE;
		case CDC_KIND_TOMBSTONE:
			return false;
		default:
			return true;
	}
}

/*
 * Does the event delete a row without saying which?  An envelope names it
 * by its old row where there is no key; a null value by the key only.
 */
static bool
lacks_key(const CdcEvent *event)
{
	return event->key == NULL && event->before == NULL &&
		(event->kind == CDC_KIND_TOMBSTONE || event->op == CDC_OP_DELETE);
}

/*
 * Can the headers be left until somebody needs them?  To read them costs as
 * much as a fifth of an insert, and of a row that is written they are needed
 * only if its key changed.  Without source.sequence every half of a key change
 * must be known for one, as the next of the same key could be mistaken for it.
 */
static bool
leaves_headers(const CdcEvent *event)
{
	return event->record->source != NULL && event->after != NULL &&
		event->op != CDC_OP_DELETE && event->sequence[1].valid;
}

/*
 * Reads what belongs to the key once the value is known: the error of an
 * unreadable key, and the headers of a key change.
 */
static bool
finish_key(CdcDecodeState *state, CdcArena *arena, CdcEvent *event,
		   CdcError *key_error)
{
	if (event->error != NULL || ignores_key(event))
		return true;
	if (key_error != NULL)
	{
		event->error = key_error;
		return true;
	}
	if (lacks_key(event))
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, NULL,
							   "Rows of a table without a key can only be deleted by events that hold the old row (REPLICA IDENTITY FULL).",
							   "delete has neither a row nor a record key");
	event->headers_left = leaves_headers(event);
	return event->headers_left || cdc_decode_headers(state, arena, event);
}

static bool
decode(CdcDecodeState *state, const CdcRecord *record, CdcArena *arena,
	   CdcEvent *event)
{
	CdcError   *key_error;

	memset(event, 0, sizeof(*event));
	event->record = record;
	event->source_ts_ms = -1;
	if (!read_key(state, arena, event))
		return false;
	key_error = event->error;
	event->error = NULL;
	if (record->value.data != NULL)
	{
		if (!read_value(state, arena, event))
			return false;
	}
	else if (event->key == NULL && key_error == NULL)
	{
		event->kind = CDC_KIND_EMPTY;
		return true;
	}
	else
		event->kind = CDC_KIND_TOMBSTONE;
	return finish_key(state, arena, event, key_error);
}

static void
close_state(CdcDecodeState *state)
{
	if (state->json != NULL)
		cdc_json_free(state->json);
	cdc_schemas_close(state->schemas);
	free(state->nodes);
	free(state);
}

static CdcDecodeState *
open_state(const CdcSourceSettings *settings)
{
	CdcDecodeState *state = calloc(1, sizeof(*state));

	if (state == NULL)
		return NULL;
	state->settings = settings;
	state->json = cdc_json_create();
	state->schemas = cdc_schemas_open();
	if (state->json == NULL || state->schemas == NULL)
	{
		close_state(state);
		return NULL;
	}
	return state;
}

const CdcDecoder cdc_decoder_debezium = {
	.name = "debezium",
	.open = open_state,
	.decode = decode,
	.read_headers = cdc_decode_headers,
	.close = close_state,
};
