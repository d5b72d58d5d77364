/*-------------------------------------------------------------------------
 *
 * launch_check.h
 *		What the launcher reads of the shared catalogs.
 *
 * Floor 3.  All of it works in a process that is connected to no database;
 * each function runs a transaction of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_LAUNCH_CHECK_H
#define CDC_LAUNCH_CHECK_H

#include "nodes/pg_list.h"

/* Oids of all databases that can be connected to; a list in context. */
extern List *cdc_launch_databases(MemoryContext context);
/* Is there such a database, and can it be connected to? */
extern bool cdc_launch_database_exists(Oid dboid);
/*
 * What keeps owner from connecting to the database as a worker: a reason of
 * state stopped with its hint, or NULL.
 */
extern const char *cdc_launch_obstacle(Oid dboid, Oid owner, const char **hint);

#endif							/* CDC_LAUNCH_CHECK_H */
