/*-------------------------------------------------------------------------
 *
 * relmap.h
 *		A mapping made ready to apply: columns of the local relation, how
 *		fields of events become their values, how rows are found.
 *
 * Floor 5.  Made on first use in a transaction, kept until the relation, its
 * mapping or the settings change.  Memory: one context a relation, under
 * the pipeline's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_RELMAP_H
#define CDC_RELMAP_H

#include "executor/spi.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "catalog.h"
#include "convert_api.h"
#include "event.h"
#include "shmem.h"

/* Columns that the record's own coordinates fill (design.md 3.2). */
typedef enum CdcMetaColumn
{
	CDC_META_NONE,
	CDC_META_OP,
	CDC_META_TOPIC,
	CDC_META_PARTITION,
	CDC_META_OFFSET,
	CDC_META_TS_MS
} CdcMetaColumn;

/* A column that can be written. */
typedef struct CdcColumn
{
	AttrNumber	attnum;
	char	   *name;
	Oid			typid;
	int32		typmod;
	Oid			collation;
	bool		notnull;
	bool		identity_always;
	bool		has_default;	/* left out, it is not simply NULL: a default,
								 * an identity or its type has a say */
	CdcMetaColumn meta;
	CdcConversion *meta_conv;	/* of a metadata column, made on first use */
} CdcColumn;

/* What happens to a field of an event. */
typedef enum CdcFieldUse
{
	CDC_FIELD_COLUMN,			/* written to a column */
	CDC_FIELD_DROPPED,			/* the mapping drops it */
	CDC_FIELD_GENERATED,		/* its column is generated: never written */
	CDC_FIELD_ADDED,			/* added by the flattening transform */
	CDC_FIELD_UNKNOWN			/* the relation has no such column */
} CdcFieldUse;

typedef struct CdcField
{
	char	   *name;
	int32		len;
	CdcFieldUse use;
	int			column;			/* index into columns, COLUMN only */
	CdcConversion *conv;		/* COLUMN only */
} CdcField;

/*
 * Fields of one shape of rows, in the order last seen: the next row most
 * likely has the same, so that a lookup is one memcmp.
 */
typedef struct CdcFieldMap
{
	const CdcSchema *schema;	/* NULL: schemaless */
	int			nfields;
	int			maxfields;
	CdcField   *fields;
	uint32		mask;			/* size of the table - 1 */
	int32	   *table;			/* hash of names: index into fields + 1; 0: free */
	struct CdcFieldMap *next;
} CdcFieldMap;

/* One way to find rows: by these columns. */
typedef struct CdcKey
{
	int			nkeys;
	int		   *columns;		/* indexes into the relation's columns */
	bool	   *is_key;			/* by column index */
	bool		unique;			/* an immediate unique index says that at most
								 * one row has a key without NULLs */
	bool		foldable;		/* every type can be hashed */
	bool		int_key;		/* one int2, int4 or int8 column: hashed and
								 * sorted as an integer */
	TypeCacheEntry **types;		/* equality and hash of each key column */
	char	  **eq_operators;	/* OPERATOR(schema.=) of each */
	struct CdcKey *next;
} CdcKey;

/* Fields of one shape of record keys, and the key they lead to. */
typedef struct CdcKeyMap
{
	const CdcSchema *schema;
	bool		scalar;
	bool		values_only;	/* append mode: no key behind it */
	int			nfields;
	CdcField   *fields;
	CdcKey	   *key;
	struct CdcKeyMap *next;
} CdcKeyMap;

/* A prepared statement of the appliers; kind is theirs. */
typedef struct CdcPlan
{
	int			kind;
	const CdcKey *key;
	uint8	   *set;			/* columns it writes, by column index */
	uint32		null_keys;		/* bit i: key column i is NULL */
	SPIPlanPtr	plan;
	TupleDesc	tupdesc;		/* of the batch relation it reads */
	BlockNumber pages;			/* of the relation when it was planned */
	struct CdcPlan *next;
} CdcPlan;

/* Can rows be inserted without a statement (native.c)? */
typedef enum CdcNative
{
	CDC_NATIVE_UNKNOWN,
	CDC_NATIVE_NO,
	CDC_NATIVE_YES
} CdcNative;

typedef struct CdcRelation
{
	MemoryContext context;
	const CdcMapping *mapping;
	Oid			relid;
	Oid			root_relid;		/* top of its partition tree, or relid */
	Oid			relowner;
	char	   *name;			/* qualified and quoted, for SQL and errors */
	char	   *rows;			/* the same for statements on rows that are there:
								 * with ONLY, but for a partitioned table */
	char	   *schema;			/* its parts, as they are */
	char	   *relname;
	bool		valid;			/* false after an invalidation */
	bool		as_origin;		/* triggers and foreign keys work, whatever
								 * session_replication_role says (role.c) */
	int			ncolumns;
	CdcColumn  *columns;
	int			ngenerated;
	char	  **generated;		/* names of generated columns */
	int			npk;			/* primary key, as indexes into columns */
	int		   *pk;
	bool		other_unique;	/* a unique or exclusion constraint beside the
								 * key may clash inside a batch */
	bool		has_meta;
	bool		has_toastable;	/* a value may come as "unchanged" */
	const CdcSchema *known_schema;	/* no field of it lacks a column */
	CdcFieldMap *field_maps;
	CdcKeyMap  *key_maps;
	CdcKey	   *keys;
	CdcPlan    *plans;
	int			probe_runs;		/* insert runs still to be probed before plain
								 * INSERT is tried again */
	int			probe_penalty;	/* how many the next clash costs */
	CdcNative	native;
	TupleDesc	slot_desc;		/* of slots */
	struct TupleTableSlot **slots;	/* for native inserts, made on first use */
	CdcTableCounts counts;		/* of the transaction under way */
	CdcTableCounts work;		/* of the range under way, see apply.c */
	struct CdcRelation *next;
} CdcRelation;

/* State of a column in a row. */
#define CDC_UNSET		0		/* absent from the event */
#define CDC_SET			1
#define CDC_UNCHANGED	2		/* a placeholder stood there */

/* A row as an event gives it; arrays are indexed like the columns. */
typedef struct CdcRow
{
	Datum	   *values;
	bool	   *nulls;
	uint8	   *set;			/* CDC_UNSET, CDC_SET, CDC_UNCHANGED */
	bool		has_unchanged;
} CdcRow;

/* The relations of one subscription. */
typedef struct CdcRelmap
{
	MemoryContext context;
	const CdcSubscription *subscription;
	CdcRelation *relations;
	CdcTableCounts totals;		/* of all committed transactions */
	bool		invalidated;	/* some relation was, since hold.c looked */
	struct CdcRelmap *next;		/* all maps of the process */
} CdcRelmap;

extern CdcRelmap *cdc_relmap_create(MemoryContext parent,
									const CdcSubscription *subscription);
/*
 * The relation of a mapping, ready to apply.  Needs a transaction; takes
 * RowExclusiveLock on the relation, kept to its end.  Raises errors of the
 * configuration class where the relation is gone, was replaced or is no
 * valid target.
 */
extern CdcRelation *cdc_relmap_get(CdcRelmap *relmap, const CdcMapping *mapping);
/*
 * Checks, before values that were converted for the relation go to it or
 * others are read from it, that code which ran since has not altered its
 * name or columns.  ERROR 55000, of the configuration class: the range is cut until
 * the relation is made ready anew behind that code, or its partition stops.
 */
extern void cdc_relmap_recheck(const CdcRelation *rel);
/*
 * Is the relation still what its name finds?  The lock on it keeps its own
 * name, but not that of its schema, whose change invalidates nothing of it.
 */
extern bool cdc_relmap_is_named(const CdcRelation *rel);
/* Root of the partition tree a relation belongs to; needs a transaction. */
extern Oid	cdc_relation_root(Oid relid);

/* A type's equality as OPERATOR(schema.=), or NULL where it has none. */
extern char *cdc_equality_operator(Oid typid);

/* Makes a row from before or after of an event; fields as the mapping says. */
extern void cdc_row_build(CdcRelation *rel, const CdcEvent *event,
						  const CdcJsonNode *object, CdcRow *row);
/* Fills the metadata columns that the event left unset. */
extern void cdc_row_fill_meta(CdcRelation *rel, const CdcEvent *event, char op,
							  CdcRow *row);
/*
 * Key of an event and its values, written over those in row.  fallback is
 * the object that gives key columns which the record key lacks.  NULL: the
 * record has no key.
 */
extern CdcKey *cdc_row_key(CdcRelation *rel, const CdcEvent *event,
						   const CdcJsonNode *key_node,
						   const CdcSchema *key_schema,
						   const CdcJsonNode *fallback, CdcRow *row);
/*
 * Fills the columns that the record key names, without asking how rows are
 * found (append mode).
 */
extern void cdc_row_key_fields(CdcRelation *rel, const CdcEvent *event,
							   CdcRow *row);
extern void cdc_row_alloc(const CdcRelation *rel, CdcRow *row);
/* Are the same columns set?  CDC_UNCHANGED counts as unset. */
extern bool cdc_row_same_columns(const CdcRelation *rel, const uint8 *a,
								 const uint8 *b);
/* Bit i is set where key column i of the row is NULL; 0 without a key. */
extern uint32 cdc_key_nulls(const CdcKey *key, const CdcRow *row);

#endif							/* CDC_RELMAP_H */
