/*-------------------------------------------------------------------------
 *
 * source_settings.c
 *		Debezium's settings that decide how values are encoded.
 *
 * Floor 1.  One table maps names to modes.  The hard thing is the flattening
 * transform: its settings hang below a name that the user chose, and which
 * of the transforms it is stands in yet another setting.  So what is set of
 * each transform is noted, and the result is worked out anew after each.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "source_settings.h"

#define FLATTEN_CLASS		"io.debezium.transforms.ExtractNewRecordState"
#define DEFAULT_PLACEHOLDER "__debezium_unavailable_value"
#define DEFAULT_PREFIX		"__"

/* What was set of one transform; NULL: not set. */
typedef struct CdcTransform
{
	struct CdcTransform *next;
	char	   *name;
	char	   *type;
	char	   *delete_mode;	/* delete.tombstone.handling.mode */
	char	   *legacy_mode;	/* delete.handling.mode */
	char	   *legacy_drop;	/* drop.tombstones */
	char	   *add_fields;
	char	   *add_prefix;
} CdcTransform;

/* One word of a setting and the mode it stands for. */
typedef struct ModeWord
{
	const char *word;
	int			mode;
} ModeWord;

static const ModeWord time_words[] = {
	{"adaptive", CDC_TIME_ADAPTIVE},
	{"adaptive_time_microseconds", CDC_TIME_ADAPTIVE_MICROSECONDS},
	{"connect", CDC_TIME_CONNECT},
	{"isostring", CDC_TIME_ISOSTRING},
	{"microseconds", CDC_TIME_MICROSECONDS},
	{"nanoseconds", CDC_TIME_NANOSECONDS},
	{"structured", CDC_TIME_STRUCTURED},
	{NULL, 0}
};

static const ModeWord decimal_words[] = {
	{"precise", CDC_DECIMAL_PRECISE},
	{"double", CDC_DECIMAL_DOUBLE},
	{"string", CDC_DECIMAL_STRING},
	{NULL, 0}
};

static const ModeWord binary_words[] = {
	{"bytes", CDC_BINARY_BYTES},
	{"base64", CDC_BINARY_BASE64},
	{"base64-url-safe", CDC_BINARY_BASE64_URL_SAFE},
	{"hex", CDC_BINARY_HEX},
	{NULL, 0}
};

static const ModeWord interval_words[] = {
	{"numeric", CDC_INTERVAL_NUMERIC},
	{"string", CDC_INTERVAL_STRING},
	{"structured", CDC_INTERVAL_STRUCTURED},
	{NULL, 0}
};

static const ModeWord hstore_words[] = {
	{"json", CDC_HSTORE_JSON},
	{"map", CDC_HSTORE_MAP},
	{NULL, 0}
};

static const ModeWord format_words[] = {
	{"base64", false},
	{"numeric", true},
	{NULL, 0}
};

static const ModeWord flatten_words[] = {
	{"tombstone", CDC_FLATTEN_TOMBSTONE},
	{"drop", CDC_FLATTEN_DROP},
	{"rewrite", CDC_FLATTEN_REWRITE},
	{"rewrite-with-tombstone", CDC_FLATTEN_REWRITE_WITH_TOMBSTONE},
	{"delete-to-tombstone", CDC_FLATTEN_DELETE_TO_TOMBSTONE},
	{NULL, 0}
};

/* delete.handling.mode with drop.tombstones=true */
static const ModeWord legacy_words[] = {
	{"none", CDC_FLATTEN_TOMBSTONE},
	{"drop", CDC_FLATTEN_DROP},
	{"rewrite", CDC_FLATTEN_REWRITE},
	{NULL, 0}
};

static const ModeWord boolean_words[] = {
	{"true", true},
	{"false", false},
	{NULL, 0}
};

/* Finds the mode of a word, in any case, as Debezium does; -1: none. */
static int
find_mode(const ModeWord *words, const char *word)
{
	for (; words->word != NULL; words++)
	{
		if (pg_strcasecmp(words->word, word) == 0)
			return words->mode;
	}
	return -1;
}

/* Text for *problem that lists the words that are known; palloc'd. */
static const char *
list_words(const ModeWord *words)
{
	char		list[256] = "";

	for (; words->word != NULL; words++)
	{
		if (list[0] != '\0')
			strlcat(list, ", ", sizeof(list));
		strlcat(list, words->word, sizeof(list));
	}
	return psprintf("known values are: %s", list);
}

/* Looks word up; sets *problem where it is not known. */
static bool
check_mode(const ModeWord *words, const char *word, int *mode,
		   const char **problem)
{
	*mode = find_mode(words, word);
	if (*mode < 0)
		*problem = list_words(words);
	return *mode >= 0;
}

/* Copies text without blanks around it. */
static char *
copy_trimmed(const char *text, size_t len)
{
	while (len > 0 && isspace((unsigned char) *text))
		text++, len--;
	while (len > 0 && isspace((unsigned char) text[len - 1]))
		len--;
	return pnstrdup(text, len);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = pg_ascii_tolower((unsigned char) c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Sets the placeholder; "hex:" before it means bytes in hexadecimal. */
static void
set_placeholder(CdcSourceSettings *settings, const char *value,
				const char **problem)
{
	size_t		len = strlen(value);
	char	   *bytes;

	if (strncmp(value, "hex:", 4) != 0)
	{
		settings->placeholder = pstrdup(value);
		settings->placeholder_len = len;
		return;
	}
	value += 4;
	len -= 4;
	bytes = palloc(len / 2 + 1);
	for (size_t i = 0; i < len; i += 2)
	{
		int			high = hex_digit(value[i]);
		int			low = hex_digit(value[i + 1]);

		if (high < 0 || low < 0)
		{
			*problem = "after hex: an even number of hexadecimal digits is expected";
			return;
		}
		bytes[i / 2] = (char) (high << 4 | low);
	}
	bytes[len / 2] = '\0';
	settings->placeholder = bytes;
	settings->placeholder_len = len / 2;
}

/*
 * Name of an added field as it appears in rows, palloc'd: a dot in the field
 * becomes a line, one in the prefix or in a new name stays.
 */
static char *
added_name(const char *prefix, const char *field, const char *new_name)
{
	char	   *name = psprintf("%s%s", prefix, new_name ? new_name : field);

	for (char *p = name + strlen(prefix); *p && !new_name; p++)
	{
		if (*p == '.')
			*p = '_';
	}
	return name;
}

/* Notes the field where it carries something that decoding can use. */
static void
note_field(CdcSourceSettings *settings, const char *field, const char *name)
{
	if (strncmp(field, "source.", 7) == 0)
		field += 7;
	else if (strcmp(field, "op") == 0)
		settings->op_field = name;
	else if (strcmp(field, "ts_ms") == 0)
		return;					/* of the envelope, not of the source */
	if (strcmp(field, "name") == 0)
		settings->name_field = name;
	else if (strcmp(field, "db") == 0)
		settings->db_field = name;
	else if (strcmp(field, "schema") == 0)
		settings->schema_field = name;
	else if (strcmp(field, "table") == 0)
		settings->table_field = name;
	else if (strcmp(field, "ts_ms") == 0)
		settings->ts_ms_field = name;
}

/* Takes one item of add.fields, [struct.]field[:new name]. */
static void
add_field(CdcSourceSettings *settings, char *item)
{
	char	   *colon = strchr(item, ':');
	char	   *name;

	if (colon != NULL)
		*colon = '\0';
	name = added_name(settings->add_prefix, item, colon ? colon + 1 : NULL);
	settings->add_fields[settings->nadd_fields++] = name;
	note_field(settings, item, name);
}

/* Takes add.fields, a list with commas. */
static void
read_add_fields(CdcSourceSettings *settings, const char *list)
{
	int			n = 1;

	for (const char *p = list; *p; p++)
		n += *p == ',';
	settings->add_fields = palloc(n * sizeof(char *));
	while (list != NULL)
	{
		size_t		len = strcspn(list, ",");
		char	   *item = copy_trimmed(list, len);

		if (item[0] != '\0')
			add_field(settings, item);
		list = list[len] == ',' ? list + len + 1 : NULL;
	}
}

/* What a transform does with deletes, whatever way it was said. */
static CdcFlattenMode
flatten_mode(const CdcTransform *transform)
{
	CdcFlattenMode mode;

	if (transform->delete_mode != NULL)
		return find_mode(flatten_words, transform->delete_mode);
	if (transform->legacy_mode == NULL && transform->legacy_drop == NULL)
		return CDC_FLATTEN_TOMBSTONE;
	mode = transform->legacy_mode ?
		find_mode(legacy_words, transform->legacy_mode) : CDC_FLATTEN_DROP;
	if (transform->legacy_drop != NULL &&
		!find_mode(boolean_words, transform->legacy_drop))
	{
		/* the tombstones that follow deletes come through as well */
		if (mode == CDC_FLATTEN_DROP)
			return CDC_FLATTEN_DELETE_TO_TOMBSTONE;
		if (mode == CDC_FLATTEN_REWRITE)
			return CDC_FLATTEN_REWRITE_WITH_TOMBSTONE;
	}
	return mode;
}

/* Is the name in the list "transforms"? */
static bool
is_listed(const char *list, const char *name)
{
	while (list != NULL)
	{
		size_t		len = strcspn(list, ",");
		char	   *item = copy_trimmed(list, len);
		bool		same = strcmp(item, name) == 0;

		pfree(item);
		if (same)
			return true;
		list = list[len] == ',' ? list + len + 1 : NULL;
	}
	return false;
}

/*
 * The transform that flattens: of its class, or without class but with a
 * setting that only that class has; and listed, where there is a list.
 */
static const CdcTransform *
find_flattening(const CdcSourceSettings *settings)
{
	for (const CdcTransform *t = settings->transforms; t; t = t->next)
	{
		if (settings->transform_names != NULL &&
			!is_listed(settings->transform_names, t->name))
			continue;
		if (t->type != NULL ? strcmp(t->type, FLATTEN_CLASS) == 0 :
			(t->delete_mode || t->legacy_mode || t->legacy_drop))
			return t;
	}
	return NULL;
}

/* Works out everything that depends on the transforms. */
static void
resolve_transforms(CdcSourceSettings *settings)
{
	const CdcTransform *transform = find_flattening(settings);

	settings->flatten_mode = CDC_FLATTEN_UNKNOWN;
	settings->add_prefix = DEFAULT_PREFIX;
	settings->nadd_fields = 0;
	settings->add_fields = NULL;
	settings->op_field = "__op";
	settings->name_field = settings->db_field = settings->schema_field = NULL;
	settings->table_field = settings->ts_ms_field = NULL;
	if (transform == NULL)
		return;
	settings->flatten_mode = flatten_mode(transform);
	settings->op_field = NULL;
	if (transform->add_prefix != NULL)
		settings->add_prefix = transform->add_prefix;
	if (transform->add_fields != NULL)
		read_add_fields(settings, transform->add_fields);
}

/* Finds what was set of the transform with this name, or makes it, last. */
static CdcTransform *
get_transform(CdcSourceSettings *settings, const char *name, size_t len)
{
	CdcTransform **place = &settings->transforms;

	while (*place != NULL)
	{
		if (strlen((*place)->name) == len &&
			memcmp((*place)->name, name, len) == 0)
			return *place;
		place = &(*place)->next;
	}
	*place = palloc0(sizeof(CdcTransform));
	(*place)->name = pnstrdup(name, len);
	return *place;
}

/*
 * Sets transforms.<name>.<option>; false where no flattening transform has
 * such an option, or where the transform is of another class.
 */
static bool
set_transform(CdcSourceSettings *settings, const char *name,
			  const char *value, const char **problem)
{
	const char *option = strchr(name, '.');
	size_t		len = option ? option - name : 0;
	CdcTransform *transform;
	char	  **place;
	const ModeWord *words = NULL;
	int			mode;

	if (len == 0)
		return false;
	option++;
	transform = get_transform(settings, name, len);
	if (strcmp(option, "type") == 0)
		place = &transform->type;
	else if (strcmp(option, "add.fields") == 0)
		place = &transform->add_fields;
	else if (strcmp(option, "add.fields.prefix") == 0)
		place = &transform->add_prefix;
	else if (strcmp(option, "delete.tombstone.handling.mode") == 0)
	{
		place = &transform->delete_mode;
		words = flatten_words;
	}
	else if (strcmp(option, "delete.handling.mode") == 0)
	{
		place = &transform->legacy_mode;
		words = legacy_words;
	}
	else if (strcmp(option, "drop.tombstones") == 0)
	{
		place = &transform->legacy_drop;
		words = boolean_words;
	}
	else
		return false;
	if (words != NULL && !check_mode(words, value, &mode, problem))
		return true;
	*place = pstrdup(value);
	resolve_transforms(settings);
	return place != &transform->type || strcmp(value, FLATTEN_CLASS) == 0;
}

void
cdc_source_defaults(CdcSourceSettings *settings)
{
	memset(settings, 0, sizeof(*settings));
	settings->time_mode = CDC_TIME_ADAPTIVE;
	settings->decimal_mode = CDC_DECIMAL_PRECISE;
	settings->binary_mode = CDC_BINARY_BYTES;
	settings->interval_mode = CDC_INTERVAL_NUMERIC;
	settings->hstore_mode = CDC_HSTORE_JSON;
	settings->placeholder = DEFAULT_PLACEHOLDER;
	settings->placeholder_len = strlen(DEFAULT_PLACEHOLDER);
	settings->money_fraction_digits = 2;
	resolve_transforms(settings);
}

/* Sets money.fraction.digits. */
static void
set_money_digits(CdcSourceSettings *settings, const char *value,
				 const char **problem)
{
	char	   *end;
	long		digits = strtol(value, &end, 10);

	if (end == value || *end != '\0' || digits < 0 || digits > 18)
		*problem = "a number from 0 to 18 is expected";
	else
		settings->money_fraction_digits = digits;
}

bool
cdc_source_set(CdcSourceSettings *settings, const char *name,
			   const char *value, const char **problem)
{
	char	   *word = copy_trimmed(value, strlen(value));
	int			mode;

	*problem = NULL;
	if (strcmp(name, "time.precision.mode") == 0)
	{
		if (check_mode(time_words, word, &mode, problem))
			settings->time_mode = mode;
	}
	else if (strcmp(name, "decimal.handling.mode") == 0)
	{
		if (check_mode(decimal_words, word, &mode, problem))
			settings->decimal_mode = mode;
	}
	else if (strcmp(name, "value.converter.decimal.format") == 0)
	{
		if (check_mode(format_words, word, &mode, problem))
			settings->decimal_numeric = mode;
	}
	else if (strcmp(name, "binary.handling.mode") == 0)
	{
		if (check_mode(binary_words, word, &mode, problem))
			settings->binary_mode = mode;
	}
	else if (strcmp(name, "interval.handling.mode") == 0)
	{
		if (check_mode(interval_words, word, &mode, problem))
			settings->interval_mode = mode;
	}
	else if (strcmp(name, "hstore.handling.mode") == 0)
	{
		if (check_mode(hstore_words, word, &mode, problem))
			settings->hstore_mode = mode;
	}
	else if (strcmp(name, "money.fraction.digits") == 0)
		set_money_digits(settings, word, problem);
	else if (strcmp(name, "unavailable.value.placeholder") == 0)
		set_placeholder(settings, value, problem);
	else if (strcmp(name, "transforms") == 0)
	{
		settings->transform_names = word;
		resolve_transforms(settings);
	}
	else if (strncmp(name, "transforms.", 11) == 0)
		return set_transform(settings, name + 11, word, problem);
	else
		return false;
	return true;
}
