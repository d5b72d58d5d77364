/*-------------------------------------------------------------------------
 *
 * catalog.h
 *		Subscriptions and mappings as the tables of the extension hold them.
 *
 * Floor 4.  catalog.c holds the SQL on the extension's own tables except
 * position (position.c) and dead_letter (deadletter.c).  Every function
 * needs a transaction and does its SQL as the owner of the extension, in a
 * security-restricted context with an empty search_path.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CATALOG_H
#define CDC_CATALOG_H

#include "executor/spi.h"
#include "foreign/foreign.h"

#include "kafka.h"
#include "options.h"
#include "source_settings.h"

typedef struct CdcMapping
{
	const struct CdcSubscription *subscription; /* it belongs to */
	int64		id;
	char	   *topic;
	char	   *source_table;	/* 'schema.table' of the source block, or NULL */
	Oid			relid;			/* InvalidOid: dropped */
	char	   *relation_name;	/* qualified and quoted, as recorded */
	int			ncolumns;		/* overlay: fields[i] goes to columns[i] */
	char	  **fields;
	char	  **columns;		/* NULL: the field is dropped */
	CdcOptions	options;		/* subscription's with the mapping's over it */
} CdcMapping;

typedef struct CdcSubscription
{
	int64		id;
	char	   *name;
	Oid			owner;
	char	   *server;
	bool		enabled;
	bool		restored;		/* system identifier or database differ */
	char	   *start_position;
	int64		resume_count;	/* grows with each enable_subscription */
	CdcOptions	options;
	CdcSourceSettings source;
	int			nmappings;
	CdcMapping *mappings;		/* ordered by topic, source_table */
} CdcSubscription;

/*
 * State of a switch to the extension's owner, for SQL on our own tables.
 * Between enter and leave no object of a user may be touched.
 */
typedef struct CdcCatalogScope
{
	Oid			saved_user;
	int			saved_sec_context;
	int			saved_guc_level;
	bool		pushed_snapshot;
} CdcCatalogScope;

extern void cdc_catalog_enter(CdcCatalogScope *scope);
extern void cdc_catalog_leave(CdcCatalogScope *scope);

/* A statement whose plan is kept once it was prepared; a static. */
#define CDC_STATEMENT_ARGS 20
typedef struct CdcStatement
{
	const char *sql;
	int			nargs;
	Oid			types[CDC_STATEMENT_ARGS];
	SPIPlanPtr	plan;
} CdcStatement;

/* Its plan, prepared at first; between SPI_connect and SPI_finish. */
extern SPIPlanPtr cdc_catalog_plan(CdcStatement *statement);
/* Runs it, likewise; returns the number of rows. */
extern int	cdc_catalog_execute(CdcStatement *statement, Datum *values,
								const char *nulls);

/*
 * Columns of a row of SPI_tuptable, in CurrentMemoryContext: one that the
 * table says is never NULL, and a text that may be (NULL then).
 */
extern Datum cdc_catalog_datum(HeapTuple tuple, int column);
extern char *cdc_catalog_text(HeapTuple tuple, int column);

/* GetSystemIdentifier() as numeric, as the table stores it. */
extern Datum cdc_catalog_system_identifier(void);

/*
 * Loads a subscription with its mappings, by id or by name.  Allocates in
 * CurrentMemoryContext; NULL where there is none.
 */
extern CdcSubscription *cdc_catalog_load(int64 id);
extern CdcSubscription *cdc_catalog_find(const char *name);

/*
 * Lays a "source" object over settings and returns what of it is to be
 * stored; reads a mapping's column overlay.  Both raise 22023.
 */
extern Jsonb *cdc_catalog_parse_source(CdcSourceSettings *settings, Jsonb *json);
extern void cdc_catalog_parse_columns(CdcMapping *mapping, Jsonb *json);

/* A server of our wrapper; 42704 or 42809. */
extern ForeignServer *cdc_catalog_server(const char *name);
/*
 * May role connect to this server of ours?  42501 where it has no USAGE, or a
 * user mapping whose secrets the server's owner could send elsewhere.
 */
extern void cdc_catalog_check_server(const char *name, Oid role);

/*
 * Properties of the subscription's server and of the owner's user mapping,
 * secrets read from their files, tuning options of the subscription laid
 * over.  Checks what cdc_catalog_check_server does.  Allocates in
 * CurrentMemoryContext.
 */
extern void cdc_catalog_kafka_config(const CdcSubscription *subscription,
									 CdcKafkaConfig *config);
/* The same for a server and a user, without a subscription. */
extern void cdc_catalog_server_config(const char *server, Oid user,
									  CdcKafkaConfig *config);

#endif							/* CDC_CATALOG_H */
