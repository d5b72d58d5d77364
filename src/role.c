/*-------------------------------------------------------------------------
 *
 * role.c
 *		As whom rows are converted and applied.
 *
 * Floor 5.  The worker's session belongs to the subscription's owner; a
 * table's own code must not get that owner's rights (CVE-2026-44477 and its
 * like), so it runs as the table's owner, who cannot climb back from a
 * security-restricted operation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"

#include "compat.h"
#include "constraints.h"
#include "role.h"
#include "session.h"

/*
 * cdc_role_begin opens a stretch.  own_transaction: all constraints are
 * immediate, and nobody but the code of tables can have deferred one.
 */
void
cdc_role_begin(CdcRoleScope *scope, const CdcSubscription *subscription,
			   bool own_transaction)
{
	scope->subscription = subscription;
	scope->own_transaction = own_transaction;
	GetUserIdAndSecContext(&scope->saved_user, &scope->saved_sec_context);
	scope->guc_level = NewGUCNestLevel();
	scope->role_guc_level = 0;
	scope->role = InvalidOid;
	scope->origin = false;
}

/*
 * With run_as_owner the role stays, but who has only rights on the rows of a
 * table cannot pass by its triggers and foreign keys.
 */
static void
become_owner(CdcRoleScope *scope, const CdcRelation *rel)
{
	if (scope->origin == rel->as_origin)
		return;
	cdc_role_return(scope);
	if (!rel->as_origin)
		return;
	scope->role_guc_level = NewGUCNestLevel();
	cdc_session_origin();
	scope->origin = true;
}

/*
 * cdc_role_become: see role.h.  ERROR 42501 where the subscription's owner
 * may not act as the table's owner.  Settings have a level for each role: what
 * the code of one table's owner sets (a search_path) must not reach the code
 * of the next one's.
 */
void
cdc_role_become(CdcRoleScope *scope, const CdcRelation *rel)
{
	if (scope->subscription->options.run_as_owner)
	{
		become_owner(scope, rel);
		return;
	}
	if (scope->role == rel->relowner)
		return;
	cdc_role_return(scope);
	if (!cdc_compat_can_set_role(scope->saved_user, rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot SET ROLE to \"%s\"",
						GetUserNameFromId(scope->saved_user, true),
						GetUserNameFromId(rel->relowner, true)),
				 errdetail("Changes of %s are applied as its owner.", rel->name),
				 errhint("Grant the role to the subscription's owner, or set run_as_owner.")));
	SetUserIdAndSecContext(rel->relowner, scope->saved_sec_context |
						   SECURITY_RESTRICTED_OPERATION);
	scope->role_guc_level = NewGUCNestLevel();
	scope->role = rel->relowner;
}

/*
 * cdc_role_return: see role.h.  What the role has deferred is immediate again
 * before the next one writes, whose own constraints could not be checked
 * else; and as this role, should anything be left to check.
 */
void
cdc_role_return(CdcRoleScope *scope)
{
	if (scope->origin)
	{
		AtEOXact_GUC(false, scope->role_guc_level);
		scope->origin = false;
	}
	if (!OidIsValid(scope->role))
		return;
	if (scope->own_transaction)
		cdc_constraints_immediate();
	AtEOXact_GUC(false, scope->role_guc_level);
	SetUserIdAndSecContext(scope->saved_user, scope->saved_sec_context);
	scope->role = InvalidOid;
}

/* cdc_role_end closes the stretch. */
void
cdc_role_end(CdcRoleScope *scope)
{
	cdc_role_return(scope);
	AtEOXact_GUC(false, scope->guc_level);
}
