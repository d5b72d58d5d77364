/*-------------------------------------------------------------------------
 *
 * debug_fail.h
 *		Failures on command, in builds of developers.
 *
 * Floor 1.  make DEVELOPER=1 includes this before every source file, so that
 * cdc_sink.debug_fail_at = 'palloc:17' has the 17th allocation of the apply
 * workers fail, once; spi, kafka and malloc likewise.  In other builds
 * nothing of it is there.  It needs nothing of the server but its headers;
 * malloc is also called from our decoding thread.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_DEBUG_FAIL_H
#define CDC_DEBUG_FAIL_H

#ifdef CDC_DEVELOPER

#include "postgres.h"

#include <malloc.h>
#include <stdlib.h>

#include "port/atomics.h"
#include "utils/memutils.h"

typedef enum CdcDebugKind
{
	CDC_DEBUG_NOTHING,
	CDC_DEBUG_PALLOC,			/* ERROR 53200 */
	CDC_DEBUG_MALLOC,			/* NULL */
	CDC_DEBUG_SPI,				/* ERROR 53000 before the statement */
	CDC_DEBUG_KAFKA				/* librdkafka's RD_KAFKA_RESP_ERR__FAIL */
} CdcDebugKind;

/* Counts for all workers, in shared memory; NULL: not preloaded. */
typedef struct CdcDebugShared
{
	pg_atomic_uint32 run;		/* hash of the setting that hits belong to */
	pg_atomic_uint64 hits;
} CdcDebugShared;

extern CdcDebugShared *cdc_debug_shared;
/* what fails in this process */
extern volatile CdcDebugKind cdc_debug_kind;

/* Reads the setting; from now on this process is one that fails. */
extern void cdc_debug_arm(void);
/* Counts a call of the kind that fails; true: this one does. */
extern bool cdc_debug_hit(void);
/* The same, and raises. */
extern void cdc_debug_raise(int sqlstate);

#define cdc_debug_fails(kind) (cdc_debug_kind == (kind) && cdc_debug_hit())
#define cdc_debug_check(kind, sqlstate) \
	(cdc_debug_kind == (kind) ? cdc_debug_raise(sqlstate) : (void) 0)
#define cdc_debug_spi() \
	cdc_debug_check(CDC_DEBUG_SPI, ERRCODE_INSUFFICIENT_RESOURCES)
#define cdc_debug_kafka()	cdc_debug_fails(CDC_DEBUG_KAFKA)

#define PALLOC_CHECK	cdc_debug_check(CDC_DEBUG_PALLOC, ERRCODE_OUT_OF_MEMORY)

#define palloc(size)	(PALLOC_CHECK, palloc(size))
#define palloc0(size)	(PALLOC_CHECK, palloc0(size))
#define palloc_extended(size, flags) \
	(((flags) & MCXT_ALLOC_NO_OOM) != 0 ? \
	 cdc_debug_fails(CDC_DEBUG_PALLOC) ? NULL : palloc_extended(size, flags) : \
	 (PALLOC_CHECK, palloc_extended(size, flags)))
#define repalloc(pointer, size) (PALLOC_CHECK, repalloc(pointer, size))
#define repalloc_huge(pointer, size) (PALLOC_CHECK, repalloc_huge(pointer, size))
#define pstrdup(text)	(PALLOC_CHECK, pstrdup(text))
#define pnstrdup(text, len) (PALLOC_CHECK, pnstrdup(text, len))
#define psprintf(...)	(PALLOC_CHECK, psprintf(__VA_ARGS__))
#define MemoryContextAlloc(context, size) \
	(PALLOC_CHECK, MemoryContextAlloc(context, size))
#define MemoryContextAllocZero(context, size) \
	(PALLOC_CHECK, MemoryContextAllocZero(context, size))
#define MemoryContextAllocHuge(context, size) \
	(PALLOC_CHECK, MemoryContextAllocHuge(context, size))
#define MemoryContextStrdup(context, text) \
	(PALLOC_CHECK, MemoryContextStrdup(context, text))
#define malloc(size) (cdc_debug_fails(CDC_DEBUG_MALLOC) ? NULL : malloc(size))

#else

#define cdc_debug_arm()		((void) 0)
#define cdc_debug_spi()		((void) 0)
#define cdc_debug_kafka()	false

#endif							/* CDC_DEVELOPER */
#endif							/* CDC_DEBUG_FAIL_H */
