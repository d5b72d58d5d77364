/*-------------------------------------------------------------------------
 *
 * apply_text.c
 *		Texts of the statements over the rows of a run.
 *
 * Floor 6.  Called by apply_sql.c, which keeps their plans.  Names are quoted
 * and operators carry their schema: the text is run with an empty search_path
 * as whoever owns the relation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "apply_text.h"

#define BATCH CDC_BATCH_RELATION

/* Does the statement read whole rows (true) or their keys only? */
bool
cdc_text_reads_row(CdcSqlKind statement)
{
	return statement == CDC_STATEMENT_UPDATE ||
		statement == CDC_STATEMENT_INSERT ||
		statement == CDC_STATEMENT_OLD_UPDATE;
}

/* Does the statement read the old image of the row? */
bool
cdc_text_reads_old(CdcSqlKind statement)
{
	return statement == CDC_STATEMENT_OLD_UPDATE ||
		statement == CDC_STATEMENT_OLD_DELETE;
}

/* Is column i among those that the statement takes from the batch? */
bool
cdc_text_reads_column(CdcSqlKind statement, const CdcKey *key,
					  const uint8 *set, int i)
{
	if (cdc_text_reads_row(statement))
		return set[i] == CDC_SET || (key && key->is_key[i]);
	return key && key->is_key[i];
}

/* Appends "t.k = e.ck AND …" for the key columns. */
static void
append_key_join(StringInfo sql, const CdcRelation *rel, const CdcKey *key,
				uint32 null_keys)
{
	for (int i = 0; i < key->nkeys; i++)
	{
		int			c = key->columns[i];
		const char *name = quote_identifier(rel->columns[c].name);

		if (i > 0)
			appendStringInfoString(sql, " AND ");
		if (null_keys & ((uint32) 1 << i))
			appendStringInfo(sql, "t.%s IS NULL", name);
		else
			appendStringInfo(sql, "t.%s %s e.c%d", name, key->eq_operators[i], c);
	}
}

/*
 * Appends "t.c = e.oc AND …" for every column of the old image.  A type
 * without equality (json, xml, point) is compared as text.
 */
static void
append_old_join(StringInfo sql, const CdcRelation *rel, const CdcRow *old)
{
	bool		first = true;

	for (int i = 0; i < rel->ncolumns; i++)
	{
		const char *name = quote_identifier(rel->columns[i].name);
		char	   *equals;

		if (old->set[i] != CDC_SET)
			continue;
		appendStringInfoString(sql, first ? "" : " AND ");
		first = false;
		equals = cdc_equality_operator(rel->columns[i].typid);
		if (old->nulls[i])
			appendStringInfo(sql, "t.%s IS NULL", name);
		else if (equals != NULL)
			appendStringInfo(sql, "t.%s %s e.o%d", name, equals, i);
		else
			appendStringInfo(sql, "t.%s::pg_catalog.text OPERATOR(pg_catalog.=) e.o%d::pg_catalog.text",
							 name, i);
	}
	if (first)
		appendStringInfoString(sql, "true");
}

/* Appends "c = e.c, …" for the columns an update sets. */
static void
append_assignments(StringInfo sql, const CdcRelation *rel, const CdcKey *key,
				   const uint8 *set)
{
	bool		first = true;

	for (int i = 0; i < rel->ncolumns; i++)
	{
		if (set[i] != CDC_SET || (key && key->is_key[i]) ||
			rel->columns[i].identity_always)
			continue;
		appendStringInfo(sql, "%s%s = e.c%d", first ? "" : ", ",
						 quote_identifier(rel->columns[i].name), i);
		first = false;
	}
}

/* Appends a list of the columns that an insert sets. */
static void
append_list(StringInfo sql, const CdcRelation *rel, const CdcKey *key,
			const uint8 *set, bool names)
{
	bool		first = true;

	for (int i = 0; i < rel->ncolumns; i++)
	{
		if (!cdc_text_reads_column(CDC_STATEMENT_INSERT, key, set, i))
			continue;
		appendStringInfoString(sql, first ? (names ? " (" : "") : ", ");
		if (names)
			appendStringInfoString(sql, quote_identifier(rel->columns[i].name));
		else
			appendStringInfo(sql, "e.c%d", i);
		first = false;
	}
	if (names && !first)
		appendStringInfoChar(sql, ')');
}

/* INSERT INTO t (…) SELECT …; with no column set, every one defaults. */
static void
append_insert(StringInfo sql, const CdcRelation *rel, const CdcKey *key,
			  const uint8 *set)
{
	appendStringInfo(sql, "INSERT INTO %s", rel->name);
	append_list(sql, rel, key, set, true);
	appendStringInfoString(sql, " OVERRIDING SYSTEM VALUE SELECT ");
	append_list(sql, rel, key, set, false);
	appendStringInfoString(sql, " FROM " BATCH " e");
}

/* Every column, in the relation's order, for FETCH. */
static void
append_columns(StringInfo sql, const CdcRelation *rel)
{
	for (int i = 0; i < rel->ncolumns; i++)
		appendStringInfo(sql, ", t.%s", quote_identifier(rel->columns[i].name));
}

/* Appends the choice of the one row that equals the old image. */
static void
append_victim(StringInfo sql, const CdcRelation *rel, const CdcRow *old)
{
	appendStringInfo(sql, "WITH v AS MATERIALIZED (SELECT t.tableoid AS o, t.ctid AS i FROM %s t, "
					 BATCH " e WHERE ", rel->rows);
	append_old_join(sql, rel, old);
	appendStringInfoString(sql, " LIMIT 1) ");
}

#define VICTIM_JOIN " t.tableoid OPERATOR(pg_catalog.=) v.o AND t.ctid OPERATOR(pg_catalog.=) v.i"

/* cdc_text_statement: see apply_text.h. */
char *
cdc_text_statement(const CdcRelation *rel, CdcSqlKind statement,
			   const CdcKey *key, const uint8 *set, uint32 null_keys,
			   const CdcRow *old)
{
	StringInfoData sql;

	initStringInfo(&sql);
	switch (statement)
	{
		case CDC_STATEMENT_PROBE:
			appendStringInfo(&sql, "SELECT e.ord FROM " BATCH " e WHERE EXISTS (SELECT FROM %s t WHERE ",
							 rel->rows);
			append_key_join(&sql, rel, key, null_keys);
			appendStringInfoString(&sql, " OFFSET 0)");
			break;
		case CDC_STATEMENT_MULTI:
			appendStringInfo(&sql, "SELECT e.ord FROM " BATCH " e, LATERAL (SELECT FROM %s t WHERE ",
							 rel->rows);
			append_key_join(&sql, rel, key, null_keys);
			appendStringInfoString(&sql, " OFFSET 0) t GROUP BY e.ord HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1");
			break;
		case CDC_STATEMENT_FETCH:
			appendStringInfoString(&sql, "SELECT e.ord");
			append_columns(&sql, rel);
			appendStringInfo(&sql, " FROM " BATCH " e, LATERAL (SELECT * FROM %s t WHERE ",
							 rel->rows);
			append_key_join(&sql, rel, key, null_keys);
			appendStringInfoString(&sql, " OFFSET 0) t");
			break;
		case CDC_STATEMENT_UPDATE:
			appendStringInfo(&sql, "UPDATE %s t SET ", rel->rows);
			append_assignments(&sql, rel, key, set);
			appendStringInfoString(&sql, " FROM " BATCH " e WHERE ");
			append_key_join(&sql, rel, key, null_keys);
			break;
		case CDC_STATEMENT_INSERT:
			append_insert(&sql, rel, key, set);
			break;
		case CDC_STATEMENT_DELETE:
			appendStringInfo(&sql, "DELETE FROM %s t USING " BATCH " e WHERE ",
							 rel->rows);
			append_key_join(&sql, rel, key, null_keys);
			break;
		case CDC_STATEMENT_OLD_UPDATE:
			append_victim(&sql, rel, old);
			appendStringInfo(&sql, "UPDATE %s t SET ", rel->rows);
			append_assignments(&sql, rel, NULL, set);
			appendStringInfoString(&sql, " FROM v, " BATCH " e WHERE" VICTIM_JOIN);
			break;
		case CDC_STATEMENT_OLD_DELETE:
			append_victim(&sql, rel, old);
			appendStringInfo(&sql, "DELETE FROM %s t USING v WHERE" VICTIM_JOIN,
							 rel->rows);
			break;
	}
	return sql.data;
}
