/*-------------------------------------------------------------------------
 *
 * wait.h
 *		Waiting for what is in Kafka.
 *
 * Floor 5.  wait.c holds the SQL functions wait_for_catchup and
 * wait_for_offset; nothing in it is called from C.  Waiting for a worker to
 * stop is in notify.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_WAIT_H
#define CDC_WAIT_H

#include "notify.h"

#endif							/* CDC_WAIT_H */
