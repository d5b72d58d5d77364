/*-------------------------------------------------------------------------
 *
 * decode_flat.c
 *		Rows without envelope, as the flattening transform writes them.
 *
 * Floor 3.  Whether such a row is a write or a delete stands in fields that
 * the transform added among the columns: __deleted in the rewrite modes, and
 * __op where the source's add.fields asks for it.  The hard thing: a table
 * may have columns so named.  Where the subscription's source names the
 * transform, only the fields that it adds count; else both names do, and a
 * value that cannot be theirs is an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_internal.h"

/* not subject to add.fields.prefix */
#define DELETED_FIELD	"__deleted"

static const char source_hint[] =
"If this is a column, give the transforms.* settings of the connector in the"
" subscription's source.";

/* Does the transform, as configured, add __deleted? */
static bool
adds_deleted(const CdcSourceSettings *settings)
{
	return settings->flatten_mode == CDC_FLATTEN_UNKNOWN ||
		settings->flatten_mode == CDC_FLATTEN_REWRITE ||
		settings->flatten_mode == CDC_FLATTEN_REWRITE_WITH_TOMBSTONE;
}

/*
 * Reads __deleted, a string by Debezium and a boolean by some converters.
 * *known tells whether the row says anything; null says nothing.
 */
static bool
read_deleted(const CdcSourceSettings *settings, CdcArena *arena,
			 CdcEvent *event, const CdcJsonNode *row, bool *known,
			 bool *deleted)
{
	const CdcJsonNode *value;
	char		excerpt[CDC_EXCERPT_LEN];

	*known = *deleted = false;
	if (!adds_deleted(settings))
		return true;
	value = cdc_json_member(row, DELETED_FIELD);
	if (value == NULL || value->type == CDC_JSON_NULL)
		return true;
	*known = true;
	if (value->type == CDC_JSON_TRUE || cdc_json_is(value, "true"))
		*deleted = true;
	else if (value->type != CDC_JSON_FALSE && !cdc_json_is(value, "false"))
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION,
							   DELETED_FIELD, source_hint,
							   "\"%s\" is \"%s\", neither true nor false",
							   DELETED_FIELD,
							   cdc_decode_excerpt(value, excerpt));
	return true;
}

/*
 * Sets event->op of a row: CDC_OP_WRITE where it does not say.  A null op is
 * as good as none.
 */
static bool
read_op(const CdcSourceSettings *settings, CdcArena *arena, CdcEvent *event,
		const CdcJsonNode *row)
{
	const char *field = settings->op_field;
	const CdcJsonNode *op = field ? cdc_json_member(row, field) : NULL;
	char		excerpt[CDC_EXCERPT_LEN];

	event->op = CDC_OP_WRITE;
	if (op == NULL || op->type == CDC_JSON_NULL)
		return true;
	if (op->type == CDC_JSON_STRING && op->len == 1 && op->text[0] != '\0' &&
		strchr("crud", op->text[0]) != NULL)
	{
		event->op = (CdcOp) op->text[0];
		return true;
	}
	return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, field,
						   source_hint,
						   "unknown operation \"%s\" in a row without envelope",
						   cdc_decode_excerpt(op, excerpt));
}

/* Takes what add.fields brought of the source block. */
static void
read_source(const CdcSourceSettings *settings, CdcEvent *event,
			const CdcJsonNode *row)
{
	if (settings->name_field)
		event->source_name =
			cdc_decode_str(cdc_json_member(row, settings->name_field));
	if (settings->db_field)
		event->source_db =
			cdc_decode_str(cdc_json_member(row, settings->db_field));
	if (settings->schema_field)
		event->source_schema =
			cdc_decode_str(cdc_json_member(row, settings->schema_field));
	if (settings->table_field)
		event->source_table =
			cdc_decode_str(cdc_json_member(row, settings->table_field));
	if (settings->ts_ms_field)
		event->source_ts_ms =
			cdc_decode_int64(cdc_json_member(row, settings->ts_ms_field));
}

/*
 * Fills the event from a flattened row; the row, added fields included, is
 * kept in after, that of a delete in before.
 */
bool
cdc_decode_flat(CdcDecodeState *state, CdcArena *arena, CdcEvent *event,
				const CdcJsonNode *row, const CdcSchemaEntry *schema)
{
	const CdcSourceSettings *settings = state->settings;
	bool		known;
	bool		deleted;

	event->flattened = true;
	if (row->nchildren == 0)
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, NULL,
							   NULL, "record value is an empty object");
	if (!read_deleted(settings, arena, event, row, &known, &deleted) ||
		!read_op(settings, arena, event, row))
		return false;
	if (event->error != NULL)
		return true;
	if (known && event->op != CDC_OP_WRITE &&
		deleted != (event->op == CDC_OP_DELETE))
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION,
							   DELETED_FIELD, source_hint,
							   "\"%s\" contradicts operation \"%c\"",
							   DELETED_FIELD, event->op);
	if (deleted)
		event->op = CDC_OP_DELETE;
	event->snapshot = event->op == CDC_OP_READ;
	read_source(settings, event, row);
	event->row_schema = schema ? schema->root : NULL;
	row = cdc_decode_keep(arena, row);
	if (event->op == CDC_OP_DELETE)
		event->before = row;
	else
		event->after = row;
	return row != NULL;
}
