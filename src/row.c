/*-------------------------------------------------------------------------
 *
 * row.c
 *		From an event's members to the values of a relation's columns.
 *
 * Floor 5.  Runs per event and per field, so a row's members are first
 * expected in the order of the row before: one memcmp finds the field.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "common/hashfn.h"
#include "utils/memutils.h"

#include "errors.h"
#include "relmap.h"
#include "relmap_internal.h"

/* Schema of a field of a struct, or NULL. */
const CdcSchema *
cdc_schema_field(const CdcSchema *schema, const char *name, int32 len)
{
	if (schema == NULL || schema->type != CDC_CONNECT_STRUCT)
		return NULL;
	for (int i = 0; i < schema->nfields; i++)
		if (schema->fields[i].field_len == len &&
			memcmp(schema->fields[i].field, name, len) == 0)
			return &schema->fields[i];
	return NULL;
}

/* Was this field added by the flattening transform? */
static bool
is_added_field(const CdcSourceSettings *source, const char *name)
{
	for (int i = 0; i < source->nadd_fields; i++)
		if (strcmp(source->add_fields[i], name) == 0)
			return true;
	/* the deleted mark is not among the added fields that source names */
	if (strcmp(name, "__deleted") == 0)
		return source->flatten_mode != CDC_FLATTEN_TOMBSTONE &&
			source->flatten_mode != CDC_FLATTEN_DROP &&
			source->flatten_mode != CDC_FLATTEN_DELETE_TO_TOMBSTONE;
	/* source says nothing of the transform: its default prefix */
	return source->flatten_mode == CDC_FLATTEN_UNKNOWN &&
		strncmp(name, "__", 2) == 0;
}

/* Name of the column for a field, or NULL where the mapping drops it. */
static const char *
mapped_name(const CdcMapping *mapping, const char *name)
{
	for (int i = 0; i < mapping->ncolumns; i++)
		if (strcmp(mapping->fields[i], name) == 0)
			return mapping->columns[i];
	return name;
}

/* Is it the name of a generated column, which is never written? */
static bool
is_generated(const CdcRelation *rel, const char *name)
{
	for (int i = 0; i < rel->ngenerated; i++)
		if (strcmp(rel->generated[i], name) == 0)
			return true;
	return false;
}

/*
 * A field's name in the encoding of the database, in CurrentMemoryContext;
 * NULL where it has a character that no name here can have.
 */
static char *
local_name(const char *name, int32 len)
{
	int			encoding = GetDatabaseEncoding();
	int			size = len * MAX_CONVERSION_GROWTH + 1;
	char	   *local;
	Oid			proc;

	if (memchr(name, '\0', len) != NULL)
		return NULL;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pnstrdup(name, len);
	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(proc))
		return NULL;
	local = palloc(size);
	if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
									  (unsigned char *) unconstify(char *, name), len,
									  (unsigned char *) local, size, true) != len)
		return NULL;
	return local;
}

/*
 * cdc_field_use says what becomes of a field.  *column is the column's name
 * (NULL: no name at all), *index its place; both may be NULL.  What it
 * allocates goes to CurrentMemoryContext.
 */
CdcFieldUse
cdc_field_use(const CdcRelation *rel, const CdcEvent *event, const char *name,
			  int32 len, const char **column, int *index)
{
	const char *local = local_name(name, len);
	const char *mapped = local ? mapped_name(rel->mapping, local) : NULL;
	int			found = mapped ? cdc_relmap_column(rel, mapped) : -1;

	if (column)
		*column = mapped;
	if (index)
		*index = found;
	if (local == NULL)
		return CDC_FIELD_UNKNOWN;
	if (mapped == NULL)
		return CDC_FIELD_DROPPED;
	if (found >= 0)
		return CDC_FIELD_COLUMN;
	if (is_generated(rel, mapped))
		return CDC_FIELD_GENERATED;
	if (event->flattened &&
		is_added_field(&rel->mapping->subscription->source, local))
		return CDC_FIELD_ADDED;
	return CDC_FIELD_UNKNOWN;
}

/*
 * cdc_field_resolve decides what becomes of a field and fills *field, in
 * CurrentMemoryContext.  Raises where no value of the field's type can become
 * the column's.
 */
void
cdc_field_resolve(CdcRelation *rel, const CdcEvent *event, const char *name,
				  int32 len, const CdcSchema *schema, CdcField *field)
{
	/* all of its bytes, for comparison; a name in messages ends at U+0000 */
	field->name = palloc(len + 1);
	memcpy(field->name, name, len);
	field->name[len] = '\0';
	field->len = len;
	field->conv = NULL;
	field->use = cdc_field_use(rel, event, name, len, NULL, &field->column);
	if (field->use == CDC_FIELD_COLUMN)
	{
		const CdcColumn *target = &rel->columns[field->column];

		cdc_error_position.field = field->name;
		field->conv = cdc_convert_prepare(schema,
										  &rel->mapping->subscription->source,
										  target->typid, target->typmod);
		cdc_error_position.field = NULL;
	}
}

/* The field map for rows of this schema, made on first use. */
static CdcFieldMap *
field_map(CdcRelation *rel, const CdcSchema *schema)
{
	CdcFieldMap **link = &rel->field_maps;
	CdcFieldMap *map;

	for (; *link; link = &(*link)->next)
		if ((*link)->schema == schema)
		{
			/* to the front: the next row will most likely ask for it again */
			map = *link;
			*link = map->next;
			map->next = rel->field_maps;
			rel->field_maps = map;
			return map;
		}
	map = MemoryContextAllocZero(rel->context, sizeof(CdcFieldMap));
	map->schema = schema;
	map->next = rel->field_maps;
	rel->field_maps = map;
	return map;
}

/*
 * Fields that are remembered for one shape of rows.  A table has 1600 columns
 * at most; what a hostile record brings beyond that is looked at each time.
 */
#define MAX_FIELDS 4096

/* Place of a name in the map's table: its field, or a free place. */
static int32 *
table_place(const CdcFieldMap *map, const char *name, int32 len)
{
	uint32		place = hash_bytes((const unsigned char *) name, len) & map->mask;

	while (map->table[place] != 0)
	{
		const CdcField *field = &map->fields[map->table[place] - 1];

		if (field->len == len && memcmp(field->name, name, len) == 0)
			break;
		place = (place + 1) & map->mask;
	}
	return &map->table[place];
}

/* Makes room for one more field; the table is kept at most half full. */
static void
grow_map(CdcRelation *rel, CdcFieldMap *map)
{
	CdcField   *fields;

	if (map->nfields < map->maxfields)
		return;
	map->maxfields = Max(16, map->maxfields * 2);
	fields = MemoryContextAlloc(rel->context, map->maxfields * sizeof(CdcField));
	if (map->nfields > 0)
	{
		memcpy(fields, map->fields, map->nfields * sizeof(CdcField));
		pfree(map->fields);
		pfree(map->table);
	}
	map->fields = fields;
	map->mask = map->maxfields * 2 - 1;
	map->table = MemoryContextAllocZero(rel->context,
										(map->mask + 1) * sizeof(int32));
	for (int i = 0; i < map->nfields; i++)
		*table_place(map, fields[i].name, fields[i].len) = i + 1;
}

/*
 * The field called so, looked for where the last row had it, then by its
 * name, then made.
 */
static CdcField *
field_lookup(CdcRelation *rel, CdcFieldMap *map, const CdcEvent *event,
			 const CdcJsonNode *name, int position)
{
	const CdcSchema *schema;
	MemoryContext old;
	CdcField   *field;
	int32	   *place;

	if (position < map->nfields)
	{
		field = &map->fields[position];
		if (field->len == (int32) name->len &&
			memcmp(field->name, name->text, name->len) == 0)
			return field;
	}
	if (map->nfields > 0 &&
		*(place = table_place(map, name->text, name->len)) != 0)
		return &map->fields[*place - 1];
	schema = cdc_schema_field(map->schema, name->text, name->len);
	if (map->nfields >= MAX_FIELDS)
	{
		field = palloc(sizeof(CdcField));
		cdc_field_resolve(rel, event, name->text, name->len, schema, field);
		return field;
	}
	grow_map(rel, map);
	field = &map->fields[map->nfields];
	old = MemoryContextSwitchTo(rel->context);
	cdc_field_resolve(rel, event, name->text, name->len, schema, field);
	MemoryContextSwitchTo(old);
	*table_place(map, field->name, field->len) = ++map->nfields;
	return field;
}

/* ERROR: the event has a field that the relation lacks. */
static void
unknown_field(const CdcRelation *rel, const CdcField *field)
{
	bool		add = rel->mapping->options.on_unknown_column == CDC_UNKNOWN_COLUMN_ADD;

	cdc_error_position.field = field->name;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("field \"%s\" has no column in %s", field->name, rel->name),
			 add ? errdetail("No column is added for it, because the record carries no schema for it.") : 0,
			 errhint("Add the column to the table, name another column or null for it in the mapping's columns, or set on_unknown_column to ignore.")));
}

/* cdc_row_alloc gives the row its arrays, in CurrentMemoryContext, unset. */
void
cdc_row_alloc(const CdcRelation *rel, CdcRow *row)
{
	int			n = Max(rel->ncolumns, 1);
	char	   *block = palloc(n * (sizeof(Datum) + sizeof(bool) + sizeof(uint8)));

	row->values = (Datum *) block;
	row->nulls = (bool *) (block + n * sizeof(Datum));
	row->set = (uint8 *) (row->nulls + n);
	memset(row->set, CDC_UNSET, n);
	row->has_unchanged = false;
}

/* cdc_row_same_columns: see relmap.h. */
bool
cdc_row_same_columns(const CdcRelation *rel, const uint8 *a, const uint8 *b)
{
	if (memcmp(a, b, rel->ncolumns) == 0)
		return true;
	for (int i = 0; i < rel->ncolumns; i++)
		if ((a[i] == CDC_SET) != (b[i] == CDC_SET))
			return false;
	return true;
}

/* Converts one member into its column of the row. */
static void
set_value(CdcField *field, const CdcJsonNode *value, CdcRow *row)
{
	cdc_error_position.field = field->name;
	row->values[field->column] = cdc_convert_value(field->conv, value,
												   &row->nulls[field->column]);
	row->set[field->column] = CDC_SET;
}

/*
 * cdc_row_build fills a row from the members of before or after.  Datums go
 * to CurrentMemoryContext; values may point into the event's arena.  Raises
 * data errors of single values, and 42703 for an unknown field.
 */
void
cdc_row_build(CdcRelation *rel, const CdcEvent *event,
			  const CdcJsonNode *object, CdcRow *row)
{
	CdcFieldMap *map = field_map(rel, event->row_schema);
	const CdcJsonNode *name = cdc_json_first(object);

	cdc_row_alloc(rel, row);
	for (uint32 i = 0; i < object->nchildren; i++)
	{
		const CdcJsonNode *value = cdc_json_next(name);
		CdcField   *field = field_lookup(rel, map, event, name, i);

		switch (field->use)
		{
			case CDC_FIELD_COLUMN:
				cdc_error_position.in_value = true;
				if (field->conv->nplaceholders > 0 && object == event->after &&
					cdc_convert_is_placeholder(field->conv, value))
				{
					row->set[field->column] = CDC_UNCHANGED;
					row->has_unchanged = true;
				}
				else
					set_value(field, value, row);
				cdc_error_position.in_value = false;
				break;
			case CDC_FIELD_UNKNOWN:
				if (rel->mapping->options.on_unknown_column != CDC_UNKNOWN_COLUMN_IGNORE)
					unknown_field(rel, field);
				break;
			case CDC_FIELD_DROPPED:
			case CDC_FIELD_GENERATED:
			case CDC_FIELD_ADDED:
				break;
		}
		name = cdc_json_next(value);
	}
	cdc_error_position.field = NULL;
}

/* A metadata value as the JSON node that its converter reads. */
static void
meta_node(const CdcEvent *event, char op, CdcMetaColumn meta, char *buffer,
		  size_t size, CdcJsonNode *node)
{
	const CdcRecord *record = event->record;

	memset(node, 0, sizeof(*node));
	node->span = 1;
	node->type = CDC_JSON_NUMBER;
	node->text = buffer;
	switch (meta)
	{
		case CDC_META_OP:
			node->type = CDC_JSON_STRING;
			snprintf(buffer, size, "%c", op);
			break;
		case CDC_META_TOPIC:
			node->type = CDC_JSON_STRING;
			node->text = record->topic;
			break;
		case CDC_META_PARTITION:
			snprintf(buffer, size, "%d", record->partition);
			break;
		case CDC_META_OFFSET:
			snprintf(buffer, size, INT64_FORMAT, record->offset);
			break;
		case CDC_META_TS_MS:
			if (event->ts_ms < 0 && record->ts_ms < 0)
				node->type = CDC_JSON_NULL;
			snprintf(buffer, size, INT64_FORMAT,
					 event->ts_ms >= 0 ? event->ts_ms : record->ts_ms);
			break;
		case CDC_META_NONE:
			break;
	}
	node->len = strlen(node->text);
}

/*
 * cdc_row_fill_meta fills the columns __op, __topic, __partition, __offset
 * and __ts_ms that the relation has and the event did not bring itself.
 */
void
cdc_row_fill_meta(CdcRelation *rel, const CdcEvent *event, char op, CdcRow *row)
{
	if (!rel->has_meta)
		return;
	for (int i = 0; i < rel->ncolumns; i++)
	{
		CdcColumn  *column = &rel->columns[i];
		CdcJsonNode node;
		char		buffer[32];

		if (column->meta == CDC_META_NONE || row->set[i] == CDC_SET)
			continue;
		if (column->meta_conv == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(rel->context);

			column->meta_conv = cdc_convert_prepare(NULL,
													&rel->mapping->subscription->source,
													column->typid, column->typmod);
			MemoryContextSwitchTo(old);
		}
		meta_node(event, op, column->meta, buffer, sizeof(buffer), &node);
		cdc_error_position.field = column->name;
		row->values[i] = cdc_convert_value(column->meta_conv, &node,
										   &row->nulls[i]);
		row->set[i] = CDC_SET;
	}
	cdc_error_position.field = NULL;
}
