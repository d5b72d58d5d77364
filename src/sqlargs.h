/*-------------------------------------------------------------------------
 *
 * sqlargs.h
 *		What the SQL functions have in common: their arguments, and who may
 *		call them for which subscription.
 *
 * Floor 6.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_SQLARGS_H
#define CDC_SQLARGS_H

#include "fmgr.h"

#include "catalog_write.h"

/*
 * Arguments of a SQL function that is not STRICT.  cdc_arg_require raises
 * 22004 for a NULL; the others return palloc'd copies, NULL for a NULL.
 */
extern void cdc_arg_require(FunctionCallInfo fcinfo, int n, const char *name);
extern char *cdc_arg_name(FunctionCallInfo fcinfo, int n);
extern char *cdc_arg_text(FunctionCallInfo fcinfo, int n);
extern Jsonb *cdc_arg_jsonb(FunctionCallInfo fcinfo, int n);

/* Raises 22023 for what cannot be the name of a Kafka topic. */
extern void cdc_arg_check_topic(const char *topic);

/* Raises 42501 where the caller is no member of the owner. */
extern void cdc_subscription_check_member(const char *subscription, Oid owner);
/*
 * Locks a subscription for a change; 42704 where there is none, 42501 where
 * the caller is no member of its owner.
 */
extern void cdc_subscription_lock(const char *name, CdcSubscriptionRow *row);

/*
 * Members of base with those of over laid over them; a null removes one.
 * Both are objects.
 */
extern Jsonb *cdc_jsonb_merge(Jsonb *base, Jsonb *over);

/* 22023 where a topic is mapped and dead_letter_topic (or NULL), too. */
extern void cdc_arg_check_no_loop(const char *topic,
								  const char *dead_letter_topic);

#endif							/* CDC_SQLARGS_H */
