/*-------------------------------------------------------------------------
 *
 * catalog_sql.h
 *		SQL on the extension's own tables, as the owner of the extension.
 *
 * Floor 3.  Needs a transaction; runs in a security-restricted context with
 * an empty search_path.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_CATALOG_SQL_H
#define CDC_CATALOG_SQL_H

#include "executor/spi.h"

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

/*
 * Raises 55000 where this library is not the one that the tables and functions
 * of the extension were made for: one of the two was updated alone.  Enter
 * does so once a session.
 */
extern void cdc_catalog_check_version(void);

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

#endif							/* CDC_CATALOG_SQL_H */
