/*-------------------------------------------------------------------------
 *
 * rowwise.c
 *		Anchor: a consumer as one writes it in an afternoon.  Each change is
 *		one prepared statement through libpq, awaited before the next
 *		(no pipeline), with a commit per --commit-every changes.  It reads no
 *		Kafka and decodes nothing: values come straight from the generator.
 *
 *	rowwise --dsn D --commit-every N STREAM
 *
 *-------------------------------------------------------------------------
 */
#include "tool.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 64

static void
run(PGconn *conn, const char *sql)
{
	PGresult   *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		tool_die("%s: %s", sql, PQerrorMessage(conn));
	PQclear(result);
}

static void
prepare(PGconn *conn, const GenTable *table)
{
	char		sql[16384];
	char	   *out = sql;
	PGresult   *result;

	out += sprintf(out, "INSERT INTO %s VALUES (", table->name);
	for (int i = 0; i < table->ncolumns; i++)
		out += sprintf(out, "%s$%d", i ? ", " : "", i + 1);
	out += sprintf(out, ") ON CONFLICT (id) DO UPDATE SET ");
	for (int i = 1; i < table->ncolumns; i++)
		out += sprintf(out, "%s%s = excluded.%s", i > 1 ? ", " : "",
					   table->columns[i].name, table->columns[i].name);
	result = PQprepare(conn, "upsert", sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		tool_die("%s", PQerrorMessage(conn));
	PQclear(result);
	sprintf(sql, "DELETE FROM %s WHERE id = $1", table->name);
	result = PQprepare(conn, "delete", sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		tool_die("%s", PQerrorMessage(conn));
	PQclear(result);
}

/* Applies one change; values is room for the texts of a row. */
static void
apply(PGconn *conn, const GenTable *table, const GenChange *change, char *values)
{
	const char *params[MAX_COLUMNS];
	int			n = change->op == 'd' ? 1 : table->ncolumns;
	char	   *out = values;
	PGresult   *result;

	for (int i = 0; i < n; i++)
	{
		int			len = gen_value_text(table, i, change->id, change->version, out);

		params[i] = len < 0 ? NULL : out;
		if (len >= 0)
			out += len + 1;
	}
	result = PQexecPrepared(conn, change->op == 'd' ? "delete" : "upsert", n, params, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		tool_die("%s", PQerrorMessage(conn));
	PQclear(result);
}

int
main(int argc, char **argv)
{
	int64_t		events = tool_number(argc, argv, "--events", 0);
	int64_t		commit_every = tool_number(argc, argv, "--commit-every", 1000);
	GenStream  *stream = tool_stream(argc, argv, false);
	const GenTable *table = gen_stream_table(stream);
	PGconn	   *conn = PQconnectdb(tool_option(argc, argv, "--dsn", NULL));
	char	   *values = malloc(GEN_ROW_MAX);
	double		start,
				own,
				backend;

	if (PQstatus(conn) != CONNECTION_OK)
		tool_die("%s", PQerrorMessage(conn));
	run(conn, "SET synchronous_commit = off");
	prepare(conn, table);
	own = tool_cpu();
	backend = tool_cpu_of(PQbackendPID(conn));
	start = tool_now();
	for (int64_t i = 0; i < events; i++)
	{
		GenChange	change;

		if (i % commit_every == 0)
		{
			if (i > 0)
				run(conn, "COMMIT");
			run(conn, "BEGIN");
		}
		gen_stream_next(stream, &change);
		apply(conn, table, &change, values);
	}
	run(conn, "COMMIT");
	printf("{\"rows\": %" PRId64 ", \"seconds\": %.4f, \"cpu\": %.4f, \"client_cpu\": %.4f}\n", events,
		   tool_now() - start, tool_cpu_of(PQbackendPID(conn)) - backend, tool_cpu() - own);
	PQfinish(conn);
	return 0;
}
