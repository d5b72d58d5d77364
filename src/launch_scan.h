/*-------------------------------------------------------------------------
 *
 * launch_scan.h
 *		The launcher's part in scans: which database is looked at next.
 *
 * Floor 4.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_LAUNCH_SCAN_H
#define CDC_LAUNCH_SCAN_H

/*
 * Carries requests for scans one step further; *wait_ms is lowered to the
 * time until there is more to do.
 */
extern void cdc_launch_scans(long *wait_ms);
/* Drops requests and slots of a database that is gone. */
extern void cdc_launch_forget_database(Oid dboid);

#endif							/* CDC_LAUNCH_SCAN_H */
