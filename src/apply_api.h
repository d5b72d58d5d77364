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
	CDC_RUN_REPLACE,			/* rows that go before they come anew, because
								 * they may clash with each other otherwise */
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
	bool		kept;			/* of a delete: its row is kept already, or was
								 * taken; of a kept row: it was taken */
} CdcEntry;

typedef struct CdcRun
{
	CdcRunKind	kind;
	CdcRelation *rel;
	CdcKey	   *key;
	const uint8 *set;			/* pattern of columns that all entries set (of
								 * REPLACE: the first one), by column index;
								 * CDC_UNCHANGED counts as unset */
	uint32		null_keys;		/* bit i: key column i is NULL in all of them */
	int			nentries;
	CdcEntry  **entries;
} CdcRun;

/* What coalesce.c and the appliers ask of their surroundings. */
typedef struct CdcApplyContext
{
	const CdcSubscription *subscription;
	/*
	 * Rows of several partitions are tried together: a row that changes goes
	 * before it comes anew, so that what it gives up is free for others.
	 */
	bool		replace;
	bool		shared;			/* other workers may keep rows of key changes */
	CdcRoleScope *role;			/* of the range under way */
	const CdcRecord *only_record;	/* where the range is a single record */
	/* Applies a run, now, as the role that applies to its relation. */
	void		(*run) (const struct CdcApplyContext *context,
						const CdcRun *run);
	/* Reads the row of a key; false where there is none. */
	bool		(*fetch) (const struct CdcApplyContext *context,
						  CdcRelation *rel, CdcKey *key, const CdcRow *key_row,
						  CdcRow *row);
	/*
	 * Takes the unchanged values of an insert of a key change from the row
	 * that its delete kept; false where none is kept.
	 */
	bool		(*take_kept) (const struct CdcApplyContext *context,
							  CdcChange *change);
	/*
	 * Makes newkey and oldkey of an event known that has its headers left;
	 * NULL: none of the events has.
	 */
	void		(*read_headers) (void *arg, CdcEvent *event);
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

/* in apply_upsert.c; both need the applying role */
extern bool cdc_upsert_fetch(CdcRelation *rel, CdcKey *key,
							 const CdcRow *key_row, CdcRow *row);
extern bool cdc_upsert_take_kept(CdcChange *change);

extern const CdcApplier cdc_applier_upsert;
extern const CdcApplier cdc_applier_append;

#endif							/* CDC_APPLY_API_H */
