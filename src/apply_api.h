/*-------------------------------------------------------------------------
 *
 * apply_api.h
 *		Interface between the runs that coalesce.c cuts and the appliers.
 *
 * Floor 6.  Below the appliers: a run is a set of rows of one relation that
 * one statement can apply.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_APPLY_API_H
#define CDC_APPLY_API_H

#include "relmap.h"
#include "route.h"

typedef enum CdcRunKind
{
	CDC_RUN_DELETE,				/* by key */
	CDC_RUN_DELETE_KEEP,		/* one row, kept in moved_row: key change */
	CDC_RUN_KEEP,				/* rows that came and went in this batch, kept
								 * in moved_row without having been there */
	CDC_RUN_UPDATE,				/* rows that should exist */
	CDC_RUN_INSERT,				/* rows that may exist: c, r and w */
	CDC_RUN_MOVED_INSERT,		/* one insert of a key change that lacks
								 * unchanged values */
	CDC_RUN_FORGET_MOVED,		/* inserts of key changes that lacked nothing */
	CDC_RUN_KEYLESS_INSERT,
	CDC_RUN_KEYLESS_UPDATE,		/* one row, found by its old image */
	CDC_RUN_KEYLESS_DELETE,		/* the same */
	CDC_RUN_TRUNCATE,
	CDC_RUN_APPEND
} CdcRunKind;

/* What all changes of one key in a batch come to. */
typedef struct CdcEntry
{
	CdcRow		row;			/* of a pure delete only the key is set */
	const CdcChange *change;	/* last change that made it */
	uint32		hash;
	bool		drop;			/* the row in the table goes first */
	bool		write;			/* a row is there afterwards */
	bool		insert;			/* it began as c, r or w: it may be new */
	bool		expected;		/* a delete that should find its row */
	bool		kept;			/* its row, never written, is kept already */
} CdcEntry;

typedef struct CdcRun
{
	CdcRunKind	kind;
	CdcRelation *rel;
	CdcKey	   *key;
	const uint8 *set;			/* pattern of columns that all entries set, by
								 * column index; CDC_UNCHANGED counts as unset */
	uint32		null_keys;		/* bit i: key column i is NULL in all of them */
	int			nentries;
	CdcEntry  **entries;
	struct CdcRun *next;
} CdcRun;

/* What an applier may ask its surroundings. */
typedef struct CdcApplyContext
{
	const CdcSubscription *subscription;
	/*
	 * Can a change of this relation that came before this record at the
	 * source still arrive from another partition?
	 */
	bool		(*others_pending) (void *arg, const CdcRelation *rel,
								   const CdcEvent *event);
	void	   *arg;
} CdcApplyContext;

/*
 * SQLSTATE of our own, never shown: the record must wait for another
 * partition.  Raised by appliers, understood by attempt.c.
 */
#define ERRCODE_CDC_HOLD_MOVED		MAKE_SQLSTATE('C','D','H','0','1')

/* Apply mode: const table of what it does with a run. */
typedef struct CdcApplier
{
	const char *name;
	void		(*apply) (const CdcApplyContext *context, const CdcRun *run);
} CdcApplier;

extern const CdcApplier cdc_applier_upsert;
extern const CdcApplier cdc_applier_append;

#endif							/* CDC_APPLY_API_H */
