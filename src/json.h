/*-------------------------------------------------------------------------
 *
 * json.h
 *		JSON reader: one text to a flat array of nodes.
 *
 * Floor 1.  C interface of json.cc (simdjson); no PostgreSQL header, throws
 * nothing, no backend call.  The whole text is read and checked: what
 * cdc_json_parse accepts is valid UTF-8 and valid JSON.  Numbers keep their
 * text.  Of duplicate members the last one wins (cdc_json_member searches
 * from the end of equal names).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_JSON_H
#define CDC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C"
{
#endif

typedef enum CdcJsonType
{
	CDC_JSON_NULL,
	CDC_JSON_FALSE,
	CDC_JSON_TRUE,
	CDC_JSON_NUMBER,
	CDC_JSON_STRING,
	CDC_JSON_ARRAY,
	CDC_JSON_OBJECT
} CdcJsonType;

/*
 * One value or one member name.  The children of an array follow it at once;
 * those of an object come in pairs, a STRING node for the name, then the
 * value.  node + node->span is what follows the whole subtree.
 */
typedef struct CdcJsonNode
{
	const char *text;			/* STRING: unescaped UTF-8, not terminated;
								 * NUMBER, TRUE, FALSE, NULL: the literal as
								 * written; ARRAY and OBJECT: the raw text
								 * with its brackets */
	uint32_t	len;			/* bytes of text */
	uint32_t	span;			/* nodes in this subtree, itself included */
	uint32_t	nchildren;		/* elements of an array, members of an object */
	uint8_t		type;			/* CdcJsonType */
} CdcJsonNode;

/* first child of an ARRAY, or name of the first member of an OBJECT */
#define cdc_json_first(node)	((node) + 1)
/* the sibling after a value (for a member name: its value) */
#define cdc_json_next(node)		((node) + (node)->span)

typedef struct CdcJsonParser CdcJsonParser;

/* deepest nesting that is read; deeper text is an error */
#define CDC_JSON_MAX_DEPTH 512

typedef enum CdcJsonResult
{
	CDC_JSON_OK,
	CDC_JSON_MORE_ROOM,			/* nodes or strings too small: call again with
								 * twice the room */
	CDC_JSON_NO_MEMORY,
	CDC_JSON_INVALID			/* *message says what, *at where (byte) */
} CdcJsonResult;

/* What the reader writes into; the caller owns all three buffers. */
typedef struct CdcJsonOutput
{
	CdcJsonNode *nodes;
	size_t		max_nodes;
	size_t		nnodes;			/* set by cdc_json_parse */
	char	   *strings;		/* unescaped strings that differ from the text */
	size_t		max_strings;	/* len is always enough */
	size_t		nstrings;		/* set: bytes of strings that are in use */
	const char *message;		/* CDC_JSON_INVALID: static text */
	size_t		at;				/* CDC_JSON_INVALID: byte where, if known */
} CdcJsonOutput;

/* A parser is reusable and belongs to one thread.  NULL: out of memory. */
extern CdcJsonParser *cdc_json_create(void);
extern void cdc_json_free(CdcJsonParser *parser);

/*
 * Reads text, which must live as long as the nodes do: they point into it.
 */
extern CdcJsonResult cdc_json_parse(CdcJsonParser *parser, const char *text,
									size_t len, CdcJsonOutput *out);

/* Is the text valid UTF-8? */
extern bool cdc_json_is_utf8(const char *text, size_t len);

/* Value of the member called name, or NULL; the last one of equal names. */
extern const CdcJsonNode *cdc_json_member(const CdcJsonNode *object,
										  const char *name);

/* Does a STRING node hold exactly this text? */
extern bool cdc_json_is(const CdcJsonNode *string, const char *text);

#ifdef __cplusplus
}
#endif

#endif							/* CDC_JSON_H */
