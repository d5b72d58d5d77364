/*-------------------------------------------------------------------------
 *
 * catalog_write.h
 *		Rows of the extension's tables, as the SQL functions change them.
 *
 * Floor 5.  As catalog.h: every function needs a transaction and does its
 * SQL as the owner of the extension.  Results are allocated in
 * CurrentMemoryContext.  Foreign keys cascade whatever the session's
 * session_replication_role is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CATALOG_WRITE_H
#define CDC_CATALOG_WRITE_H

#include "catalog.h"

/* A row of cdc_sink.subscription, unparsed. */
typedef struct CdcSubscriptionRow
{
	int64		id;
	NameData	name;
	Oid			owner;
	NameData	server;
	bool		enabled;
	bool		restored;		/* system identifier or database differ */
	char	   *start_position;
	Jsonb	   *source;
	Jsonb	   *options;
} CdcSubscriptionRow;

/* A row of cdc_sink.mapping, unparsed. */
typedef struct CdcMappingRow
{
	int64		id;
	char	   *topic;
	char	   *source_table;	/* or NULL */
	Oid			relid;
	char	   *relation_name;
	Jsonb	   *columns;
	Jsonb	   *options;
} CdcMappingRow;

/* A row of cdc_sink.position, as far as set_position needs it. */
typedef struct CdcPositionRow
{
	const char *topic;
	int32		partition;
	int64		next_offset;
} CdcPositionRow;

/*
 * Finds a subscription by name and locks its row against other changes until
 * the transaction ends; false where there is none.
 */
extern bool cdc_catalog_lock(const char *name, CdcSubscriptionRow *row);
/* Is there a subscription of this name? */
extern bool cdc_catalog_exists(const char *name);

/* Writes a new row and sets its id. */
extern void cdc_catalog_insert(CdcSubscriptionRow *row);
/* Writes what alter_ and disable_subscription change, by id. */
extern void cdc_catalog_update(const CdcSubscriptionRow *row);
/* Enables, at home in this database of this cluster, and counts it. */
extern void cdc_catalog_resume(int64 id);
/* Deletes it with everything that belongs to it. */
extern void cdc_catalog_delete(int64 id);

/* Mappings of a subscription, by topic and source table; returns how many. */
extern int	cdc_catalog_mappings(const CdcSubscriptionRow *subscription,
								 CdcMappingRow **rows);
extern void cdc_catalog_insert_mapping(const CdcSubscriptionRow *subscription,
									   const CdcMappingRow *row);
/* Writes columns and options, by id. */
extern void cdc_catalog_update_mapping(const CdcMappingRow *row);
extern void cdc_catalog_delete_mapping(int64 id);

/* Positions of a subscription; returns how many. */
extern int	cdc_catalog_positions(const CdcSubscriptionRow *subscription,
								  CdcPositionRow **rows);
extern void cdc_catalog_delete_positions(const CdcSubscriptionRow *subscription,
										 const char *topic);
/* Deletes those of the partitions of a topic from first on. */
extern void cdc_catalog_delete_partitions(const CdcSubscriptionRow *subscription,
										  const char *topic, int32 first);
/*
 * Sets a position, creating its row.  Takes the row from whatever worker had
 * it, and forgets anchor and cluster: the record before the new place is not
 * known, and whatever cluster is there now is accepted.
 */
extern void cdc_catalog_set_position(const CdcSubscriptionRow *subscription,
									 const CdcPositionRow *row);

#endif							/* CDC_CATALOG_WRITE_H */
