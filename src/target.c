/*-------------------------------------------------------------------------
 *
 * target.c
 *		Which relations may be written, and by whom.
 *
 * Floor 4.  The hard thing: whatever runs on a row that comes from a topic
 * (a rule, a policy, a default) is code of somebody, so a target is refused
 * rather than run as the wrong role.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "compat.h"
#include "target.h"

/*
 * cdc_relation_name: see target.h.  Names are compared with stored ones, so a
 * session's quote_all_identifiers must not change them.
 */
char *
cdc_relation_name(Relation rel)
{
	bool		quote_all = quote_all_identifiers;
	char	   *name;

	quote_all_identifiers = false;
	name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
	quote_all_identifiers = quote_all;
	return name;
}

/* Refuses what is no ordinary or partitioned table. */
static void
check_kind(Relation rel)
{
	char		kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot use %s as a target", cdc_relation_name(rel)),
				 errdetail("It is no ordinary or partitioned table.")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot use %s as a target", cdc_relation_name(rel)),
				 errdetail("It is a temporary table, which no other session can write.")));
}

/* Refuses tables that belong to the system or to an extension. */
static void
check_origin(Relation rel)
{
	Oid			extension;

	if (IsSystemRelation(rel) || RelationGetRelid(rel) < FirstNormalObjectId)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot use %s as a target", cdc_relation_name(rel)),
				 errdetail("It is a system table.")));

	extension = getExtensionOfObject(RelationRelationId, RelationGetRelid(rel));
	if (OidIsValid(extension))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot use %s as a target", cdc_relation_name(rel)),
				 errdetail("It belongs to the extension \"%s\".",
						   get_extension_name(extension))));
}

/*
 * Refuses rules: they would run as the owner of the table, on events that
 * the owner did not write.
 */
static void
check_rules(Relation rel)
{
	if (rel->rd_rules != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot use %s as a target", cdc_relation_name(rel)),
				 errdetail("It has rules."),
				 errhint("Replace the rules by triggers, which can be told to fire by ALTER TABLE ... ENABLE REPLICA TRIGGER.")));
}

/*
 * Refuses a deferrable primary key: two rows may have it for a while.
 * The relation cache names only immediate indexes as keys, so that the
 * catalog is asked.
 */
static void
check_key(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		deferrable = false;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID,
											ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		deferrable |= index->indisprimary && !index->indimmediate;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);

	if (deferrable)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot use %s as a target", cdc_relation_name(rel)),
				 errdetail("Its primary key is deferrable, so that rows cannot be found by it."),
				 errhint("Make the primary key NOT DEFERRABLE.")));
}

/* Refuses row security that the applying role does not bypass, as core. */
static void
check_row_security(Relation rel, Oid apply_role)
{
	if (check_enable_rls(RelationGetRelid(rel), apply_role, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("user \"%s\" cannot apply changes to relation with row-level security enabled: %s",
						GetUserNameFromId(apply_role, true),
						cdc_relation_name(rel)),
				 errhint("Apply as a role that bypasses row security.")));
}

void
cdc_relation_check(Relation rel, Oid apply_role)
{
	check_kind(rel);
	check_origin(rel);
	check_rules(rel);
	check_key(rel);
	check_row_security(rel, apply_role);
}

Oid
cdc_relation_apply_role(Relation rel, Oid subscription_owner, bool run_as_owner)
{
	Oid			owner = rel->rd_rel->relowner;

	if (run_as_owner)
		return subscription_owner;
	if (!cdc_compat_can_set_role(subscription_owner, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot SET ROLE to \"%s\"",
						GetUserNameFromId(subscription_owner, true),
						GetUserNameFromId(owner, true)),
				 errdetail("Changes are applied as the owner of the table %s.",
						   cdc_relation_name(rel)),
				 errhint("Grant the role, or set the option run_as_owner and grant the privileges on the table.")));
	return owner;
}
