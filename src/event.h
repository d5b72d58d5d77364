/*-------------------------------------------------------------------------
 *
 * event.h
 *		One record as Kafka stores it, and the change it carries.
 *
 * Floor 1.  Everything here is owned by the arena of the batch, or stands in
 * what it owns, and is constant once made, but for headers that are read
 * later.  Nothing here needs the backend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_EVENT_H
#define CDC_EVENT_H

#include "cdc_sink.h"
#include "json.h"

/* Bytes of a record; data NULL is a Kafka null, len 0 an empty value. */
typedef struct CdcBytes
{
	const char *data;
	int32		len;
} CdcBytes;

typedef struct CdcHeader
{
	const char *name;			/* terminated */
	CdcBytes	value;
} CdcHeader;

struct CdcArena;

/* A record as it stands in the topic. */
typedef struct CdcRecord
{
	const char *topic;			/* owned by the worker's partition list */
	int32		partition;
	int32		part;			/* index in the worker's partition list */
	int64		offset;
	int64		ts_ms;			/* record time, ms since 1970; -1: none */
	CdcBytes	key;
	CdcBytes	start;			/* beginning of the value that others have, too,
								 * data NULL: none; value.h */
	CdcBytes	value;			/* all of it, or what follows start */
	int32		nheaders;
	const CdcHeader *headers;	/* not valid while source is set */
	const struct CdcRecordSource *source;	/* headers are still to be read; NULL:
											 * they are */
	void	   *message;		/* of the source, which has them */
} CdcRecord;

/* Where a record comes from: few are asked for their headers. */
typedef struct CdcRecordSource
{
	/*
	 * Makes a list of the headers in an arena and sets the record's; their
	 * bytes stay where the record's are.  False: malloc failed.  Calls nothing
	 * of the server.
	 */
	bool		(*read_headers) (CdcRecord *record, struct CdcArena *arena);
} CdcRecordSource;

/* Makes the record's headers valid; as CdcRecordSource. */
static inline bool
cdc_record_read_headers(CdcRecord *record, struct CdcArena *arena)
{
	return record->source == NULL || record->source->read_headers(record, arena);
}

/* Connect's schema types (debezium-format.md 1.2). */
typedef enum CdcConnectType
{
	CDC_CONNECT_BOOLEAN,
	CDC_CONNECT_INT8,
	CDC_CONNECT_INT16,
	CDC_CONNECT_INT32,
	CDC_CONNECT_INT64,
	CDC_CONNECT_FLOAT,
	CDC_CONNECT_DOUBLE,
	CDC_CONNECT_BYTES,
	CDC_CONNECT_STRING,
	CDC_CONNECT_ARRAY,
	CDC_CONNECT_MAP,
	CDC_CONNECT_STRUCT
} CdcConnectType;

typedef struct CdcSchemaParam
{
	const char *name;
	const char *value;
} CdcSchemaParam;

/*
 * One node of a record's schema.  Owned by the decoder's schema cache, which
 * parses a schema once per distinct text and keeps it as long as the decode
 * state lives, so that a pointer stands for "the same schema as before".
 */
typedef struct CdcSchema
{
	CdcConnectType type;
	bool		optional;
	const char *name;			/* semantic name, or NULL */
	const char *field;			/* name of the field it describes, or NULL */
	int32		field_len;
	int32		nparams;
	const CdcSchemaParam *params;
	const struct CdcSchema *items;	/* of an array; values of a map */
	const struct CdcSchema *keys;	/* of a map */
	int32		nfields;
	const struct CdcSchema *fields; /* of a struct */
} CdcSchema;

/* A string inside the batch; not terminated. */
typedef struct CdcStr
{
	const char *data;			/* NULL: absent or null */
	int32		len;
} CdcStr;

/* One half of source.sequence; not valid where it is null or absent. */
typedef struct CdcSequencePart
{
	bool		valid;
	uint64		value;
} CdcSequencePart;

/* Why a record cannot be decoded or applied; texts live in the arena. */
typedef struct CdcError
{
	int			sqlstate;		/* as MAKE_SQLSTATE packs it */
	const char *message;		/* lower-case primary message */
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
	const char *field;			/* path like after.amount, or NULL */
} CdcError;

/* One decoded record. */
typedef struct CdcEvent
{
	const CdcRecord *record;
	CdcError   *error;			/* not NULL: goes to the error policy, and
								 * only record (and key if it was readable)
								 * is valid */
	CdcKind		kind;
	CdcOp		op;				/* of a CHANGE */
	bool		flattened;		/* row without envelope, or a null value that
								 * is not a Kafka null */
	bool		snapshot;		/* source.snapshot says so (r, or marked) */
	const CdcJsonNode *key;		/* payload of the key: OBJECT or a scalar;
								 * NULL: Kafka null (or JSON null) */
	const CdcSchema *key_schema;	/* or NULL */
	const CdcJsonNode *before;	/* OBJECT or NULL */
	const CdcJsonNode *after;	/* OBJECT or NULL; of a flattened delete in
								 * rewrite mode the old row stands in before */
	const CdcSchema *row_schema;	/* schema of before and after, or NULL */
	bool		headers_left;	/* newkey and oldkey are not known before the
								 * decoder's read_headers: of a row that is
								 * written, few need them */
	const CdcJsonNode *newkey;	/* header __debezium.newkey, an OBJECT or NULL */
	const CdcJsonNode *oldkey;	/* header __debezium.oldkey, an OBJECT or NULL */
	CdcStr		source_name;	/* source block; data NULL where absent */
	CdcStr		source_db;
	CdcStr		source_schema;
	CdcStr		source_table;
	CdcSequencePart sequence[2];	/* source.sequence: last commit, own lsn */
	int64		source_ts_ms;	/* source.ts_ms, -1: none */
	int64		ts_ms;			/* the envelope's own ts_ms, -1: none */
} CdcEvent;

#endif							/* CDC_EVENT_H */
