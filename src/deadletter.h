/*-------------------------------------------------------------------------
 *
 * deadletter.h
 *		cdc_sink.dead_letter: records that were not applied.
 *
 * Floor 5.  As catalog.h: every function needs a transaction and does its
 * SQL as the owner of the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_DEADLETTER_H
#define CDC_DEADLETTER_H

#include "catalog.h"
#include "event.h"

/* What is to be kept of a record that is not applied. */
typedef struct CdcDeadLetter
{
	const char *subscription;
	const CdcRecord *record;	/* with its headers */
	const CdcEvent *event;		/* of it */
	const CdcMapping *mapping;	/* NULL: it could not be told */
	bool		skipped;		/* by skip_record; else open */
	bool		publish;		/* it is to go to dead_letter_topic, too */
	int			attempts;		/* how many times it was tried */
	int			sqlstate;		/* 0: no error */
	const char *message;		/* this and the next may be NULL */
	const char *detail;
	const char *context;
} CdcDeadLetter;

/* Writes a dead letter; of an open one for the same offset, anew. */
extern void cdc_deadletter_write(const CdcDeadLetter *letter);

/*
 * Reads a letter's record back from a row of SPI_tuptable, whose columns from
 * "column" on are ts, key, value and headers.  Copies into the arena; ERROR
 * 53200.  Topic, partition and offset are left alone.
 */
extern void cdc_deadletter_read(HeapTuple tuple, TupleDesc desc, int column,
								CdcArena *arena, CdcRecord *record);

/* A letter that is to be published; texts may be NULL. */
typedef struct CdcUnpublished
{
	int64		id;
	int64		attempts;		/* changes when it fails again */
	CdcRecord	record;
	const char *status;
	const char *relation;
	const char *op;
	const char *sqlstate;
	const char *message;
	const char *context;
} CdcUnpublished;

/* Takes one, which is gone when it returns; false: no more of them. */
typedef bool (*CdcTakeLetter) (void *arg, const CdcUnpublished *letter);

/*
 * Shows those of a subscription with an id behind "after", in that order; the
 * arena is emptied after each.  True when there was none left.
 */
extern bool cdc_deadletter_unpublished(const char *subscription, int64 after,
									   CdcArena *arena, CdcTakeLetter take,
									   void *arg);
/*
 * Notes that letters were published, unless they failed again since.  Does
 * not wait for those that somebody has locked: their ids are put into left,
 * and their number is returned.
 */
extern int	cdc_deadletter_published(const int64 *ids, const int64 *attempts,
									 int n, int64 *left);

/*
 * Locks the open letters of the record's key before the record is applied,
 * so that nobody retries one of them meanwhile.
 */
extern void cdc_deadletter_lock(const char *subscription,
								const CdcRecord *record);
/* The record was applied: open letters of its key, before it, are superseded. */
extern void cdc_deadletter_supersede(const char *subscription,
									 const CdcRecord *record);
/* The same for a truncate: those of its relation in its partition. */
extern void cdc_deadletter_supersede_all(const char *subscription,
										 const CdcRecord *record, Oid relid);

/*
 * Keys that have open letters which nothing superseded, as hashes, so that
 * records of other keys cost nothing.  One that is there without need does
 * no harm.
 */
typedef struct CdcLetterKeys
{
	MemoryContext context;
	struct HTAB *keys;
	bool		keyless;		/* letters without a key, which only a truncate
								 * supersedes */
	bool		superseded;		/* is one of them, in the transaction under way */
} CdcLetterKeys;

typedef struct CdcLetterKey
{
	uint64		hash;			/* of topic, partition and key */
	int64		offset;			/* of its last letter */
	bool		superseded;		/* in the transaction under way */
} CdcLetterKey;

/* Reads them from the table, into a context under parent. */
extern CdcLetterKeys *cdc_letter_keys_load(MemoryContext parent,
										   const char *subscription);
extern void cdc_letter_keys_free(CdcLetterKeys *keys);
extern CdcLetterKey *cdc_letter_keys_find(const CdcLetterKeys *keys,
										  const CdcRecord *record);
/* Is there any letter to think of? */
extern bool cdc_letter_keys_any(const CdcLetterKeys *keys);
/* Adds the key of a letter written in this transaction. */
extern void cdc_letter_keys_add(CdcLetterKeys *keys, const CdcRecord *record);
/* After the commit: forgets those that were superseded. */
extern void cdc_letter_keys_settle(CdcLetterKeys *keys);

#endif							/* CDC_DEADLETTER_H */
