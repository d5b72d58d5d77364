/*-------------------------------------------------------------------------
 *
 * launcher.h
 *		The process that keeps the apply workers running.
 *
 * Floor 9.  What sessions tell it is in notify.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_LAUNCHER_H
#define CDC_LAUNCHER_H

#include "notify.h"

/* Registers the launcher with the postmaster; for _PG_init. */
extern void cdc_launcher_register(void);

/* Entries of background workers. */
extern PGDLLEXPORT void cdc_launcher_main(Datum arg);
extern PGDLLEXPORT void cdc_scan_main(Datum request_index);

#endif							/* CDC_LAUNCHER_H */
