/*-------------------------------------------------------------------------
 *
 * tool.c
 *		What the programs of the benchmark share: options, clock, CPU time.
 *
 *-------------------------------------------------------------------------
 */
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/resource.h>

void
tool_die(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

const char *
tool_option(int argc, char **argv, const char *name, const char *fallback)
{
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return argv[i + 1];
	if (fallback == NULL)
		tool_die("%s: option %s is missing", argv[0], name);
	return fallback;
}

int64_t
tool_number(int argc, char **argv, const char *name, int64_t fallback)
{
	const char *text = tool_option(argc, argv, name, "");

	return *text ? atoll(text) : fallback;
}

bool
tool_flag(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return false;
}

GenStream *
tool_stream(int argc, char **argv, bool track)
{
	const char *name = tool_option(argc, argv, "--table", "ev");
	const GenTable *table = gen_table(name);

	if (table == NULL)
		tool_die("no table \"%s\"", name);
	return gen_stream_open(table, tool_option(argc, argv, "--pattern", "insert"),
						   tool_number(argc, argv, "--before", 0),
						   tool_number(argc, argv, "--events", 0), track);
}

double
tool_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

double
tool_cpu(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
		+ (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Fields 14 and 15 of /proc/<pid>/stat; the name before them may hold blanks. */
double
tool_cpu_of(int pid)
{
	char		path[64],
				line[1024];
	unsigned long user = 0,
				sys = 0;
	FILE	   *f;
	char	   *rest;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	if (fgets(line, sizeof(line), f) != NULL && (rest = strrchr(line, ')')) != NULL)
		sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
	fclose(f);
	return (double) (user + sys) / (double) sysconf(_SC_CLK_TCK);
}
