/*-------------------------------------------------------------------------
 *
 * apply_text.h
 *		Texts of the statements over the rows of a run.
 *
 * Floor 6.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_APPLY_TEXT_H
#define CDC_APPLY_TEXT_H

#include "apply_sql.h"

/* name by which statements know the rows of a run, see apply_sql.c */
#define CDC_BATCH_RELATION "cdc_batch"

/* Does the statement read whole rows (true) or their keys only? */
extern bool cdc_text_reads_row(CdcSqlKind statement);
/* Does the statement read the old image of the row? */
extern bool cdc_text_reads_old(CdcSqlKind statement);
/* Is column i among those that the statement takes from the batch? */
extern bool cdc_text_reads_column(CdcSqlKind statement, const CdcKey *key,
								  const uint8 *set, int i);
/*
 * The text of a statement, palloc'd: column i of the relation is ci of the
 * batch relation, of an old image oi.
 */
extern char *cdc_text_statement(const CdcRelation *rel, CdcSqlKind statement,
								const CdcKey *key, const uint8 *set,
								uint32 null_keys, const CdcRow *old);

#endif							/* CDC_APPLY_TEXT_H */
