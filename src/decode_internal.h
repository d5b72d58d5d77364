/*-------------------------------------------------------------------------
 *
 * decode_internal.h
 *		Shared by the files of the Debezium decoder.
 *
 * Floor 2.  Functions that return bool return false only when memory ran
 * out; what is wrong with a record goes into event->error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_DECODE_INTERNAL_H
#define CDC_DECODE_INTERNAL_H

#include "decode_api.h"

/* A schema text that was seen, and what it says. */
typedef struct CdcSchemaEntry
{
	uint64		hash;			/* of the schema's text */
	const char *prefix;			/* a record from its first byte up to its
								 * payload, or NULL where the payload does not
								 * come last */
	size_t		prefix_len;
	const char *text;			/* the schema's own text */
	size_t		text_len;
	const CdcSchema *root;
	const CdcSchema *row;		/* after or before of an envelope, else NULL */
} CdcSchemaEntry;

typedef struct CdcSchemaCache CdcSchemaCache;

struct CdcDecodeState
{
	const CdcSourceSettings *settings;
	CdcJsonParser *json;
	CdcJsonNode *nodes;			/* what was parsed last; malloc'ed */
	size_t		max_nodes;
	CdcSchemaCache *schemas;
};

/* A key or a value that was read. */
typedef struct CdcDocument
{
	const CdcJsonNode *payload; /* in state->nodes, until the next read */
	const CdcSchemaEntry *schema;	/* or NULL */
	const char *problem;		/* not NULL: not readable; static, to follow
								 * "record value" */
	const char *detail;			/* of the problem, or NULL */
	int			sqlstate;		/* of the problem */
} CdcDocument;

/* decode_read.c */
extern bool cdc_decode_parse(CdcDecodeState *state, CdcArena *arena,
							 const char *text, size_t len,
							 CdcJsonOutput *out, CdcJsonResult *result);
extern bool cdc_decode_read(CdcDecodeState *state, CdcArena *arena,
							const CdcBytes *bytes, int slot,
							CdcDocument *document);
extern bool cdc_decode_read_value(CdcDecodeState *state, CdcArena *arena,
								  const CdcRecord *record,
								  CdcDocument *document);
extern const CdcJsonNode *cdc_decode_unwrap(const CdcJsonNode *root,
											const CdcJsonNode **schema);
extern const CdcJsonNode *cdc_decode_keep(CdcArena *arena,
										  const CdcJsonNode *node);
extern bool cdc_decode_fail_document(CdcEvent *event, CdcArena *arena,
									 const char *what,
									 const CdcDocument *document);
extern bool cdc_decode_fail(CdcEvent *event, CdcArena *arena, int sqlstate,
							const char *field, const char *hint,
							const char *format,...)
			__attribute__((format(printf, 6, 7)));
extern const char *cdc_decode_excerpt(const CdcJsonNode *node, char *buffer);

/* longest text cdc_decode_excerpt writes, terminator included */
#define CDC_EXCERPT_LEN		48

/* decode_schema.c */
/* the problem of a schema that finds the cache full; compare the pointer */
extern const char CDC_SCHEMA_LIMIT[];
extern CdcSchemaCache *cdc_schemas_open(void);
extern void cdc_schemas_close(CdcSchemaCache *cache);
extern const CdcSchemaEntry *cdc_schemas_recent(CdcSchemaCache *cache,
												int slot, const char *text,
												size_t len);
extern bool cdc_schemas_find(CdcSchemaCache *cache, CdcArena *batch,
							 int slot, const char *text, size_t prefix_len,
							 const CdcJsonNode *schema,
							 const CdcSchemaEntry **entry,
							 const char **problem);

/* decode_source.c */
extern void cdc_decode_source(CdcEvent *event, const CdcJsonNode *source);
extern void cdc_decode_sequence(CdcSequencePart *parts, const char *text,
								size_t len);
extern bool cdc_decode_snapshot(const CdcJsonNode *value);
extern int64 cdc_decode_int64(const CdcJsonNode *value);
extern CdcStr cdc_decode_str(const CdcJsonNode *value);
extern bool cdc_decode_headers(CdcDecodeState *state, CdcArena *arena,
							   CdcEvent *event);

/* decode_rows.c */
extern bool cdc_decode_op(CdcArena *arena, CdcEvent *event,
						  const CdcJsonNode *op, const char *field);
extern bool cdc_decode_rows(CdcArena *arena, CdcEvent *event,
							const CdcJsonNode *before,
							const CdcJsonNode *after);

/* decode_flat.c */
extern bool cdc_decode_flat(CdcDecodeState *state, CdcArena *arena,
							CdcEvent *event, const CdcJsonNode *row,
							const CdcSchemaEntry *schema);

/* decode_cloudevent.c */
extern bool cdc_decode_is_cloudevent(const CdcJsonNode *root);
extern bool cdc_decode_cloudevent(CdcDecodeState *state, CdcArena *arena,
								  CdcEvent *event, const CdcJsonNode *root,
								  int slot);

/* decode_control.c */
extern bool cdc_decode_control(CdcEvent *event, const CdcJsonNode *root);

#endif							/* CDC_DECODE_INTERNAL_H */
