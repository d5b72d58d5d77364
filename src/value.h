/*-------------------------------------------------------------------------
 *
 * value.h
 *		The value of a record, whose beginning may stand elsewhere.
 *
 * Floor 2.  Of values by Connect's JsonConverter with schemas nine tenths
 * are the schema, the same in each.  A batch refers to that of the first
 * value that has it; of the others only what follows is read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_VALUE_H
#define CDC_VALUE_H

#include "batch.h"
#include "event.h"

/*
 * Sets the record's start and value to a value's bytes, which must live as
 * long as what the arena of its batch holds; data NULL is a Kafka null.
 */
extern void cdc_value_cut(CdcArena *arena, CdcRecord *record, const char *data,
						  size_t len);
/*
 * Copies start and value into an arena as one text; a Kafka null stays one.
 * False where malloc failed.
 */
extern bool cdc_value_join(CdcArena *arena, const CdcRecord *record,
						   CdcBytes *whole);

/* Bytes of the whole value; 0 for a Kafka null. */
static inline int32
cdc_value_len(const CdcRecord *record)
{
	return record->start.len + record->value.len;
}

/* Bytes of key and value. */
static inline int32
cdc_record_bytes(const CdcRecord *record)
{
	return record->key.len + cdc_value_len(record);
}

#endif							/* CDC_VALUE_H */
