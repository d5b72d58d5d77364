/*-------------------------------------------------------------------------
 *
 * cdc_sink.h
 *		Shared vocabulary of the extension.
 *
 * Floor 0.  Included by every file; holds enumerations and limits only, no
 * prototypes.  It needs postgres.h (or c.h) before it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_SINK_H
#define CDC_SINK_H

#define CDC_SCHEMA			"cdc_sink"
#define CDC_VERSION			"1.0"

/* Kafka's own limit on the length of a topic name, plus the terminator */
#define CDC_TOPIC_LEN		250
/* longest state_reason, "one word" of the documented list */
#define CDC_REASON_LEN		40
#define CDC_HINT_LEN		320
#define CDC_MESSAGE_LEN		512

/*
 * Latest time of a record, ms since 1970: the end of the year 9999.  Any
 * other number may stand there, but is no time that we calculate with.
 */
#define CDC_MAX_TIME_MS		INT64CONST(253402300799999)

/*
 * What a subscription or a partition is doing, from best to worst: the state
 * of a subscription is the worst of its partitions.
 */
typedef enum CdcState
{
	CDC_STATE_STREAMING,		/* at the end, applying as records arrive */
	CDC_STATE_CATCHING_UP,		/* records are waiting in the topic */
	CDC_STATE_STARTING,			/* until first contact with the broker */
	CDC_STATE_WAITING,			/* for a lock, an open Kafka transaction,
								 * another partition, a missing topic, ... */
	CDC_STATE_RETRYING,			/* transient error, tried again by itself */
	CDC_STATE_STOPPED,			/* needs a human */
	CDC_STATE_DISABLED
} CdcState;

/* What a record is, decided by its content (debezium-format.md 1.1). */
typedef enum CdcKind
{
	CDC_KIND_CHANGE,			/* c, r, u, d, t or a flattened row */
	CDC_KIND_TOMBSTONE,			/* Kafka null, or a soft tombstone */
	CDC_KIND_EMPTY,				/* null key and null value: tombstone of a
								 * keyless table */
	CDC_KIND_HEARTBEAT,
	CDC_KIND_TRANSACTION,		/* BEGIN or END of a source transaction */
	CDC_KIND_SCHEMA_CHANGE,
	CDC_KIND_NOTIFICATION,
	CDC_KIND_SIGNAL,
	CDC_KIND_MESSAGE			/* logical message, op m */
} CdcKind;

/* op of a change; the values are Debezium's codes. */
typedef enum CdcOp
{
	CDC_OP_NONE = 0,
	CDC_OP_CREATE = 'c',
	CDC_OP_READ = 'r',
	CDC_OP_UPDATE = 'u',
	CDC_OP_DELETE = 'd',
	CDC_OP_TRUNCATE = 't',
	CDC_OP_MESSAGE = 'm',
	CDC_OP_WRITE = 'w'			/* a flattened row that does not say whether
								 * it was inserted or updated: an upsert */
} CdcOp;

#endif							/* CDC_SINK_H */
