/*-------------------------------------------------------------------------
 *
 * deadletter.c
 *		Records that were not applied, in cdc_sink.dead_letter.
 *
 * Floor 5.  A letter holds the record byte by byte, so that it can be tried
 * again, and what is known of it as text, so that a human understands it.
 * The hard thing: what is wrong with the record must not make writing the
 * letter fail, or the position could never pass it; so texts that PostgreSQL
 * would refuse are left out or written in another form.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "deadletter.h"
#include "debug_fail.h"
#include "errors.h"

/* letters read at a time */
#define FETCH_ROWS 1000

#define PLACE_TYPES	NAMEOID, TEXTOID, INT4OID, INT8OID

static CdcStatement insert = {
	.sql = "INSERT INTO cdc_sink.dead_letter AS d (subscription, topic, partition, \"offset\", "
	"ts, key, value, headers, relation, relation_name, op, old_row, new_row, "
	"sqlstate, message, detail, context, attempts, status, resolved_at, note, unpublished) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, "
	"CASE WHEN $19 THEN 'skipped' ELSE 'open' END, "
	"CASE WHEN $19 THEN pg_catalog.clock_timestamp() END, "
	"CASE WHEN $19 THEN (SELECT p.skip_note FROM cdc_sink.position AS p "
	"WHERE p.subscription OPERATOR(pg_catalog.=) $1 AND p.topic OPERATOR(pg_catalog.=) $2 "
	"AND p.partition OPERATOR(pg_catalog.=) $3) END, $20) "
	"ON CONFLICT (subscription, topic, partition, \"offset\") WHERE status OPERATOR(pg_catalog.=) 'open' "
	"DO UPDATE SET ts = EXCLUDED.ts, key = EXCLUDED.key, value = EXCLUDED.value, "
	"headers = EXCLUDED.headers, relation = EXCLUDED.relation, "
	"relation_name = EXCLUDED.relation_name, op = EXCLUDED.op, old_row = EXCLUDED.old_row, "
	"new_row = EXCLUDED.new_row, sqlstate = EXCLUDED.sqlstate, message = EXCLUDED.message, "
	"detail = EXCLUDED.detail, context = EXCLUDED.context, failed_at = EXCLUDED.failed_at, "
	"attempts = d.attempts OPERATOR(pg_catalog.+) EXCLUDED.attempts, superseded_by = NULL, "
	"unpublished = EXCLUDED.unpublished",
	.nargs = 20,
	.types = {PLACE_TYPES, TIMESTAMPTZOID, BYTEAOID, BYTEAOID, JSONBOID, REGCLASSOID,
		TEXTOID, TEXTOID, JSONBOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	INT4OID, BOOLOID, BOOLOID}
};

/* letters that a later record of the same partition may supersede */
#define OLDER_LETTERS \
	"subscription OPERATOR(pg_catalog.=) $1 AND topic OPERATOR(pg_catalog.=) $2 " \
	"AND partition OPERATOR(pg_catalog.=) $3 AND \"offset\" OPERATOR(pg_catalog.<) $4 " \
	"AND status OPERATOR(pg_catalog.=) 'open' AND superseded_by IS NULL "
#define OF_KEY		"AND key OPERATOR(pg_catalog.=) $5"
#define OF_RELATION	"AND relation OPERATOR(pg_catalog.=) $5"

static CdcStatement lock = {
	.sql = "SELECT FROM cdc_sink.dead_letter WHERE " OLDER_LETTERS OF_KEY
	" ORDER BY \"offset\" FOR UPDATE",
	.nargs = 5,
	.types = {PLACE_TYPES, BYTEAOID}
};

static CdcStatement supersede = {
	.sql = "UPDATE cdc_sink.dead_letter SET superseded_by = $4 WHERE " OLDER_LETTERS OF_KEY,
	.nargs = 5,
	.types = {PLACE_TYPES, BYTEAOID}
};

static CdcStatement supersede_all = {
	.sql = "UPDATE cdc_sink.dead_letter SET superseded_by = $4 WHERE " OLDER_LETTERS OF_RELATION,
	.nargs = 5,
	.types = {PLACE_TYPES, REGCLASSOID}
};

static CdcStatement read_keys = {
	.sql = "SELECT topic, partition, key, \"offset\" FROM cdc_sink.dead_letter "
	"WHERE subscription OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'open' "
	"AND superseded_by IS NULL",
	.nargs = 1,
	.types = {NAMEOID}
};

/* ------------------------------------------------------------------------
 * What a letter says
 * ------------------------------------------------------------------------ */

/* Bytes, behind those of start, as bytea; *isnull where they are a Kafka null. */
static Datum
bytes_datum(CdcBytes start, CdcBytes bytes, bool *isnull)
{
	bytea	   *value;

	*isnull = bytes.data == NULL;
	if (*isnull)
		return (Datum) 0;
	value = palloc(VARHDRSZ + start.len + bytes.len);
	SET_VARSIZE(value, VARHDRSZ + start.len + bytes.len);
	if (start.len > 0)
		memcpy(VARDATA(value), start.data, start.len);
	memcpy(VARDATA(value) + start.len, bytes.data, bytes.len);
	return PointerGetDatum(value);
}

/* A text; bytes that are none in this database become question marks. */
static Datum
text_datum(const char *text, bool *isnull)
{
	char	   *copy;

	*isnull = text == NULL;
	if (*isnull)
		return (Datum) 0;
	copy = pstrdup(text);
	if (!pg_verifymbstr(copy, strlen(copy), true))
		for (char *c = copy; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	return CStringGetTextDatum(copy);
}

/* Time of the record; *isnull where it has none that PostgreSQL can hold. */
static Datum
time_datum(int64 ts_ms, bool *isnull)
{
	/* years 1970 to 9999: anything else is no time of a record */
	*isnull = ts_ms < 0 || ts_ms > CDC_MAX_TIME_MS;
	return *isnull ? (Datum) 0 :
		TimestampTzGetDatum(time_t_to_timestamptz(0) + ts_ms * 1000);
}

/*
 * Can the bytes stand as text in jsonb as they are, in every database?  Else
 * the value is written in base64.
 */
static bool
is_plain_text(const char *data, int len)
{
	if (memchr(data, '\0', len) != NULL)
		return false;
	if (GetDatabaseEncoding() == PG_UTF8)
		return pg_verify_mbstr(PG_UTF8, data, len, true);
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(data[i]))
			return false;
	return true;
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token,
			const char *text, int len)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, text);
	v.val.string.len = len;
	pushJsonbValue(state, token, &v);
}

/* Appends one header: {name, value}, or {name, base64} for other bytes. */
static void
push_header(JsonbParseState **state, const CdcHeader *header)
{
	JsonbValue	v;
	char	   *name = pstrdup(header->name);
	const CdcBytes *value = &header->value;

	if (!is_plain_text(name, strlen(name)))
		for (char *c = name; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, WJB_KEY, "name", 4);
	push_string(state, WJB_VALUE, name, strlen(name));
	if (value->data == NULL)
	{
		push_string(state, WJB_KEY, "value", 5);
		v.type = jbvNull;
		pushJsonbValue(state, WJB_VALUE, &v);
	}
	else if (is_plain_text(value->data, value->len))
	{
		push_string(state, WJB_KEY, "value", 5);
		push_string(state, WJB_VALUE, value->data, value->len);
	}
	else
	{
		int			max = pg_b64_enc_len(value->len);
		char	   *encoded = palloc(max + 1);

		push_string(state, WJB_KEY, "base64", 6);
		push_string(state, WJB_VALUE, encoded,
					pg_b64_encode((const void *) value->data, value->len, encoded, max));
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static Datum
headers_datum(const CdcRecord *record)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < record->nheaders; i++)
		push_header(&state, &record->headers[i]);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY,
														   NULL)));
}

/*
 * A row image as jsonb.  *isnull where there is none, and where jsonb cannot
 * hold it (U+0000, a number that is too large): the record's bytes are kept
 * anyway.
 */
static Datum
row_datum(const CdcJsonNode *row, bool *isnull)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile Datum json = (Datum) 0;

	*isnull = true;
	if (row == NULL || row->type != CDC_JSON_OBJECT)
		return (Datum) 0;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		char	   *text = pg_any_to_server(pnstrdup(row->text, row->len),
											row->len, PG_UTF8);

		json = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (cdc_error_classify(error->sqlerrcode) == CDC_ERROR_TRANSIENT)
			ReThrowError(error);
		FreeErrorData(error);
		json = (Datum) 0;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	*isnull = json == (Datum) 0;
	return json;
}

/* Operation of an event, one letter; NULL where it could not be told. */
static const char *
op_text(const CdcEvent *event)
{
	static char text[2];

	if (event->error != NULL)
		return NULL;
	if (event->kind == CDC_KIND_TOMBSTONE)
		return "d";
	if (event->kind != CDC_KIND_CHANGE)
		return NULL;
	text[0] = event->op == CDC_OP_WRITE ? 'u' : (char) event->op;
	return text;
}

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------ */

/* Runs a statement as the extension's owner. */
static void
run(CdcStatement *statement, Datum *values, const char *nulls)
{
	CdcCatalogScope scope;

	SPI_connect();
	cdc_catalog_enter(&scope);
	(void) cdc_catalog_execute(statement, values, nulls);
	cdc_catalog_leave(&scope);
	SPI_finish();
}

/* Parameters that name the place of a record. */
static void
name_place(Datum *values, const char *subscription, const CdcRecord *record)
{
	values[0] = DirectFunctionCall1(namein, CStringGetDatum(subscription));
	values[1] = CStringGetTextDatum(record->topic);
	values[2] = Int32GetDatum(record->partition);
	values[3] = Int64GetDatum(record->offset);
}

/* cdc_deadletter_write: see deadletter.h. */
void
cdc_deadletter_write(const CdcDeadLetter *letter)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "cdc_sink dead letter",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	const CdcEvent *event = letter->event;
	const CdcRecord *record = letter->record;
	const CdcMapping *mapping = letter->mapping;
	bool		good = event->error == NULL;
	Datum		values[20];
	bool		isnull[20] = {false};
	char		nulls[20];

	name_place(values, letter->subscription, record);
	values[4] = time_datum(record->ts_ms, &isnull[4]);
	values[5] = bytes_datum((CdcBytes) {NULL, 0}, record->key, &isnull[5]);
	values[6] = bytes_datum(record->start, record->value, &isnull[6]);
	values[7] = headers_datum(record);
	isnull[8] = mapping == NULL || !OidIsValid(mapping->relid);
	values[8] = ObjectIdGetDatum(isnull[8] ? InvalidOid : mapping->relid);
	values[9] = text_datum(mapping ? mapping->relation_name : NULL, &isnull[9]);
	values[10] = text_datum(op_text(event), &isnull[10]);
	values[11] = row_datum(good ? event->before : NULL, &isnull[11]);
	values[12] = row_datum(good ? event->after : NULL, &isnull[12]);
	values[13] = text_datum(letter->sqlstate ? unpack_sql_state(letter->sqlstate) :
							NULL, &isnull[13]);
	values[14] = text_datum(letter->message, &isnull[14]);
	values[15] = text_datum(letter->detail, &isnull[15]);
	values[16] = text_datum(letter->context, &isnull[16]);
	values[17] = Int32GetDatum(letter->attempts);
	values[18] = BoolGetDatum(letter->skipped);
	values[19] = BoolGetDatum(letter->publish);
	for (int i = 0; i < 20; i++)
		nulls[i] = isnull[i] ? 'n' : ' ';
	run(&insert, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Runs a statement on the older letters of a record's key. */
static void
run_for_key(CdcStatement *statement, const char *subscription,
			const CdcRecord *record)
{
	Datum		values[5];
	bool		isnull;

	name_place(values, subscription, record);
	values[4] = bytes_datum((CdcBytes) {NULL, 0}, record->key, &isnull);
	if (!isnull)
		run(statement, values, NULL);
}

/* cdc_deadletter_lock: see deadletter.h. */
void
cdc_deadletter_lock(const char *subscription, const CdcRecord *record)
{
	run_for_key(&lock, subscription, record);
}

/* cdc_deadletter_supersede: see deadletter.h. */
void
cdc_deadletter_supersede(const char *subscription, const CdcRecord *record)
{
	run_for_key(&supersede, subscription, record);
}

/* cdc_deadletter_supersede_all: see deadletter.h. */
void
cdc_deadletter_supersede_all(const char *subscription,
							 const CdcRecord *record, Oid relid)
{
	Datum		values[5];

	name_place(values, subscription, record);
	values[4] = ObjectIdGetDatum(relid);
	run(&supersede_all, values, NULL);
}

/* ------------------------------------------------------------------------
 * Keys with open letters
 * ------------------------------------------------------------------------ */

static uint64
hash_key(const char *topic, int32 partition, const char *key, int len)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) topic,
										   strlen(topic), partition);

	return hash_combine64(hash, hash_bytes_extended((const unsigned char *) key,
													len, 0));
}

static void
add_hash(CdcLetterKeys *keys, uint64 hash, int64 offset)
{
	bool		found;
	CdcLetterKey *entry = hash_search(keys->keys, &hash, HASH_ENTER, &found);

	entry->offset = found ? Max(entry->offset, offset) : offset;
	entry->superseded = false;
}

/* Adds the letters of one fetch. */
static void
add_rows(CdcLetterKeys *keys)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		Datum		value = SPI_getbinval(tuple, desc, 3, &isnull);
		bytea	   *key;

		if (isnull)
		{
			keys->keyless = true;
			continue;
		}
		key = DatumGetByteaPP(value);
		add_hash(keys, hash_key(SPI_getvalue(tuple, desc, 1),
								DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull)),
								VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)),
				 DatumGetInt64(SPI_getbinval(tuple, desc, 4, &isnull)));
	}
}

/* cdc_letter_keys_load: see deadletter.h. */
CdcLetterKeys *
cdc_letter_keys_load(MemoryContext parent, const char *subscription)
{
	MemoryContext context = AllocSetContextCreate(parent, "cdc_sink letter keys",
												  ALLOCSET_SMALL_SIZES);
	CdcLetterKeys *keys = MemoryContextAlloc(context, sizeof(CdcLetterKeys));
	HASHCTL		control = {.keysize = sizeof(uint64),
		.entrysize = sizeof(CdcLetterKey), .hcxt = context};
	Datum		value = DirectFunctionCall1(namein, CStringGetDatum(subscription));
	CdcCatalogScope scope;
	Portal		portal;

	keys->context = context;
	keys->superseded = keys->keyless = false;
	keys->keys = hash_create("cdc_sink letter keys", 64, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	PG_TRY();
	{
		SPI_connect();
		cdc_catalog_enter(&scope);
		cdc_debug_spi();
		portal = SPI_cursor_open(NULL, cdc_catalog_plan(&read_keys), &value,
								 NULL, false);
		do
		{
			SPI_cursor_fetch(portal, true, FETCH_ROWS);
			add_rows(keys);
			SPI_freetuptable(SPI_tuptable);
		} while (SPI_processed > 0);
		SPI_cursor_close(portal);
		cdc_catalog_leave(&scope);
		SPI_finish();
	}
	PG_CATCH();
	{
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return keys;
}

void
cdc_letter_keys_free(CdcLetterKeys *keys)
{
	MemoryContextDelete(keys->context);
}

/* cdc_letter_keys_find: NULL where the key has no letter. */
CdcLetterKey *
cdc_letter_keys_find(const CdcLetterKeys *keys, const CdcRecord *record)
{
	uint64		hash;

	if (record->key.data == NULL)
		return NULL;
	hash = hash_key(record->topic, record->partition, record->key.data,
					record->key.len);
	return hash_search(keys->keys, &hash, HASH_FIND, NULL);
}

bool
cdc_letter_keys_any(const CdcLetterKeys *keys)
{
	return keys->keyless || hash_get_num_entries(keys->keys) > 0;
}

void
cdc_letter_keys_add(CdcLetterKeys *keys, const CdcRecord *record)
{
	if (record->key.data == NULL)
		keys->keyless = true;
	else
		add_hash(keys, hash_key(record->topic, record->partition,
								record->key.data, record->key.len),
				 record->offset);
}

void
cdc_letter_keys_settle(CdcLetterKeys *keys)
{
	HASH_SEQ_STATUS scan;
	CdcLetterKey *entry;

	if (!keys->superseded)
		return;
	keys->superseded = false;
	hash_seq_init(&scan, keys->keys);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->superseded)
			hash_search(keys->keys, &entry->hash, HASH_REMOVE, NULL);
}
