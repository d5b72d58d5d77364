/*-------------------------------------------------------------------------
 *
 * policy.c
 *		Which records are passed over, and what is kept of them.
 *
 * Floor 8.  Called by attempt.c, inside the transaction that moves the
 * position: dead letter and position commit together, so that there is one
 * letter an offset.  The hard thing is superseded_by: a letter that is
 * retried after a later record of its key was applied would bring an old row
 * back.  So the letters of a key are locked before a record of it is
 * applied, and marked in the same transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "deadletter.h"
#include "policy.h"
#include "shmem.h"

/*
 * Errors of the last window, for max_errors.  Of the process, so that it
 * outlives changes of the configuration; enable_subscription starts it anew.
 */
typedef struct Budget
{
	int64		subid;
	int64		resume_count;
	int			n;
	int			max;
	TimestampTz *times;			/* oldest first; TopMemoryContext */
} Budget;

static Budget budget;

/* Drops what is older than the window; returns how many errors are left. */
static int
budget_used(const CdcSubscription *sub)
{
	TimestampTz since = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													-(int64) sub->options.error_window_ms);
	int			old = 0;

	if (budget.subid != sub->id || budget.resume_count != sub->resume_count)
	{
		budget.subid = sub->id;
		budget.resume_count = sub->resume_count;
		budget.n = 0;
	}
	while (old < budget.n && budget.times[old] < since)
		old++;
	budget.n -= old;
	/* before the first error there is no array */
	if (old > 0)
		memmove(budget.times, budget.times + old, budget.n * sizeof(TimestampTz));
	return budget.n;
}

/* Adds the errors of a committed transaction. */
static void
budget_add(const CdcSubscription *sub, int nerrors)
{
	TimestampTz now = GetCurrentTimestamp();

	if (sub->options.max_errors == 0 || nerrors == 0)
		return;
	(void) budget_used(sub);
	if (budget.n + nerrors > budget.max)
	{
		budget.max = Max(2 * budget.max, budget.n + nerrors);
		budget.times = budget.times == NULL ?
			MemoryContextAllocHuge(TopMemoryContext, budget.max * sizeof(TimestampTz)) :
			repalloc_huge(budget.times, budget.max * sizeof(TimestampTz));
	}
	for (int i = 0; i < nerrors; i++)
		budget.times[budget.n++] = now;
}

/* Makes the list of an attempt, in CurrentMemoryContext. */
void
cdc_policy_init(CdcPasses *passes, CdcPipeline *pipeline,
				const CdcEvent *events, int nevents)
{
	memset(passes, 0, sizeof(*passes));
	passes->pipeline = pipeline;
	passes->events = events;
	passes->nevents = nevents;
	passes->reasons = palloc0(Max(nevents, 1));
}

/* cdc_policy_has_letters: see policy.h. */
bool
cdc_policy_has_letters(const CdcPipeline *pipeline)
{
	return pipeline->letters == NULL || cdc_letter_keys_any(pipeline->letters);
}

/* cdc_policy_has_skips: see policy.h. */
bool
cdc_policy_has_skips(const CdcPipeline *pipeline)
{
	for (int p = 0; p < pipeline->nparts; p++)
		if (pipeline->parts[p]->skip_offset >= 0)
			return true;
	return false;
}

/* The mapping that an event is for, or NULL. */
static const CdcMapping *
mapping_of(const CdcPasses *passes, const CdcEvent *event)
{
	const CdcPartition *part = passes->pipeline->parts[event->record->part];
	bool		skip;

	if (part->nmappings == 0)
		return NULL;
	if (event->error != NULL && part->mappings[0].source_table != NULL)
		return NULL;
	return cdc_route_mapping(part, event, &skip);
}

/* Notes that an event is passed over. */
static void
note_pass(CdcPasses *passes, int event, CdcPassReason reason,
		  const CdcFailure *failure, const CdcMapping *mapping)
{
	if (passes->npasses == passes->maxpasses)
	{
		passes->maxpasses = Max(16, 2 * passes->maxpasses);
		passes->passes = passes->passes == NULL ?
			palloc(passes->maxpasses * sizeof(CdcPass)) :
			repalloc_huge(passes->passes, passes->maxpasses * sizeof(CdcPass));
	}
	passes->passes[passes->npasses++] = (CdcPass) {event, reason, failure, mapping};
	passes->reasons[event] = reason;
	passes->nerrors += reason != CDC_PASS_ASKED;
}

/* The record of an event with its headers; ERROR 53200 on no memory. */
static CdcRecord
with_headers(CdcPasses *passes, const CdcEvent *event)
{
	CdcRecord	record = *event->record;

	if (!cdc_record_read_headers(&record, &passes->pipeline->event_arena))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while reading the headers of a record")));
	return record;
}

/* Writes the dead letter of a record that skip_record named: not tried. */
static void
write_skipped(CdcPasses *passes, const CdcEvent *event)
{
	CdcRecord	record = with_headers(passes, event);
	CdcDeadLetter letter = {.subscription = passes->pipeline->subscription->name,
		.record = &record, .event = event, .mapping = mapping_of(passes, event), .skipped = true,
	.publish = passes->pipeline->subscription->options.dead_letter_topic != NULL};

	if (event->error != NULL)
	{
		letter.sqlstate = event->error->sqlstate;
		letter.message = event->error->message;
		letter.detail = event->error->detail;
	}
	cdc_deadletter_write(&letter);
}

/* cdc_policy_begin: see policy.h. */
void
cdc_policy_begin(CdcPasses *passes)
{
	CdcPipeline *pipeline = passes->pipeline;

	memset(passes->reasons, CDC_PASS_NONE, passes->nevents);
	passes->npasses = passes->nerrors = 0;
	if (pipeline->letters == NULL)
		pipeline->letters = cdc_letter_keys_load(pipeline->context,
												 pipeline->subscription->name);
	if (!cdc_policy_has_letters(pipeline) && !cdc_policy_has_skips(pipeline))
		return;
	for (int i = 0; i < passes->nevents; i++)
	{
		const CdcRecord *record = passes->events[i].record;

		if (record->offset == pipeline->parts[record->part]->skip_offset)
			note_pass(passes, i, CDC_PASS_ASKED, NULL,
					  mapping_of(passes, &passes->events[i]));
		else if (hash_get_num_entries(pipeline->letters->keys) > 0 &&
				 cdc_letter_keys_find(pipeline->letters, record))
			cdc_deadletter_lock(pipeline->subscription->name, record);
	}
}

/* Topic, partition and offset of a record, and where it failed. */
static char *
context_of(const CdcRecord *record, const CdcFailure *failure)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "record of topic \"%s\", partition %d, offset " INT64_FORMAT,
					 record->topic, record->partition, record->offset);
	if (failure->relation)
		appendStringInfo(&text, "\nrelation %s", failure->relation);
	if (failure->field)
		appendStringInfo(&text, "\nfield \"%s\"", failure->field);
	return text.data;
}

/* Writes the dead letter of a failed event. */
static void
write_letter(CdcPasses *passes, const CdcEvent *event,
			 const CdcFailure *failure, const CdcMapping *mapping)
{
	CdcPipeline *pipeline = passes->pipeline;
	CdcRecord	record = with_headers(passes, event);
	CdcDeadLetter letter = {.subscription = pipeline->subscription->name,
		.record = &record, .event = event, .mapping = mapping, .attempts = 1,
		.sqlstate = failure->sqlstate, .message = failure->message,
		.detail = failure->detail,
	.publish = pipeline->subscription->options.dead_letter_topic != NULL};

	letter.context = context_of(event->record, failure);
	cdc_deadletter_write(&letter);
}

/* cdc_policy_pass: see policy.h. */
bool
cdc_policy_pass(CdcPasses *passes, int event, CdcFailure *failure)
{
	const CdcSubscription *sub = passes->pipeline->subscription;
	const CdcEvent *e = &passes->events[event];
	const CdcMapping *mapping = mapping_of(passes, e);
	CdcOnError	on_error = mapping ? mapping->options.on_error :
		sub->options.on_error;

	if (failure->class != CDC_ERROR_DATA || on_error == CDC_ON_ERROR_STOP)
		return false;
	if (sub->options.max_errors > 0 &&
		budget_used(sub) + passes->nerrors >= sub->options.max_errors)
	{
		failure->reason = "max_errors";
		failure->hint = psprintf("There were more than %d errors within %d ms: see cdc_sink.pg_stat_cdc_sink_error. Repair the cause, or raise max_errors.",
								 sub->options.max_errors,
								 sub->options.error_window_ms);
		return false;
	}
	if (on_error == CDC_ON_ERROR_DEAD_LETTER)
	{
		write_letter(passes, e, failure, mapping);
		note_pass(passes, event, CDC_PASS_DEAD_LETTER, failure, mapping);
	}
	else
		note_pass(passes, event, CDC_PASS_SKIP, failure, mapping);
	return true;
}

/*
 * An applied event supersedes older letters.  Not in append mode, where each
 * record is a row of its own.
 */
static void
supersede(CdcPasses *passes, const CdcEvent *event)
{
	CdcPipeline *pipeline = passes->pipeline;
	const char *name = pipeline->subscription->name;
	bool		truncate = event->kind == CDC_KIND_CHANGE &&
		event->op == CDC_OP_TRUNCATE;
	const CdcMapping *mapping;
	CdcLetterKey *key = NULL;

	if (event->kind != CDC_KIND_CHANGE && event->kind != CDC_KIND_TOMBSTONE)
		return;
	if (!truncate)
	{
		key = cdc_letter_keys_find(pipeline->letters, event->record);
		if (key == NULL || key->superseded)
			return;
	}
	mapping = mapping_of(passes, event);
	if (mapping == NULL || mapping->options.mode == CDC_MODE_APPEND)
		return;
	if (truncate)
	{
		if (mapping->options.on_truncate == CDC_TRUNCATE_APPLY)
			cdc_deadletter_supersede_all(name, event->record, mapping->relid);
		return;
	}
	cdc_deadletter_supersede(name, event->record);
	/* after set_position a letter may lie behind the record */
	if (event->record->offset > key->offset)
		key->superseded = pipeline->letters->superseded = true;
}

/* cdc_policy_finish: see policy.h. */
void
cdc_policy_finish(CdcPasses *passes, bool (*stays) (void *arg, int event),
				  void *arg)
{
	CdcPipeline *pipeline = passes->pipeline;

	if (!cdc_letter_keys_any(pipeline->letters) && passes->npasses == 0)
		return;
	for (int i = 0; i < passes->nevents; i++)
	{
		const CdcEvent *event = &passes->events[i];

		if (stays(arg, i))
		{
			passes->reasons[i] = CDC_PASS_NONE;
			continue;
		}
		switch ((CdcPassReason) passes->reasons[i])
		{
			case CDC_PASS_NONE:
				supersede(passes, event);
				break;
			case CDC_PASS_DEAD_LETTER:
				cdc_letter_keys_add(pipeline->letters, event->record);
				break;
			case CDC_PASS_ASKED:
				write_skipped(passes, event);
				break;
			case CDC_PASS_SKIP:
				break;
		}
	}
}

/* Counts one passed record, and tells of it. */
static void
tell(const CdcPasses *passes, const CdcPass *pass)
{
	const CdcRecord *record = passes->events[pass->event].record;
	bool		letter = pass->reason != CDC_PASS_SKIP;

	if (letter)
	{
		passes->pipeline->letters_written = true;
		cdc_slot_count(CDC_COUNT_DEAD_LETTERS, 1);
	}
	if (pass->reason != CDC_PASS_DEAD_LETTER)
		cdc_slot_count(CDC_COUNT_SKIPPED, 1);
	if (letter && pass->mapping && OidIsValid(pass->mapping->relid))
	{
		CdcTableCounts delta = {.dead_letters = 1};

		cdc_table_count(pass->mapping->relid, &delta);
	}
	if (pass->reason == CDC_PASS_ASKED)
	{
		ereport(LOG,
				(errmsg("record at offset " INT64_FORMAT " of topic \"%s\", partition %d was skipped, as skip_record asked",
						record->offset, record->topic, record->partition)));
		return;
	}
	cdc_policy_report(passes->pipeline, record, pass->failure,
					  letter ? "dead_letter" : "skip",
					  letter ? "Repair the cause, then call cdc_sink.retry_dead_letter, or cdc_sink.resolve_dead_letter." : "");
	ereport(LOG,
			(errcode(pass->failure->sqlstate),
			 letter ?
			 errmsg("record at offset " INT64_FORMAT " of topic \"%s\", partition %d became a dead letter: %s",
					record->offset, record->topic, record->partition,
					pass->failure->message) :
			 errmsg("record at offset " INT64_FORMAT " of topic \"%s\", partition %d was skipped: %s",
					record->offset, record->topic, record->partition,
					pass->failure->message)));
}

/* cdc_policy_settle: see policy.h. */
void
cdc_policy_settle(CdcPasses *passes)
{
	for (int i = 0; i < passes->npasses; i++)
		if (cdc_policy_passed(passes, passes->passes[i].event))
			tell(passes, &passes->passes[i]);
	budget_add(passes->pipeline->subscription, passes->nerrors);
	cdc_letter_keys_settle(passes->pipeline->letters);
}

/* cdc_policy_skip_done: see policy.h. */
void
cdc_policy_skip_done(const CdcPasses *passes, CdcPartition *part)
{
	bool		skipped = false;

	if (part->skip_offset < 0 || part->next_offset <= part->skip_offset)
		return;
	for (int i = 0; i < passes->npasses; i++)
		skipped |= passes->passes[i].reason == CDC_PASS_ASKED &&
			passes->events[passes->passes[i].event].record->part == part->index;
	if (!skipped)
		ereport(LOG,
				(errmsg("nothing to skip at offset " INT64_FORMAT " of topic \"%s\", partition %d: no record has that offset",
						part->skip_offset, part->topic, part->partition)));
	part->skip_offset = -1;
}

/* cdc_policy_forget: see policy.h. */
void
cdc_policy_forget(CdcPipeline *pipeline)
{
	if (pipeline->letters)
		cdc_letter_keys_free(pipeline->letters);
	pipeline->letters = NULL;
}

/* cdc_policy_detail: see policy.h. */
char *
cdc_policy_detail(const CdcFailure *failure)
{
	return psprintf("%s%s%s%s%s",
					failure->field ? "Field \"" : "",
					failure->field ? failure->field : "",
					failure->field ? "\"." : "",
					failure->field && failure->detail ? " " : "",
					failure->detail ? failure->detail : "");
}

/* cdc_policy_report: see policy.h. */
void
cdc_policy_report(const CdcPipeline *pipeline, const CdcRecord *record,
				  const CdcFailure *failure, const char *disposition,
				  const char *hint)
{
	CdcErrorReport report;

	memset(&report, 0, sizeof(report));
	strlcpy(report.topic, record->topic, sizeof(report.topic));
	report.partition = record->partition;
	report.offset = record->offset;
	report.sqlstate = failure->sqlstate;
	cdc_error_copy(report.message, failure->message, sizeof(report.message));
	cdc_error_copy(report.detail, cdc_policy_detail(failure), sizeof(report.detail));
	cdc_error_copy(report.hint, hint, sizeof(report.hint));
	cdc_error_copy(report.relation, failure->relation ? failure->relation : "",
			sizeof(report.relation));
	report.attempts = 1;
	strlcpy(report.disposition, disposition, sizeof(report.disposition));
	report.subid = pipeline->subscription->id;
	cdc_error_report(&report);
	cdc_slot_count(CDC_COUNT_ERRORS, 1);
}
