/*-------------------------------------------------------------------------
 *
 * guc.h
 *		Server settings of the extension.
 *
 * Floor 1.  Everything about one subscription is an option in its row; a
 * setting exists only for what belongs to the server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_GUC_H
#define CDC_GUC_H

#include "debug_fail.h"

extern bool cdc_guc_enabled;
extern int	cdc_guc_max_workers;
extern char *cdc_guc_secrets_directory; /* "": no _file option works */
extern char *cdc_guc_allowed_brokers;	/* "": any, see design of servers */
extern int	cdc_guc_memory_limit;	/* kB, of one worker */

/* Defines the settings; called once, by _PG_init. */
extern void cdc_guc_define(void);

/*
 * A named place where a developer's build can be made to fail:
 * cdc_sink.debug_fail_at = 'name' raises ERROR 58000 there.
 */
#ifdef CDC_DEVELOPER
extern char *cdc_guc_debug_fail_at;
extern void cdc_guc_debug_point(const char *name);
#define cdc_debug_point(name) cdc_guc_debug_point(name)
#else
#define cdc_debug_point(name) ((void) 0)
#endif

#endif							/* CDC_GUC_H */
