/*-------------------------------------------------------------------------
 *
 * relmap_internal.h
 *		What relmap.c, relkey.c, row.c and addcolumn.c share.
 *
 * Floor 5.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_RELMAP_INTERNAL_H
#define CDC_RELMAP_INTERNAL_H

#include "relmap.h"

/* in relmap.c */
extern int	cdc_relmap_column(const CdcRelation *rel, const char *name);

/* in relkey.c */
extern bool cdc_relmap_other_unique(Relation heap);

/* in row.c */
extern void cdc_field_resolve(CdcRelation *rel, const CdcEvent *event,
							  const char *name, int32 len,
							  const CdcSchema *schema, CdcField *field);
extern CdcFieldUse cdc_field_use(const CdcRelation *rel, const CdcEvent *event,
								 const char *name, int32 len,
								 const char **column, int *index);
extern const CdcSchema *cdc_schema_field(const CdcSchema *schema,
										 const char *name, int32 len);

#endif							/* CDC_RELMAP_INTERNAL_H */
