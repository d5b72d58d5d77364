/*-------------------------------------------------------------------------
 *
 * role.h
 *		As whom rows are converted and applied.
 *
 * Floor 5.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_ROLE_H
#define CDC_ROLE_H

#include "relmap.h"

/*
 * One stretch of work on user tables.  Everything a table's owner may have
 * attached to it (types, domains, defaults, triggers, index expressions)
 * runs as that owner, in a security-restricted operation; what it sets,
 * constraints that it defers included, is undone before another role's turn.
 * An ERROR needs no call: aborting the (sub)transaction
 * restores all of it.
 */
typedef struct CdcRoleScope
{
	const CdcSubscription *subscription;
	Oid			saved_user;
	int			saved_sec_context;
	bool		own_transaction;	/* constraints are ours to set */
	int			guc_level;
	int			role_guc_level; /* where role is valid */
	Oid			role;			/* now acting as; InvalidOid: as saved_user */
	bool		origin;			/* session_replication_role is origin where
								 * role_guc_level is valid, with run_as_owner */
} CdcRoleScope;

extern void cdc_role_begin(CdcRoleScope *scope,
						   const CdcSubscription *subscription,
						   bool own_transaction);
/* Becomes the role that applies to rel; cheap where it is that already. */
extern void cdc_role_become(CdcRoleScope *scope, const CdcRelation *rel);
/* Becomes the worker's own role again, inside the stretch. */
extern void cdc_role_return(CdcRoleScope *scope);
extern void cdc_role_end(CdcRoleScope *scope);

#endif							/* CDC_ROLE_H */
