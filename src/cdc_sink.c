/*-------------------------------------------------------------------------
 *
 * cdc_sink.c
 *		Loading the library.
 *
 * Floor 10.  In the postmaster, named in shared_preload_libraries, it
 * reserves shared memory and registers the launcher; loaded by a session it
 * only defines settings, so that functions can tell what is missing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "cdc_sink.h"
#include "compat.h"
#include "guc.h"
#include "launcher.h"
#include "shmem.h"

CDC_MODULE_MAGIC(CDC_VERSION);

extern PGDLLEXPORT void _PG_init(void);

/* pg_upgrade starts servers in which nothing may run or wait for us. */
void
_PG_init(void)
{
	cdc_guc_define();

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	cdc_shmem_install();
	cdc_notify_install();
	cdc_launcher_register();
}
