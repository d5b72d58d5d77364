/*-------------------------------------------------------------------------
 *
 * sqlargs.c
 *		What the SQL functions have in common: their arguments, and who may
 *		call them for which subscription.
 *
 * Floor 6.  EXECUTE alone gives nothing: GRANT EXECUTE ON ALL ROUTINES is
 * what an administrator types, so every function asks for membership in the
 * owner of the subscription itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "sqlargs.h"

void
cdc_arg_require(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

char *
cdc_arg_name(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(n)));
}

char *
cdc_arg_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

Jsonb *
cdc_arg_jsonb(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P_COPY(n);
}

void
cdc_arg_check_topic(const char *topic)
{
	if (!cdc_options_is_topic(topic))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid topic name: \"%s\"", topic),
				 errdetail("Kafka allows 1 to 249 letters, digits, dots, underscores and hyphens.")));
}

void
cdc_subscription_check_member(const char *subscription, Oid owner)
{
	if (!is_member_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for subscription \"%s\"",
						subscription),
				 errdetail("Only members of its owner may do this.")));
}

void
cdc_subscription_lock(const char *name, CdcSubscriptionRow *row)
{
	if (!cdc_catalog_lock(name, row))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" does not exist", name)));
	cdc_subscription_check_member(name, row->owner);
}

Jsonb *
cdc_jsonb_merge(Jsonb *base, Jsonb *over)
{
	Jsonb	   *merged;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	text	   *key = NULL;

	merged = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
												JsonbPGetDatum(base),
												JsonbPGetDatum(over)));
	it = JsonbIteratorInit(&over->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = cstring_to_text_with_len(value.val.string.val,
										   value.val.string.len);
		else if (token == WJB_VALUE && value.type == jbvNull)
			merged = DatumGetJsonbP(DirectFunctionCall2(jsonb_delete,
														JsonbPGetDatum(merged),
														PointerGetDatum(key)));
	}
	return merged;
}

/* cdc_arg_check_no_loop: see sqlargs.h. */
void
cdc_arg_check_no_loop(const char *topic, const char *dead_letter_topic)
{
	if (dead_letter_topic != NULL && strcmp(topic, dead_letter_topic) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic \"%s\" cannot be mapped and be dead_letter_topic of the same subscription",
						topic),
				 errdetail("A dead letter would be read again, and become a dead letter again.")));
}
