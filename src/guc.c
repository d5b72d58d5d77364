/*-------------------------------------------------------------------------
 *
 * guc.c
 *		Server settings of the extension.
 *
 * Floor 1.  The table below is all there is to a setting; the README's table
 * is made from it.  The hard thing: what sizes shared memory can only be
 * defined while the server starts, yet the library must load in any session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "guc.h"

bool		cdc_guc_enabled;
int			cdc_guc_max_workers;
char	   *cdc_guc_secrets_directory;
char	   *cdc_guc_allowed_brokers;
int			cdc_guc_memory_limit;
#ifdef CDC_DEVELOPER
char	   *cdc_guc_debug_fail_at;
#endif

/* One setting.  Which of the three variables is set tells its type. */
typedef struct CdcGuc
{
	const char *name;
	GucContext	context;
	int			flags;			/* GUC_UNIT_*, GUC_SUPERUSER_ONLY */
	const char *summary;
	const char *detail;
	bool	   *bool_variable;
	int		   *int_variable;
	char	  **string_variable;
	int			number;			/* default of a boolean or an integer */
	int			min;
	int			max;
	const char *text;			/* default of a string */
} CdcGuc;

/*
 * The settings.  A line "name, context, flags" opens each entry, its texts
 * follow: scripts read this table too.
 */
static const CdcGuc settings[] = {
	{
		"cdc_sink.enabled", PGC_SIGHUP, 0,
		"Runs the apply workers of this server.",
		"Turned off, every subscription of the server pauses; its position is kept. Turn it off on a physical clone of a server.",
		.bool_variable = &cdc_guc_enabled, .number = true
	},
	{
		"cdc_sink.max_workers", PGC_POSTMASTER, 0,
		"Sets the maximum number of apply workers of this server.",
		"They are taken from max_worker_processes. Also bounds the shared memory for states and counters.",
		.int_variable = &cdc_guc_max_workers, .number = 64, .min = 1, .max = 1000
	},
	{
		"cdc_sink.secrets_directory", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		"Sets the directory that holds the files named by \"_file\" options.",
		"Empty: no secret can be read from a file.",
		.string_variable = &cdc_guc_secrets_directory, .text = ""
	},
	{
		"cdc_sink.allowed_brokers", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		"Lists the brokers that workers may connect to.",
		"A comma-separated list of host:port. Empty: any broker, but then only superusers may create or alter servers.",
		.string_variable = &cdc_guc_allowed_brokers, .text = ""
	},
	{
		"cdc_sink.memory_limit", PGC_SIGHUP, GUC_UNIT_KB,
		"Sets the memory that one apply worker may use for records and open batches.",
		NULL,
		.int_variable = &cdc_guc_memory_limit, .number = 128 * 1024,
		.min = 16 * 1024, .max = MAX_KILOBYTES
	},
#ifdef CDC_DEVELOPER
	{
		"cdc_sink.debug_fail_at", PGC_SIGHUP, GUC_NOT_IN_SAMPLE,
		"Raises an error at the named place, or at a call of a kind.",
		"A name, or palloc:N, malloc:N, spi:N or kafka:N for the call of that number, once.",
		.string_variable = &cdc_guc_debug_fail_at, .text = ""
	},
#endif
};

/* Defines one setting. */
static void
define(const CdcGuc *guc, GucContext context)
{
	if (guc->bool_variable != NULL)
		DefineCustomBoolVariable(guc->name, guc->summary, guc->detail,
								 guc->bool_variable, guc->number != 0,
								 context, guc->flags, NULL, NULL, NULL);
	else if (guc->int_variable != NULL)
		DefineCustomIntVariable(guc->name, guc->summary, guc->detail,
								guc->int_variable, guc->number,
								guc->min, guc->max,
								context, guc->flags, NULL, NULL, NULL);
	else
		DefineCustomStringVariable(guc->name, guc->summary, guc->detail,
								   guc->string_variable, guc->text,
								   context, guc->flags, NULL, NULL, NULL);
}

/*
 * Defines all settings and reserves the prefix.  Where the library was not
 * preloaded the server refuses to define PGC_POSTMASTER settings; they are
 * shown all the same, and mean nothing there.
 */
void
cdc_guc_define(void)
{
	for (size_t i = 0; i < lengthof(settings); i++)
	{
		GucContext	context = settings[i].context;

		if (context == PGC_POSTMASTER &&
			!process_shared_preload_libraries_in_progress)
			context = PGC_SIGHUP;
		define(&settings[i], context);
	}
	MarkGUCPrefixReserved("cdc_sink");
}

#ifdef CDC_DEVELOPER
/* Fails when cdc_sink.debug_fail_at names this place. */
void
cdc_guc_debug_point(const char *name)
{
	if (cdc_guc_debug_fail_at != NULL &&
		strcmp(cdc_guc_debug_fail_at, name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("stopped at debug point \"%s\"", name),
				 errdetail("The setting cdc_sink.debug_fail_at names it.")));
}
#endif
