-- A table that was empty when the first batch came, and was known to be so, is never read as a whole when it has grown.
SET client_min_messages = warning;
CREATE EXTENSION cdc_sink;
CREATE FUNCTION pg_temp.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
CREATE FUNCTION pg_temp.ev(off int, id int, op text, value int) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('topic', 't', 'offset', off, 'partition', 0, 'ts', 1, 'key', json_build_object('id', id)::text,
		'value', json_build_object('before', CASE WHEN op = 'd' THEN json_build_object('id', id) END,
			'after', CASE WHEN op <> 'd' THEN json_build_object('id', id, 'v', value) END,
			'op', op, 'source', json_build_object('schema', 'public', 'table', 't'))::text)::text || E'\n'
$$;
-- rows that the indexes were read for since the last call, by a thousand
CREATE FUNCTION pg_temp.thousands_read() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	PERFORM pg_stat_force_next_flush();
	PERFORM pg_stat_clear_snapshot();
	SELECT (i.idx_tup_read + t.seq_tup_read) / 1000 INTO n FROM pg_stat_user_indexes i JOIN pg_stat_user_tables t USING (relid) WHERE t.relname = 't';
	PERFORM pg_stat_reset_single_table_counters('t'::regclass), pg_stat_reset_single_table_counters('t_pkey'::regclass);
	RETURN n;
END $$;

CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE TABLE t (id int PRIMARY KEY, v int);
VACUUM (ANALYZE) t;
-- less than a run that is inserted without asking which rows are there
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false, options => '{"batch_rows": 15}');
SELECT cdc_sink.add_mapping('s', 't', 't');

-- inserts and updates of what they have brought, then deletes; each in batches of one pipeline
SELECT next_offset, state FROM pg_temp.cdc_test_feed('s', (SELECT string_agg(pg_temp.ev(2 * i, i, 'c', 1) || pg_temp.ev(2 * i + 1, i / 2, 'u', 2), '' ORDER BY i)
	FROM generate_series(0, 2999) i)) WHERE partition IS NOT NULL;
SELECT count(*), sum(v) FROM t;
SELECT pg_temp.thousands_read() < 40 AS "by key";
SELECT next_offset, state FROM pg_temp.cdc_test_feed('s', (SELECT string_agg(pg_temp.ev(6000 + i, i, 'd', 0), '' ORDER BY i)
	FROM generate_series(0, 2999) i)) WHERE partition IS NOT NULL;
SELECT count(*) FROM t;
SELECT pg_temp.thousands_read() < 40 AS "by key";

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE t;
