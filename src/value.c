/*-------------------------------------------------------------------------
 *
 * value.c
 *		The value of a record, whose beginning may stand elsewhere.
 *
 * Floor 2.  No backend call: a thread cuts values, too.  The hard thing is
 * that nothing may hang on where a value is cut: whoever needs the whole
 * joins it.  So the cut is only a good guess, before the payload.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "value.h"

/* shorter beginnings are not worth it */
#define LEAST_START		256

/* Puts a beginning first, before i others. */
static void
put_first(CdcArena *arena, int i, CdcArenaStart start)
{
	memmove(&arena->starts[1], &arena->starts[0], i * sizeof(start));
	arena->starts[0] = start;
}

/*
 * The beginning of a value that the arena holds already; NULL: none.  It is
 * then the first that is looked at next.
 */
static const CdcArenaStart *
find_start(CdcArena *arena, const char *data, size_t len)
{
	for (int i = 0; i < arena->nstarts; i++)
	{
		CdcArenaStart start = arena->starts[i];

		if (start.len >= len || memcmp(start.data, data, start.len) != 0)
			continue;
		put_first(arena, i, start);
		return &arena->starts[0];
	}
	return NULL;
}

/* Remembers where the payload of a value begins that stays whole. */
static void
learn_start(CdcArena *arena, const char *data, size_t len)
{
	static const char schema[] = "{\"schema\":{";
	static const char payload[] = "},\"payload\":";
	const char *found;
	CdcArenaStart start = {data, 0};

	if (len < LEAST_START || memcmp(data, schema, sizeof(schema) - 1) != 0)
		return;
	found = memmem(data, len, payload, sizeof(payload) - 1);
	if (found == NULL)
		return;
	start.len = found - data + sizeof(payload) - 1;
	if (start.len < LEAST_START || start.len >= len)
		return;
	arena->nstarts = Min(arena->nstarts + 1, CDC_ARENA_STARTS);
	put_first(arena, arena->nstarts - 1, start);
}

/* cdc_value_cut: see value.h. */
void
cdc_value_cut(CdcArena *arena, CdcRecord *record, const char *data, size_t len)
{
	const CdcArenaStart *start;

	memset(&record->start, 0, sizeof(record->start));
	memset(&record->value, 0, sizeof(record->value));
	if (data == NULL)
		return;
	start = find_start(arena, data, len);
	if (start != NULL)
	{
		record->start.data = start->data;
		record->start.len = (int32) start->len;
		data += start->len;
		len -= start->len;
	}
	else
		learn_start(arena, data, len);
	record->value.data = data;
	record->value.len = (int32) len;
}

/* cdc_value_join: see value.h. */
bool
cdc_value_join(CdcArena *arena, const CdcRecord *record, CdcBytes *whole)
{
	size_t		len = cdc_value_len(record);
	char	   *copy;

	memset(whole, 0, sizeof(*whole));
	if (record->value.data == NULL)
		return true;
	copy = cdc_arena_alloc(arena, len + 1);
	if (copy == NULL)
		return false;
	if (record->start.len > 0)
		memcpy(copy, record->start.data, record->start.len);
	memcpy(copy + record->start.len, record->value.data, record->value.len);
	copy[len] = '\0';
	whole->data = copy;
	whole->len = (int32) len;
	return true;
}
