/*-------------------------------------------------------------------------
 *
 * notify.h
 *		From a session to the launcher and the workers: what to do at commit.
 *
 * Floor 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CDC_NOTIFY_H
#define CDC_NOTIFY_H

/* Installs the hook that sees DROP EXTENSION; for _PG_init. */
extern void cdc_notify_install(void);

/*
 * The configuration of a subscription (with its mappings) was changed in
 * this transaction: at commit its workers look again, and the launcher scans
 * this database.  Forgotten at rollback, of a subtransaction too.
 */
extern void cdc_notify_at_commit(int64 subid);
/* Has that been called, for this subscription, in this open transaction? */
extern bool cdc_notify_pending(int64 subid);

/*
 * Asks the subscription's workers to stop now and returns when they have
 * detached.  They stay stopped until this transaction ends: after a commit
 * the launcher looks whether the subscription is enabled, after a rollback
 * it starts them again.
 */
extern void cdc_wait_for_detach(int64 subid);

/* 55000 in an apply worker, which must not wait for itself. */
extern void cdc_refuse_in_worker(void);
/* Is a worker of this subscription (of this database) running? */
extern bool cdc_subscription_attached(int64 subid);

/* Has the launcher scan a database; returns the number of the request. */
extern uint64 cdc_scan_request(Oid dboid);
/* Number of the last request for a scan, of whatever database. */
extern uint64 cdc_scan_last(void);
/* Is a scan of this database still to come that answers that request? */
extern bool cdc_scan_outstanding(Oid dboid, uint64 number);
/* Waits at most timeout_ms for it; false when that was too short. */
extern bool cdc_scan_wait(Oid dboid, uint64 number, long timeout_ms);
/* Is worker blocked by a lock that this session holds? */
extern bool cdc_waits_for_me(int worker_pid);

#endif							/* CDC_NOTIFY_H */
