-- How many columns find a row.
SET client_min_messages = warning;
CREATE EXTENSION cdc_sink;
CREATE FUNCTION pg_temp.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
CREATE FUNCTION pg_temp.feed(key text, after text, op text DEFAULT 'c')
RETURNS TABLE (next_offset bigint, state text, sqlstate text, message text) LANGUAGE sql AS $$
	SELECT f.next_offset, f.state, f.sqlstate, f.message
	FROM pg_temp.cdc_test_feed('s', json_build_object('topic', 'wide', 'key', key, 'value',
		format('{"before":null,"after":%s,"op":"%s","ts_ms":1,"source":{"connector":"postgresql","schema":"public","table":"wide"}}', after, op))::text) f
	WHERE f.topic IS NOT NULL
$$;
-- {"c1":1,"c2":2,…}, the last one being null if asked
CREATE FUNCTION pg_temp.fields(n int, last text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT '{' || string_agg(format('"c%s":%s', i, CASE WHEN i = n AND last IS NOT NULL THEN last ELSE i::text END), ',' ORDER BY i) || '}' FROM generate_series(1, n) i $$;
CREATE FUNCTION pg_temp.names(n int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('key_columns', jsonb_agg('c' || i ORDER BY i)) FROM generate_series(1, n) i $$;

CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false);
DO $$ BEGIN EXECUTE (SELECT format('CREATE TABLE wide (%s)', string_agg('c' || i || ' int', ', ' ORDER BY i)) FROM generate_series(1, 100) i); END $$;
SELECT cdc_sink.add_mapping('s', 'wide', 'wide');

-- a record key of as many columns as an index can have finds its row, the last one being NULL or not
SELECT * FROM pg_temp.feed(pg_temp.fields(32), pg_temp.fields(33));
SELECT * FROM pg_temp.feed(pg_temp.fields(32, 'null'), pg_temp.fields(33));
SELECT * FROM pg_temp.feed(pg_temp.fields(32, 'null'), pg_temp.fields(33, '34'), 'u');
SELECT c1, c31, c32, c33 FROM wide ORDER BY c32;
-- one of more columns is an error of the data
SELECT * FROM pg_temp.feed(pg_temp.fields(33), pg_temp.fields(33));
SELECT * FROM pg_temp.feed(pg_temp.fields(100), pg_temp.fields(100));
-- and passes where the table's own key, or key_columns, needs fewer
SELECT cdc_sink.alter_mapping('s', 'wide', options => pg_temp.names(32));
SELECT * FROM pg_temp.feed(pg_temp.fields(100), pg_temp.fields(100));
SELECT c1, c32, c33, c100 FROM wide ORDER BY c32;
-- key_columns likewise, with and without a record key
SELECT cdc_sink.alter_mapping('s', 'wide', options => pg_temp.names(33));
SELECT cdc_sink.add_mapping('s', 'other', 'wide', options => pg_temp.names(33));
SELECT * FROM pg_temp.feed(NULL, pg_temp.fields(100, '0'));
SELECT c1, c32, c33, c100 FROM wide ORDER BY c32;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE wide;
