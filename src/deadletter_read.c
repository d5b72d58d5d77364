/*-------------------------------------------------------------------------
 *
 * deadletter_read.c
 *		Dead letters read back: to be tried again, and to be published.
 *
 * Floor 5.  A record comes back byte by byte as it was.  The hard thing is
 * the mark of a letter that was published: whoever retries the letter has its
 * row locked, and the apply path must not wait for that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/base64.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "deadletter.h"
#include "debug_fail.h"

static CdcStatement unpublished = {
	.sql = "SELECT id, attempts, topic, partition, \"offset\", ts, key, value, headers, "
	"status, relation_name, op, sqlstate, message, context FROM cdc_sink.dead_letter "
	"WHERE subscription OPERATOR(pg_catalog.=) $1 AND unpublished "
	"AND id OPERATOR(pg_catalog.>) $2 ORDER BY id",
	.nargs = 2,
	.types = {NAMEOID, INT8OID}
};

/* letters of these ids that nobody tried again since */
#define SAME_LETTERS \
	"SELECT d.id FROM cdc_sink.dead_letter AS d, " \
	"ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS w (id, attempts) " \
	"WHERE d.id OPERATOR(pg_catalog.=) w.id AND d.attempts OPERATOR(pg_catalog.=) w.attempts " \
	"AND d.unpublished"

static CdcStatement mark = {
	.sql = "UPDATE cdc_sink.dead_letter SET unpublished = false, "
	"published_at = pg_catalog.clock_timestamp() "
	"WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(" SAME_LETTERS " FOR UPDATE OF d SKIP LOCKED))",
	.nargs = 2,
	.types = {INT8ARRAYOID, INT4ARRAYOID}
};

/* what is left then is locked by somebody else */
static CdcStatement locked = {
	.sql = SAME_LETTERS,
	.nargs = 2,
	.types = {INT8ARRAYOID, INT4ARRAYOID}
};

/* ------------------------------------------------------------------------
 * The record
 * ------------------------------------------------------------------------ */

/* Copies bytes into the arena. */
static CdcBytes
keep_bytes(CdcArena *arena, const char *data, int len)
{
	CdcBytes	bytes = {cdc_arena_copy(arena, data, len), len};

	if (bytes.data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	return bytes;
}

/* Bytes of a bytea column; a NULL is a Kafka null. */
static CdcBytes
column_bytes(HeapTuple tuple, TupleDesc desc, int column, CdcArena *arena)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);
	bytea	   *bytes;

	if (isnull)
		return (CdcBytes) {NULL, 0};
	bytes = DatumGetByteaPP(value);
	return keep_bytes(arena, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

/* Member of a header as deadletter.c writes it; NULL where it has none. */
static JsonbValue *
header_member(JsonbContainer *header, const char *name)
{
	JsonbValue *v = getKeyJsonValueFromContainer(header, name, strlen(name), NULL);

	return v && v->type == jbvString ? v : NULL;
}

/* Reads one header back. */
static void
read_header(CdcArena *arena, JsonbContainer *json, CdcHeader *header)
{
	JsonbValue *name = header_member(json, "name");
	JsonbValue *value = header_member(json, "value");
	JsonbValue *base64 = header_member(json, "base64");

	memset(header, 0, sizeof(*header));
	header->name = name == NULL ? "" :
		keep_bytes(arena, name->val.string.val, name->val.string.len).data;
	if (value)
		header->value = keep_bytes(arena, value->val.string.val,
								   value->val.string.len);
	else if (base64)
	{
		int			max = pg_b64_dec_len(base64->val.string.len);
		char	   *decoded = palloc(max + 1);
		int			len = pg_b64_decode(base64->val.string.val,
										base64->val.string.len,
										(void *) decoded, max);

		header->value = keep_bytes(arena, decoded, Max(len, 0));
	}
}

/* Reads the headers back. */
static void
read_headers(Datum value, CdcArena *arena, CdcRecord *record)
{
	Jsonb	   *json = DatumGetJsonbP(value);
	CdcHeader  *headers;

	if (!JB_ROOT_IS_ARRAY(json))
		return;
	headers = cdc_arena_alloc(arena, (JB_ROOT_COUNT(json) + 1) * sizeof(CdcHeader));
	if (headers == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	for (uint32 i = 0; i < JB_ROOT_COUNT(json); i++)
	{
		JsonbValue *v = getIthJsonbValueFromContainer(&json->root, i);

		if (v->type == jbvBinary)
			read_header(arena, v->val.binary.data, &headers[record->nheaders++]);
	}
	record->headers = headers;
}

/* cdc_deadletter_read: see deadletter.h. */
void
cdc_deadletter_read(HeapTuple tuple, TupleDesc desc, int column,
					CdcArena *arena, CdcRecord *record)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	record->ts_ms = isnull ? -1 :
		(DatumGetTimestampTz(value) - time_t_to_timestamptz(0)) / 1000;
	record->key = column_bytes(tuple, desc, column + 1, arena);
	memset(&record->start, 0, sizeof(record->start));
	record->value = column_bytes(tuple, desc, column + 2, arena);
	record->nheaders = 0;
	record->headers = NULL;
	value = SPI_getbinval(tuple, desc, column + 3, &isnull);
	if (!isnull)
		read_headers(value, arena, record);
}

/* ------------------------------------------------------------------------
 * Publishing
 * ------------------------------------------------------------------------ */

/* Reads one row; what it holds lives in the arena and CurrentMemoryContext. */
static void
read_unpublished(HeapTuple tuple, TupleDesc desc, CdcArena *arena,
				 CdcUnpublished *letter)
{
	bool		isnull;
	CdcRecord  *record = &letter->record;

	memset(letter, 0, sizeof(*letter));
	letter->id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	letter->attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
	record->topic = SPI_getvalue(tuple, desc, 3);
	record->partition = DatumGetInt32(SPI_getbinval(tuple, desc, 4, &isnull));
	record->offset = DatumGetInt64(SPI_getbinval(tuple, desc, 5, &isnull));
	cdc_deadletter_read(tuple, desc, 6, arena, record);
	letter->status = SPI_getvalue(tuple, desc, 10);
	letter->relation = SPI_getvalue(tuple, desc, 11);
	letter->op = SPI_getvalue(tuple, desc, 12);
	letter->sqlstate = SPI_getvalue(tuple, desc, 13);
	letter->message = SPI_getvalue(tuple, desc, 14);
	letter->context = SPI_getvalue(tuple, desc, 15);
}

/* cdc_deadletter_unpublished: see deadletter.h. */
bool
cdc_deadletter_unpublished(const char *subscription, int64 after,
						   CdcArena *arena, CdcTakeLetter take, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "cdc_sink unpublished letter",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	Datum		values[2] = {DirectFunctionCall1(namein, CStringGetDatum(subscription)),
	Int64GetDatum(after)};
	CdcCatalogScope scope;
	Portal		portal;
	bool		more = true;
	bool		end = false;

	SPI_connect();
	cdc_catalog_enter(&scope);
	cdc_debug_spi();
	portal = SPI_cursor_open(NULL, cdc_catalog_plan(&unpublished), values, NULL,
							 true);
	/* one at a time: each may be large */
	while (more && !end)
	{
		CdcUnpublished letter;

		SPI_cursor_fetch(portal, true, 1);
		end = SPI_processed == 0;
		if (!end)
		{
			old = MemoryContextSwitchTo(context);
			read_unpublished(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
							 arena, &letter);
			more = take(arg, &letter);
			MemoryContextSwitchTo(old);
			MemoryContextReset(context);
			cdc_arena_reset(arena);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	cdc_catalog_leave(&scope);
	SPI_finish();
	MemoryContextDelete(context);
	return end;
}

/* An array of int8 or int4, of 64-bit numbers. */
static Datum
array_of(const int64 *numbers, int n, Oid type)
{
	Datum	   *elements = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elements[i] = type == INT8OID ? Int64GetDatum(numbers[i]) :
			Int32GetDatum((int32) numbers[i]);
	return PointerGetDatum(construct_array(elements, n, type,
										   type == INT8OID ? 8 : 4,
										   type == INT8OID ? FLOAT8PASSBYVAL : true,
										   type == INT8OID ? TYPALIGN_DOUBLE : TYPALIGN_INT));
}

/* cdc_deadletter_published: see deadletter.h. */
int
cdc_deadletter_published(const int64 *ids, const int64 *attempts, int n,
						 int64 *left)
{
	CdcCatalogScope scope;
	Datum		values[2] = {array_of(ids, n, INT8OID),
	array_of(attempts, n, INT4OID)};
	int			nleft = 0;

	SPI_connect();
	cdc_catalog_enter(&scope);
	if (cdc_catalog_execute(&mark, values, NULL) < n)
		nleft = cdc_catalog_execute(&locked, values, NULL);
	for (int i = 0; i < nleft; i++)
		left[i] = DatumGetInt64(cdc_catalog_datum(SPI_tuptable->vals[i], 1));
	cdc_catalog_leave(&scope);
	SPI_finish();
	return nleft;
}
