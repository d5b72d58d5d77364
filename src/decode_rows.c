/*-------------------------------------------------------------------------
 *
 * decode_rows.c
 *		op, before and after of a change: which of them must be there.
 *
 * Floor 3.  Debezium takes op in either case; here only the lower-case codes
 * are known, and a row is an object or the event is an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_internal.h"

/*
 * Sets event->op from a member, or the error; field names the member.  Not
 * for flattened rows, whose op may be absent.
 */
bool
cdc_decode_op(CdcArena *arena, CdcEvent *event, const CdcJsonNode *op,
			  const char *field)
{
	char		excerpt[CDC_EXCERPT_LEN];

	if (op->type == CDC_JSON_STRING && op->len == 1 &&
		strchr("crudtm", op->text[0]) != NULL && op->text[0] != '\0')
	{
		event->op = (CdcOp) op->text[0];
		return true;
	}
	return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, field,
						   "Known are \"c\", \"r\", \"u\", \"d\", \"t\" and \"m\".",
						   "unknown operation \"%s\"",
						   cdc_decode_excerpt(op, excerpt));
}

static const char *
type_name(const CdcJsonNode *node)
{
	if (node == NULL)
		return "absent";
	switch ((CdcJsonType) node->type)
	{
		case CDC_JSON_NULL:
			return "null";
		case CDC_JSON_FALSE:
		case CDC_JSON_TRUE:
			return "a boolean";
		case CDC_JSON_NUMBER:
			return "a number";
		case CDC_JSON_STRING:
			return "a string";
		case CDC_JSON_ARRAY:
			return "an array";
		case CDC_JSON_OBJECT:
			return "an object";
	}
	return "unknown";
}

/*
 * Keeps one row image in *row.  It may be absent or null unless required;
 * anything else that is no object is an error.
 */
static bool
keep_row(CdcArena *arena, CdcEvent *event, const CdcJsonNode *node,
		 const char *field, bool required, const CdcJsonNode **row)
{
	if (node != NULL && node->type == CDC_JSON_OBJECT)
	{
		*row = cdc_decode_keep(arena, node);
		return *row != NULL;
	}
	if (!required && (node == NULL || node->type == CDC_JSON_NULL))
		return true;
	return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, field,
						   "A row is an object with a member for each column.",
						   "\"%s\" of an event with operation \"%c\" is %s",
						   field, event->op, type_name(node));
}

/*
 * Checks and keeps before and after (NULL: absent) as event->op demands.
 * A truncate and a logical message have none.
 */
bool
cdc_decode_rows(CdcArena *arena, CdcEvent *event, const CdcJsonNode *before,
				const CdcJsonNode *after)
{
	if (event->op == CDC_OP_MESSAGE)
	{
		event->kind = CDC_KIND_MESSAGE;
		return true;
	}
	if (event->op == CDC_OP_TRUNCATE)
		return true;
	if (!keep_row(arena, event, before, "before", false, &event->before))
		return false;
	if (event->error != NULL)
		return true;
	if (event->op == CDC_OP_DELETE)
	{
		if (after == NULL || after->type == CDC_JSON_NULL)
			return true;
		return cdc_decode_fail(event, arena, ERRCODE_DATA_EXCEPTION, "after",
							   "A delete has the old row in \"before\" and null in \"after\".",
							   "\"after\" of a delete is %s",
							   type_name(after));
	}
	return keep_row(arena, event, after, "after", true, &event->after);
}
