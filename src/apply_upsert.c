/*-------------------------------------------------------------------------
 *
 * apply_upsert.c
 *		Upsert mode: the table becomes what the source's table is.
 *
 * Floor 6.  Runs as the applying role, in the batch's transaction.  Inserts
 * go in blindly as long as nothing collides; after a clash the next runs ask
 * first which rows are there (PROBE), update those and insert the others.
 * That needs no ON CONFLICT, which costs twice a plain INSERT, writes more
 * WAL and needs a unique index on just the key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "apply_api.h"
#include "apply_sql.h"
#include "errors.h"
#include "moved.h"
#include "native.h"

/* a run smaller than this is probed at once: a subtransaction costs more */
#define MIN_PLAIN_INSERT 16
/* longest time, in runs, before plain INSERT is tried again */
#define MAX_PROBE_RUNS 1024

/* Runs a statement over a part of a run. */
static uint64
run_statement(const CdcRun *run, CdcSqlKind statement, CdcEntry **entries,
			  int nentries)
{
	uint64		n;

	if (statement == CDC_STATEMENT_INSERT &&
		cdc_native_can_insert(run->rel, run->set))
	{
		cdc_native_insert(run->rel, entries, nentries);
		return nentries;
	}
	n = cdc_sql_run(run->rel, statement, run->key, run->set, run->null_keys,
					entries, nentries);
	cdc_sql_finish();
	return n;
}

/*
 * Runs PROBE or MULTI and marks the entries that it names.  Returns how many.
 */
static int
mark(const CdcRun *run, CdcSqlKind statement, CdcEntry **entries,
	 int nentries, bool *marks)
{
	uint64		n;

	memset(marks, 0, nentries * sizeof(bool));
	n = cdc_sql_run(run->rel, statement, run->key, run->set, run->null_keys,
					entries, nentries);
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		marks[DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1, &isnull))] = true;
	}
	cdc_sql_finish();
	return (int) n;
}

/* ERROR where a key of the run finds several rows; only then a question. */
static void
check_several(const CdcRun *run)
{
	bool	   *marks;

	if (run->key->unique && run->null_keys == 0)
		return;
	marks = palloc(run->nentries * sizeof(bool));
	if (mark(run, CDC_STATEMENT_MULTI, run->entries, run->nentries, marks) > 0)
		for (int i = 0; i < run->nentries; i++)
			if (marks[i])
			{
				cdc_change_blame(run->entries[i]->change);
				ereport(ERROR,
						(errcode(ERRCODE_CARDINALITY_VIOLATION),
						 errmsg("the record key finds several rows in %s",
								run->rel->name),
						 errhint("Name columns that identify a row in the mapping's key_columns.")));
			}
	pfree(marks);
}

/* ERROR: values of a row are unchanged, but the row is not there. */
static void
unchanged_missing(const CdcEntry *entry)
{
	const CdcRelation *rel = entry->change->rel;

	cdc_change_blame(entry->change);
	for (int i = 0; i < rel->ncolumns; i++)
		if (entry->row.set[i] == CDC_UNCHANGED)
		{
			cdc_error_position.field = rel->columns[i].name;
			break;
		}
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("row to change is missing in %s, and the event leaves out unchanged values",
					rel->name),
			 errhint("Set REPLICA IDENTITY FULL on the source table, or read the table again from a snapshot.")));
}

/* Rows of an update run that are not in the table: as on_missing_row says. */
static void
missing_rows(const CdcRun *run, CdcEntry **entries, int nentries)
{
	CdcRelation *rel = run->rel;
	CdcOnMissingRow policy = rel->mapping->options.on_missing_row;

	rel->work.update_missing += nentries;
	for (int i = 0; i < nentries; i++)
	{
		if (policy == CDC_MISSING_ROW_ERROR)
		{
			cdc_change_blame(entries[i]->change);
			ereport(ERROR,
					(errcode(ERRCODE_NO_DATA_FOUND),
					 errmsg("row to update is missing in %s", rel->name),
					 errdetail("on_missing_row of the mapping is error.")));
		}
		if (policy == CDC_MISSING_ROW_INSERT && entries[i]->row.has_unchanged)
			unchanged_missing(entries[i]);
	}
	if (policy == CDC_MISSING_ROW_IGNORE)
		rel->work.noop += nentries;
	else
		rel->work.inserted += run_statement(run, CDC_STATEMENT_INSERT, entries,
											nentries);
}

/* Moves the entries that are (or are not) marked to the front of a new list. */
static CdcEntry **
pick(CdcEntry **entries, int nentries, const bool *marks, bool marked, int *n)
{
	CdcEntry  **picked = palloc(Max(nentries, 1) * sizeof(CdcEntry *));

	*n = 0;
	for (int i = 0; i < nentries; i++)
		if (marks[i] == marked)
			picked[(*n)++] = entries[i];
	return picked;
}

/* Updates rows known to be there. */
static void
update_present(const CdcRun *run, CdcEntry **entries, int nentries)
{
	if (nentries == 0)
		return;
	if (cdc_sql_sets_anything(run->rel, run->key, run->set))
		run->rel->work.updated += run_statement(run, CDC_STATEMENT_UPDATE,
												entries, nentries);
	else
		run->rel->work.noop += nentries;
}

/* Update run: rows that should be there. */
static void
apply_update(const CdcRun *run)
{
	CdcEntry  **missing;
	bool	   *marks;
	uint64		done = 0;
	int			n;

	check_several(run);
	if (cdc_sql_sets_anything(run->rel, run->key, run->set))
	{
		done = run_statement(run, CDC_STATEMENT_UPDATE, run->entries,
							 run->nentries);
		run->rel->work.updated += done;
		if (done == (uint64) run->nentries)
			return;
	}
	/* which ones were not there?  (A trigger may also have said no.) */
	marks = palloc(run->nentries * sizeof(bool));
	n = mark(run, CDC_STATEMENT_PROBE, run->entries, run->nentries, marks);
	run->rel->work.noop += n - Min((uint64) n, done);
	missing = pick(run->entries, run->nentries, marks, false, &n);
	if (n > 0)
		missing_rows(run, missing, n);
}

/*
 * Inserts the whole run in a subtransaction.  False, with nothing done,
 * where a unique constraint objects; other errors are thrown on.
 */
static bool
plain_insert(const CdcRun *run)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		run->rel->work.inserted += run_statement(run, CDC_STATEMENT_INSERT,
												 run->entries, run->nentries);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		FlushErrorState();
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

/* Asks which rows are there, updates those and inserts the others. */
static void
probed_insert(const CdcRun *run)
{
	bool	   *marks = palloc(run->nentries * sizeof(bool));
	CdcEntry  **part;
	int			n;

	check_several(run);
	n = mark(run, CDC_STATEMENT_PROBE, run->entries, run->nentries, marks);
	if (n > 0)
	{
		part = pick(run->entries, run->nentries, marks, true, &n);
		update_present(run, part, n);
	}
	part = pick(run->entries, run->nentries, marks, false, &n);
	for (int i = 0; i < n; i++)
		if (part[i]->row.has_unchanged)
			unchanged_missing(part[i]);
	if (n > 0)
		run->rel->work.inserted += run_statement(run, CDC_STATEMENT_INSERT,
												 part, n);
}

/* Insert run: rows that may be there already. */
static void
apply_insert(const CdcRun *run)
{
	CdcRelation *rel = run->rel;
	bool		plain = run->nentries >= MIN_PLAIN_INSERT && run->key->unique &&
		run->null_keys == 0;

	for (int i = 0; plain && i < run->nentries; i++)
		plain = !run->entries[i]->row.has_unchanged;
	if (plain && rel->probe_runs > 0)
	{
		rel->probe_runs--;
		plain = false;
	}
	if (plain)
	{
		if (plain_insert(run))
		{
			rel->probe_penalty = 0;
			return;
		}
		rel->probe_penalty = Min(Max(8, rel->probe_penalty * 2), MAX_PROBE_RUNS);
		rel->probe_runs = rel->probe_penalty;
	}
	probed_insert(run);
}

/* Delete run; rows that are not there are counted. */
static void
apply_delete(const CdcRun *run)
{
	CdcRelation *rel = run->rel;
	uint64		done;
	uint64		missing;
	uint64		expected = 0;

	check_several(run);
	done = run_statement(run, CDC_STATEMENT_DELETE, run->entries, run->nentries);
	rel->work.deleted += done;
	missing = run->nentries - Min(done, (uint64) run->nentries);
	for (int i = 0; missing > 0 && i < run->nentries; i++)
		expected += run->entries[i]->expected;
	rel->work.noop += missing;
	rel->work.delete_missing += Min(missing, expected);
}

/* Copies row i of a FETCH, into CurrentMemoryContext of the caller. */
static void
copy_fetched(const CdcRelation *rel, uint64 i, MemoryContext context, CdcRow *row)
{
	MemoryContext spi = MemoryContextSwitchTo(context);

	cdc_row_alloc(rel, row);
	for (int c = 0; c < rel->ncolumns; c++)
	{
		Form_pg_attribute att = TupleDescAttr(SPI_tuptable->tupdesc, c + 1);
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, c + 2,
										  &row->nulls[c]);

		row->set[c] = CDC_SET;
		row->values[c] = row->nulls[c] ? (Datum) 0 :
			datumCopy(value, att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(spi);
}

/*
 * cdc_upsert_fetch reads the row of a key; false where there is none.  Needs
 * the applying role.
 */
bool
cdc_upsert_fetch(CdcRelation *rel, CdcKey *key, const CdcRow *key_row,
				 CdcRow *row)
{
	MemoryContext caller = CurrentMemoryContext;
	CdcEntry	entry;
	CdcEntry   *entries = &entry;
	uint64		n;

	memset(&entry, 0, sizeof(entry));
	entry.row = *key_row;
	n = cdc_sql_run(rel, CDC_STATEMENT_FETCH, key, key_row->set,
					cdc_key_nulls(key, key_row), &entries, 1);
	if (n > 0)
		copy_fetched(rel, 0, caller, row);
	cdc_sql_finish();
	return n > 0;
}

/* Keeps a row that a key change removes, for its insert. */
static void
keep_row(const CdcRun *run, const CdcEntry *entry, const CdcRow *row)
{
	const CdcEvent *event = entry->change->event;

	cdc_moved_keep(run->rel, event,
				   cdc_moved_key(run->rel, run->key, &entry->row),
				   cdc_moved_header_key(run->rel, event, event->newkey), row);
}

/* Delete of a key change: the row goes, and is kept for its insert. */
static void
apply_delete_keep(const CdcRun *run)
{
	CdcEntry   *entry = run->entries[0];
	CdcRow		row;

	check_several(run);
	if (cdc_upsert_fetch(run->rel, run->key, &entry->row, &row))
		keep_row(run, entry, &row);
	apply_delete(run);
}

/* Rows of key changes that were never written: kept for their inserts. */
static void
apply_keep(const CdcRun *run)
{
	for (int i = 0; i < run->nentries; i++)
		keep_row(run, run->entries[i], &run->entries[i]->row);
}

/*
 * cdc_upsert_take_kept: take_kept of CdcApplyContext, in the applying role.
 */
bool
cdc_upsert_take_kept(CdcChange *change)
{
	const CdcEvent *event = change->event;

	return cdc_moved_take(change->rel, event,
						  cdc_moved_header_key(change->rel, event, event->oldkey),
						  cdc_moved_key(change->rel, change->key, &change->row),
						  &change->row);
}

/* Lays an entry over the row that is in the table. */
static void
complete_entry(const CdcRelation *rel, const CdcRow *there, CdcEntry *entry)
{
	CdcRow		row = *there;

	for (int c = 0; c < rel->ncolumns; c++)
		if (entry->row.set[c] == CDC_SET)
		{
			row.values[c] = entry->row.values[c];
			row.nulls[c] = entry->row.nulls[c];
		}
	entry->row = row;
}

/* Takes the rows of a run out of the table, completing its entries by them. */
static void
take_out(const CdcRun *run, bool *found)
{
	MemoryContext caller = CurrentMemoryContext;
	CdcEntry  **present;
	uint64		n = cdc_sql_run(run->rel, CDC_STATEMENT_FETCH, run->key,
								run->set, run->null_keys, run->entries,
								run->nentries);
	int			npresent;

	memset(found, 0, run->nentries * sizeof(bool));
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		int			ord = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
													  SPI_tuptable->tupdesc, 1,
													  &isnull));
		CdcRow		row;

		MemoryContextSwitchTo(caller);
		copy_fetched(run->rel, i, caller, &row);
		complete_entry(run->rel, &row, run->entries[ord]);
		found[ord] = true;
	}
	cdc_sql_finish();
	MemoryContextSwitchTo(caller);
	present = pick(run->entries, run->nentries, found, true, &npresent);
	if (npresent > 0)
		run->rel->work.updated += run_statement(run, CDC_STATEMENT_DELETE,
												present, npresent);
}

/* Inserts entries of any pattern, those of one pattern together. */
static void
insert_patterns(const CdcRun *run, CdcEntry **entries, int n)
{
	bool	   *done = palloc0(Max(n, 1) * sizeof(bool));
	CdcEntry  **same = palloc(Max(n, 1) * sizeof(CdcEntry *));

	for (int i = 0; i < n; i++)
	{
		CdcRun		part = *run;
		int			nsame = 0;

		if (done[i])
			continue;
		part.set = entries[i]->row.set;
		for (int j = i; j < n; j++)
		{
			if (!done[j] && cdc_row_same_columns(run->rel, entries[j]->row.set,
												 part.set))
			{
				done[j] = true;
				same[nsame++] = entries[j];
			}
		}
		(void) run_statement(&part, CDC_STATEMENT_INSERT, same, nsame);
	}
}

/*
 * Rows that may clash with each other while they change: all of them go,
 * then all of them come, as they are in the end.
 */
static void
apply_replace(const CdcRun *run)
{
	CdcRelation *rel = run->rel;
	bool	   *found = palloc(run->nentries * sizeof(bool));
	CdcEntry  **write = palloc(run->nentries * sizeof(CdcEntry *));
	CdcOnMissingRow policy = rel->mapping->options.on_missing_row;
	int			n = 0;

	check_several(run);
	take_out(run, found);
	for (int i = 0; i < run->nentries; i++)
	{
		CdcEntry   *entry = run->entries[i];

		if (!found[i])
		{
			if (!entry->insert && policy == CDC_MISSING_ROW_ERROR)
				missing_rows(run, &entry, 1);
			if (!entry->insert)
				rel->work.update_missing++;
			if (!entry->insert && policy == CDC_MISSING_ROW_IGNORE)
			{
				rel->work.noop++;
				continue;
			}
			if (entry->row.has_unchanged)
				unchanged_missing(entry);
			rel->work.inserted++;
		}
		write[n++] = entry;
	}
	insert_patterns(run, write, n);
}

/* Inserts of key changes that had every value: their kept rows go. */
static void
apply_forget_moved(const CdcRun *run)
{
	for (int i = 0; i < run->nentries; i++)
	{
		const CdcEvent *event = run->entries[i]->change->event;

		if (event->oldkey)
			cdc_moved_forget(run->rel, event,
							 cdc_moved_header_key(run->rel, event, event->oldkey),
							 cdc_moved_key(run->rel, run->key, &run->entries[i]->row));
	}
}

/* Update or delete of one row that equals its old image. */
static void
apply_keyless(const CdcRun *run)
{
	CdcTableCounts *work = &run->rel->work;
	bool		delete = run->kind == CDC_RUN_KEYLESS_DELETE;

	if (!delete && !cdc_sql_sets_anything(run->rel, NULL, run->set))
	{
		work->noop++;
		return;
	}
	if (run_statement(run, delete ? CDC_STATEMENT_OLD_DELETE :
					  CDC_STATEMENT_OLD_UPDATE, run->entries, 1) > 0)
	{
		if (delete)
			work->deleted++;
		else
			work->updated++;
	}
	else if (delete)
	{
		work->noop++;
		work->delete_missing++;
	}
	else
		missing_rows(run, run->entries, 1);
}

/*
 * Applies one run.
 */
static void
apply_upsert(const CdcApplyContext *context, const CdcRun *run)
{
	switch (run->kind)
	{
		case CDC_RUN_DELETE:
			apply_delete(run);
			break;
		case CDC_RUN_DELETE_KEEP:
			apply_delete_keep(run);
			break;
		case CDC_RUN_KEEP:
			apply_keep(run);
			break;
		case CDC_RUN_UPDATE:
			apply_update(run);
			break;
		case CDC_RUN_INSERT:
			apply_insert(run);
			break;
		case CDC_RUN_REPLACE:
			apply_replace(run);
			break;
		case CDC_RUN_FORGET_MOVED:
			apply_forget_moved(run);
			break;
		case CDC_RUN_KEYLESS_INSERT:
			run->rel->work.inserted += run_statement(run, CDC_STATEMENT_INSERT,
													 run->entries, run->nentries);
			break;
		case CDC_RUN_KEYLESS_UPDATE:
		case CDC_RUN_KEYLESS_DELETE:
			apply_keyless(run);
			break;
		case CDC_RUN_TRUNCATE:
			cdc_sql_truncate(run->rel);
			run->rel->work.truncated++;
			break;
		case CDC_RUN_APPEND:
			elog(ERROR, "append run in upsert mode");
	}
}

const CdcApplier cdc_applier_upsert = {"upsert", apply_upsert};
