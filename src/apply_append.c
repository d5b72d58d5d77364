/*-------------------------------------------------------------------------
 *
 * apply_append.c
 *		Append mode: one row for each event, nothing is ever changed.
 *
 * Floor 6.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply_api.h"
#include "apply_sql.h"
#include "native.h"

/* Inserts the rows of a run; append mode makes no other runs. */
static void
apply_append(const CdcApplyContext *context, const CdcRun *run)
{
	if (run->kind != CDC_RUN_APPEND)
		elog(ERROR, "run of kind %d in append mode", (int) run->kind);
	if (cdc_native_can_insert(run->rel, run->set))
	{
		cdc_native_insert(run->rel, run->entries, run->nentries);
		run->rel->work.inserted += run->nentries;
		return;
	}
	run->rel->work.inserted += cdc_sql_run(run->rel, CDC_STATEMENT_INSERT, NULL,
										   run->set, 0, run->entries,
										   run->nentries);
	cdc_sql_finish();
}

const CdcApplier cdc_applier_append = {"append", apply_append};
