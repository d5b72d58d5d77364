/*-------------------------------------------------------------------------
 *
 * relkey.c
 *		How the row of an event is found: record key to key columns.
 *
 * Floor 5.  Key columns are those of the mapping's key_columns, else the
 * primary key where the record key covers it, else the columns that the
 * record key names; their values come from the record key, because the
 * value's copy may be masked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "errors.h"
#include "relmap.h"
#include "relmap_internal.h"

/*
 * cdc_relmap_other_unique: may rows of the relation clash in more than one
 * way?  Then the order of changes inside a batch matters beyond the key.
 */
bool
cdc_relmap_other_unique(Relation heap)
{
	List	   *indexes = RelationGetIndexList(heap);
	ListCell   *cell;
	int			n = 0;

	foreach(cell, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID,
											ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisunique || index->indisexclusion)
			n++;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return n > 1;
}

/* Are the attributes of a unique index just the key's columns? */
static bool
index_is_key(const CdcRelation *rel, const CdcKey *key, Form_pg_index index)
{
	if (!index->indisunique || !index->indimmediate || !index->indisvalid ||
		index->indnkeyatts != key->nkeys)
		return false;
	for (int i = 0; i < index->indnkeyatts; i++)
	{
		bool		found = false;

		for (int k = 0; k < key->nkeys; k++)
			found |= rel->columns[key->columns[k]].attnum == index->indkey.values[i];
		if (!found)
			return false;
	}
	return true;
}

/* Does an immediate unique index without predicate cover just these columns? */
static bool
key_is_unique(const CdcRelation *rel, const CdcKey *key)
{
	Relation	heap = RelationIdGetRelation(rel->relid);
	List	   *indexes = RelationGetIndexList(heap);
	ListCell   *cell;
	bool		unique = false;

	foreach(cell, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID,
											ObjectIdGetDatum(lfirst_oid(cell)));

		if (!HeapTupleIsValid(tuple))
			continue;
		unique |= heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
			heap_attisnull(tuple, Anum_pg_index_indexprs, NULL) &&
			index_is_key(rel, key, (Form_pg_index) GETSTRUCT(tuple));
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	RelationClose(heap);
	return unique;
}

/*
 * cdc_equality_operator returns a type's default equality operator as SQL
 * text, palloc'd, or NULL where it has none.
 */
char *
cdc_equality_operator(Oid typid)
{
	TypeCacheEntry *type = lookup_type_cache(typid, TYPECACHE_EQ_OPR);
	HeapTuple	tuple;
	char	   *text = NULL;

	if (!OidIsValid(type->eq_opr))
		return NULL;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(type->eq_opr));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_operator op = (Form_pg_operator) GETSTRUCT(tuple);

		text = psprintf("OPERATOR(%s.%s)",
						quote_identifier(get_namespace_name(op->oprnamespace)),
						NameStr(op->oprname));
		ReleaseSysCache(tuple);
	}
	return text;
}

/* Fills equality, hash and uniqueness of a new key. */
static void
key_finish(CdcRelation *rel, CdcKey *key)
{
	key->types = palloc(key->nkeys * sizeof(TypeCacheEntry *));
	key->eq_operators = palloc(key->nkeys * sizeof(char *));
	key->is_key = palloc0(Max(rel->ncolumns, 1) * sizeof(bool));
	key->foldable = true;
	for (int i = 0; i < key->nkeys; i++)
	{
		const CdcColumn *column = &rel->columns[key->columns[i]];
		TypeCacheEntry *type = lookup_type_cache(column->typid,
												 TYPECACHE_EQ_OPR |
												 TYPECACHE_EQ_OPR_FINFO |
												 TYPECACHE_HASH_PROC_FINFO);

		key->is_key[key->columns[i]] = true;
		key->types[i] = type;
		key->eq_operators[i] = cdc_equality_operator(column->typid);
		if (key->eq_operators[i] == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("key column \"%s\" of %s has a type without equality",
							column->name, rel->name),
					 errhint("Name other columns in the mapping's key_columns.")));
		if (!OidIsValid(type->hash_proc_finfo.fn_oid))
			key->foldable = false;
	}
	if (key->nkeys == 1)
	{
		Oid			typid = rel->columns[key->columns[0]].typid;

		key->int_key = (typid == INT2OID || typid == INT4OID || typid == INT8OID);
	}
	key->unique = key_is_unique(rel, key);
}

/* The key of these columns, made on first use in the relation's context. */
static CdcKey *
key_get(CdcRelation *rel, const int *columns, int ncolumns)
{
	CdcKey	   *key;
	MemoryContext old;

	for (key = rel->keys; key; key = key->next)
		if (key->nkeys == ncolumns &&
			memcmp(key->columns, columns, ncolumns * sizeof(int)) == 0)
			return key;
	old = MemoryContextSwitchTo(rel->context);
	key = palloc0(sizeof(CdcKey));
	key->nkeys = ncolumns;
	key->columns = palloc(ncolumns * sizeof(int));
	memcpy(key->columns, columns, ncolumns * sizeof(int));
	key_finish(rel, key);
	key->next = rel->keys;
	rel->keys = key;
	MemoryContextSwitchTo(old);
	return key;
}

/* Columns of the mapping's key_columns option; ERROR where one is missing. */
static int
configured_columns(const CdcRelation *rel, int *columns)
{
	const CdcOptions *options = &rel->mapping->options;

	for (int i = 0; i < options->nkey_columns; i++)
	{
		columns[i] = cdc_relmap_column(rel, options->key_columns[i]);
		if (columns[i] < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of key_columns does not exist in %s",
							options->key_columns[i], rel->name),
					 errhint("Correct key_columns with cdc_sink.alter_mapping.")));
	}
	return options->nkey_columns;
}

static int
compare_int(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

/* Columns that find the row, given the fields of the record key. */
static int
choose_columns(const CdcRelation *rel, const CdcField *fields, int nfields,
			   int *columns)
{
	int			covered = 0;
	int			n = 0;

	if (rel->mapping->options.nkey_columns > 0)
		return configured_columns(rel, columns);
	for (int i = 0; i < rel->npk; i++)
		for (int f = 0; f < nfields; f++)
			if (fields[f].column == rel->pk[i])
			{
				covered++;
				break;
			}
	if (rel->npk > 0 && covered == rel->npk)
	{
		memcpy(columns, rel->pk, rel->npk * sizeof(int));
		return rel->npk;
	}
	for (int f = 0; f < nfields; f++)
		if (fields[f].use == CDC_FIELD_COLUMN)
		{
			bool		twice = false;

			for (int i = 0; i < n; i++)
				twice |= columns[i] == fields[f].column;
			if (!twice)
				columns[n++] = fields[f].column;
		}
	qsort(columns, n, sizeof(int), compare_int);
	return n;
}

/* Column that a scalar key stands for. */
static int
scalar_column(const CdcRelation *rel)
{
	int			column;

	if (rel->mapping->options.nkey_columns == 1 &&
		configured_columns(rel, &column) == 1)
		return column;
	if (rel->mapping->options.nkey_columns == 0 && rel->npk == 1)
		return rel->pk[0];
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("record key is a single value, but rows of %s are not found by a single column",
					rel->name),
			 errhint("Name the column in the mapping's key_columns.")));
}

/* Does a key map fit the members of this key? */
static bool
key_map_fits(const CdcKeyMap *map, const CdcJsonNode *key)
{
	const CdcJsonNode *name;

	if (map->scalar)
		return key->type != CDC_JSON_OBJECT;
	if (key->type != CDC_JSON_OBJECT || (uint32) map->nfields != key->nchildren)
		return false;
	name = cdc_json_first(key);
	for (int i = 0; i < map->nfields; i++)
	{
		if (map->fields[i].len != (int32) name->len ||
			memcmp(map->fields[i].name, name->text, name->len) != 0)
			return false;
		name = cdc_json_next(cdc_json_next(name));
	}
	return true;
}

/* Resolves the members of a key to columns. */
static void
resolve_key_fields(CdcRelation *rel, const CdcEvent *event,
				   const CdcJsonNode *key, CdcKeyMap *map)
{
	const CdcJsonNode *name = cdc_json_first(key);

	map->nfields = key->nchildren;
	map->fields = palloc0(Max(map->nfields, 1) * sizeof(CdcField));
	for (int i = 0; i < map->nfields; i++)
	{
		cdc_field_resolve(rel, event, name->text, name->len,
						  cdc_schema_field(map->schema, name->text, name->len),
						  &map->fields[i]);
		name = cdc_json_next(cdc_json_next(name));
	}
}

/* ERROR of the data where too many columns would find a row. */
static void
check_key_size(const CdcRelation *rel, int n)
{
	if (n > CDC_MAX_KEY_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("record key names %d columns of %s, more than the %d that may find a row",
						n, rel->name, CDC_MAX_KEY_COLUMNS),
				 errhint("Name those that identify a row in the mapping's key_columns.")));
}

/* Makes the map of a key that has members. */
static void
object_key_map(CdcRelation *rel, const CdcEvent *event, const CdcJsonNode *key,
			   CdcKeyMap *map)
{
	int		   *columns = palloc((key->nchildren + rel->npk +
								  rel->mapping->options.nkey_columns + 1) * sizeof(int));
	int			n;

	resolve_key_fields(rel, event, key, map);
	n = choose_columns(rel, map->fields, map->nfields, columns);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("record key names no column of %s", rel->name),
				 errhint("Map its fields with the mapping's columns, or name key_columns.")));
	check_key_size(rel, n);
	map->key = key_get(rel, columns, n);
	pfree(columns);
}

/* Makes the map of a key that is one value. */
static void
scalar_key_map(CdcRelation *rel, const CdcEvent *event, CdcKeyMap *map)
{
	int			column = scalar_column(rel);
	const char *name = rel->columns[column].name;

	map->scalar = true;
	map->nfields = 1;
	map->fields = palloc0(sizeof(CdcField));
	map->fields[0].name = pstrdup(name);
	map->fields[0].len = strlen(name);
	map->fields[0].use = CDC_FIELD_COLUMN;
	map->fields[0].column = column;
	map->fields[0].conv = cdc_convert_prepare(map->schema,
											  &rel->mapping->subscription->source,
											  rel->columns[column].typid,
											  rel->columns[column].typmod);
	map->key = key_get(rel, &column, 1);
}

/* The key map for this shape of key, made on first use. */
static CdcKeyMap *
key_map(CdcRelation *rel, const CdcEvent *event, const CdcJsonNode *key,
		const CdcSchema *schema)
{
	CdcKeyMap  *map;
	MemoryContext old;

	for (map = rel->key_maps; map; map = map->next)
		if (map->schema == schema && !map->values_only && key_map_fits(map, key))
			return map;
	old = MemoryContextSwitchTo(rel->context);
	map = palloc0(sizeof(CdcKeyMap));
	map->schema = schema;
	if (key->type == CDC_JSON_OBJECT)
		object_key_map(rel, event, key, map);
	else
		scalar_key_map(rel, event, map);
	map->next = rel->key_maps;
	rel->key_maps = map;
	MemoryContextSwitchTo(old);
	return map;
}

/*
 * Puts the record key's values into the key columns, or into every column it
 * names where the map has no key.  Notes in from_key (if given) which.
 */
static void
set_key_values(CdcRelation *rel, const CdcKeyMap *map, const CdcJsonNode *key,
			   bool *from_key, CdcRow *row)
{
	const CdcJsonNode *value = map->scalar ? key : cdc_json_first(key) + 1;

	for (int i = 0; i < map->nfields; i++)
	{
		const CdcField *field = &map->fields[i];

		if (field->use == CDC_FIELD_COLUMN &&
			(map->key == NULL || map->key->is_key[field->column]))
		{
			cdc_error_position.field = field->name;
			cdc_error_position.in_value = true;
			row->values[field->column] = cdc_convert_value(field->conv, value,
														   &row->nulls[field->column]);
			row->set[field->column] = CDC_SET;
			if (from_key)
				from_key[field->column] = true;
			cdc_error_position.in_value = false;
		}
		if (i + 1 < map->nfields)
			value = cdc_json_next(value) + 1;
	}
	cdc_error_position.field = NULL;
}

/* Key columns that the record key lacks take their value from the row image. */
static void
set_key_fallback(CdcRelation *rel, const CdcEvent *event, const CdcKey *key,
				 const CdcJsonNode *fallback, const bool *from_key, CdcRow *row)
{
	CdcRow		image;
	bool		built = false;

	for (int i = 0; i < key->nkeys; i++)
	{
		int			c = key->columns[i];

		if (from_key[c] || row->set[c] == CDC_SET)
			continue;
		if (!built && fallback != NULL)
		{
			cdc_row_build(rel, event, fallback, &image);
			built = true;
		}
		if (!built || image.set[c] != CDC_SET)
		{
			cdc_error_position.field = rel->columns[c].name;
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("neither the record key nor the row image has a value for key column \"%s\" of %s",
							rel->columns[c].name, rel->name),
					 errhint("Name columns that the events bring in the mapping's key_columns.")));
		}
		row->values[c] = image.values[c];
		row->nulls[c] = image.nulls[c];
		row->set[c] = CDC_SET;
	}
}

/*
 * cdc_row_key: see relmap.h.  Datums go to CurrentMemoryContext.
 */
CdcKey *
cdc_row_key(CdcRelation *rel, const CdcEvent *event,
			const CdcJsonNode *key_node, const CdcSchema *key_schema,
			const CdcJsonNode *fallback, CdcRow *row)
{
	CdcKeyMap  *map;
	bool	   *from_key = palloc0(Max(rel->ncolumns, 1) * sizeof(bool));
	CdcKey	   *key;

	if (key_node == NULL)
	{
		int			n = rel->mapping->options.nkey_columns;
		int		   *columns;

		if (n == 0)
			return NULL;
		columns = palloc(n * sizeof(int));
		key = key_get(rel, columns, configured_columns(rel, columns));
		pfree(columns);
	}
	else
	{
		map = key_map(rel, event, key_node, key_schema);
		set_key_values(rel, map, key_node, from_key, row);
		key = map->key;
	}
	set_key_fallback(rel, event, key, fallback, from_key, row);
	pfree(from_key);
	return key;
}

/*
 * cdc_row_key_fields fills the columns that the record key names.  A single
 * value goes to the one column of the key, if that is known.
 */
void
cdc_row_key_fields(CdcRelation *rel, const CdcEvent *event, CdcRow *row)
{
	const CdcJsonNode *key = event->key;
	CdcKeyMap  *map;
	MemoryContext old;

	if (key == NULL ||
		(key->type != CDC_JSON_OBJECT && rel->npk != 1 &&
		 rel->mapping->options.nkey_columns != 1))
		return;
	for (map = rel->key_maps; map; map = map->next)
		if (map->schema == event->key_schema && map->values_only &&
			key_map_fits(map, key))
			break;
	if (map == NULL)
	{
		old = MemoryContextSwitchTo(rel->context);
		map = palloc0(sizeof(CdcKeyMap));
		map->schema = event->key_schema;
		map->values_only = true;
		if (key->type == CDC_JSON_OBJECT)
			resolve_key_fields(rel, event, key, map);
		else
			scalar_key_map(rel, event, map);
		map->key = NULL;
		map->next = rel->key_maps;
		rel->key_maps = map;
		MemoryContextSwitchTo(old);
	}
	set_key_values(rel, map, key, NULL, row);
}

/* cdc_key_nulls: see relmap.h. */
uint32
cdc_key_nulls(const CdcKey *key, const CdcRow *row)
{
	uint32		bits = 0;

	for (int i = 0; key != NULL && i < key->nkeys; i++)
		if (row->nulls[key->columns[i]])
			bits |= (uint32) 1 << i;
	return bits;
}
