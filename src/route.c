/*-------------------------------------------------------------------------
 *
 * route.c
 *		Which relation an event is for, and what it asks of it.
 *
 * Floor 6.  Called by apply.c, once per event and attempt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "addcolumn.h"
#include "errors.h"
#include "route.h"

/*
 * cdc_route_begin makes the router ready for a range: relations are looked
 * up (and rebuilt after DDL) once per range and stay as they are within it.
 */
void
cdc_route_begin(CdcRouter *router, CdcRelmap *relmap, CdcRoleScope *role,
				CdcPartition **parts)
{
	router->relmap = relmap;
	router->role = role;
	router->parts = parts;
	router->begun = false;
	router->relations = palloc0(Max(relmap->subscription->nmappings, 1) *
								sizeof(CdcRelation *));
}

/* cdc_change_blame: see route.h. */
void
cdc_change_blame(const CdcChange *change)
{
	cdc_error_position_reset();
	cdc_error_position.record = change->event->record;
	cdc_error_position.relation = change->rel->name;
	cdc_error_position.in_value = true;
}

/* The relation of a mapping, once per range. */
static CdcRelation *
relation_of(CdcRouter *router, const CdcMapping *mapping)
{
	int			i = mapping - router->relmap->subscription->mappings;

	if (router->relations[i] == NULL)
	{
		cdc_role_return(router->role);
		router->relations[i] = cdc_relmap_get(router->relmap, mapping);
	}
	return router->relations[i];
}

/*
 * The relation for an event, with the columns that its schema names where
 * the mapping says that they are added.  That is done before anything of the
 * range is routed: else the error makes apply.c end the range before this
 * record and start another one with it.
 */
static CdcRelation *
relation_for(CdcRouter *router, const CdcMapping *mapping,
			 const CdcEvent *event)
{
	CdcRelation *rel = relation_of(router, mapping);
	bool		first = !router->begun;

	router->begun = true;
	if (mapping->options.on_unknown_column != CDC_UNKNOWN_COLUMN_ADD ||
		!cdc_addcolumn_needed(rel, event))
		return rel;
	if (!first)
		ereport(ERROR,
				(errcode(ERRCODE_CDC_CUT_RANGE),
				 errmsg_internal("columns are added to %s first", rel->name)));
	cdc_role_become(router->role, rel);
	cdc_addcolumn_add(rel, event);
	router->relations[mapping - router->relmap->subscription->mappings] = NULL;
	return relation_of(router, mapping);
}

/* Does the event's source block name this 'schema.table'? */
static bool
names_table(const CdcEvent *event, const char *source_table)
{
	CdcStr		schema = event->source_schema.data ? event->source_schema :
		event->source_db;
	size_t		len = strlen(source_table);

	return len == (size_t) schema.len + 1 + event->source_table.len &&
		memcmp(source_table, schema.data, schema.len) == 0 &&
		source_table[schema.len] == '.' &&
		memcmp(source_table + schema.len + 1, event->source_table.data,
			   event->source_table.len) == 0;
}

/*
 * cdc_route_mapping: see route.h.
 */
const CdcMapping *
cdc_route_mapping(const CdcPartition *part, const CdcEvent *event, bool *skip)
{
	*skip = true;
	if (part->nmappings == 0)
		return NULL;
	if (part->mappings[0].source_table == NULL)
		return &part->mappings[0];
	if (event->source_table.data == NULL ||
		(event->source_schema.data == NULL && event->source_db.data == NULL))
	{
		*skip = event->kind == CDC_KIND_TOMBSTONE;
		return NULL;
	}
	for (int i = 0; i < part->nmappings; i++)
		if (names_table(event, part->mappings[i].source_table))
			return &part->mappings[i];
	return NULL;
}

/* ERROR: a record of a shared topic does not say which table it is of. */
static void
no_table_named(void)
{
	cdc_error_position.in_value = true;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("record names no source table, but its topic is mapped by source table"),
			 errhint("Write a source block (do not flatten) into topics that several tables share.")));
}

/* Is a null value a delete in append mode? */
static bool
null_is_delete(const CdcSourceSettings *source)
{
	return source->flatten_mode == CDC_FLATTEN_TOMBSTONE ||
		source->flatten_mode == CDC_FLATTEN_DELETE_TO_TOMBSTONE;
}

/* Append mode: one row for each c, r, u and d. */
static void
route_append(CdcRelation *rel, const CdcEvent *event, CdcChange *change)
{
	bool		has_op = false;

	/* a soft tombstone (the bytes null) is always a flattened delete */
	if (event->kind == CDC_KIND_TOMBSTONE && !event->flattened &&
		!null_is_delete(&rel->mapping->subscription->source))
		return;
	if (change->op == CDC_OP_TRUNCATE)
		return;
	if (change->op == CDC_OP_DELETE)
	{
		for (int i = 0; i < rel->ncolumns; i++)
			has_op |= rel->columns[i].meta == CDC_META_OP;
		if (!has_op)
		{
			change->action = CDC_ACTION_NOOP;
			return;
		}
		cdc_row_alloc(rel, &change->row);
	}
	else
		cdc_row_build(rel, event, event->after, &change->row);
	cdc_row_key_fields(rel, event, &change->row);
	cdc_row_fill_meta(rel, event, change->op == CDC_OP_WRITE ? 'u' : change->op,
					  &change->row);
	change->action = CDC_ACTION_APPEND;
}

/* Upsert mode, delete or tombstone. */
static void
route_delete(CdcRelation *rel, const CdcEvent *event, CdcChange *change)
{
	if (!rel->mapping->options.delete_apply)
		return;
	if (event->key == NULL && rel->mapping->options.nkey_columns == 0)
	{
		if (event->before == NULL)
		{
			cdc_error_position.in_value = true;
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("delete has neither a key nor an old row"),
					 errhint("Set REPLICA IDENTITY FULL on source tables without a key.")));
		}
		cdc_row_build(rel, event, event->before, &change->row);
	}
	else
	{
		cdc_row_alloc(rel, &change->row);
		change->key = cdc_row_key(rel, event, event->key, event->key_schema,
								  event->before, &change->row);
	}
	change->action = CDC_ACTION_DELETE;
}

/* Upsert mode, new or changed row. */
static void
route_write(CdcRelation *rel, const CdcEvent *event, CdcChange *change)
{
	cdc_row_build(rel, event, event->after, &change->row);
	change->key = cdc_row_key(rel, event, event->key, event->key_schema,
							  event->after, &change->row);
	if (change->key == NULL && change->op == CDC_OP_UPDATE)
	{
		if (event->before == NULL)
		{
			cdc_error_position.in_value = true;
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("update has neither a key nor an old row"),
					 errhint("Set REPLICA IDENTITY FULL on source tables without a key.")));
		}
		cdc_row_build(rel, event, event->before, &change->before);
	}
	cdc_row_fill_meta(rel, event, change->op == CDC_OP_WRITE ? 'u' : change->op,
					  &change->row);
	change->action = CDC_ACTION_WRITE;
}

/* Truncate, by the mapping's on_truncate. */
static void
route_truncate(CdcRelation *rel, CdcChange *change)
{
	switch ((CdcOnTruncate) rel->mapping->options.on_truncate)
	{
		case CDC_TRUNCATE_APPLY:
			change->action = CDC_ACTION_TRUNCATE;
			break;
		case CDC_TRUNCATE_IGNORE:
			break;
		case CDC_TRUNCATE_ERROR:
			cdc_error_position.in_value = true;
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table %s was truncated at the source", rel->name),
					 errdetail("on_truncate of the mapping is error."),
					 errhint("Truncate the table by hand if that is right, then pass the record with cdc_sink.skip_record.")));
	}
}

/*
 * cdc_route_event: see route.h.
 */
void
cdc_route_event(CdcRouter *router, CdcEvent *event, CdcChange *change)
{
	const CdcMapping *mapping;
	CdcRelation *rel;
	bool		skip;

	memset(change, 0, sizeof(*change));
	change->event = event;
	cdc_error_position_reset();
	cdc_error_position.record = event->record;
	if (event->error)
	{
		cdc_error_position.in_value = true;
		cdc_error_throw(event->error);
	}
	if (event->kind != CDC_KIND_CHANGE && event->kind != CDC_KIND_TOMBSTONE)
		return;
	mapping = cdc_route_mapping(router->parts[event->record->part], event, &skip);
	if (mapping == NULL)
	{
		if (!skip)
			no_table_named();
		return;
	}
	cdc_error_position.relation = mapping->relation_name;
	rel = relation_for(router, mapping, event);
	cdc_role_become(router->role, rel);
	change->rel = rel;
	change->tombstone = event->kind == CDC_KIND_TOMBSTONE;
	change->op = change->tombstone ? CDC_OP_DELETE : event->op;
	if (mapping->options.mode == CDC_MODE_APPEND)
		route_append(rel, event, change);
	else if (change->op == CDC_OP_TRUNCATE)
		route_truncate(rel, change);
	else if (change->op == CDC_OP_DELETE)
		route_delete(rel, event, change);
	else
		route_write(rel, event, change);
	cdc_error_position_reset();
}
