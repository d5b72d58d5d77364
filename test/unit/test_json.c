/*-------------------------------------------------------------------------
 *
 * test_json.c
 *		The JSON reader: what it accepts, what it refuses, what it writes.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

static CdcJsonParser *parser;
static CdcJsonOutput out;

/* Parses len bytes, which stand before bytes that would continue them. */
static CdcJsonResult
parse(const char *text, size_t len)
{
	CdcBytes	bytes = unit_bytes_len(text, len);

	free(out.nodes);
	free(out.strings);
	out.max_nodes = len + 8;
	out.nodes = malloc(out.max_nodes * sizeof(CdcJsonNode));
	out.max_strings = len;
	out.strings = malloc(out.max_strings);
	return cdc_json_parse(parser, bytes.data, len, &out);
}

/* Writes a subtree back as compact JSON; strings without escapes. */
static char *
write_node(char *p, const CdcJsonNode *node)
{
	const CdcJsonNode *child = cdc_json_first(node);
	uint32		nchildren = node->nchildren;

	switch ((CdcJsonType) node->type)
	{
		case CDC_JSON_ARRAY:
		case CDC_JSON_OBJECT:
			*p++ = node->type == CDC_JSON_ARRAY ? '[' : '{';
			for (uint32 i = 0; i < nchildren; i++)
			{
				if (i > 0)
					*p++ = ',';
				p = write_node(p, child);
				child = cdc_json_next(child);
				if (node->type == CDC_JSON_OBJECT)
				{
					*p++ = ':';
					p = write_node(p, child);
					child = cdc_json_next(child);
				}
			}
			*p++ = node->type == CDC_JSON_ARRAY ? ']' : '}';
			return child == cdc_json_next(node) ? p : strcpy(p, "SPAN") + 4;
		case CDC_JSON_STRING:
			*p++ = '"';
			memcpy(p, node->text, node->len);
			p += node->len;
			*p++ = '"';
			return p;
		default:
			memcpy(p, node->text, node->len);
			return p + node->len;
	}
}

/* text is read, and written back it is expected (NULL: text itself). */
static void
accepts(const char *text, const char *expected, const char *what)
{
	char		got[4096] = "";
	CdcJsonResult result = parse(text, strlen(text));

	if (result == CDC_JSON_OK)
		*write_node(got, out.nodes) = '\0';
	else
		snprintf(got, sizeof(got), "%s", out.message ? out.message : "?");
	unit_is_text(got, strlen(got), expected ? expected : text, what);
}

static void
refuses_len(const char *text, size_t len, const char *message,
			const char *what)
{
	CdcJsonResult result = parse(text, len);
	const char *got = result == CDC_JSON_INVALID ? out.message : "accepted";

	unit_is_text(got, strlen(got), message, what);
}

static void
refuses(const char *text, const char *message, const char *what)
{
	refuses_len(text, strlen(text), message, what);
}

static void
test_values(void)
{
	accepts("null", NULL, "null");
	accepts(" \t\r\n true \n", "true", "blanks around a value");
	accepts("[ 1 , 2 ,\n{ \"a\" : [ ] , \"b\" : { } } ]",
			"[1,2,{\"a\":[],\"b\":{}}]", "blanks between tokens");
	accepts("{\"a\":1,\"a\":2}", NULL, "duplicate members are all there");
	unit_is_text(cdc_json_member(out.nodes, "a")->text, 1, "2",
				 "the last of duplicate members wins");
	unit_ok(cdc_json_member(out.nodes, "A") == NULL, "names are exact");
	unit_ok(cdc_json_member(out.nodes + 1, "a") == NULL,
			"what is no object has no members");
	accepts("{\"a\":{\"b\":[1]},\"c\":[{}]}", NULL, "nested containers");
	unit_is_text(out.nodes[2].text, out.nodes[2].len, "{\"b\":[1]}",
				 "a container has its raw text");
	accepts("\"\"", NULL, "empty string");
	accepts("{\"\":0}", NULL, "empty name");
	refuses("", "empty text", "no bytes");
	refuses("  \n", "empty text", "only blanks");
	refuses("nul", "expected a value", "half a word");
	refuses("nullx", "expected a value", "a word too long");
	refuses("True", "expected a value", "a word in upper case");
	refuses("NaN", "expected a value", "NaN without quotes");
	refuses("Infinity", "expected a value", "Infinity without quotes");
	refuses("-Infinity", "invalid number", "-Infinity without quotes");
	refuses("\xEF\xBB\xBF{}", "byte order mark before the value", "BOM");
	refuses_len("\0", 1, "expected a value", "a byte that is zero");
	refuses_len("{}\0", 3, "text after the end of the value",
				"a zero byte after the value");
}

static void
test_structure(void)
{
	static const char *const broken[] = {
		"{", "[", "[1", "[1,", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,",
		"[[]", "{\"a\":[1}", "[1}", "{\"a\":1]", "[,1]", "[1,]", "[1 2]",
		"{,}", "{\"a\":1,}", "{1:2}", "{a:1}", "{\"a\" 1}", "{\"a\":}",
		"{\"a\"::1}", "{\"a\":1,,\"b\":2}", "{\"a\",1}", "{\"a\":1:2}", "]", "}", ":", ",",
		"[1]]", "{} {}", "{}x", "1 2", "\"a\" \"b\"", "\"a\"b", "1\"a\"", "null,",
		"[\"a\"b]", "[1\"a\"]", "{\"a\"b:1}", "{\"a\":1}}", "'a'", "[1]//x", "/**/1"
	};

	for (size_t i = 0; i < lengthof(broken); i++)
	{
		CdcJsonResult result = parse(broken[i], strlen(broken[i]));

		unit_ok(result == CDC_JSON_INVALID, "refused: %s", broken[i]);
	}
}

static void
test_truncation(void)
{
	static const char whole[] =
		"{\"a\":[1,-2.5e3,\"x\\u00e9\\\\\"],\"b\":{\"c\":null},\"d\":true,\"e\":\"\\\"\"}";
	size_t		bad = 0;

	for (size_t len = 0; len < sizeof(whole) - 1; len++)
		bad += parse(whole, len) != CDC_JSON_INVALID;
	unit_is_int(bad, 0, "every cut of an object is refused");
	unit_is_int(parse(whole, sizeof(whole) - 1), CDC_JSON_OK,
				"and the whole is read");
}

static void
test_numbers(void)
{
	static const char *const good[] = {
		"0", "-0", "1", "-1", "10", "9223372036854775808",
		"123456789012345678901234567890.123456789012345678901234567890",
		"1.00E-8", "0E-20", "0E-2046", "1e400", "1e-400", "1E+5", "-0.0",
		"12345678", "1234567812345678", "0.12345678"
	};
	static const char *const bad[] = {
		"-", "+1", "01", "-01", "00", "1.", ".5", "1.e5", "1e", "1e+", "1E-",
		"1.5.5", "1-1", "0x10", "1_000", "1,5", "--1", "1e5.5", "1234567a",
		"12345678:", "1/2", "1f", "1;"
	};
	char	   *longest = malloc(10001);

	for (size_t i = 0; i < lengthof(good); i++)
		accepts(good[i], NULL, good[i]);
	for (size_t i = 0; i < lengthof(bad); i++)
		unit_ok(parse(bad[i], strlen(bad[i])) == CDC_JSON_INVALID,
				"refused: %s", bad[i]);
	memset(longest, '9', 10000);
	unit_is_int(parse(longest, 10000), CDC_JSON_OK, "10 000 digits are read");
	unit_is_int(out.nodes[0].len, 10000, "and keep their text");
	/* unit_bytes puts digits after the text */
	unit_is_int(parse("42", 2), CDC_JSON_OK, "number at the end of the text");
	unit_is_int(out.nodes[0].len, 2, "ends where the text ends");
	free(longest);
}

static void
test_strings(void)
{
	accepts("\"plain\"", NULL, "string without escapes");
	unit_ok(out.nodes[0].text < out.strings ||
			out.nodes[0].text >= out.strings + out.max_strings,
			"points into the text");
	unit_is_int(out.nstrings, 0, "and takes no room");
	accepts("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\"\\/\b\f\n\r\t\"",
			"simple escapes");
	accepts("\"\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\"",
			"\"A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
			"\\u escapes, a surrogate pair joined");
	accepts("\"\xF0\x9F\x98\x80\xE2\x80\xA8\x7F\"", NULL,
			"raw UTF-8, U+2028 and DEL stay");
	accepts("[\"a\\nb\",\"c\",\"\\\\\",\"d\"]", "[\"a\nb\",\"c\",\"\\\",\"d\"]",
			"escaped and plain strings in turn");
	accepts("{\"a\\tb\":\"{[,:]}\"}", "{\"a\tb\":\"{[,:]}\"}",
			"escapes in names, brackets in strings");
	unit_is_int(parse("\"a\\u0000b\"", 10), CDC_JSON_OK, "\\u0000 is read");
	unit_is_int(out.nodes[0].len, 3, "as one byte");
	refuses("\"\\ud800\"", "unpaired surrogate in a string", "lone high");
	refuses("\"\\udc00\"", "unpaired surrogate in a string", "lone low");
	refuses("\"\\ud800\\ud800\"", "unpaired surrogate in a string", "high high");
	refuses("\"\\ud800x\"", "unpaired surrogate in a string", "high, text");
	refuses("\"\\ud800\\n\"", "unpaired surrogate in a string", "high, escape");
	refuses("\"\\ud83d\\u00e9\"", "unpaired surrogate in a string",
			"high, other character");
	refuses("\"\\x41\"", "invalid escape in a string", "\\x");
	refuses("\"\\u12g4\"", "invalid \\u escape in a string", "\\u12g4");
	refuses("\"\\u12\"", "invalid \\u escape in a string", "\\u12");
	refuses("\"\\u+123\"", "invalid \\u escape in a string", "\\u+123");
	refuses("\"a\nb\"", "unescaped control character in a string", "newline");
	refuses("{\"a\tb\":1}", "unescaped control character in a string",
			"tab in a name");
	refuses_len("\"a\0b\"", 5, "unescaped control character in a string",
				"zero byte");
	refuses("\"abc", "string is not closed", "no closing quote");
	refuses("\"abc\\\"", "string is not closed", "escaped closing quote");
}

static void
test_utf8(void)
{
	static const char *const bad[] = {
		"\"\xFF\"", "\"\x80\"", "\"\xC3\"", "\"\xC0\xAF\"", "\"\xE0\x80\xAF\"",
		"\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"", "\"\xF8\x88\x80\x80\x80\"",
		"\"\xE2\x82\"", "[1,\"a\xFE\"]"
	};

	for (size_t i = 0; i < lengthof(bad); i++)
		refuses(bad[i], "invalid UTF-8", "invalid UTF-8 in a string");
	refuses("\xC3\xA9", "expected a value", "UTF-8 outside of strings");
	unit_ok(cdc_json_is_utf8("\xC3\xA9", 2) && !cdc_json_is_utf8("\xC3", 1),
			"UTF-8 of plain text");
}

static void
test_depth(void)
{
	const size_t deep = 1000000;
	char	   *text = malloc(2 * deep);

	memset(text, '[', CDC_JSON_MAX_DEPTH);
	memset(text + CDC_JSON_MAX_DEPTH, ']', CDC_JSON_MAX_DEPTH);
	unit_is_int(parse(text, 2 * CDC_JSON_MAX_DEPTH), CDC_JSON_OK,
				"the greatest depth is read");
	memset(text, '[', deep);
	memset(text + deep, ']', deep);
	refuses_len(text, 2 * deep, "value is nested too deeply",
				"fault 67: a million brackets");
	for (size_t i = 0; i + 5 <= deep; i += 5)
		memcpy(text + i, "{\"a\":", 5);
	refuses_len(text, deep, "value is nested too deeply", "deep objects");
	free(text);
}

static void
test_room(void)
{
	CdcBytes	bytes = unit_bytes("[\"a\\n\",\"\\tbcd\",1,{\"x\":2}]");
	CdcJsonNode nodes[8];
	char		strings[12];
	CdcJsonOutput small = {nodes, 6, 0, strings, 12, 0, NULL, 0};

	unit_is_int(cdc_json_parse(parser, bytes.data, bytes.len, &small),
				CDC_JSON_MORE_ROOM, "too few nodes");
	small.max_nodes = 7;
	small.max_strings = 6;
	unit_is_int(cdc_json_parse(parser, bytes.data, bytes.len, &small),
				CDC_JSON_MORE_ROOM, "too little room for strings");
	small.max_strings = 12;
	unit_is_int(cdc_json_parse(parser, bytes.data, bytes.len, &small),
				CDC_JSON_OK, "enough of both");
	unit_is_int(small.nnodes, 7, "number of nodes");
	unit_is_int(small.nstrings, 6, "bytes of unescaped strings");
}

static void
test_large(void)
{
	const int	count = 100000;
	char	   *text = malloc(count * 16);
	char	   *p = text;

	*p++ = '{';
	for (int i = 0; i < count; i++)
		p += sprintf(p, "\"m%06d\":%d,", i, i % 10);
	p[-1] = '}';
	unit_is_int(parse(text, p - text), CDC_JSON_OK, "100 000 members are read");
	unit_is_int(out.nodes[0].nchildren, count, "and counted");
	unit_is_text(cdc_json_member(out.nodes, "m099999")->text, 1, "9",
				 "and found");
	memset(text, 'x', 1000000);
	text[0] = text[999999] = '"';
	unit_is_int(parse(text, 1000000), CDC_JSON_OK, "a string of 1 MB");
	accepts("[1]", NULL, "a small text after large ones");
	free(text);
}

int
main(void)
{
	parser = cdc_json_create();
	test_values();
	test_structure();
	test_truncation();
	test_numbers();
	test_strings();
	test_utf8();
	test_depth();
	test_room();
	test_large();
	cdc_json_free(parser);
	return unit_done();
}
