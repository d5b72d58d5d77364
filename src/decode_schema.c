/*-------------------------------------------------------------------------
 *
 * decode_schema.c
 *		Connect schemas of records: read once, then recognised by their text.
 *
 * Floor 3.  The schema of a topic's records is the same text, byte for byte,
 * until the source table changes.  A record whose first bytes equal those
 * of an earlier one needs no reading of its schema, only of its payload;
 * the last few such beginnings are kept for every partition.  The hard
 * thing is the lifetime: others keep CdcSchema pointers and compare them to
 * see whether a schema is still the same, so an entry is never freed or
 * reused while the state lives.  The cache is bounded by refusing further
 * schemas; a state that is closed and opened again starts empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_internal.h"

/* entries, and bytes of their trees and texts, that a state keeps */
#define MAX_SCHEMAS			16384
#define MAX_SCHEMA_BYTES	((size_t) 256 * 1024 * 1024)

/* a power of two, at least twice MAX_SCHEMAS */
#define TABLE_SIZE			32768

/* partitions share beginnings where their number is equal modulo this */
#define SLOTS				512
#define RECENT				4

const char	CDC_SCHEMA_LIMIT[] = "has a new schema, but there are too many already";

struct CdcSchemaCache
{
	CdcArena	arena;			/* entries, texts and trees */
	int			nentries;
	CdcSchemaEntry *recent[SLOTS][RECENT];	/* last used first */
	CdcSchemaEntry *table[TABLE_SIZE];	/* open addressing by hash */
};

static bool read_schema(CdcArena *arena, const CdcJsonNode *node,
						CdcSchema *schema, const char **problem);

static const struct
{
	const char *name;
	CdcConnectType type;
}			connect_types[] =
{
	{"boolean", CDC_CONNECT_BOOLEAN},
	{"int8", CDC_CONNECT_INT8},
	{"int16", CDC_CONNECT_INT16},
	{"int32", CDC_CONNECT_INT32},
	{"int64", CDC_CONNECT_INT64},
	{"float", CDC_CONNECT_FLOAT},
	{"double", CDC_CONNECT_DOUBLE},
	{"bytes", CDC_CONNECT_BYTES},
	{"string", CDC_CONNECT_STRING},
	{"array", CDC_CONNECT_ARRAY},
	{"map", CDC_CONNECT_MAP},
	{"struct", CDC_CONNECT_STRUCT},
};

/* Returns NULL when memory ran out; the caller closes what it got. */
CdcSchemaCache *
cdc_schemas_open(void)
{
	return calloc(1, sizeof(CdcSchemaCache));
}

/* Frees every schema; pointers to them are invalid from here on. */
void
cdc_schemas_close(CdcSchemaCache *cache)
{
	if (cache == NULL)
		return;
	cdc_arena_free(&cache->arena);
	free(cache);
}

/* Puts entry first among those that records of this slot used last. */
static void
remember(CdcSchemaCache *cache, int slot, CdcSchemaEntry *entry)
{
	CdcSchemaEntry **recent = cache->recent[slot & (SLOTS - 1)];
	int			i = 0;

	while (i < RECENT - 1 && recent[i] != entry)
		i++;
	memmove(recent + 1, recent, i * sizeof(*recent));
	recent[0] = entry;
}

/*
 * Finds a schema by how the record begins: an entry whose prefix is the
 * beginning of text, which is len bytes long.  NULL where none is known.
 */
const CdcSchemaEntry *
cdc_schemas_recent(CdcSchemaCache *cache, int slot, const char *text,
				   size_t len)
{
	CdcSchemaEntry **recent = cache->recent[slot & (SLOTS - 1)];

	for (int i = 0; i < RECENT && recent[i] != NULL; i++)
	{
		CdcSchemaEntry *entry = recent[i];

		if (entry->prefix_len <= len &&
			memcmp(entry->prefix, text, entry->prefix_len) == 0)
		{
			if (i > 0)
				remember(cache, slot, entry);
			return entry;
		}
	}
	return NULL;
}

/* Hashes a schema's text; only spread matters, it is compared as well. */
static uint64
hash_text(const char *text, size_t len)
{
	uint64		hash = UINT64CONST(0x9E3779B97F4A7C15) ^ len;

	while (len >= 8)
	{
		uint64		word;

		memcpy(&word, text, 8);
		hash = (hash ^ word) * UINT64CONST(0xFF51AFD7ED558CCD);
		hash ^= hash >> 32;
		text += 8;
		len -= 8;
	}
	while (len-- > 0)
		hash = (hash ^ (unsigned char) *text++) *
			UINT64CONST(0x100000001B3);
	return hash ^ (hash >> 29);
}

/* Copies a JSON string and terminates it.  NULL: no memory. */
static const char *
copy_string(CdcArena *arena, const CdcJsonNode *node)
{
	char	   *copy = cdc_arena_alloc(arena, (size_t) node->len + 1);

	if (copy == NULL)
		return NULL;
	memcpy(copy, node->text, node->len);
	copy[node->len] = '\0';
	return copy;
}

/* Reads "type" of a schema node; sets *problem where it is none of Connect's. */
static void
read_type(const CdcJsonNode *node, CdcSchema *schema, const char **problem)
{
	if (node != NULL && node->type == CDC_JSON_STRING)
	{
		for (size_t i = 0; i < lengthof(connect_types); i++)
		{
			if (cdc_json_is(node, connect_types[i].name))
			{
				schema->type = connect_types[i].type;
				return;
			}
		}
	}
	*problem = "has a schema with an unknown type";
}

/* Copies the object "parameters"; false when memory ran out. */
static bool
read_parameters(CdcArena *arena, const CdcJsonNode *node, CdcSchema *schema,
				const char **problem)
{
	const CdcJsonNode *name = cdc_json_first(node);
	CdcSchemaParam *params;

	params = cdc_arena_alloc(arena, node->nchildren * sizeof(*params) + 1);
	if (params == NULL)
		return false;
	for (uint32 i = 0; i < node->nchildren; i++)
	{
		const CdcJsonNode *value = name + 1;

		if (value->type != CDC_JSON_STRING && value->type != CDC_JSON_NUMBER)
		{
			*problem = "has a schema with a parameter that is not a string";
			return true;
		}
		params[i].name = copy_string(arena, name);
		params[i].value = copy_string(arena, value);
		if (params[i].name == NULL || params[i].value == NULL)
			return false;
		name = cdc_json_next(value);
	}
	schema->nparams = node->nchildren;
	schema->params = params;
	return true;
}

/* Reads one schema below another into memory of its own. */
static bool
read_child(CdcArena *arena, const CdcJsonNode *node,
		   const CdcSchema **child, const char **problem)
{
	CdcSchema  *schema;

	if (node == NULL)
	{
		*problem = "has a schema with an array or map that does not say what is in it";
		return true;
	}
	schema = cdc_arena_alloc(arena, sizeof(*schema));
	if (schema == NULL)
		return false;
	*child = schema;
	return read_schema(arena, node, schema, problem);
}

/* Reads the array "fields" of a struct. */
static bool
read_fields(CdcArena *arena, const CdcJsonNode *node, CdcSchema *schema,
			const char **problem)
{
	const CdcJsonNode *child;
	CdcSchema  *fields;

	if (node == NULL || node->type != CDC_JSON_ARRAY)
	{
		*problem = "has a schema with a struct that has no fields";
		return true;
	}
	fields = cdc_arena_alloc(arena, node->nchildren * sizeof(*fields) + 1);
	if (fields == NULL)
		return false;
	child = cdc_json_first(node);
	for (uint32 i = 0; i < node->nchildren && *problem == NULL; i++)
	{
		if (!read_schema(arena, child, &fields[i], problem))
			return false;
		if (*problem == NULL && fields[i].field == NULL)
			*problem = "has a schema with a field that has no name";
		child = cdc_json_next(child);
	}
	schema->nfields = node->nchildren;
	schema->fields = fields;
	return true;
}

/* Reads the members that any schema node can have. */
static bool
read_common(CdcArena *arena, const CdcJsonNode *node, CdcSchema *schema,
			const char **problem)
{
	const CdcJsonNode *member;

	read_type(cdc_json_member(node, "type"), schema, problem);
	member = cdc_json_member(node, "optional");
	schema->optional = member != NULL && member->type == CDC_JSON_TRUE;
	member = cdc_json_member(node, "name");
	if (member != NULL && member->type == CDC_JSON_STRING &&
		(schema->name = copy_string(arena, member)) == NULL)
		return false;
	member = cdc_json_member(node, "field");
	if (member != NULL && member->type == CDC_JSON_STRING)
	{
		schema->field = copy_string(arena, member);
		schema->field_len = member->len;
		if (schema->field == NULL)
			return false;
	}
	member = cdc_json_member(node, "parameters");
	if (member != NULL && member->type == CDC_JSON_OBJECT)
		return read_parameters(arena, member, schema, problem);
	return true;
}

/*
 * Reads one schema node and all below it; the depth is bounded by that of
 * the JSON text.  Everything is allocated in the arena.  Returns false when
 * memory ran out; *problem is set where the schema makes no sense.
 */
static bool
read_schema(CdcArena *arena, const CdcJsonNode *node, CdcSchema *schema,
			const char **problem)
{
	memset(schema, 0, sizeof(*schema));
	if (node->type != CDC_JSON_OBJECT)
	{
		*problem = "has a schema that is not an object";
		return true;
	}
	if (!read_common(arena, node, schema, problem))
		return false;
	if (*problem != NULL)
		return true;
	switch (schema->type)
	{
		case CDC_CONNECT_STRUCT:
			return read_fields(arena, cdc_json_member(node, "fields"), schema,
							   problem);
		case CDC_CONNECT_ARRAY:
			return read_child(arena, cdc_json_member(node, "items"),
							  &schema->items, problem);
		case CDC_CONNECT_MAP:
			if (!read_child(arena, cdc_json_member(node, "keys"),
							&schema->keys, problem))
				return false;
			if (*problem != NULL)
				return true;
			return read_child(arena, cdc_json_member(node, "values"),
							  &schema->items, problem);
		default:
			return true;
	}
}

/* The struct that describes the rows of an envelope, or NULL. */
static const CdcSchema *
find_row(const CdcSchema *root)
{
	const CdcSchema *before = NULL;

	for (int i = 0; i < root->nfields; i++)
	{
		const CdcSchema *field = &root->fields[i];

		if (field->type != CDC_CONNECT_STRUCT)
			continue;
		if (strcmp(field->field, "after") == 0)
			return field;
		if (strcmp(field->field, "before") == 0)
			before = field;
	}
	return before;
}

/* Place of the entry with this text in the table, or the free place for it. */
static CdcSchemaEntry **
table_place(CdcSchemaCache *cache, uint64 hash, const CdcJsonNode *schema)
{
	uint32		i = hash & (TABLE_SIZE - 1);

	while (cache->table[i] != NULL)
	{
		CdcSchemaEntry *entry = cache->table[i];

		if (entry->hash == hash && entry->text_len == schema->len &&
			memcmp(entry->text, schema->text, schema->len) == 0)
			break;
		i = (i + 1) & (TABLE_SIZE - 1);
	}
	return &cache->table[i];
}

/*
 * Makes an entry of a schema that is not known.  It is read into the batch
 * first, so that schemas that make no sense (*problem is set) leave nothing
 * behind in the cache.
 */
static bool
add_entry(CdcSchemaCache *cache, CdcArena *batch, uint64 hash,
		  const char *text, size_t prefix_len, const CdcJsonNode *schema,
		  CdcSchemaEntry **result, const char **problem)
{
	CdcSchema	trial;
	CdcSchemaEntry *entry;
	CdcSchema  *root;
	char	   *copy;

	if (!read_schema(batch, schema, &trial, problem))
		return false;
	if (*problem != NULL)
		return true;
	entry = cdc_arena_alloc(&cache->arena, sizeof(*entry));
	root = cdc_arena_alloc(&cache->arena, sizeof(*root));
	if (entry == NULL || root == NULL ||
		!read_schema(&cache->arena, schema, root, problem))
		return false;
	copy = cdc_arena_alloc(&cache->arena,
						   prefix_len > 0 ? prefix_len : schema->len);
	if (copy == NULL)
		return false;
	entry->hash = hash;
	entry->root = root;
	entry->row = find_row(root);
	entry->text_len = schema->len;
	entry->prefix_len = prefix_len;
	if (prefix_len > 0)
	{
		memcpy(copy, text, prefix_len);
		entry->prefix = copy;
		entry->text = copy + (schema->text - text);
	}
	else
	{
		memcpy(copy, schema->text, schema->len);
		entry->prefix = NULL;
		entry->text = copy;
	}
	*result = entry;
	return true;
}

/*
 * Finds the entry of a schema, or makes it.  text is the record, of which
 * the first prefix_len bytes stand before the payload (0: the payload does
 * not come last).  Returns false when memory ran out; *problem is set where
 * the schema is not readable or there are too many.
 */
bool
cdc_schemas_find(CdcSchemaCache *cache, CdcArena *batch, int slot,
				 const char *text, size_t prefix_len,
				 const CdcJsonNode *schema, const CdcSchemaEntry **entry,
				 const char **problem)
{
	uint64		hash = hash_text(schema->text, schema->len);
	CdcSchemaEntry **place = table_place(cache, hash, schema);

	if (*place == NULL)
	{
		if (cache->nentries >= MAX_SCHEMAS ||
			cache->arena.total >= MAX_SCHEMA_BYTES)
		{
			*problem = CDC_SCHEMA_LIMIT;
			return true;
		}
		if (!add_entry(cache, batch, hash, text, prefix_len, schema, place,
					   problem))
			return false;
		if (*problem != NULL)
			return true;
		cache->nentries++;
	}
	*entry = *place;
	if ((*place)->prefix_len > 0)
		remember(cache, slot, *place);
	return true;
}
