/*-------------------------------------------------------------------------
 *
 * json.cc
 *		JSON reader: one text to a flat array of nodes.
 *
 * Floor 1.  The only C++ file: simdjson finds the structure of the text
 * (its first stage, which also checks UTF-8 and the inside of strings), and
 * one loop over what it found checks the grammar and writes the nodes.  The
 * hard thing: every byte is checked and numbers keep their text, which
 * neither of simdjson's own second stages does (DOM refuses long integers,
 * On-Demand looks only where it is asked to).  No exceptions, no recursion,
 * no PostgreSQL header.
 *
 *-------------------------------------------------------------------------
 */
#include <simdjson.h>

#include <cstring>
#include <memory>
#include <new>

#include "json.h"

/* a parser that has grown beyond this is made anew for a smaller text */
static const size_t LARGE_CAPACITY = 4 * 1024 * 1024;

struct CdcJsonParser
{
	std::unique_ptr<simdjson::internal::dom_parser_implementation> stage;
	std::unique_ptr<char[]> padded;	/* a copy of the text, for simdjson */
	size_t		capacity;		/* bytes of text that there is room for */
};

namespace
{

/* Where the reader stands in a text; all pointers are the caller's. */
struct Reader
{
	const char *text;
	size_t		len;
	const uint32_t *tokens;		/* byte positions of tokens */
	size_t		ntokens;
	CdcJsonOutput *out;
	CdcJsonNode *node;			/* next free node */
	CdcJsonNode *node_end;
	char	   *string;			/* next free byte of out->strings */
	char	   *string_end;
	const char *escape;			/* first backslash at or after the last
								 * string read; end of text if none */
	CdcJsonResult result;
};

bool
fail(Reader *r, const char *message, const char *at)
{
	r->result = CDC_JSON_INVALID;
	r->out->message = message;
	r->out->at = static_cast<size_t>(at - r->text);
	return false;
}

bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* First byte after the token at position i, blanks after it left out. */
inline const char *
token_end(const Reader *r, size_t i)
{
	const char *end = r->text +
		(i + 1 < r->ntokens ? r->tokens[i + 1] : r->len);

	/* one comparison is enough where there are no blanks, as there rarely are */
	while (static_cast<unsigned char>(end[-1]) <= ' ' && is_space(end[-1]))
		end--;
	return end;
}

/* Value of four hexadecimal digits, or -1. */
int
hex4(const char *p)
{
	int			value = 0;

	for (int i = 0; i < 4; i++)
	{
		char		c = p[i];

		value <<= 4;
		if (c >= '0' && c <= '9')
			value |= c - '0';
		else if (c >= 'a' && c <= 'f')
			value |= c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			value |= c - 'A' + 10;
		else
			return -1;
	}
	return value;
}

char *
put_utf8(char *dst, unsigned c)
{
	if (c < 0x80)
		*dst++ = static_cast<char>(c);
	else if (c < 0x800)
	{
		*dst++ = static_cast<char>(0xC0 | (c >> 6));
		*dst++ = static_cast<char>(0x80 | (c & 0x3F));
	}
	else if (c < 0x10000)
	{
		*dst++ = static_cast<char>(0xE0 | (c >> 12));
		*dst++ = static_cast<char>(0x80 | ((c >> 6) & 0x3F));
		*dst++ = static_cast<char>(0x80 | (c & 0x3F));
	}
	else
	{
		*dst++ = static_cast<char>(0xF0 | (c >> 18));
		*dst++ = static_cast<char>(0x80 | ((c >> 12) & 0x3F));
		*dst++ = static_cast<char>(0x80 | ((c >> 6) & 0x3F));
		*dst++ = static_cast<char>(0x80 | (c & 0x3F));
	}
	return dst;
}

/*
 * Reads what follows "\u" at *p and joins a surrogate pair; moves *p past it.
 * Half a pair cannot be written in UTF-8, so it is an error.
 */
bool
read_unicode(Reader *r, const char **p, const char *end, char **dst)
{
	const char *at = *p;
	int			c = end - at >= 4 ? hex4(at) : -1;

	if (c < 0)
		return fail(r, "invalid \\u escape in a string", at);
	at += 4;
	if (c >= 0xD800 && c <= 0xDFFF)
	{
		int			low = -1;

		if (c <= 0xDBFF && end - at >= 6 && at[0] == '\\' && at[1] == 'u')
			low = hex4(at + 2);
		if (low < 0xDC00 || low > 0xDFFF)
			return fail(r, "unpaired surrogate in a string", at - 4);
		at += 6;
		c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
	}
	*dst = put_utf8(*dst, static_cast<unsigned>(c));
	*p = at;
	return true;
}

/*
 * Writes the string [p, end), whose first backslash is at r->escape, without
 * its escapes into out->strings.  It never grows by that, so its length as
 * written is room enough.
 */
bool
unescape(Reader *r, CdcJsonNode *node, const char *p, const char *end)
{
	char	   *dst = r->string;
	const char *bs = r->escape;

	if (r->string_end - dst < end - p)
	{
		r->result = CDC_JSON_MORE_ROOM;
		return false;
	}
	while (bs != NULL)
	{
		char		c;

		memcpy(dst, p, static_cast<size_t>(bs - p));
		dst += bs - p;
		c = bs[1];				/* a closed string never ends in a backslash */
		p = bs + 2;
		switch (c)
		{
			case '"':
			case '\\':
			case '/':
				*dst++ = c;
				break;
			case 'b':
				*dst++ = '\b';
				break;
			case 'f':
				*dst++ = '\f';
				break;
			case 'n':
				*dst++ = '\n';
				break;
			case 'r':
				*dst++ = '\r';
				break;
			case 't':
				*dst++ = '\t';
				break;
			case 'u':
				if (!read_unicode(r, &p, end, &dst))
					return false;
				break;
			default:
				return fail(r, "invalid escape in a string", bs);
		}
		bs = static_cast<const char *>(memchr(p, '\\',
											  static_cast<size_t>(end - p)));
	}
	memcpy(dst, p, static_cast<size_t>(end - p));
	dst += end - p;
	node->text = r->string;
	node->len = static_cast<uint32_t>(dst - r->string);
	r->string = dst;
	return true;
}

/* Moves r->escape to the first backslash at or after p. */
void
find_escape(Reader *r, const char *p)
{
	const char *end = r->text + r->len;
	const void *at = memchr(p, '\\', static_cast<size_t>(end - p));

	r->escape = at ? static_cast<const char *>(at) : end;
}

/* Fills node with the string whose opening quote is token i. */
inline bool
read_string(Reader *r, CdcJsonNode *node, size_t i)
{
	const char *start = r->text + r->tokens[i] + 1;
	const char *end = token_end(r, i) - 1;

	if (end < start || *end != '"')
		return fail(r, "string is not closed", start - 1);
	node->span = 1;
	node->nchildren = 0;
	node->type = CDC_JSON_STRING;
	if (r->escape < start)
		find_escape(r, start);
	if (r->escape < end)
		return unescape(r, node, start, end);
	node->text = start;
	node->len = static_cast<uint32_t>(end - start);
	return true;
}

/* Skips digits of [p, end). */
inline const char *
skip_digits(const char *p, const char *end)
{
	while (end - p >= 8)
	{
		uint64_t	word;

		memcpy(&word, p, 8);
		/* all eight bytes in 0x30..0x39 */
		if (((word & 0xF0F0F0F0F0F0F0F0) |
			 (((word + 0x0606060606060606) & 0xF0F0F0F0F0F0F0F0) >> 4)) !=
			0x3333333333333333)
			break;
		p += 8;
	}
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* Is [p, end) a JSON number? */
bool
is_number(const char *p, const char *end)
{
	const char *start;

	if (p < end && *p == '-')
		p++;
	start = p;
	p = skip_digits(p, end);
	if (p == start || (*start == '0' && p - start > 1))
		return false;
	if (p < end && *p == '.')
	{
		start = ++p;
		p = skip_digits(p, end);
		if (p == start)
			return false;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		start = p;
		p = skip_digits(p, end);
		if (p == start)
			return false;
	}
	return p == end;
}

bool
is_word(const char *p, const char *end, const char *word, size_t len)
{
	return static_cast<size_t>(end - p) == len && memcmp(p, word, len) == 0;
}

/* Fills node with the number, true, false or null at token i. */
inline bool
read_scalar(Reader *r, CdcJsonNode *node, size_t i)
{
	const char *start = r->text + r->tokens[i];
	const char *end = token_end(r, i);

	node->text = start;
	node->len = static_cast<uint32_t>(end - start);
	node->span = 1;
	node->nchildren = 0;
	if (*start == 'n' && is_word(start, end, "null", 4))
		node->type = CDC_JSON_NULL;
	else if (*start == 't' && is_word(start, end, "true", 4))
		node->type = CDC_JSON_TRUE;
	else if (*start == 'f' && is_word(start, end, "false", 5))
		node->type = CDC_JSON_FALSE;
	else if (is_number(start, end))
		node->type = CDC_JSON_NUMBER;
	else if (static_cast<unsigned char>(*start) == 0xEF && i == 0)
		return fail(r, "byte order mark before the value", start);
	else if (*start == '-' || (*start >= '0' && *start <= '9'))
		return fail(r, "invalid number", start);
	else
		return fail(r, "expected a value", start);
	return true;
}

/* Ends the container whose bracket is at p; its children end at r->node. */
inline void
close_container(Reader *r, CdcJsonNode *node, const char *p)
{
	node->len = static_cast<uint32_t>(p + 1 - node->text);
	node->span = static_cast<uint32_t>(r->node - node);
}

/*
 * Checks the grammar of all tokens and writes the nodes.  open[] holds the
 * containers around the current token, the innermost last.
 */
bool
read_tokens(Reader *r)
{
	CdcJsonNode *open[CDC_JSON_MAX_DEPTH];
	int			depth = 0;
	size_t		i = 0;
	const char *p = r->text + r->tokens[0];
	CdcJsonNode *node;

value:
	if (r->node == r->node_end)
	{
		r->result = CDC_JSON_MORE_ROOM;
		return false;
	}
	node = r->node++;
	if (*p == '"')
	{
		if (!read_string(r, node, i))
			return false;
	}
	else if (*p == '{' || *p == '[')
	{
		if (depth == CDC_JSON_MAX_DEPTH)
			return fail(r, "value is nested too deeply", p);
		node->text = p;
		node->nchildren = 0;
		node->type = *p == '{' ? CDC_JSON_OBJECT : CDC_JSON_ARRAY;
		open[depth++] = node;
		if (++i == r->ntokens)
			goto incomplete;
		p = r->text + r->tokens[i];
		if (node->type == CDC_JSON_OBJECT)
		{
			if (*p != '}')
				goto name;
		}
		else if (*p != ']')
		{
			node->nchildren = 1;
			goto value;
		}
		depth--;
		close_container(r, node, p);
	}
	else if (!read_scalar(r, node, i))
		return false;

after_value:
	i++;
	if (depth == 0)
	{
		if (i != r->ntokens)
			return fail(r, "text after the end of the value",
						r->text + r->tokens[i]);
		return true;
	}
	if (i >= r->ntokens)
		goto incomplete;
	p = r->text + r->tokens[i];
	node = open[depth - 1];
	if (*p == ',')
	{
		if (++i == r->ntokens)
			goto incomplete;
		p = r->text + r->tokens[i];
		if (node->type == CDC_JSON_OBJECT)
			goto name;
		node->nchildren++;
		goto value;
	}
	if (*p != (node->type == CDC_JSON_OBJECT ? '}' : ']'))
		return fail(r, node->type == CDC_JSON_OBJECT ?
					"expected a comma or a closing brace" :
					"expected a comma or a closing bracket", p);
	depth--;
	close_container(r, node, p);
	goto after_value;

name:
	if (*p != '"')
		return fail(r, "expected the name of a member", p);
	if (r->node == r->node_end)
	{
		r->result = CDC_JSON_MORE_ROOM;
		return false;
	}
	if (!read_string(r, r->node++, i))
		return false;
	open[depth - 1]->nchildren++;
	if (++i == r->ntokens)
		goto incomplete;
	p = r->text + r->tokens[i];
	if (*p != ':')
		return fail(r, "expected a colon after the name of a member", p);
	if (++i == r->ntokens)
		goto incomplete;
	p = r->text + r->tokens[i];
	goto value;

incomplete:
	return fail(r, "text ends before the value does", r->text + r->len);
}

/* Makes the parser ready for len bytes; false when memory ran out. */
bool
make_room(CdcJsonParser *parser, size_t len)
{
	size_t		capacity = len < 4096 ? 4096 : len;

	if (parser->stage && capacity <= parser->capacity &&
		(parser->capacity <= LARGE_CAPACITY || capacity * 4 > parser->capacity))
		return true;
	parser->stage.reset();
	parser->padded.reset(new (std::nothrow) char[capacity + simdjson::SIMDJSON_PADDING]);
	if (parser->padded == NULL ||
		simdjson::get_active_implementation()->
		create_dom_parser_implementation(capacity, 1, parser->stage))
	{
		parser->stage.reset();
		return false;
	}
	parser->capacity = capacity;
	return true;
}

/*
 * Finds the structure of a text.  simdjson may read beyond its end, and texts
 * stand in buffers of others, so it gets a copy, in memory that is used again
 * and again and stays in the cache.
 */
simdjson::error_code
find_structure(CdcJsonParser *parser, const char *text, size_t len)
{
	char	   *copy = parser->padded.get();

	memcpy(copy, text, len);
	memset(copy + len, ' ', simdjson::SIMDJSON_PADDING);
	return parser->stage->stage1(reinterpret_cast<const uint8_t *>(copy), len,
								 simdjson::stage1_mode::regular);
}

CdcJsonResult
stage_failed(simdjson::error_code code, CdcJsonOutput *out)
{
	out->at = 0;
	switch (code)
	{
		case simdjson::MEMALLOC:
		case simdjson::CAPACITY:
			return CDC_JSON_NO_MEMORY;
		case simdjson::UTF8_ERROR:
			out->message = "invalid UTF-8";
			break;
		case simdjson::UNCLOSED_STRING:
			out->message = "string is not closed";
			break;
		case simdjson::UNESCAPED_CHARS:
			out->message = "unescaped control character in a string";
			break;
		case simdjson::EMPTY:
			out->message = "empty text";
			break;
		default:
			out->message = "invalid JSON";
			break;
	}
	return CDC_JSON_INVALID;
}

}								/* namespace */

extern "C" CdcJsonParser *
cdc_json_create(void)
{
	return new (std::nothrow) CdcJsonParser();
}

extern "C" void
cdc_json_free(CdcJsonParser *parser)
{
	delete parser;
}

extern "C" CdcJsonResult
cdc_json_parse(CdcJsonParser *parser, const char *text, size_t len,
			   CdcJsonOutput *out)
{
	simdjson::error_code code;
	Reader		r;

	out->nnodes = 0;
	out->nstrings = 0;
	out->message = NULL;
	out->at = 0;
	if (len == 0)
		return stage_failed(simdjson::EMPTY, out);
	if (len >= UINT32_MAX || !make_room(parser, len))
		return CDC_JSON_NO_MEMORY;
	code = find_structure(parser, text, len);
	if (code)
		return stage_failed(code, out);

	r.text = text;
	r.len = len;
	r.tokens = parser->stage->structural_indexes.get();
	r.ntokens = parser->stage->n_structural_indexes;
	if (r.ntokens == 0)
		return stage_failed(simdjson::EMPTY, out);
	r.out = out;
	r.node = out->nodes;
	r.node_end = out->nodes + out->max_nodes;
	r.string = out->strings;
	r.string_end = out->strings + out->max_strings;
	r.result = CDC_JSON_OK;
	find_escape(&r, text);
	if (!read_tokens(&r))
		return r.result;
	out->nnodes = static_cast<size_t>(r.node - out->nodes);
	out->nstrings = static_cast<size_t>(r.string - out->strings);
	return CDC_JSON_OK;
}

extern "C" bool
cdc_json_is_utf8(const char *text, size_t len)
{
	return simdjson::validate_utf8(text, len);
}

extern "C" bool
cdc_json_is(const CdcJsonNode *string, const char *text)
{
	size_t		len = strlen(text);

	return string->type == CDC_JSON_STRING && string->len == len &&
		memcmp(string->text, text, len) == 0;
}

extern "C" const CdcJsonNode *
cdc_json_member(const CdcJsonNode *object, const char *name)
{
	const CdcJsonNode *found = NULL;
	const CdcJsonNode *at = cdc_json_first(object);
	size_t		len = strlen(name);

	if (object->type != CDC_JSON_OBJECT)
		return NULL;
	for (uint32_t i = 0; i < object->nchildren; i++)
	{
		if (at->len == len && memcmp(at->text, name, len) == 0)
			found = at + 1;
		at = cdc_json_next(at + 1);
	}
	return found;
}
