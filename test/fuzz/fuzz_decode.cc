/*-------------------------------------------------------------------------
 *
 * fuzz_decode.cc
 *		libFuzzer target: the JSON reader and the decoder on any bytes.
 *
 * Beyond what the sanitizers see it checks that the reader accepts exactly
 * what a plain recursive reader of the JSON grammar accepts, that its nodes
 * hang together, that an event is either an error or complete, and that a
 * record decodes alike whether its schema is known or not, and whether its
 * value is whole or as a batch holds it.
 *
 * Input: flags, length of the key (two bytes), key, length of a header
 * (two bytes), header, value.
 *
 *-------------------------------------------------------------------------
 */
extern "C"
{
#include "postgres.h"
#include "decode.h"
#include "value.h"
}

#include <cstdlib>
#include <cstring>

#define CHECK(condition) \
	do { if (!(condition)) { write_stderr("failed: %s\n", #condition); abort(); } } while (0)

#undef fprintf
#define write_stderr(...) fprintf(stderr, __VA_ARGS__)

/* A second opinion: the JSON grammar read character by character. */
struct Grammar
{
	const unsigned char *p;
	const unsigned char *end;

	void		blanks()
	{
		while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
			p++;
	}

	bool		is(unsigned char c)
	{
		return p < end && *p == c;
	}

	bool		word(const char *text)
	{
		size_t		len = strlen(text);

		if (static_cast<size_t>(end - p) < len || memcmp(p, text, len) != 0)
			return false;
		p += len;
		return true;
	}

	bool		digits()
	{
		const unsigned char *start = p;

		while (p < end && *p >= '0' && *p <= '9')
			p++;
		return p > start;
	}

	bool		number()
	{
		if (is('-'))
			p++;
		if (is('0'))
			p++;
		else if (!digits())
			return false;
		if (is('.'))
		{
			p++;
			if (!digits())
				return false;
		}
		if (is('e') || is('E'))
		{
			p++;
			if (is('+') || is('-'))
				p++;
			if (!digits())
				return false;
		}
		return true;
	}

	int			hex()
	{
		int			value = 0;

		for (int i = 0; i < 4; i++, p++)
		{
			if (p == end || !isxdigit(*p))
				return -1;
			value = value * 16 + (*p <= '9' ? *p - '0' : (*p | 32) - 'a' + 10);
		}
		return value;
	}

	bool		escape()
	{
		if (p == end)
			return false;
		if (*p != 'u')
			return strchr("\"\\/bfnrt", *p) != NULL && *p++ != 0;
		p++;

		int			c = hex();

		if (c < 0 || (c >= 0xDC00 && c <= 0xDFFF))
			return false;
		if (c < 0xD800 || c > 0xDBFF)
			return true;
		if (!word("\\u"))
			return false;
		c = hex();
		return c >= 0xDC00 && c <= 0xDFFF;
	}

	bool		string()
	{
		if (!is('"'))
			return false;
		for (p++; p < end && *p != '"';)
		{
			if (*p < 0x20)
				return false;
			if (*p++ == '\\' && !escape())
				return false;
		}
		return p++ < end;
	}

	bool		members(int depth, bool object)
	{
		p++;
		blanks();
		if (is(object ? '}' : ']'))
		{
			p++;
			return true;
		}
		for (;;)
		{
			blanks();
			if (object)
			{
				if (!string())
					return false;
				blanks();
				if (!is(':'))
					return false;
				p++;
			}
			if (!value(depth))
				return false;
			if (is(object ? '}' : ']'))
			{
				p++;
				return true;
			}
			if (!is(','))
				return false;
			p++;
		}
	}

	bool		value(int depth)
	{
		bool		good;

		blanks();
		if (p == end)
			return false;
		if (*p == '{' || *p == '[')
			good = depth < CDC_JSON_MAX_DEPTH && members(depth + 1, *p == '{');
		else if (*p == '"')
			good = string();
		else if (*p == 't' || *p == 'f' || *p == 'n')
			good = word("true") || word("false") || word("null");
		else
			good = number();
		blanks();
		return good;
	}
};

/* UTF-8 by its definition, not by simdjson's. */
static bool
is_utf8(const unsigned char *p, const unsigned char *end)
{
	while (p < end)
	{
		int			more = *p < 0x80 ? 0 : *p >= 0xC2 && *p < 0xE0 ? 1 :
			*p >= 0xE0 && *p < 0xF0 ? 2 : *p >= 0xF0 && *p < 0xF5 ? 3 : -1;
		unsigned	c = more > 0 ? *p & (0x3F >> more) : *p;

		if (more < 0 || end - p <= more)
			return false;
		p++;
		for (int i = 0; i < more; i++, p++)
		{
			if ((*p & 0xC0) != 0x80)
				return false;
			c = c << 6 | (*p & 0x3F);
		}
		if ((more == 2 && c < 0x800) || (more == 3 && (c < 0x10000 || c > 0x10FFFF)) ||
			(c >= 0xD800 && c <= 0xDFFF))
			return false;
	}
	return true;
}

static bool
is_json(const CdcBytes *bytes)
{
	const unsigned char *text =
		reinterpret_cast<const unsigned char *>(bytes->data);
	Grammar		grammar = {text, text + bytes->len};

	return is_utf8(text, text + bytes->len) && grammar.value(0) &&
		grammar.p == grammar.end;
}

/* Walks a subtree; touches every byte of it. */
static const CdcJsonNode *
check_node(const CdcJsonNode *node)
{
	const CdcJsonNode *child = cdc_json_first(node);
	volatile unsigned sum = 0;

	for (uint32_t i = 0; i < node->len; i++)
		sum = sum + static_cast<unsigned char>(node->text[i]);
	CHECK(node->type <= CDC_JSON_OBJECT);
	if (node->type == CDC_JSON_STRING)
		CHECK(is_utf8(reinterpret_cast<const unsigned char *>(node->text),
					  reinterpret_cast<const unsigned char *>(node->text) + node->len));
	if (node->type == CDC_JSON_ARRAY || node->type == CDC_JSON_OBJECT)
	{
		for (uint32_t i = 0; i < node->nchildren; i++)
		{
			if (node->type == CDC_JSON_OBJECT)
			{
				CHECK(child->type == CDC_JSON_STRING && child->span == 1);
				child = check_node(child);
			}
			child = check_node(child);
		}
	}
	CHECK(child == cdc_json_next(node));
	return child;
}

/* One text: accepted by the reader exactly if it is JSON. */
static void
check_reader(CdcJsonParser *parser, const CdcBytes *bytes)
{
	CdcJsonOutput out;
	CdcJsonResult result;

	out.max_nodes = bytes->len + 1;
	out.nodes = static_cast<CdcJsonNode *>(malloc(out.max_nodes * sizeof(CdcJsonNode)));
	out.max_strings = bytes->len;
	out.strings = static_cast<char *>(malloc(out.max_strings));
	result = cdc_json_parse(parser, bytes->data, bytes->len, &out);
	CHECK(result == CDC_JSON_OK || result == CDC_JSON_INVALID);
	CHECK((result == CDC_JSON_OK) == is_json(bytes));
	if (result == CDC_JSON_OK)
		CHECK(check_node(out.nodes) == out.nodes + out.nnodes);
	else
		CHECK(out.message != NULL && out.at <= static_cast<size_t>(bytes->len));
	free(out.nodes);
	free(out.strings);
}

static void
check_row(const CdcJsonNode *row, bool required)
{
	CHECK(row != NULL || !required);
	if (row != NULL)
	{
		CHECK(row->type == CDC_JSON_OBJECT);
		check_node(row);
	}
}

static void
check_schema(const CdcSchema *schema)
{
	if (schema->type == CDC_CONNECT_ARRAY || schema->type == CDC_CONNECT_MAP)
		check_schema(schema->items);
	if (schema->type == CDC_CONNECT_MAP)
		check_schema(schema->keys);
	for (int i = 0; i < schema->nparams; i++)
		CHECK(schema->params[i].name != NULL && schema->params[i].value != NULL);
	for (int i = 0; i < schema->nfields; i++)
	{
		CHECK(schema->fields[i].field != NULL);
		check_schema(&schema->fields[i]);
	}
}

/* An event is an error, or has all that its kind and op promise. */
static void
check_event(const CdcEvent *event)
{
	if (event->error != NULL)
	{
		CHECK(event->error->message != NULL && event->error->message[0] != '\0');
		CHECK(event->error->sqlstate != 0);
		return;
	}
	if (event->key != NULL)
	{
		CHECK(event->key->type != CDC_JSON_ARRAY && event->key->type != CDC_JSON_NULL);
		check_node(event->key);
	}
	check_row(event->newkey, false);
	check_row(event->oldkey, false);
	if (event->key_schema != NULL)
		check_schema(event->key_schema);
	if (event->row_schema != NULL)
		check_schema(event->row_schema);
	if (event->kind == CDC_KIND_TOMBSTONE)
		CHECK(event->key != NULL);
	if (event->kind != CDC_KIND_CHANGE)
	{
		CHECK(event->before == NULL && event->after == NULL);
		return;
	}
	CHECK(strchr("crudtw", event->op) != NULL);
	CHECK(event->op != CDC_OP_WRITE || event->flattened);
	check_row(event->before, event->flattened && event->op == CDC_OP_DELETE);
	check_row(event->after, event->op != CDC_OP_DELETE && event->op != CDC_OP_TRUNCATE);
	CHECK(event->op != CDC_OP_DELETE ||
		  (event->after == NULL && (event->key != NULL || event->before != NULL)));
}

/* Takes len bytes of the input, with nothing behind them. */
static CdcBytes
take(const uint8_t **data, size_t *size, size_t len)
{
	CdcBytes	bytes;
	char	   *copy;

	if (len > *size)
		len = *size;
	copy = static_cast<char *>(malloc(len > 0 ? len : 1));
	memcpy(copy, *data, len);
	*data += len;
	*size -= len;
	bytes.data = copy;
	bytes.len = static_cast<int32>(len);
	return bytes;
}

static CdcBytes
take_short(const uint8_t **data, size_t *size)
{
	size_t		len;

	if (*size < 2)
		return take(data, size, 0);
	len = (*data)[0] | (*data)[1] << 8;
	*data += 2;
	*size -= 2;
	return take(data, size, len);
}

static void
drop(CdcBytes *bytes)
{
	free(const_cast<char *>(bytes->data));
}

/* What must not depend on whether the schema was seen before. */
static void
check_same(const CdcEvent *a, const CdcEvent *b)
{
	CHECK(a->kind == b->kind && a->op == b->op && a->flattened == b->flattened);
	CHECK((a->error == NULL) == (b->error == NULL));
	if (a->error != NULL)
		CHECK(strcmp(a->error->message, b->error->message) == 0);
	CHECK((a->after == NULL) == (b->after == NULL));
	if (a->after != NULL)
		CHECK(a->after->len == b->after->len && a->after->span == b->after->span &&
			  memcmp(a->after->text, b->after->text, a->after->len) == 0);
	CHECK(a->row_schema == b->row_schema && a->key_schema == b->key_schema);
}

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static CdcJsonParser *parser = cdc_json_create();
	static CdcSourceSettings settings;
	static CdcDecodeState *state;
	static int	calls;
	CdcArena	arena = {};
	CdcRecord	record = {};
	CdcHeader	header = {};
	CdcEvent	first;
	CdcEvent	second;
	CdcEvent	cut;
	uint8_t		flags;
	CdcBytes	key;
	CdcBytes	value;

	if (size < 1)
		return 0;
	flags = *data++;
	size--;
	/* a state of many inputs, but not so many that schemas are refused */
	if (state == NULL || ++calls % 1000 == 0)
	{
		if (state != NULL)
			cdc_decoder_debezium.close(state);
		cdc_source_defaults(&settings);
		state = cdc_decoder_debezium.open(&settings);
	}
	settings.flatten_mode = flags & 4 ? CDC_FLATTEN_REWRITE : CDC_FLATTEN_UNKNOWN;
	settings.table_field = flags & 4 ? "__table" : NULL;
	key = take_short(&data, &size);
	header.name = flags & 8 ? "__debezium.newkey" : "__debezium.oldkey";
	header.value = take_short(&data, &size);
	value = take(&data, &size, size);
	check_reader(parser, &value);
	check_reader(parser, &key);

	record.topic = "t";
	if (!(flags & 1))
		record.key = key;
	if (!(flags & 2))
		record.value = value;
	record.headers = &header;
	record.nheaders = 1;
	CHECK(cdc_decoder_debezium.decode(state, &record, &arena, &first));
	check_event(&first);
	CHECK(cdc_decoder_debezium.decode(state, &record, &arena, &second));
	check_event(&second);
	check_event(&first);
	check_same(&first, &second);
	/* the second time its beginning is known to the arena */
	for (int i = 0; i < 2; i++)
	{
		CdcRecord	copy = record;

		cdc_value_cut(&arena, &copy, record.value.data, record.value.len);
		CHECK(cdc_decoder_debezium.decode(state, &copy, &arena, &cut));
		check_event(&cut);
		check_same(&first, &cut);
	}
	cdc_arena_free(&arena);
	drop(&key);
	drop(&header.value);
	drop(&value);
	return 0;
}
