/*-------------------------------------------------------------------------
 *
 * test_value.c
 *		Values whose beginning an arena holds already are cut, and are the
 *		same when they are joined.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "value.h"

/* a schema of so many bytes, then a payload */
static const char *
wrapped(int bytes, char letter, const char *payload)
{
	static char texts[8][4096];
	static int	next;
	char	   *text = texts[next++ % 8];
	int			n = sprintf(text, "{\"schema\":{\"type\":\"");

	memset(text + n, letter, bytes);
	sprintf(text + n + bytes, "\"},\"payload\":%s}", payload);
	return text;
}

/* Cuts a text as a value; how many bytes of it others have, too. */
static int
cut(CdcArena *arena, const char *text)
{
	CdcRecord	record = {0};
	CdcBytes	whole;

	/* the caller's buffer is written again */
	cdc_value_cut(arena, &record, cdc_arena_copy(arena, text, strlen(text)), strlen(text));
	if (!cdc_value_join(arena, &record, &whole))
		abort();
	unit_is_text(whole.data, whole.len, text, "  joined");
	unit_is_int(cdc_value_len(&record), strlen(text), "  length");
	return record.start.len;
}

static void
test_beginnings(void)
{
	CdcArena	arena = {0};
	int			start = strlen(wrapped(500, 'a', "")) - 1;
	char		letter[2] = "a";

	unit_is_int(cut(&arena, wrapped(500, 'a', "{\"id\":1}")), 0, "the first is whole");
	unit_is_int(cut(&arena, wrapped(500, 'a', "{\"id\":22}")), start, "the second is cut before its payload");
	unit_is_int(cut(&arena, wrapped(500, 'a', "null")), start, "whatever that is");
	unit_is_int(cut(&arena, wrapped(500, 'b', "1")), 0, "another schema is whole");
	unit_is_int(cut(&arena, wrapped(500, 'b', "1")), start, "once");
	unit_is_int(cut(&arena, wrapped(500, 'a', "1")), start, "the one before is known still");
	unit_is_int(cut(&arena, wrapped(10, 'a', "1")), 0, "short ones are");
	unit_is_int(cut(&arena, wrapped(10, 'a', "1")), 0, "  always whole");
	unit_is_int(cut(&arena, "{\"id\":1}"), 0, "those without schema");
	unit_is_int(cut(&arena, ""), 0, "and the empty one, too");
	for (int i = 0; i < CDC_ARENA_STARTS; i++)
	{
		letter[0] = 'c' + i;
		cut(&arena, wrapped(600, letter[0], "1"));
	}
	unit_is_int(cut(&arena, wrapped(500, 'a', "1")), 0, "after some others it is forgotten");
	cdc_arena_free(&arena);
}

static void
test_lifetime(void)
{
	CdcArena	arena = {0};
	CdcArena	other = {0};
	CdcRecord	record = {0};
	CdcArenaMark mark;

	cut(&arena, wrapped(500, 'a', "1"));
	cdc_arena_reset(&arena);
	unit_is_int(cut(&arena, wrapped(500, 'a', "1")), 0, "a reset forgets");
	mark = cdc_arena_mark(&arena);
	cut(&arena, wrapped(500, 'b', "1"));
	cdc_arena_rewind(&arena, mark);
	unit_is_int(cut(&arena, wrapped(500, 'b', "1")), 0, "going back forgets");
	cut(&other, wrapped(500, 'c', "1"));
	cdc_arena_adopt(&arena, &other);
	unit_ok(cut(&arena, wrapped(500, 'b', "1")) > 0, "who adopts keeps its own");
	unit_is_int(cut(&other, wrapped(500, 'c', "1")), 0, "the other has none");
	cdc_arena_free(&arena);
	unit_is_int(cut(&arena, wrapped(500, 'b', "1")), 0, "free forgets");
	cdc_value_cut(&arena, &record, NULL, 0);
	unit_ok(record.value.data == NULL && record.start.data == NULL && cdc_value_len(&record) == 0, "a Kafka null stays one");
	cdc_arena_free(&arena);
	cdc_arena_free(&other);
}

int
main(void)
{
	test_beginnings();
	test_lifetime();
	return unit_done();
}
