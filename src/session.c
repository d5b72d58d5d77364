/*-------------------------------------------------------------------------
 *
 * session.c
 *		Settings of the session in which rows are applied.
 *
 * Floor 5.  What a row means and how long we wait must not depend on what
 * the role, the database or the server are set to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "mb/pg_wchar.h"
#include "utils/guc.h"

#include "compat.h"
#include "session.h"

/* Settings that decide what a row means. */
static const char *const meaning[][2] = {
	{"search_path", ""},
	{"row_security", "off"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"xmloption", "content"},
	{"lc_monetary", "C"},
};

/*
 * cdc_session_pin pins every setting that could change what a row means or how long we wait,
 * whatever the role, the database or the server say.
 */
void
cdc_session_pin(void)
{
	static const char *const settings[][2] = {
		{"role", "none"},
		{"session_replication_role", "replica"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"lock_timeout", "1000"},
		{"jit", "off"},
		{"plan_cache_mode", "auto"},
	};

	for (size_t i = 0; i < lengthof(meaning); i++)
		SetConfigOption(meaning[i][0], meaning[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	for (size_t i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	cdc_compat_no_transaction_timeout();
	SetConfigOption("client_encoding", GetDatabaseEncodingName(), PGC_SUSET,
					PGC_S_OVERRIDE);
}

/* Sets one setting until the caller leaves its level of settings. */
static void
set_for_level(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * cdc_session_pin_level makes rows mean in a user's session what they mean in
 * a worker, until the caller leaves its level of settings (NewGUCNestLevel).
 */
void
cdc_session_pin_level(const CdcSubscription *subscription)
{
	for (size_t i = 0; i < lengthof(meaning); i++)
		set_for_level(meaning[i][0], meaning[i][1]);
	set_for_level("session_replication_role",
				  subscription->options.replica_role ? "replica" : "origin");
}

/* cdc_session_origin: see session.h. */
void
cdc_session_origin(void)
{
	set_for_level("session_replication_role", "origin");
}

/* cdc_session_apply_options sets what the subscription's options choose. */
void
cdc_session_apply_options(const CdcSubscription *subscription)
{
	static const char *const levels[] = {"off", "local", "remote_write", "on",
	"remote_apply"};

	SetConfigOption("synchronous_commit",
					levels[subscription->options.synchronous_commit], PGC_SUSET,
					PGC_S_OVERRIDE);
	SetConfigOption("session_replication_role",
					subscription->options.replica_role ? "replica" : "origin",
					PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name",
					psprintf("cdc_sink %s", subscription->name), PGC_USERSET,
					PGC_S_OVERRIDE);
}

/*
 * cdc_session_keep_memory lets malloc keep what a batch has freed for the next one: giving pages back
 * to the kernel after each batch and faulting them in again cost a quarter of
 * the worker's time.  Bounded, so that a large batch still gives back.
 */
void
cdc_session_keep_memory(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
	mallopt(M_TRIM_THRESHOLD, 48 * 1024 * 1024);
	mallopt(M_TOP_PAD, 1024 * 1024);
#endif
}
