/*-------------------------------------------------------------------------
 *
 * fuzz_context.h
 *		A memory context of which the address sanitizer sees each allocation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_FUZZ_CONTEXT_H
#define CDC_FUZZ_CONTEXT_H

#include "utils/palloc.h"

extern MemoryContext cdc_fuzz_context_create(MemoryContext parent);

#endif							/* CDC_FUZZ_CONTEXT_H */
