/*-------------------------------------------------------------------------
 *
 * sqlfuncs_mapping.c
 *		add_, alter_ and remove_mapping.
 *
 * Floor 9.  A topic has one mapping for all of it, or several for one source
 * table each; everything here is checked under the lock of the subscription,
 * so that two sessions cannot make a mixture.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "notify.h"
#include "sqlargs.h"
#include "target.h"

extern PGDLLEXPORT Datum cdc_sink_add_mapping(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_alter_mapping(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_remove_mapping(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(cdc_sink_add_mapping);
PG_FUNCTION_INFO_V1(cdc_sink_alter_mapping);
PG_FUNCTION_INFO_V1(cdc_sink_remove_mapping);

/* The mappings of a subscription that is locked. */
typedef struct MappingList
{
	CdcSubscriptionRow subscription;
	int			n;
	CdcMappingRow *rows;
} MappingList;

/* Locks the subscription that argument 0 names and reads its mappings. */
static void
lock_mappings(FunctionCallInfo fcinfo, MappingList *list)
{
	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_subscription_lock(cdc_arg_name(fcinfo, 0), &list->subscription);
	list->n = cdc_catalog_mappings(&list->subscription, &list->rows);
}

static bool
same_table(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Finds a mapping; 42704 where there is none. */
static CdcMappingRow *
find_mapping(const MappingList *list, const char *topic, const char *source_table)
{
	bool		mapped = false;

	for (int i = 0; i < list->n; i++)
	{
		CdcMappingRow *row = &list->rows[i];

		if (strcmp(row->topic, topic) != 0)
			continue;
		mapped = true;
		if (same_table(row->source_table, source_table))
			return row;
	}
	if (!mapped)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" is not mapped by subscription \"%s\"",
						topic, NameStr(list->subscription.name))));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 source_table ?
			 errmsg("topic \"%s\" has no mapping of source table \"%s\"",
					topic, source_table) :
			 errmsg("topic \"%s\" has mappings of single source tables", topic),
			 errhint("See cdc_sink.mapping for the source_table to name.")));
}

/* Number of mappings of a topic. */
static int
count_mappings(const MappingList *list, const char *topic)
{
	int			n = 0;

	for (int i = 0; i < list->n; i++)
		n += strcmp(list->rows[i].topic, topic) == 0;
	return n;
}

/* Refuses a second mapping of the same records. */
static void
check_unmapped(const MappingList *list, const char *topic, const char *source_table)
{
	for (int i = 0; i < list->n; i++)
	{
		const CdcMappingRow *row = &list->rows[i];

		if (strcmp(row->topic, topic) != 0)
			continue;
		if (same_table(row->source_table, source_table))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 source_table ?
					 errmsg("source table \"%s\" of topic \"%s\" is mapped already",
							source_table, topic) :
					 errmsg("topic \"%s\" is mapped already", topic),
					 errdetail("It feeds %s.", row->relation_name)));
		if (row->source_table == NULL || source_table == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("topic \"%s\" is mapped already", topic),
					 errdetail("A topic has either one mapping without source_table, or several, each for one source table.")));
	}
}

/* Refuses what cannot be schema.table of a source block. */
static void
check_source_table(const char *source_table)
{
	const char *dot = source_table ? strchr(source_table, '.') : NULL;

	if (source_table != NULL &&
		(dot == NULL || dot == source_table || dot[1] == '\0'))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid source_table: \"%s\"", source_table),
				 errhint("It must be schema.table, unquoted, as in the source block of the events.")));
}

/* Options in force of a mapping, checked. */
static void
parse_options(const MappingList *list, Jsonb *json, CdcOptions *options)
{
	cdc_options_defaults(options);
	cdc_options_parse(options, list->subscription.options,
					  CDC_OPTION_SUBSCRIPTION);
	cdc_options_parse(options, json, CDC_OPTION_MAPPING);
}

/*
 * Refuses to hold one of several mappings of a topic: they share its
 * positions, so that the others would stop too.
 */
static void
check_not_held(const MappingList *list, const char *topic)
{
	for (int i = 0; i < list->n; i++)
	{
		CdcOptions	options;

		if (strcmp(list->rows[i].topic, topic) != 0)
			continue;
		parse_options(list, list->rows[i].options, &options);
		if (!options.enabled)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("one of several mappings of topic \"%s\" cannot be disabled",
							topic),
					 errdetail("They share the positions of the topic."),
					 errhint("Remove the mapping, or disable the subscription.")));
	}
}

/* Checks that the relation has the columns that find its rows. */
static void
check_key_columns(Oid relid, const CdcOptions *options)
{
	for (int i = 0; i < options->nkey_columns; i++)
	{
		AttrNumber	attnum = get_attnum(relid, options->key_columns[i]);

		if (attnum <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist",
							options->key_columns[i], get_rel_name(relid)),
					 errdetail("The option key_columns names it.")));
	}
}

/*
 * Checks the target and sets relid and relation_name.  An unlogged table is
 * allowed and warned about: a crash empties it and leaves the positions.
 */
static void
check_target(const MappingList *list, Oid relid, const CdcOptions *options,
			 CdcMappingRow *row)
{
	Oid			owner = list->subscription.owner;
	Relation	rel = try_relation_open(relid, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	/* what the relation is comes before who may apply to it */
	cdc_relation_check(rel, options->run_as_owner ? owner :
					   rel->rd_rel->relowner);
	(void) cdc_relation_apply_role(rel, owner, options->run_as_owner);
	check_key_columns(relid, options);
	row->relid = relid;
	row->relation_name = cdc_relation_name(rel);
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		ereport(WARNING,
				(errmsg("table %s is unlogged", row->relation_name),
				 errdetail("A crash of the server empties it while the positions stay.")));
	relation_close(rel, AccessShareLock);
}

/* Checks the column overlay. */
static void
check_columns(Jsonb *json)
{
	CdcMapping	mapping;

	cdc_catalog_parse_columns(&mapping, json);
}

/* ------------------------------------------------------------------------
 * SQL functions
 * ------------------------------------------------------------------------ */

Datum
cdc_sink_add_mapping(PG_FUNCTION_ARGS)
{
	MappingList list;
	CdcMappingRow row = {0};
	CdcOptions	options;
	Jsonb	   *given;

	lock_mappings(fcinfo, &list);
	cdc_arg_require(fcinfo, 1, "topic");
	cdc_arg_require(fcinfo, 2, "relation");
	cdc_arg_require(fcinfo, 4, "columns");
	cdc_arg_require(fcinfo, 5, "options");
	row.topic = cdc_arg_text(fcinfo, 1);
	row.source_table = cdc_arg_text(fcinfo, 3);
	row.columns = cdc_arg_jsonb(fcinfo, 4);
	given = cdc_arg_jsonb(fcinfo, 5);

	cdc_arg_check_topic(row.topic);
	check_source_table(row.source_table);
	check_columns(row.columns);
	parse_options(&list, given, &options);
	row.options = cdc_jsonb_merge(given, given);	/* without its nulls */
	check_unmapped(&list, row.topic, row.source_table);
	cdc_arg_check_no_loop(row.topic, options.dead_letter_topic);
	check_target(&list, PG_GETARG_OID(2), &options, &row);

	cdc_catalog_insert_mapping(&list.subscription, &row);
	list.n = cdc_catalog_mappings(&list.subscription, &list.rows);
	if (count_mappings(&list, row.topic) > 1)
		check_not_held(&list, row.topic);
	cdc_notify_at_commit(list.subscription.id);
	PG_RETURN_VOID();
}

Datum
cdc_sink_alter_mapping(PG_FUNCTION_ARGS)
{
	MappingList list;
	CdcMappingRow *row;
	CdcOptions	options;

	lock_mappings(fcinfo, &list);
	cdc_arg_require(fcinfo, 1, "topic");
	row = find_mapping(&list, cdc_arg_text(fcinfo, 1), cdc_arg_text(fcinfo, 2));
	if (!PG_ARGISNULL(3))
	{
		row->columns = cdc_arg_jsonb(fcinfo, 3);
		check_columns(row->columns);
	}
	if (!PG_ARGISNULL(4))
	{
		Jsonb	   *changes = cdc_arg_jsonb(fcinfo, 4);

		/* on its own first: a null that resets an unknown name is an error */
		parse_options(&list, changes, &options);
		row->options = cdc_jsonb_merge(row->options, changes);
		parse_options(&list, row->options, &options);
		check_key_columns(row->relid, &options);
		if (count_mappings(&list, row->topic) > 1)
			check_not_held(&list, row->topic);
	}

	cdc_catalog_update_mapping(row);
	cdc_notify_at_commit(list.subscription.id);
	PG_RETURN_VOID();
}

Datum
cdc_sink_remove_mapping(PG_FUNCTION_ARGS)
{
	MappingList list;
	CdcMappingRow *row;

	lock_mappings(fcinfo, &list);
	cdc_arg_require(fcinfo, 1, "topic");
	cdc_arg_require(fcinfo, 3, "keep_position");
	row = find_mapping(&list, cdc_arg_text(fcinfo, 1), cdc_arg_text(fcinfo, 2));

	cdc_catalog_delete_mapping(row->id);
	if (!PG_GETARG_BOOL(3) && count_mappings(&list, row->topic) == 1)
		cdc_catalog_delete_positions(&list.subscription, row->topic);
	cdc_notify_at_commit(list.subscription.id);
	PG_RETURN_VOID();
}
