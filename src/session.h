/*-------------------------------------------------------------------------
 *
 * session.h
 *		Settings of the session in which rows are applied.
 *
 * Floor 5.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_SESSION_H
#define CDC_SESSION_H

#include "catalog.h"

/* Both need a transaction. */
extern void cdc_session_pin(void);
extern void cdc_session_apply_options(const CdcSubscription *subscription);
/* For a user's session, which must be in a level of settings of its own. */
extern void cdc_session_pin_level(const CdcSubscription *subscription);
/* Triggers and foreign keys work, until the caller leaves its level of settings. */
extern void cdc_session_origin(void);
/* Once a process. */
extern void cdc_session_keep_memory(void);

#endif							/* CDC_SESSION_H */
