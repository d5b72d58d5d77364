/*-------------------------------------------------------------------------
 *
 * decode_cloudevent.c
 *		Change events in CloudEvents 1.0 form, structured JSON.
 *
 * Floor 3.  The rows stand in "data", op and source block in extension
 * attributes iodebezium*, all of them strings.  Two of those differ only by
 * case (iodebeziumtxId and iodebeziumtxid), so names are compared exactly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_internal.h"

/* Attributes of a CloudEvent, told by what every one of them has. */
bool
cdc_decode_is_cloudevent(const CdcJsonNode *root)
{
	const CdcJsonNode *type;

	if (cdc_json_member(root, "specversion") == NULL)
		return false;
	if (cdc_json_member(root, "iodebeziumop") != NULL)
		return true;
	/* without extension attributes, by the type that Debezium gives */
	type = cdc_json_member(root, "type");
	return type != NULL && type->type == CDC_JSON_STRING &&
		type->len > 12 && memcmp(type->text, "io.debezium.", 12) == 0;
}

/* Takes the source block from the extension attributes. */
static void
read_source(CdcEvent *event, const CdcJsonNode *root)
{
	const CdcJsonNode *sequence = cdc_json_member(root, "iodebeziumsequence");

	event->source_name = cdc_decode_str(cdc_json_member(root, "iodebeziumname"));
	event->source_db = cdc_decode_str(cdc_json_member(root, "iodebeziumdb"));
	event->source_schema =
		cdc_decode_str(cdc_json_member(root, "iodebeziumschema"));
	event->source_table =
		cdc_decode_str(cdc_json_member(root, "iodebeziumtable"));
	event->source_ts_ms =
		cdc_decode_int64(cdc_json_member(root, "iodebeziumtsms"));
	if (sequence != NULL)
		cdc_decode_sequence(event->sequence, sequence->text, sequence->len);
	event->snapshot = event->op == CDC_OP_READ ||
		cdc_decode_snapshot(cdc_json_member(root, "iodebeziumsnapshot"));
}

/*
 * Finds the rows in "data", which may carry a schema of its own; sets
 * event->row_schema.  *data is NULL and the error set where there are none.
 */
static bool
open_data(CdcDecodeState *state, CdcArena *arena, CdcEvent *event,
		  const CdcJsonNode *root, int slot, const CdcJsonNode **data)
{
	const CdcJsonNode *node = cdc_json_member(root, "data");
	const CdcJsonNode *payload;
	const CdcJsonNode *schema = NULL;
	CdcDocument document = {.sqlstate = ERRCODE_DATA_EXCEPTION};

	*data = NULL;
	payload = node ? cdc_decode_unwrap(node, &schema) : NULL;
	if (payload != NULL)
		node = payload;
	if (node == NULL || node->type != CDC_JSON_OBJECT)
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, "data",
							   "Set value.converter.data.serializer.type=json in the connector.",
							   "\"data\" of a CloudEvent is not a JSON object");
	if (schema != NULL &&
		!cdc_schemas_find(state->schemas, arena, slot, schema->text, 0,
						  schema, &document.schema, &document.problem))
		return false;
	if (document.problem != NULL)
		return cdc_decode_fail_document(event, arena, "record value",
										&document);
	event->row_schema = document.schema ? document.schema->row : NULL;
	*data = node;
	return true;
}

/* Fills the event from a CloudEvent. */
bool
cdc_decode_cloudevent(CdcDecodeState *state, CdcArena *arena, CdcEvent *event,
					  const CdcJsonNode *root, int slot)
{
	const CdcJsonNode *op = cdc_json_member(root, "iodebeziumop");
	const CdcJsonNode *data;

	if (op == NULL)
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION,
							   "iodebeziumop",
							   "Set value.converter.extension.attributes.enable=true in the connector.",
							   "CloudEvent does not say its operation");
	if (!cdc_decode_op(arena, event, op, "iodebeziumop"))
		return false;
	if (event->error != NULL)
		return true;
	read_source(event, root);
	if (event->op == CDC_OP_MESSAGE)
	{
		event->kind = CDC_KIND_MESSAGE;
		return true;
	}
	if (!open_data(state, arena, event, root, slot, &data))
		return false;
	if (event->error != NULL)
		return true;
	return cdc_decode_rows(arena, event, cdc_json_member(data, "before"),
						   cdc_json_member(data, "after"));
}
