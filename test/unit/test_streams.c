/*-------------------------------------------------------------------------
 *
 * test_streams.c
 *		Recorded records of every form are decoded as an independent reading
 *		of them says (make_streams.py).
 *
 * usage: test_streams [STREAM.jsonl ...]; default: all in ../fixtures/decode.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include <glob.h>

#include "value.h"

/* Why an event is not as expected; empty: it is. */
static char why[1024];
/* values that a batch held without their beginning */
static int	ncut;

static void
note(const char *what, long long got, long long expected)
{
	size_t		used = strlen(why);

	if (got != expected)
		snprintf(why + used, sizeof(why) - used, " %s: got %lld, expected %lld;",
				 what, got, expected);
}

static long long
number(const CdcJsonNode *expect, const char *name)
{
	const CdcJsonNode *node = cdc_json_member(expect, name);

	return node ? atoll(node->text) : -1;
}

static bool
flag(const CdcJsonNode *expect, const char *name)
{
	const CdcJsonNode *node = cdc_json_member(expect, name);

	return node && node->type == CDC_JSON_TRUE;
}

static long long
members(const CdcJsonNode *node)
{
	return node && node->type == CDC_JSON_OBJECT ? (int) node->nchildren : -1;
}

static long long
fields(const CdcSchema *schema)
{
	return schema && schema->type == CDC_CONNECT_STRUCT ? schema->nfields : -1;
}

static void
note_text(const char *what, CdcStr got, const CdcJsonNode *expect)
{
	const CdcJsonNode *node = cdc_json_member(expect, what);
	bool		null = node == NULL || node->type == CDC_JSON_NULL;
	bool		same = null ? got.data == NULL : got.data != NULL &&
		(uint32) got.len == node->len &&
		memcmp(got.data, node->text, got.len) == 0;

	note(what, same, true);
}

static long long
part(const CdcEvent *event, int i)
{
	return event->sequence[i].valid ? (long long) event->sequence[i].value : -1;
}

static void
compare(const CdcEvent *event, const CdcJsonNode *expect)
{
	const CdcJsonNode *error = cdc_json_member(expect, "error");
	const CdcJsonNode *op = cdc_json_member(expect, "op");
	const CdcJsonNode *pair = cdc_json_member(expect, "sequence");

	why[0] = '\0';
	note("error", event->error != NULL, error != NULL);
	if (error != NULL || event->error != NULL)
	{
		if (event->error != NULL)
			strlcat(why, event->error->message, sizeof(why));
		if (error != NULL && event->error != NULL)
			why[0] = '\0';
		return;
	}
	note("kind", cdc_json_is(cdc_json_member(expect, "kind"),
							 unit_kind_name(event->kind)), true);
	note("op", event->op, op->len > 0 ? op->text[0] : 0);
	note("flattened", event->flattened, flag(expect, "flat"));
	note("snapshot", event->snapshot, flag(expect, "snapshot"));
	note("key", members(event->key), number(expect, "key"));
	note("key schema", fields(event->key_schema),
		 number(expect, "key_schema"));
	note("row schema", fields(event->row_schema),
		 number(expect, "row_schema"));
	note("before", members(event->before), number(expect, "before"));
	note("after", members(event->after), number(expect, "after"));
	note("new key", event->newkey != NULL, flag(expect, "newkey"));
	note("old key", event->oldkey != NULL, flag(expect, "oldkey"));
	note("sequence", part(event, 0), atoll(cdc_json_first(pair)->text));
	note("own lsn", part(event, 1), atoll(cdc_json_first(pair)[1].text));
	note_text("table", event->source_table, expect);
	note_text("schema", event->source_schema, expect);
}

static void
set_settings(CdcSourceSettings *settings, const CdcJsonNode *object)
{
	const CdcJsonNode *name = cdc_json_first(object);
	const char *problem;

	cdc_source_defaults(settings);
	for (uint32 i = 0; i < object->nchildren; i++)
	{
		const CdcJsonNode *value = name + 1;

		cdc_source_set(settings, pnstrdup(name->text, name->len),
					   pnstrdup(value->text, value->len), &problem);
		name = cdc_json_next(value);
	}
}

/*
 * Decodes the stream twice with one state: the second time every schema is
 * known and skipped.  As a batch holds them: values whose beginning is that
 * of another one are cut.
 */
static void
test_stream(const char *path, bool in_batch)
{
	Stream		stream = unit_read_stream(path);
	CdcSourceSettings settings;
	CdcDecodeState *state;
	static CdcArena arena;
	static CdcArena batch;
	int			bad = 0;
	int			cut = 0;

	set_settings(&settings, stream.settings);
	state = cdc_decoder_debezium.open(&settings);
	for (int i = 0; i < stream.nrecords * 2; i++)
	{
		CdcRecord	record = stream.records[i % stream.nrecords];
		CdcEvent	event;

		if (in_batch)
			cdc_value_cut(&batch, &record, record.value.data, record.value.len);
		cut += record.start.data != NULL;
		if (!cdc_decoder_debezium.decode(state, &record, &arena, &event))
			abort();
		compare(&event, stream.expect[i % stream.nrecords]);
		if (why[0] != '\0')
		{
			fprintf(stdout, "# %s offset %lld:%s\n", record.topic,
					(long long) record.offset, why);
			bad++;
		}
	}
	unit_ok(bad == 0 && stream.nrecords > 0, "%d records of %s%s",
			stream.nrecords, strrchr(path, '/') + 1,
			in_batch ? ", as a batch holds them" : "");
	ncut += cut;
	cdc_decoder_debezium.close(state);
	cdc_arena_free(&arena);
	cdc_arena_free(&batch);
}

static void
test_both(const char *path)
{
	test_stream(path, false);
	test_stream(path, true);
}

int
main(int argc, char **argv)
{
	glob_t		found;

	for (int i = 1; i < argc; i++)
		test_both(argv[i]);
	if (argc > 1)
		return unit_done();
	if (glob("../fixtures/decode/*.jsonl", 0, NULL, &found) == 0)
	{
		for (size_t i = 0; i < found.gl_pathc; i++)
			test_both(found.gl_pathv[i]);
	}
	unit_ok(found.gl_pathc >= 31, "all streams are there");
	unit_ok(ncut > 100, "%d values were cut", ncut);
	globfree(&found);
	return unit_done();
}
