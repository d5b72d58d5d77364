/*-------------------------------------------------------------------------
 *
 * options.c
 *		Options of subscriptions and mappings.
 *
 * Floor 2.  options_table.h is the one table; this file turns it into
 * defaults, checks and hints.  A new option is a line there and a field in
 * CdcOptions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "cdc_sink.h"
#include "options.h"
#include "properties.h"

typedef enum OptionType
{
	WORD,						/* int: index into words */
	CHOICE,						/* bool: index into words */
	BOOL,
	INT,
	BIGINT,
	TEXT,						/* char *, NULL where empty; at most max bytes */
	TOPIC,						/* likewise; a name that a topic can have */
	LIST						/* nkey_columns and key_columns */
} OptionType;

#define S	CDC_OPTION_SUBSCRIPTION
#define M	CDC_OPTION_MAPPING
#define SM	(CDC_OPTION_SUBSCRIPTION | CDC_OPTION_MAPPING)

typedef struct OptionRow
{
	const char *name;
	int			levels;
	OptionType	type;
	size_t		offset;			/* of its field in CdcOptions */
	const char *def;
	int64		min;
	int64		max;
	const char *words;
	const char *help;
} OptionRow;

#define OPTION(name, levels, type, field, def, min, max, words, help) \
	{name, levels, type, offsetof(CdcOptions, field), def, min, max, words, help},

static const OptionRow option_rows[] = {
#include "options_table.h"
};

/* Raises 22023 for a value; hint says what would be right. */
static void
bad_value(const OptionRow *row, const char *text, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", row->name, text),
			 errhint("%s", hint)));
}

/* Index of a word in a list like "a,b,c"; -1 where it is not there. */
static int
word_index(const char *words, const char *word)
{
	size_t		len = strlen(word);
	int			i = 0;

	for (const char *p = words; p != NULL; i++)
	{
		const char *comma = strchr(p, ',');
		size_t		n = comma ? (size_t) (comma - p) : strlen(p);

		if (n == len && memcmp(p, word, n) == 0)
			return i;
		p = comma ? comma + 1 : NULL;
	}
	return -1;
}

static int
parse_word(const OptionRow *row, const char *text)
{
	int			i = word_index(row->words, text);

	if (i < 0)
		bad_value(row, text, psprintf("Valid values are %s.", row->words));
	return i;
}

/* Reads a whole number in the option's range. */
static int64
parse_number(const OptionRow *row, const char *text)
{
	char	   *end;
	long long	number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' ||
		number < row->min || number > row->max)
		bad_value(row, text,
				  psprintf("It must be a whole number from " INT64_FORMAT
						   " to " INT64_FORMAT ".", row->min, row->max));
	return number;
}

/* cdc_options_is_topic: see options.h. */
bool
cdc_options_is_topic(const char *text)
{
	size_t		len = strlen(text);

	return len > 0 && len < CDC_TOPIC_LEN &&
		strcmp(text, ".") != 0 && strcmp(text, "..") != 0 &&
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

/* Reads a text of at most so many bytes, NULL where it is empty. */
static char *
parse_text(const OptionRow *row, const char *text)
{
	if ((int64) strlen(text) > row->max)
		bad_value(row, text, psprintf("It must have at most " INT64_FORMAT " bytes.",
									  row->max));
	return *text ? pstrdup(text) : NULL;
}

/* The same for the name of a topic. */
static char *
parse_topic(const OptionRow *row, const char *text)
{
	if (*text != '\0' && !cdc_options_is_topic(text))
		bad_value(row, text, "Kafka allows 1 to 249 letters, digits, dots, underscores and hyphens.");
	return parse_text(row, text);
}

/* Sets an option from its text form. */
static void
set_from_text(CdcOptions *options, const OptionRow *row, const char *text)
{
	char	   *field = (char *) options + row->offset;
	bool		flag;

	switch (row->type)
	{
		case WORD:
			*(int *) field = parse_word(row, text);
			break;
		case CHOICE:
			*(bool *) field = parse_word(row, text) == 1;
			break;
		case BOOL:
			if (!parse_bool(text, &flag))
				bad_value(row, text, "It must be true or false.");
			*(bool *) field = flag;
			break;
		case INT:
			*(int *) field = (int) parse_number(row, text);
			break;
		case BIGINT:
			*(int64 *) field = parse_number(row, text);
			break;
		case TEXT:
			*(char **) field = parse_text(row, text);
			break;
		case TOPIC:
			*(char **) field = parse_topic(row, text);
			break;
		case LIST:
			bad_value(row, text, "It must be an array of column names.");
			break;
	}
}

/* cdc_options_scalar_text: see options.h. */
char *
cdc_options_scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return numeric_normalize(value->val.numeric);
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/* Appends a column to key_columns. */
static void
add_key_column(CdcOptions *options, const OptionRow *row, const char *name)
{
	if (*name == '\0' || strlen(name) >= NAMEDATALEN)
		bad_value(row, name, "It must be an array of column names.");
	for (int i = 0; i < options->nkey_columns; i++)
		if (strcmp(options->key_columns[i], name) == 0)
			bad_value(row, name, "A column can stand there only once.");
	options->key_columns[options->nkey_columns++] = pstrdup(name);
}

/* Sets key_columns from a JSON array of strings. */
static void
set_list(CdcOptions *options, const OptionRow *row, JsonbContainer *array)
{
	int			n = JsonContainerIsArray(array) ? JsonContainerSize(array) : 0;
	const char *text = JsonbToCString(NULL, array, 0);

	if (n == 0)
		bad_value(row, text, "It must be an array of column names.");
	if (n > CDC_MAX_KEY_COLUMNS)
		bad_value(row, text, psprintf("A row is found by at most %d columns.",
									  CDC_MAX_KEY_COLUMNS));
	options->nkey_columns = 0;
	options->key_columns = palloc(n * sizeof(char *));
	for (int i = 0; i < n; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);

		if (element->type != jbvString)
			bad_value(row, text, "It must be an array of column names.");
		add_key_column(options, row, cdc_options_scalar_text(element));
	}
}

/* Keeps a tuning property of librdkafka that a subscription sets. */
static void
add_property(CdcOptions *options, const char *name, const char *value)
{
	int			n = options->nproperties;

	if (n == 0)
	{
		options->property_names = palloc(sizeof(char *));
		options->property_values = palloc(sizeof(char *));
	}
	else
	{
		options->property_names = repalloc(options->property_names,
										   (n + 1) * sizeof(char *));
		options->property_values = repalloc(options->property_values,
											(n + 1) * sizeof(char *));
	}
	options->property_names[n] = pstrdup(name);
	options->property_values[n] = pstrdup(value);
	options->nproperties++;
}

/* "a, b, c": options of a level, for a hint. */
static char *
valid_names(CdcOptionLevel level)
{
	StringInfoData names;

	initStringInfo(&names);
	for (size_t i = 0; i < lengthof(option_rows); i++)
		if (option_rows[i].levels & level)
			appendStringInfo(&names, "%s%s", names.len ? ", " : "",
							 option_rows[i].name);
	return names.data;
}

static const OptionRow *
find_row(const char *name)
{
	for (size_t i = 0; i < lengthof(option_rows); i++)
		if (strcmp(option_rows[i].name, name) == 0)
			return &option_rows[i];
	return NULL;
}

/* Raises 22023 for an option that is valid only on the other level. */
static void
check_level(const OptionRow *row, CdcOptionLevel level)
{
	if (row->levels & level)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 level == CDC_OPTION_MAPPING ?
			 errmsg("option \"%s\" cannot be set for a mapping", row->name) :
			 errmsg("option \"%s\" cannot be set for a subscription", row->name),
			 level == CDC_OPTION_MAPPING ?
			 errhint("Set it with alter_subscription.") :
			 errhint("Set it with add_mapping or alter_mapping.")));
}

/* Applies one member of the object that is not an option of ours. */
static void
set_property(CdcOptions *options, const char *name, const JsonbValue *value,
			 CdcOptionLevel level)
{
	char	   *text = cdc_options_scalar_text(value);

	if (level == CDC_OPTION_SUBSCRIPTION && strchr(name, '.') != NULL)
	{
		if (value->type == jbvNull)
			return;
		if (text == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", name)));
		cdc_property_check(name, text, CDC_PROPERTY_TUNING);
		add_property(options, name, text);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized option \"%s\"", name),
			 errhint("Valid options are %s.", valid_names(level))));
}

/* Applies one member of the object. */
static void
set_member(CdcOptions *options, const char *name, const JsonbValue *value,
		   CdcOptionLevel level)
{
	const OptionRow *row = find_row(name);
	char	   *text;

	if (row == NULL)
	{
		set_property(options, name, value, level);
		return;
	}
	check_level(row, level);
	if (value->type == jbvNull)
		return;
	text = cdc_options_scalar_text(value);
	if (row->type == LIST && value->type == jbvBinary)
		set_list(options, row, value->val.binary.data);
	else if (text == NULL)
		bad_value(row, JsonbToCString(NULL, value->val.binary.data,
									  value->val.binary.len),
				  "It must be a single value.");
	else
		set_from_text(options, row, text);
}

/* Sets every option to its default. */
void
cdc_options_defaults(CdcOptions *options)
{
	memset(options, 0, sizeof(*options));
	for (size_t i = 0; i < lengthof(option_rows); i++)
		if (option_rows[i].type != LIST)
			set_from_text(options, &option_rows[i], option_rows[i].def);
}

/*
 * Lays the members of a jsonb object over *options; a JSON null leaves what
 * is there.  Allocates in CurrentMemoryContext.
 */
void
cdc_options_parse(CdcOptions *options, Jsonb *json, CdcOptionLevel level)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object")));

	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = cdc_options_scalar_text(&value);
		else if (token == WJB_VALUE)
			set_member(options, name, &value, level);
	}
}

/* Raises 22023 where two options contradict each other. */
void
cdc_options_check(const CdcOptions *options)
{
	if (options->retry_backoff_max_ms < options->retry_backoff_ms)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retry_backoff_max_ms must not be less than retry_backoff_ms"),
				 errdetail("They are %d and %d.", options->retry_backoff_max_ms,
						   options->retry_backoff_ms)));
}
