/*-------------------------------------------------------------------------
 *
 * tool.h
 *		What the programs of the benchmark share: options, clock, CPU time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_TOOL_H
#define BENCH_TOOL_H

#include "stream.h"

/* Takes --name from the command line; without it fallback, or the end. */
extern const char *tool_option(int argc, char **argv, const char *name, const char *fallback);
extern int64_t tool_number(int argc, char **argv, const char *name, int64_t fallback);
extern bool tool_flag(int argc, char **argv, const char *name);
/* The stream that --table, --pattern, --before and --events name. */
extern GenStream *tool_stream(int argc, char **argv, bool track);

extern void tool_die(const char *format,...) __attribute__((format(printf, 1, 2), noreturn));
/* Seconds of a clock that never jumps. */
extern double tool_now(void);
/* CPU seconds of this process, and of another one (0 where it is gone). */
extern double tool_cpu(void);
extern double tool_cpu_of(int pid);

#endif							/* BENCH_TOOL_H */
