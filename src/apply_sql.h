/*-------------------------------------------------------------------------
 *
 * apply_sql.h
 *		Statements of the appliers: built once per relation, key and set of
 *		columns, run over a set of rows.
 *
 * Floor 6.  Below the appliers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_APPLY_SQL_H
#define CDC_APPLY_SQL_H

#include "apply_api.h"

typedef enum CdcSqlKind
{
	CDC_STATEMENT_PROBE,		/* ordinals of rows that are in the table */
	CDC_STATEMENT_MULTI,		/* ordinals of keys that find several rows */
	CDC_STATEMENT_UPDATE,
	CDC_STATEMENT_INSERT,
	CDC_STATEMENT_DELETE,
	CDC_STATEMENT_FETCH,		/* ordinals and whole rows of the keys */
	CDC_STATEMENT_OLD_UPDATE,	/* one row, found by its old image */
	CDC_STATEMENT_OLD_DELETE
} CdcSqlKind;

/*
 * Runs a statement over entries, all with this pattern of columns and NULL
 * keys, and returns the number of rows it touched.  Results of PROBE, MULTI
 * and FETCH are in SPI_tuptable until cdc_sql_finish, which must follow.
 * Needs a transaction and the applying role; statements are planned on
 * first use and kept with the relation.
 */
extern uint64 cdc_sql_run(CdcRelation *rel, CdcSqlKind statement,
						  const CdcKey *key, const uint8 *set,
						  uint32 null_keys, CdcEntry **entries, int nentries);
extern void cdc_sql_finish(void);

/* Does the statement for this pattern change anything but the key? */
extern bool cdc_sql_sets_anything(const CdcRelation *rel, const CdcKey *key,
								  const uint8 *set);
extern void cdc_sql_truncate(CdcRelation *rel);

#endif							/* CDC_APPLY_SQL_H */
