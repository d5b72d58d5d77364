/*-------------------------------------------------------------------------
 *
 * unit.c
 *		What the unit tests of the decoder share; see unit.h.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include <stdlib.h>

static int	ntests;
static int	nfailed;

void
unit_ok(bool passed, const char *format,...)
{
	va_list		args;

	ntests++;
	if (!passed)
		nfailed++;
	fprintf(stdout, "%sok %d - ", passed ? "" : "not ", ntests);
	va_start(args, format);
#undef vfprintf
	vfprintf(stdout, format, args);
	va_end(args);
	fputc('\n', stdout);
}

void
unit_is_int(long long got, long long expected, const char *what)
{
	unit_ok(got == expected, "%s", what);
	if (got != expected)
		fprintf(stdout, "# got %lld, expected %lld\n", got, expected);
}

void
unit_is_text(const char *got, size_t len, const char *expected,
			 const char *what)
{
	bool		same = got != NULL ? expected != NULL &&
		strlen(expected) == len && memcmp(got, expected, len) == 0 :
		expected == NULL;

	unit_ok(same, "%s", what);
	if (!same)
		fprintf(stdout, "# got \"%.*s\", expected \"%s\"\n",
				got ? (int) len : 6, got ? got : "(null)",
				expected ? expected : "(null)");
}

int
unit_done(void)
{
	fprintf(stdout, "1..%d\n", ntests);
	if (nfailed > 0)
		fprintf(stdout, "# %d of %d failed\n", nfailed, ntests);
	return nfailed > 0;
}

const char *
unit_kind_name(CdcKind kind)
{
	static const char *const names[] = {
		"change", "tombstone", "empty", "heartbeat", "transaction",
		"schema_change", "notification", "signal", "message"
	};

	return names[kind];
}

CdcBytes
unit_bytes_len(const char *data, size_t len)
{
	char	   *copy = malloc(Max(len, 1));	/* not more: nothing may read beyond */
	CdcBytes	bytes = {copy, (int32) len};

	memcpy(copy, data, len);
	return bytes;
}

CdcBytes
unit_bytes(const char *text)
{
	CdcBytes	none = {NULL, 0};

	return text ? unit_bytes_len(text, strlen(text)) : none;
}

/* Decodes base64 as the corpus writes it: padded, no blanks. */
static CdcBytes
decode_base64(const CdcJsonNode *node)
{
	static const char alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char	   *out = malloc(node->len + 1);
	size_t		n = 0;
	uint32		bits = 0;
	int			nbits = 0;
	CdcBytes	bytes;

	for (uint32 i = 0; i < node->len && node->text[i] != '='; i++)
	{
		bits = bits << 6 | (uint32) (strchr(alphabet, node->text[i]) - alphabet);
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			out[n++] = (char) (bits >> nbits);
		}
	}
	bytes = unit_bytes_len(out, n);
	free(out);
	return bytes;
}

/* Bytes of a key, value or header in a stream file. */
static CdcBytes
read_bytes(const CdcJsonNode *node)
{
	CdcBytes	none = {NULL, 0};

	if (node->type == CDC_JSON_STRING)
		return unit_bytes_len(node->text, node->len);
	if (node->type == CDC_JSON_OBJECT)
		return decode_base64(cdc_json_member(node, "b64"));
	return none;
}

static char *
read_text(const CdcJsonNode *node)
{
	char	   *text = malloc(node->len + 1);

	memcpy(text, node->text, node->len);
	text[node->len] = '\0';
	return text;
}

/* Recordings have offsets, cases made by hand have none. */
static int64
read_number(const CdcJsonNode *node)
{
	return node ? atoll(node->text) : 0;
}

static void
read_headers(CdcRecord *record, const CdcJsonNode *list)
{
	const CdcJsonNode *pair = cdc_json_first(list);

	CdcHeader  *headers = calloc(list->nchildren + 1, sizeof(CdcHeader));

	record->headers = headers;
	record->nheaders = (int32) list->nchildren;
	for (int i = 0; i < record->nheaders; i++)
	{
		const CdcJsonNode *name = cdc_json_first(pair);

		headers[i].name = read_text(name);
		headers[i].value = read_bytes(cdc_json_next(name));
		pair = cdc_json_next(pair);
	}
}

static void
read_record(CdcRecord *record, const CdcJsonNode *line)
{
	memset(record, 0, sizeof(*record));
	record->topic = read_text(cdc_json_member(line, "topic"));
	record->partition = (int32) read_number(cdc_json_member(line, "partition"));
	record->part = record->partition;
	record->offset = read_number(cdc_json_member(line, "offset"));
	record->ts_ms = -1;
	record->key = read_bytes(cdc_json_member(line, "key"));
	record->value = read_bytes(cdc_json_member(line, "value"));
	read_headers(record, cdc_json_member(line, "headers"));
}

/* Reads a whole file; exits where it cannot. */
static char *
read_file(const char *path, size_t *len)
{
	FILE	   *file = fopen(path, "rb");
	char	   *data;

	if (file == NULL)
	{
		fprintf(stdout, "Bail out! cannot open %s\n", path);
		exit(2);
	}
	fseek(file, 0, SEEK_END);
	*len = (size_t) ftell(file);
	rewind(file);
	data = calloc(1, *len + 1);
	if (fread(data, 1, *len, file) != *len)
		exit(2);
	fclose(file);
	return data;
}

/* Parses one line; its nodes and strings stay. */
static const CdcJsonNode *
parse_line(CdcJsonParser *parser, const char *path, const char *line,
		   size_t len)
{
	CdcJsonOutput out;

	out.max_nodes = len + 1;
	out.nodes = malloc(out.max_nodes * sizeof(CdcJsonNode));
	out.max_strings = len;
	out.strings = malloc(out.max_strings);
	if (cdc_json_parse(parser, line, len, &out) != CDC_JSON_OK)
	{
		fprintf(stdout, "Bail out! %s: %s\n", path, out.message);
		exit(2);
	}
	return realloc(out.nodes, out.nnodes * sizeof(CdcJsonNode));
}

Stream
unit_read_stream(const char *path)
{
	Stream		stream = {0, NULL, NULL, NULL};
	CdcJsonParser *parser = cdc_json_create();
	size_t		len;
	char	   *data = read_file(path, &len);
	char	   *end = data + len;

	for (char *line = data; line < end;)
	{
		char	   *eol = memchr(line, '\n', end - line);
		const CdcJsonNode *root = parse_line(parser, path, line,
											 (eol ? eol : end) - line);
		int			n = stream.nrecords;

		if (cdc_json_member(root, "topic") == NULL)
			stream.settings = cdc_json_member(root, "settings");
		else
		{
			stream.records = realloc(stream.records,
									 (n + 1) * sizeof(CdcRecord));
			stream.expect = realloc(stream.expect, (n + 1) * sizeof(root));
			read_record(&stream.records[n], root);
			stream.expect[n] = cdc_json_member(root, "expect");
			stream.nrecords++;
		}
		line = eol ? eol + 1 : end;
	}
	cdc_json_free(parser);
	return stream;
}
