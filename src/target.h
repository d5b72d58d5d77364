/*-------------------------------------------------------------------------
 *
 * target.h
 *		Which relations may be written, and by whom.
 *
 * Floor 4.  Asked by add_mapping, and again by each batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_TARGET_H
#define CDC_TARGET_H

#include "utils/rel.h"

/*
 * Raises an error of the configuration class where the relation is no valid
 * target (design.md 3.10): another kind than a table, temporary, of the
 * system or of an extension, with rules, with a deferrable primary key, or
 * with row security that binds apply_role.  The relation must be open and
 * locked.
 */
extern void cdc_relation_check(Relation rel, Oid apply_role);

/*
 * The role that applies: the owner of the relation, or with run_as_owner the
 * subscription's.  Raises 42501 where the subscription's owner cannot SET
 * ROLE to it.
 */
extern Oid	cdc_relation_apply_role(Relation rel, Oid subscription_owner,
									bool run_as_owner);

/* Qualified and quoted name, palloc'd. */
extern char *cdc_relation_name(Relation rel);

#endif							/* CDC_TARGET_H */
