/*-------------------------------------------------------------------------
 *
 * catalog_server.c
 *		What a subscription's owner may connect to, and with which properties.
 *
 * Floor 4.  A foreign server names the brokers, a user mapping holds the
 * login.  The hard thing: who owns the server decides where the secrets of
 * the mapping are sent, so not every mapping is used on every server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "catalog_server.h"
#include "compat.h"
#include "guc.h"
#include "properties.h"

/*
 * Finds a server of our wrapper; raises 42704 for an unknown one and 42809
 * for one of another wrapper.
 */
ForeignServer *
cdc_catalog_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errhint("Create it with CREATE SERVER ... FOREIGN DATA WRAPPER cdc_sink.")));
	if (getExtensionOfObject(ForeignDataWrapperRelationId, server->fdwid) !=
		get_extension_oid("cdc_sink", true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not of the foreign-data wrapper cdc_sink",
						name)));
	return server;
}

/* Raises 42501 where the role has no USAGE on the server. */
static void
check_usage(const ForeignServer *server, Oid role)
{
	if (cdc_compat_server_aclcheck(server->serverid, role,
								   ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s",
						server->servername),
				 errdetail("Role \"%s\" has no USAGE on it.",
						   GetUserNameFromId(role, true))));
}

/* Is one of the options read from a file of the secrets directory? */
static bool
names_file(List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		const char *name = ((DefElem *) lfirst(lc))->defname;
		size_t		len = strlen(name);

		if (len > 5 && strcmp(name + len - 5, "_file") == 0)
			return true;
	}
	return false;
}

/*
 * Whoever owns the server may send what the mapping holds to a broker of
 * theirs; so it must be a superuser or a role that the user could act as
 * anyway.  What stands in PUBLIC's mapping is the server owner's own, but for
 * what only a superuser may name, a file.
 */
static void
check_trusts_server(const ForeignServer *server, Oid user, bool public,
					List *options)
{
	if (options == NIL || (public && !names_file(options)) ||
		superuser_arg(server->owner) ||
		cdc_compat_can_set_role(user, server->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("user mapping of role \"%s\" on server \"%s\" is not used",
					GetUserNameFromId(user, true), server->servername),
			 errdetail("The server belongs to \"%s\", who could send the secrets of the mapping elsewhere, and whom \"%s\" cannot SET ROLE to.",
					   GetUserNameFromId(server->owner, true),
					   GetUserNameFromId(user, true)),
			 errhint("Give the server to a superuser, or grant its owner's role to the role of the mapping.")));
}

/*
 * Options of the user's mapping on the server, else of PUBLIC's, else NIL:
 * unlike GetUserMapping, for a broker may need no login.  ERROR 42501 where
 * the mapping must not be used on this server.
 */
static List *
user_mapping_options(const ForeignServer *server, Oid user)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
										ObjectIdGetDatum(user),
										ObjectIdGetDatum(server->serverid));
	List	   *options = NIL;
	Datum		datum;
	bool		isnull;
	bool		public = !HeapTupleIsValid(tuple);

	if (public)
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(server->serverid));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	check_trusts_server(server, user, public, options);
	return options;
}

/*
 * cdc_catalog_check_server: see catalog_server.h.
 */
void
cdc_catalog_check_server(const char *name, Oid role)
{
	ForeignServer *server = cdc_catalog_server(name);

	check_usage(server, role);
	(void) user_mapping_options(server, role);
}

/* Appends one option of a server or user mapping, read from its file if so. */
static void
add_option(CdcKafkaConfig *config, DefElem *option)
{
	CdcKafkaProperty *property = &config->properties[config->nproperties++];

	cdc_property_resolve(option->defname, defGetString(option), property);
}

/* Appends options of a list. */
static void
add_options(CdcKafkaConfig *config, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
		add_option(config, (DefElem *) lfirst(lc));
}

/*
 * Fills config from server, user mapping and tuning options, the later over
 * the earlier.  group_tail tells groups of this database apart.
 */
static void
make_config(CdcKafkaConfig *config, const char *server_name, Oid user,
			const CdcOptions *tuning, const char *group_tail)
{
	ForeignServer *server = cdc_catalog_server(server_name);
	List	   *mapped;
	int			ntuning = tuning ? tuning->nproperties : 0;

	check_usage(server, user);
	mapped = user_mapping_options(server, user);
	memset(config, 0, sizeof(*config));
	config->properties = palloc0((list_length(server->options) +
								  list_length(mapped) + ntuning + 1) *
								 sizeof(CdcKafkaProperty));
	add_options(config, server->options);
	add_options(config, mapped);
	for (int i = 0; i < ntuning; i++)
	{
		CdcKafkaProperty *property = &config->properties[config->nproperties++];

		property->name = pstrdup(tuning->property_names[i]);
		property->value = pstrdup(tuning->property_values[i]);
	}
	config->allowed_brokers = pstrdup(cdc_guc_allowed_brokers);
	config->group = tuning && tuning->consumer_group ?
		pstrdup(tuning->consumer_group) :
		psprintf("cdc_sink-" UINT64_FORMAT "-%u-%s", GetSystemIdentifier(),
				 MyDatabaseId, group_tail);
	config->queue_kbytes = cdc_guc_memory_limit / 8;
}

void
cdc_catalog_kafka_config(const CdcSubscription *subscription,
						 CdcKafkaConfig *config)
{
	char		tail[32];

	snprintf(tail, sizeof(tail), INT64_FORMAT, subscription->id);
	make_config(config, subscription->server, subscription->owner,
				&subscription->options, tail);
}

void
cdc_catalog_server_config(const char *server, Oid user, CdcKafkaConfig *config)
{
	make_config(config, server, user, NULL, "look");
}
