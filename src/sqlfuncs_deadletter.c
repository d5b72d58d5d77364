/*-------------------------------------------------------------------------
 *
 * sqlfuncs_deadletter.c
 *		retry_dead_letter, resolve_dead_letter, purge_dead_letter.
 *
 * Floor 9.  The hard thing is retry: it does a worker's work in a session of
 * whoever calls it.  So the roles are those of the worker (the subscription's
 * owner, then the table's, in a security-restricted operation), the settings
 * that could change what a row means are the worker's for the time of the
 * call, and the letter stays locked until the caller's transaction ends, so
 * that no worker applies a later record of its key meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "constraints.h"
#include "deadletter.h"
#include "pipeline.h"
#include "session.h"
#include "sqlargs.h"

extern PGDLLEXPORT Datum cdc_sink_retry_dead_letter(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_resolve_dead_letter(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum cdc_sink_purge_dead_letter(PG_FUNCTION_ARGS);

PG_FUNCTION_INFO_V1(cdc_sink_retry_dead_letter);
PG_FUNCTION_INFO_V1(cdc_sink_resolve_dead_letter);
PG_FUNCTION_INFO_V1(cdc_sink_purge_dead_letter);

/* A dead letter, as far as it takes to decide. */
typedef struct Letter
{
	int64		id;
	char	   *subscription;
	char	   *status;
	int64		superseded_by;	/* -1: nothing did */
} Letter;

#define LETTERS \
	"SELECT id, subscription::pg_catalog.text, status, COALESCE(superseded_by, -1) " \
	"FROM cdc_sink.dead_letter WHERE id OPERATOR(pg_catalog.=) ANY ($1) " \
	"ORDER BY subscription, topic COLLATE \"C\", partition, \"offset\", id"

static CdcStatement look = {
	.sql = LETTERS, .nargs = 1, .types = {INT8ARRAYOID}
};
static CdcStatement lock = {
	.sql = LETTERS " FOR UPDATE", .nargs = 1, .types = {INT8ARRAYOID}
};
static CdcStatement body = {
	.sql = "SELECT topic, partition, \"offset\", ts, key, value, headers "
	"FROM cdc_sink.dead_letter WHERE id OPERATOR(pg_catalog.=) $1",
	.nargs = 1, .types = {INT8OID}
};
static CdcStatement retried = {
	.sql = "UPDATE cdc_sink.dead_letter SET status = 'retried', "
	"resolved_at = pg_catalog.clock_timestamp(), attempts = attempts OPERATOR(pg_catalog.+) 1 "
	"WHERE id OPERATOR(pg_catalog.=) $1",
	.nargs = 1, .types = {INT8OID}
};
static CdcStatement failed = {
	.sql = "UPDATE cdc_sink.dead_letter SET failed_at = pg_catalog.clock_timestamp(), "
	"attempts = attempts OPERATOR(pg_catalog.+) 1, sqlstate = $2, message = $3, detail = $4 "
	"WHERE id OPERATOR(pg_catalog.=) $1",
	.nargs = 4, .types = {INT8OID, TEXTOID, TEXTOID, TEXTOID}
};
static CdcStatement resolve = {
	.sql = "UPDATE cdc_sink.dead_letter SET status = 'resolved', "
	"resolved_at = pg_catalog.clock_timestamp(), note = $2 "
	"WHERE id OPERATOR(pg_catalog.=) ANY ($1)",
	.nargs = 2, .types = {INT8ARRAYOID, TEXTOID}
};
static CdcStatement purge = {
	.sql = "DELETE FROM cdc_sink.dead_letter AS d USING cdc_sink.subscription AS s "
	"WHERE s.subscription OPERATOR(pg_catalog.=) d.subscription "
	"AND pg_catalog.pg_has_role($2, s.owner, 'MEMBER') "
	"AND d.status OPERATOR(pg_catalog.<>) 'open' "
	"AND NOT (d.unpublished AND COALESCE(s.options OPERATOR(pg_catalog.->>) 'dead_letter_topic', '') "
	"OPERATOR(pg_catalog.<>) '') "
	"AND COALESCE(d.resolved_at, d.failed_at) OPERATOR(pg_catalog.<=) "
	"(pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) $1)",
	.nargs = 2, .types = {INTERVALOID, OIDOID}
};

/* Runs a statement as the extension's owner; returns the number of rows. */
static int
run(CdcStatement *statement, Datum *values, const char *nulls)
{
	CdcCatalogScope scope;
	int			n;

	SPI_connect();
	cdc_catalog_enter(&scope);
	n = cdc_catalog_execute(statement, values, nulls);
	cdc_catalog_leave(&scope);
	SPI_finish();
	return n;
}

/* Reads letters, in CurrentMemoryContext; returns how many. */
static int
read_letters(CdcStatement *statement, Datum ids, Letter **letters)
{
	MemoryContext caller = CurrentMemoryContext;
	CdcCatalogScope scope;
	int			n;

	SPI_connect();
	cdc_catalog_enter(&scope);
	n = cdc_catalog_execute(statement, &ids, NULL);
	*letters = MemoryContextAlloc(caller, Max(n, 1) * sizeof(Letter));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Letter	   *letter = &(*letters)[i];
		bool		isnull;

		letter->id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		letter->subscription = MemoryContextStrdup(caller, SPI_getvalue(tuple, desc, 2));
		letter->status = MemoryContextStrdup(caller, SPI_getvalue(tuple, desc, 3));
		letter->superseded_by = DatumGetInt64(SPI_getbinval(tuple, desc, 4, &isnull));
	}
	cdc_catalog_leave(&scope);
	SPI_finish();
	return n;
}

/*
 * Locks the letters that ids names, in the order of their offsets, if the
 * caller is a member of the owner of each one's subscription; 42501.
 */
static int
lock_letters(Datum ids, Letter **letters)
{
	int			n = read_letters(&look, ids, letters);

	for (int i = 0; i < n; i++)
	{
		const char *name = (*letters)[i].subscription;
		CdcSubscription *sub;

		if (i > 0 && strcmp(name, (*letters)[i - 1].subscription) == 0)
			continue;
		sub = cdc_catalog_find(name);
		if (sub != NULL)
			cdc_subscription_check_member(name, sub->owner);
	}
	return read_letters(&lock, ids, letters);
}

/* The ids of argument 0, without NULLs. */
static int
ids_of(FunctionCallInfo fcinfo, Datum **ids)
{
	bool	   *nulls;
	int			n;

	cdc_arg_require(fcinfo, 0, "ids");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), INT8OID, sizeof(int64),
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, ids, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", "ids")));
	return n;
}

/* Is there a letter of this id in the list? */
static bool
is_listed(const Letter *letters, int n, int64 id)
{
	for (int i = 0; i < n; i++)
		if (letters[i].id == id)
			return true;
	return false;
}

/* ------------------------------------------------------------------------
 * Retry
 * ------------------------------------------------------------------------ */

/* Makes the record of a letter again, in the pipeline's arena. */
static CdcPartition *
read_record(CdcPipeline *pipeline, int64 id, CdcRecord *record)
{
	CdcCatalogScope scope;
	Datum		value = Int64GetDatum(id);
	CdcPartition *part;
	HeapTuple	tuple;
	TupleDesc	desc;
	char	   *topic;
	bool		isnull;

	cdc_arena_reset(&pipeline->arena);
	memset(record, 0, sizeof(*record));
	SPI_connect();
	cdc_catalog_enter(&scope);
	if (cdc_catalog_execute(&body, &value, NULL) != 1)
		elog(ERROR, "dead letter " INT64_FORMAT " has gone", id);
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	topic = SPI_getvalue(tuple, desc, 1);
	record->partition = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
	record->offset = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
	cdc_deadletter_read(tuple, desc, 4, &pipeline->arena, record);
	part = cdc_pipeline_partition(pipeline, topic, record->partition);
	if (part == NULL)
		part = cdc_pipeline_add_partition(pipeline, topic, record->partition, 0);
	record->topic = part->topic;
	record->part = part->index;
	cdc_catalog_leave(&scope);
	SPI_finish();
	return part;
}

static bool
nothing_left_out(void *arg, int event)
{
	return false;
}

/* Another partition may bring what is missing, but nobody waits here. */
static bool
nothing_pending(void *arg, const CdcRelation *rel, const CdcEvent *event)
{
	return false;
}

/* Decodes a letter's record; refuses what must not be tried again. */
static void
decode_record(CdcPipeline *pipeline, const CdcPartition *part,
			  const CdcRecord *record, CdcEvent *event)
{
	cdc_arena_reset(&pipeline->event_arena);
	if (!pipeline->decoder->decode(pipeline->decode, record,
								   &pipeline->event_arena, event))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while decoding a record")));
	if (part->nmappings == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" is not mapped any more", record->topic)));
	if (event->error == NULL && event->kind == CDC_KIND_CHANGE &&
		event->op == CDC_OP_TRUNCATE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a truncate cannot be retried: rows that came after it would go too"),
				 errhint("Repair the table by hand, then call resolve_dead_letter.")));
}

/* Applies a letter's record and closes the letter; errors fly. */
static void
apply_letter(CdcPipeline *pipeline, const Letter *letter)
{
	const CdcSubscription *sub = pipeline->subscription;
	CdcRecord	record;
	CdcEvent	event;
	CdcPartition *part = read_record(pipeline, letter->id, &record);
	const CdcMapping *mapping;
	CdcApply	apply;
	Datum		id = Int64GetDatum(letter->id);
	Oid			user;
	int			sec_context;
	bool		skip;

	decode_record(pipeline, part, &record, &event);
	mapping = event.error ? NULL : cdc_route_mapping(part, &event, &skip);
	if (mapping && OidIsValid(mapping->relid))
		cdc_constraints_immediate_on(mapping->relid);
	memset(&apply, 0, sizeof(apply));
	apply.context.subscription = sub;
	apply.context.others_pending = nothing_pending;
	apply.relmap = pipeline->relmap;
	apply.parts = pipeline->parts;
	apply.events = &event;
	apply.nevents = 1;
	apply.left_out = nothing_left_out;

	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(sub->owner, sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	cdc_apply_range(&apply, 0, 1);
	SetUserIdAndSecContext(user, sec_context);

	run(&retried, &id, NULL);
	if (mapping && mapping->options.mode != CDC_MODE_APPEND)
		cdc_deadletter_supersede(sub->name, &record);
}

/* Writes down why a letter failed again. */
static void
note_failure(const Letter *letter, const ErrorData *error)
{
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ' ', error->detail ? ' ' : 'n'};

	values[0] = Int64GetDatum(letter->id);
	values[1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[2] = CStringGetTextDatum(error->message);
	values[3] = error->detail ? CStringGetTextDatum(error->detail) : (Datum) 0;
	run(&failed, values, nulls);
}

/*
 * Tries one open letter in a subtransaction.  NULL: applied; else the error,
 * which stands in the letter, too.  A cancel flies.
 */
static char *
try_letter(CdcPipeline *pipeline, const Letter *letter)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		apply_letter(pipeline, letter);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	cdc_error_position_reset();
	if (error == NULL)
		return NULL;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	note_failure(letter, error);
	return error->message;
}

static void
return_letter(FunctionCallInfo fcinfo, int64 id, const char *error)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[3];
	bool		nulls[3] = {false, false, error == NULL};

	values[0] = Int64GetDatum(id);
	values[1] = BoolGetDatum(error == NULL);
	values[2] = error ? CStringGetTextDatum(error) : (Datum) 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Tries the letters of one subscription. */
static void
retry_letters(FunctionCallInfo fcinfo, const Letter *letters, int n)
{
	CdcSubscription *sub = cdc_catalog_find(letters[0].subscription);
	CdcPipeline *pipeline;
	int			level;

	if (sub == NULL)
		elog(ERROR, "subscription \"%s\" has gone", letters[0].subscription);
	level = NewGUCNestLevel();
	cdc_session_pin_level(sub);
	pipeline = cdc_pipeline_create(CurrentMemoryContext, sub);
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
		{
			const Letter *letter = &letters[i];

			CHECK_FOR_INTERRUPTS();
			if (strcmp(letter->status, "open") != 0)
				return_letter(fcinfo, letter->id,
							  psprintf("dead letter is not open: it was %s",
									   letter->status));
			else if (letter->superseded_by >= 0)
				return_letter(fcinfo, letter->id,
							  psprintf("nothing was applied: superseded by the record at offset " INT64_FORMAT " of the same key",
									   letter->superseded_by));
			else
				return_letter(fcinfo, letter->id, try_letter(pipeline, letter));
		}
	}
	PG_FINALLY();
	{
		cdc_pipeline_free(pipeline);
	}
	PG_END_TRY();
	AtEOXact_GUC(false, level);
}

/* retry_dead_letter(ids) */
Datum
cdc_sink_retry_dead_letter(PG_FUNCTION_ARGS)
{
	Datum	   *ids;
	int			nids = ids_of(fcinfo, &ids);
	Letter	   *letters;
	int			n = lock_letters(PG_GETARG_DATUM(0), &letters);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n;)
	{
		int			end = i + 1;

		while (end < n && strcmp(letters[end].subscription,
								 letters[i].subscription) == 0)
			end++;
		retry_letters(fcinfo, &letters[i], end - i);
		i = end;
	}
	for (int i = 0; n < nids && i < nids; i++)
		if (!is_listed(letters, n, DatumGetInt64(ids[i])))
			return_letter(fcinfo, DatumGetInt64(ids[i]),
						  "dead letter does not exist");
	return (Datum) 0;
}

/* ------------------------------------------------------------------------
 * Without applying
 * ------------------------------------------------------------------------ */

/* resolve_dead_letter(ids, note) */
Datum
cdc_sink_resolve_dead_letter(PG_FUNCTION_ARGS)
{
	Datum	   *ids;
	int			nids = ids_of(fcinfo, &ids);
	Letter	   *letters;
	int			n = lock_letters(PG_GETARG_DATUM(0), &letters);
	Datum		values[2];

	for (int i = 0; n < nids && i < nids; i++)
		if (!is_listed(letters, n, DatumGetInt64(ids[i])))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("dead letter " INT64_FORMAT " does not exist",
							DatumGetInt64(ids[i]))));
	for (int i = 0; i < n; i++)
		if (strcmp(letters[i].status, "open") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("dead letter " INT64_FORMAT " is not open: it was %s",
							letters[i].id, letters[i].status)));
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	run(&resolve, values, PG_ARGISNULL(1) ? " n" : NULL);
	PG_RETURN_VOID();
}

/*
 * purge_dead_letter(older_than): of the subscriptions whose owner the caller
 * is a member of; open ones stay.
 */
Datum
cdc_sink_purge_dead_letter(PG_FUNCTION_ARGS)
{
	Datum		values[2];

	cdc_arg_require(fcinfo, 0, "older_than");
	values[0] = PG_GETARG_DATUM(0);
	values[1] = ObjectIdGetDatum(GetUserId());
	PG_RETURN_INT64(run(&purge, values, NULL));
}
