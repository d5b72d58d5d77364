/*-------------------------------------------------------------------------
 *
 * server.c
 *		Validator of the foreign-data wrapper cdc_sink.
 *
 * Floor 9.  The one hard thing: whoever names a broker makes the database
 * server connect there, so this needs a superuser, or a list of brokers that
 * a superuser wrote.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "tcop/pquery.h"

#include "brokers.h"
#include "compat.h"
#include "guc.h"
#include "properties.h"

extern PGDLLEXPORT Datum cdc_sink_fdw_validator(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(cdc_sink_fdw_validator);

/* The list of the setting, malloc'd; ERROR where it cannot be read. */
static CdcBrokerList *
read_list(void)
{
	char	   *problem;
	CdcBrokerList *allowed = cdc_brokers_parse(cdc_guc_allowed_brokers,
											   &problem);

	if (allowed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("cdc_sink.allowed_brokers cannot be read")));
	return allowed;
}

/* Raises where a server names a broker that is not on the list. */
static void
check_brokers(char *bootstrap)
{
	CdcBrokerList *allowed = read_list();
	char	   *refused = NULL;
	char	   *save = NULL;

	for (char *broker = strtok_r(bootstrap, ", ", &save);
		 broker != NULL && refused == NULL;
		 broker = strtok_r(NULL, ", ", &save))
	{
		if (!cdc_brokers_allow_name(allowed, broker))
			refused = broker;
	}
	cdc_brokers_free(allowed);
	if (refused != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("broker \"%s\" is not allowed", refused),
				 errdetail("The setting cdc_sink.allowed_brokers does not name it.")));
}

/* Raises where there is no list and the user is no superuser. */
static void
check_no_list(void)
{
	CdcBrokerList *allowed = read_list();
	bool		empty = cdc_brokers_empty(allowed);

	cdc_brokers_free(allowed);
	if (empty && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to create or alter a server of the foreign-data wrapper cdc_sink"),
				 errdetail("While cdc_sink.allowed_brokers is empty, only superusers may do that.")));
}

/*
 * Checks the options of a server as a whole.  Also run when one of them is
 * altered, with the others as they are: so a user who is no superuser cannot
 * send the secret of a _file option to another broker.
 */
static void
check_server(List *options)
{
	ListCell   *lc;

	check_no_list();
	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "bootstrap.servers") == 0)
			check_brokers(pstrdup(defGetString(option)));
	}
}

/*
 * Raises where a query calls the validator, or the protocol's function call,
 * which has no portal, for a role that may not make servers: it would tell
 * what the list of brokers holds, and resolve names.  CREATE and ALTER, which
 * have checked their own rights, call without an expression.
 */
static void
check_caller(FunctionCallInfo fcinfo)
{
	ForeignDataWrapper *wrapper;

	if (fcinfo->flinfo->fn_expr == NULL && ActivePortal != NULL)
		return;
	wrapper = GetForeignDataWrapperByName("cdc_sink", true);
	if (wrapper != NULL &&
		cdc_compat_wrapper_aclcheck(wrapper->fdwid, GetUserId(), ACL_USAGE) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for foreign-data wrapper %s", "cdc_sink"),
			 errdetail("The validator serves CREATE and ALTER of servers and user mappings.")));
}

Datum
cdc_sink_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *lc;

	check_caller(fcinfo);
	if (catalog != ForeignServerRelationId &&
		catalog != UserMappingRelationId)
	{
		if (options == NIL)
			PG_RETURN_VOID();
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("cdc_sink has options for servers and user mappings only")));
	}
	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		cdc_property_check(option->defname, defGetString(option),
						   catalog == ForeignServerRelationId ?
						   CDC_PROPERTY_SERVER : CDC_PROPERTY_USER_MAPPING);
	}
	if (catalog == ForeignServerRelationId)
		check_server(options);
	PG_RETURN_VOID();
}
