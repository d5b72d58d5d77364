/*-------------------------------------------------------------------------
 *
 * moved.c
 *		Old rows of key changes.
 *
 * Floor 5.  A key change arrives as a delete of the old key and an insert of
 * the new one; columns that did not change and are TOASTed stand in neither.
 * So the delete keeps the row it removes, as text of each column, and the
 * insert takes what it lacks.  Both in the transaction of their record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "moved.h"

bool		cdc_moved_kept = true;
TimestampTz cdc_moved_first = 0;
TimestampTz cdc_moved_last = 0;

/* Appends a member: column name, and the value's text or null. */
static void
push_member(JsonbParseState **state, const CdcColumn *column, Datum value,
			bool isnull)
{
	JsonbValue	v;
	Oid			outfunc;
	bool		varlena;

	v.type = jbvString;
	v.val.string.val = column->name;
	v.val.string.len = strlen(column->name);
	pushJsonbValue(state, WJB_KEY, &v);
	if (isnull)
		v.type = jbvNull;
	else
	{
		getTypeOutputInfo(column->typid, &outfunc, &varlena);
		v.val.string.val = OidOutputFunctionCall(outfunc, value);
		v.val.string.len = strlen(v.val.string.val);
	}
	pushJsonbValue(state, WJB_VALUE, &v);
}

/*
 * cdc_moved_key: see moved.h.  palloc'd in CurrentMemoryContext.
 */
Datum
cdc_moved_key(const CdcRelation *rel, const CdcKey *key, const CdcRow *row)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < key->nkeys; i++)
	{
		int			c = key->columns[i];

		push_member(&state, &rel->columns[c], row->values[c], row->nulls[c]);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state,
														   WJB_END_OBJECT, NULL)));
}

/*
 * cdc_moved_header_key: see moved.h.
 */
Datum
cdc_moved_header_key(CdcRelation *rel, const CdcEvent *event,
					 const CdcJsonNode *header)
{
	CdcRow		row;
	CdcKey	   *key;

	cdc_row_alloc(rel, &row);
	key = cdc_row_key(rel, event, header, event->key_schema, NULL, &row);
	return cdc_moved_key(rel, key, &row);
}

#define KEY_CHANGE \
	"subscription OPERATOR(pg_catalog.=) $1 AND relation OPERATOR(pg_catalog.=) $2 " \
	"AND old_key OPERATOR(pg_catalog.=) $3 AND new_key OPERATOR(pg_catalog.=) $4 " \
	"AND sequence IS NOT DISTINCT FROM $5"
#define KEY_CHANGE_TYPES	NAMEOID, REGCLASSOID, JSONBOID, JSONBOID, TEXTOID

/*
 * One row of a key change.  The same keys may change more than once: both
 * halves carry the same source.sequence; where there is none, the oldest row
 * is the one.
 */
#define ONE_ROW \
	"DELETE FROM cdc_sink.moved_row WHERE ctid OPERATOR(pg_catalog.=) " \
	"(SELECT ctid FROM cdc_sink.moved_row WHERE " KEY_CHANGE " ORDER BY \"offset\" LIMIT 1)"

static CdcStatement keep = {
	.sql = "INSERT INTO cdc_sink.moved_row (subscription, relation, old_key, new_key, sequence, \"row\", topic, partition, \"offset\") "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	.nargs = 9,
	.types = {KEY_CHANGE_TYPES, JSONBOID, TEXTOID, INT4OID, INT8OID}
};

static CdcStatement take = {
	.sql = ONE_ROW " RETURNING \"row\"",
	.nargs = 5,
	.types = {KEY_CHANGE_TYPES}
};

static CdcStatement forget = {
	.sql = ONE_ROW,
	.nargs = 5,
	.types = {KEY_CHANGE_TYPES}
};

static CdcStatement sweep = {
	.sql = "DELETE FROM cdc_sink.moved_row WHERE subscription OPERATOR(pg_catalog.=) $1 "
	"AND kept_at OPERATOR(pg_catalog.<) $2",
	.nargs = 2,
	.types = {NAMEOID, TIMESTAMPTZOID}
};

static CdcStatement waits = {
	.sql = "SELECT FROM cdc_sink.moved_row WHERE subscription OPERATOR(pg_catalog.=) $1 "
	"AND kept_at OPERATOR(pg_catalog.<) $2 LIMIT 1",
	.nargs = 2,
	.types = {NAMEOID, TIMESTAMPTZOID}
};

/*
 * Parameters that name one key change; nulls has room for all parameters of
 * the statement.
 */
static void
key_change(const CdcRelation *rel, const CdcEvent *event, Datum old_key,
		   Datum new_key, Datum *values, char *nulls)
{
	const CdcSequencePart *s = event->sequence;

	values[0] = DirectFunctionCall1(namein,
									CStringGetDatum(rel->mapping->subscription->name));
	values[1] = ObjectIdGetDatum(rel->relid);
	values[2] = old_key;
	values[3] = new_key;
	nulls[4] = s[1].valid ? ' ' : 'n';
	values[4] = s[1].valid ?
		CStringGetTextDatum(psprintf(UINT64_FORMAT "," UINT64_FORMAT,
									 s[0].valid ? s[0].value : 0, s[1].value)) :
		(Datum) 0;
}

/* Runs a statement as the extension's owner, between SPI_connect and finish. */
static int
run(CdcStatement *statement, Datum *values, const char *nulls)
{
	CdcCatalogScope scope;
	int			n;

	cdc_catalog_enter(&scope);
	n = cdc_catalog_execute(statement, values, nulls);
	cdc_catalog_leave(&scope);
	return n;
}

/*
 * cdc_moved_keep: see moved.h.
 */
void
cdc_moved_keep(CdcRelation *rel, const CdcEvent *event, Datum old_key,
			   Datum new_key, const CdcRow *row)
{
	JsonbParseState *state = NULL;
	Jsonb	   *json;
	Datum		values[9];
	char		nulls[] = "         ";

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < rel->ncolumns; i++)
		if (row->set[i] == CDC_SET)
			push_member(&state, &rel->columns[i], row->values[i], row->nulls[i]);
	json = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));

	key_change(rel, event, old_key, new_key, values, nulls);
	values[5] = JsonbPGetDatum(json);
	values[6] = CStringGetTextDatum(event->record->topic);
	values[7] = Int32GetDatum(event->record->partition);
	values[8] = Int64GetDatum(event->record->offset);
	SPI_connect();
	run(&keep, values, nulls);
	cdc_moved_last = GetCurrentTimestamp();
	if (!cdc_moved_kept)
		cdc_moved_first = cdc_moved_last;
	cdc_moved_kept = true;
	SPI_finish();
}

/* Sets a column from the text of a kept row's member. */
static void
take_column(const CdcColumn *column, const JsonbValue *v, Datum *value,
			bool *isnull)
{
	Oid			infunc;
	Oid			ioparam;

	*isnull = (v->type == jbvNull);
	*value = (Datum) 0;
	if (*isnull)
		return;
	getTypeInputInfo(column->typid, &infunc, &ioparam);
	*value = OidInputFunctionCall(infunc,
								  pnstrdup(v->val.string.val, v->val.string.len),
								  ioparam, column->typmod);
}

/* Fills the unchanged columns of row from a kept row. */
static void
take_row(const CdcRelation *rel, Jsonb *json, CdcRow *row)
{
	row->has_unchanged = false;
	for (int i = 0; i < rel->ncolumns; i++)
	{
		const CdcColumn *column = &rel->columns[i];
		JsonbValue	buffer;
		JsonbValue *v;

		if (row->set[i] != CDC_UNCHANGED)
			continue;
		v = getKeyJsonValueFromContainer(&json->root, column->name,
										 strlen(column->name), &buffer);
		if (v == NULL)
			row->has_unchanged = true;	/* the column is younger */
		else
		{
			take_column(column, v, &row->values[i], &row->nulls[i]);
			row->set[i] = CDC_SET;
		}
	}
}

/*
 * cdc_moved_take: see moved.h.  Values go to CurrentMemoryContext.
 */
bool
cdc_moved_take(CdcRelation *rel, const CdcEvent *event, Datum old_key,
			   Datum new_key, CdcRow *row)
{
	Datum		values[5];
	char		nulls[] = "     ";
	MemoryContext caller = CurrentMemoryContext;
	bool		found;

	key_change(rel, event, old_key, new_key, values, nulls);
	SPI_connect();
	found = run(&take, values, nulls) > 0;
	if (found)
	{
		bool		isnull;
		Datum		json = SPI_getbinval(SPI_tuptable->vals[SPI_processed - 1],
										 SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		take_row(rel, DatumGetJsonbPCopy(json), row);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return found;
}

/*
 * cdc_moved_forget: see moved.h.
 */
void
cdc_moved_forget(CdcRelation *rel, const CdcEvent *event, Datum old_key,
				 Datum new_key)
{
	Datum		values[5];
	char		nulls[] = "     ";

	key_change(rel, event, old_key, new_key, values, nulls);
	SPI_connect();
	run(&forget, values, nulls);
	SPI_finish();
}

/* Runs a statement on the rows that the subscription kept before a time. */
static int
run_before(CdcStatement *statement, const char *subscription, TimestampTz before)
{
	Datum		values[2];
	int			n;

	values[0] = DirectFunctionCall1(namein, CStringGetDatum(subscription));
	values[1] = TimestampTzGetDatum(before);
	SPI_connect();
	n = run(statement, values, NULL);
	SPI_finish();
	return n;
}

/*
 * cdc_moved_sweep drops what the subscription kept before a time and nobody
 * asked for.  The caller knows that every partition has passed an end learned
 * CDC_MOVED_KEEP_MS after it.
 */
void
cdc_moved_sweep(const char *subscription, TimestampTz before)
{
	run_before(&sweep, subscription, before);
}

/*
 * cdc_moved_waits: see moved.h.
 */
bool
cdc_moved_waits(const char *subscription, TimestampTz before)
{
	if (run_before(&waits, subscription, before) == 0)
		return false;
	cdc_moved_kept = true;
	cdc_moved_first = 0;
	return true;
}
