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
	const CdcEvent *event;		/* with its record */
	const CdcMapping *mapping;	/* NULL: it could not be told */
	bool		skipped;		/* by skip_record; else open */
	int			attempts;		/* how many times it was tried */
	int			sqlstate;		/* 0: no error */
	const char *message;		/* this and the next may be NULL */
	const char *detail;
	const char *context;
} CdcDeadLetter;

/* Writes a dead letter; of an open one for the same offset, anew. */
extern void cdc_deadletter_write(const CdcDeadLetter *letter);

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
	bool		superseded;		/* is one of them, in the transaction under way */
} CdcLetterKeys;

typedef struct CdcLetterKey
{
	uint64		hash;			/* of topic, partition and key */
	bool		superseded;		/* in the transaction under way */
} CdcLetterKey;

/* Reads them from the table, into a context under parent. */
extern CdcLetterKeys *cdc_letter_keys_load(MemoryContext parent,
										   const char *subscription);
extern void cdc_letter_keys_free(CdcLetterKeys *keys);
extern CdcLetterKey *cdc_letter_keys_find(const CdcLetterKeys *keys,
										  const CdcRecord *record);
/* Adds the key of a letter written in this transaction. */
extern void cdc_letter_keys_add(CdcLetterKeys *keys, const CdcRecord *record);
/* After the commit: forgets those that were superseded. */
extern void cdc_letter_keys_settle(CdcLetterKeys *keys);

#endif							/* CDC_DEADLETTER_H */
