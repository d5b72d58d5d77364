/*-------------------------------------------------------------------------
 *
 * sqlfuncs_subscription.c
 *		create_, alter_, enable_, disable_ and drop_subscription.
 *
 * Floor 9.  They check, write rows and ask notify.c to tell the launcher at
 * commit; no worker is touched before, but by disable_subscription(wait),
 * whose stop a rollback undoes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "catalog_server.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "notify.h"
#include "shmem.h"
#include "sqlargs.h"
#include "target.h"

extern PGDLLEXPORT Datum cdc_sink_create_subscription(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_alter_subscription(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_enable_subscription(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_disable_subscription(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_drop_subscription(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(cdc_sink_create_subscription);
PG_FUNCTION_INFO_V1(cdc_sink_alter_subscription);
PG_FUNCTION_INFO_V1(cdc_sink_enable_subscription);
PG_FUNCTION_INFO_V1(cdc_sink_disable_subscription);
PG_FUNCTION_INFO_V1(cdc_sink_drop_subscription);


/* ------------------------------------------------------------------------
 * Checks
 * ------------------------------------------------------------------------ */

/* Name of the role; raises 42704 where there is none of this oid. */
static char *
role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role),
				 errhint("Give the subscription another owner with alter_subscription.")));
	return name;
}

static bool
role_can_login(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can;

	if (!HeapTupleIsValid(tuple))
		return false;
	can = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	return can;
}

/* Refuses an owner whom a worker could not connect as. */
static void
check_owner_connects(Oid owner)
{
	char	   *name = role_name(owner);

	if (CDC_WORKER_NEEDS_LOGIN && !role_can_login(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot own an enabled subscription", name),
				 errdetail("The apply worker connects as this role, which has no LOGIN."),
				 errhint("ALTER ROLE %s LOGIN; it needs no password.",
						 quote_identifier(name))));
	if (cdc_compat_database_aclcheck(MyDatabaseId, owner,
									 ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot own an enabled subscription", name),
				 errdetail("The apply worker connects as this role, which has no CONNECT on database \"%s\".",
						   get_database_name(MyDatabaseId))));
}

/* Refuses a role without the right to own subscriptions in this database. */
static void
check_owner_creates(Oid owner)
{
	if (cdc_compat_database_aclcheck(MyDatabaseId, owner,
									 ACL_CREATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for database %s",
						get_database_name(MyDatabaseId)),
				 errdetail("To own a subscription, role \"%s\" needs CREATE on the database.",
						   role_name(owner))));
}

/* Refuses an empty name, and one that is taken. */
static void
check_new_name(const char *name)
{
	if (*name == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a subscription must not be empty")));
	if (cdc_catalog_exists(name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("subscription \"%s\" already exists", name)));
}

/*
 * Checks start_position and returns the form to store.  A time-stamp is
 * stored with its zone, for the worker's settings are not the caller's.
 */
static char *
check_start_position(const char *text)
{
	Datum		time;

	if (pg_strcasecmp(text, "earliest") == 0)
		return pstrdup("earliest");
	if (pg_strcasecmp(text, "latest") == 0)
		return pstrdup("latest");
	if (!isdigit((unsigned char) text[0]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid start_position: \"%s\"", text),
				 errhint("It must be earliest, latest or an ISO 8601 time-stamp.")));
	time = DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return pstrdup(timestamptz_to_str(DatumGetTimestampTz(time)));
}

/*
 * Lays changes over the stored options (NULL: none), checks both, and returns
 * what to store; *options are those in force.
 */
static Jsonb *
merge_options(Jsonb *stored, Jsonb *changes, CdcOptions *options)
{
	/* on its own first: a null that resets an unknown name is an error */
	cdc_options_defaults(options);
	cdc_options_parse(options, changes, CDC_OPTION_SUBSCRIPTION);

	stored = cdc_jsonb_merge(stored ? stored : changes, changes);
	cdc_options_defaults(options);
	cdc_options_parse(options, stored, CDC_OPTION_SUBSCRIPTION);
	cdc_options_check(options);
	return stored;
}

/*
 * The settings in a connector configuration: Connect's REST interface takes
 * them as {"name": ..., "config": {...}}.
 */
static Jsonb *
connector_settings(Jsonb *json)
{
	JsonbValue	value;

	if (JB_ROOT_IS_OBJECT(json) &&
		getKeyJsonValueFromContainer(&json->root, "config", 6, &value) &&
		value.type == jbvBinary &&
		JsonContainerIsObject(value.val.binary.data))
		return JsonbValueToJsonb(&value);
	return json;
}

/* Checks source settings and returns those to store. */
static Jsonb *
check_source(Jsonb *json)
{
	CdcSourceSettings settings;

	cdc_source_defaults(&settings);
	return cdc_catalog_parse_source(&settings, json);
}

/* Refuses a dead_letter_topic that the subscription reads. */
static void
check_dead_letter_topic(const CdcSubscriptionRow *row, const CdcOptions *options)
{
	CdcMappingRow *mappings;
	int			n = cdc_catalog_mappings(row, &mappings);

	for (int i = 0; i < n; i++)
		cdc_arg_check_no_loop(mappings[i].topic, options->dead_letter_topic);
}

/* Refuses an owner who could not apply to a mapped relation. */
static void
check_owner_applies(const CdcSubscriptionRow *row, bool run_as_owner)
{
	CdcMappingRow *mappings;
	int			n = cdc_catalog_mappings(row, &mappings);

	for (int i = 0; i < n; i++)
	{
		Relation	rel = try_table_open(mappings[i].relid, AccessShareLock);

		if (rel == NULL)
			continue;
		cdc_relation_check(rel, cdc_relation_apply_role(rel, row->owner,
														run_as_owner));
		table_close(rel, AccessShareLock);
	}
}

/* Is everything there that a worker of this subscription needs? */
static void
check_can_run(const CdcSubscriptionRow *row)
{
	cdc_shmem_require();
	check_owner_connects(row->owner);
	cdc_catalog_check_server(NameStr(row->server), row->owner);
}

/* Tells who makes a superuser the owner that it takes no superuser. */
static void
advise_plain_role(const CdcSubscriptionRow *row)
{
	if (superuser_arg(row->owner))
		ereport(NOTICE,
				(errmsg("subscription \"%s\" is owned by a superuser",
						NameStr(row->name)),
				 errhint("A plain role that may SET ROLE to the owners of the tables is enough.")));
}

/* ------------------------------------------------------------------------
 * SQL functions
 * ------------------------------------------------------------------------ */

Datum
cdc_sink_create_subscription(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"subscription", "server",
	"start_position", "enabled", "source", "options"};
	CdcSubscriptionRow row = {0};
	CdcOptions	options;

	for (int i = 0; i < 6; i++)
		cdc_arg_require(fcinfo, i, names[i]);
	row.name = *PG_GETARG_NAME(0);
	row.server = *PG_GETARG_NAME(1);
	row.owner = GetUserId();
	row.enabled = PG_GETARG_BOOL(3);
	row.start_position = check_start_position(cdc_arg_text(fcinfo, 2));
	row.source = check_source(connector_settings(PG_GETARG_JSONB_P(4)));
	row.options = merge_options(NULL, PG_GETARG_JSONB_P(5), &options);

	check_new_name(NameStr(row.name));
	cdc_catalog_check_server(NameStr(row.server), row.owner);
	check_owner_creates(row.owner);
	if (row.enabled)
		check_can_run(&row);
	advise_plain_role(&row);

	cdc_catalog_insert(&row);
	cdc_notify_at_commit(row.id);
	PG_RETURN_VOID();
}

/* Gives a subscription another owner, in memory. */
static void
change_owner(CdcSubscriptionRow *row, Oid owner)
{
	char	   *name = role_name(owner);

	if (!cdc_compat_can_set_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to SET ROLE \"%s\"", name)));
	check_owner_creates(owner);
	row->owner = owner;
}

Datum
cdc_sink_alter_subscription(PG_FUNCTION_ARGS)
{
	CdcSubscriptionRow row;
	CdcOptions	options;
	char	   *new_name = cdc_arg_name(fcinfo, 3);
	Jsonb	   *source = cdc_arg_jsonb(fcinfo, 4);
	Jsonb	   *changes = cdc_arg_jsonb(fcinfo, 5);
	bool		new_owner = !PG_ARGISNULL(2);

	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_subscription_lock(cdc_arg_name(fcinfo, 0), &row);

	if (!PG_ARGISNULL(1))
		row.server = *PG_GETARG_NAME(1);
	if (new_owner)
		change_owner(&row, PG_GETARG_OID(2));
	if (source != NULL)
		row.source = check_source(cdc_jsonb_merge(row.source,
												  connector_settings(source)));
	row.options = merge_options(row.options, changes ? changes : row.options,
								&options);
	if (changes != NULL)
		check_dead_letter_topic(&row, &options);
	if (!PG_ARGISNULL(1) || new_owner)
		cdc_catalog_check_server(NameStr(row.server), row.owner);
	if (new_owner)
	{
		check_owner_applies(&row, options.run_as_owner);
		if (row.enabled)
			check_owner_connects(row.owner);
		advise_plain_role(&row);
	}
	if (new_name != NULL && strcmp(new_name, NameStr(row.name)) != 0)
	{
		check_new_name(new_name);
		namestrcpy(&row.name, new_name);
	}

	cdc_catalog_update(&row);
	cdc_notify_at_commit(row.id);
	PG_RETURN_VOID();
}

Datum
cdc_sink_enable_subscription(PG_FUNCTION_ARGS)
{
	CdcSubscriptionRow row;

	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_subscription_lock(cdc_arg_name(fcinfo, 0), &row);
	check_can_run(&row);
	cdc_catalog_resume(row.id);
	cdc_notify_at_commit(row.id);
	PG_RETURN_VOID();
}

Datum
cdc_sink_disable_subscription(PG_FUNCTION_ARGS)
{
	CdcSubscriptionRow row;

	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_arg_require(fcinfo, 1, "wait");
	cdc_subscription_lock(cdc_arg_name(fcinfo, 0), &row);
	if (row.enabled)
	{
		row.enabled = false;
		cdc_catalog_update(&row);
		cdc_notify_at_commit(row.id);
	}
	if (PG_GETARG_BOOL(1) && cdc_shmem_available())
		cdc_wait_for_detach(row.id);
	PG_RETURN_VOID();
}

Datum
cdc_sink_drop_subscription(PG_FUNCTION_ARGS)
{
	CdcSubscriptionRow row;
	char	   *name;

	cdc_arg_require(fcinfo, 0, "subscription");
	cdc_arg_require(fcinfo, 1, "if_exists");
	name = cdc_arg_name(fcinfo, 0);
	if (PG_GETARG_BOOL(1) && !cdc_catalog_exists(name))
	{
		ereport(NOTICE,
				(errmsg("subscription \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	cdc_subscription_lock(name, &row);
	cdc_catalog_delete(row.id);
	cdc_notify_at_commit(row.id);
	PG_RETURN_VOID();
}
