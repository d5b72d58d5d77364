/*-------------------------------------------------------------------------
 *
 * catalog.h
 *		Subscriptions and mappings as the tables of the extension hold them.
 *
 * Floor 4.  Every function that reads them needs a transaction and does its
 * SQL as the owner of the extension (catalog_sql.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CATALOG_H
#define CDC_CATALOG_H

#include "catalog_sql.h"
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

#endif							/* CDC_CATALOG_H */
