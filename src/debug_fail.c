/*-------------------------------------------------------------------------
 *
 * debug_fail.c
 *		Failures on command, in builds of developers.
 *
 * Floor 1.  Empty in other builds.  The hard thing is "once": a worker that
 * ends by the failure is replaced by one that would meet it again, so calls
 * are counted in shared memory, for all workers, from each new value of the
 * setting on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef CDC_DEVELOPER

#include <unistd.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "debug_fail.h"
#include "guc.h"

CdcDebugShared *cdc_debug_shared = NULL;
volatile CdcDebugKind cdc_debug_kind = CDC_DEBUG_NOTHING;

static uint64 nth;
static uint32 run;
static char told[64];			/* what the log is to say */

void
cdc_debug_arm(void)
{
	static const char *const names[] = {"", "palloc", "malloc", "spi", "kafka"};
	const char *setting = cdc_guc_debug_fail_at ? cdc_guc_debug_fail_at : "";
	const char *colon = strchr(setting, ':');

	cdc_debug_kind = CDC_DEBUG_NOTHING;
	if (colon == NULL || cdc_debug_shared == NULL)
		return;
	nth = strtoull(colon + 1, NULL, 10);
	run = hash_bytes((const unsigned char *) setting, strlen(setting));
	/* whoever comes first in a run starts counting */
	if (pg_atomic_read_u32(&cdc_debug_shared->run) != run)
	{
		pg_atomic_write_u64(&cdc_debug_shared->hits, 0);
		pg_atomic_write_u32(&cdc_debug_shared->run, run);
	}
	snprintf(told, sizeof(told), "failed on command: %s\n", setting);
	ereport(LOG, (errmsg("cdc_sink.debug_fail_at is \"%s\"", setting)));
	for (size_t i = 1; i < lengthof(names); i++)
		if (strncmp(setting, names[i], colon - setting) == 0)
			cdc_debug_kind = (CdcDebugKind) i;
}

bool
cdc_debug_hit(void)
{
	/* the last steps of a process are not the apply path */
	if (proc_exit_inprogress || CritSectionCount > 0)
		return false;
	if (pg_atomic_fetch_add_u64(&cdc_debug_shared->hits, 1) + 1 != nth)
		return false;
	/* not by ereport: we may be in a thread */
	if (write(STDERR_FILENO, told, strlen(told)) < 0)
		return true;
	return true;
}

void
cdc_debug_raise(int sqlstate)
{
	if (!cdc_debug_hit())
		return;
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("failure number " UINT64_FORMAT " on command", nth)));
}

#endif							/* CDC_DEVELOPER */
