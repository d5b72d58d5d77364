/*-------------------------------------------------------------------------
 *
 * decode_control.c
 *		Records that are no row data: heartbeats, transaction boundaries,
 *		schema changes, notifications, signals.
 *
 * Floor 3.  They are told by their members (debezium-format.md 1.1), because
 * names of topics are configurable.  A flattened row could look alike, so
 * each test asks for more than the members that have telling names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_internal.h"

static const char *const signal_types[] =
{
	"execute-snapshot", "stop-snapshot", "pause-snapshot", "resume-snapshot",
	"schema-changes", "log", "snapshot-window-open", "snapshot-window-close"
};

static bool
is_string(const CdcJsonNode *node)
{
	return node != NULL && node->type == CDC_JSON_STRING;
}

static bool
is_null_or(const CdcJsonNode *node, CdcJsonType type)
{
	return node != NULL &&
		(node->type == CDC_JSON_NULL || node->type == type);
}

/* BEGIN or END of a source transaction. */
static bool
is_transaction(const CdcJsonNode *root)
{
	const CdcJsonNode *status = cdc_json_member(root, "status");

	return is_string(status) &&
		(cdc_json_is(status, "BEGIN") || cdc_json_is(status, "END")) &&
		is_string(cdc_json_member(root, "id")) &&
		is_null_or(cdc_json_member(root, "event_count"), CDC_JSON_NUMBER);
}

/* Only ts_ms, under a key that names the connector. */
static bool
is_heartbeat(const CdcEvent *event, const CdcJsonNode *root)
{
	return root->nchildren == 1 &&
		cdc_json_member(root, "ts_ms") != NULL &&
		event->key != NULL && event->key->type == CDC_JSON_OBJECT &&
		cdc_json_member(event->key, "serverName") != NULL;
}

static bool
is_schema_change(const CdcJsonNode *root)
{
	const CdcJsonNode *changes = cdc_json_member(root, "tableChanges");

	return is_null_or(changes, CDC_JSON_ARRAY) &&
		(cdc_json_member(root, "ddl") != NULL ||
		 cdc_json_member(root, "databaseName") != NULL);
}

static bool
is_notification(const CdcJsonNode *root)
{
	return is_string(cdc_json_member(root, "type")) &&
		is_string(cdc_json_member(root, "aggregate_type")) &&
		is_null_or(cdc_json_member(root, "additional_data"),
				   CDC_JSON_OBJECT);
}

/*
 * A signal sent to the connector through a topic: a known type, data that is
 * an object, and a plain text (the connector's name) as key.  A row of a
 * signal table is a row like any other.
 */
static bool
is_signal(const CdcEvent *event, const CdcJsonNode *root)
{
	const CdcJsonNode *type = cdc_json_member(root, "type");
	const CdcJsonNode *data = cdc_json_member(root, "data");

	if (!is_string(type) || data == NULL || data->type != CDC_JSON_OBJECT ||
		root->nchildren > (cdc_json_member(root, "id") != NULL ? 3 : 2) ||
		event->key == NULL || event->key->type != CDC_JSON_STRING)
		return false;
	for (size_t i = 0; i < lengthof(signal_types); i++)
	{
		if (cdc_json_is(type, signal_types[i]))
			return true;
	}
	return false;
}

/* Sets event->kind and returns true where root is a control record. */
bool
cdc_decode_control(CdcEvent *event, const CdcJsonNode *root)
{
	if (is_transaction(root))
		event->kind = CDC_KIND_TRANSACTION;
	else if (is_heartbeat(event, root))
		event->kind = CDC_KIND_HEARTBEAT;
	else if (is_schema_change(root))
		event->kind = CDC_KIND_SCHEMA_CHANGE;
	else if (is_notification(root))
		event->kind = CDC_KIND_NOTIFICATION;
	else if (is_signal(event, root))
		event->kind = CDC_KIND_SIGNAL;
	else
		return false;
	event->source_ts_ms = cdc_decode_int64(cdc_json_member(root, "ts_ms"));
	return true;
}
