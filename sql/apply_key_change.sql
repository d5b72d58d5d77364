-- For how long the row is kept that the delete of a key change removes.
SET client_min_messages = warning;
CREATE EXTENSION cdc_sink;
CREATE FUNCTION pg_temp.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
CREATE FUNCTION pg_temp.line(partition int, key int, value jsonb, headers jsonb DEFAULT '[]') RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('topic', 't', 'partition', partition, 'key', format('{"id":%s}', key), 'value', value::text, 'headers', headers)::text || E'\n' $$;
CREATE FUNCTION pg_temp.source(sequence int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('connector', 'postgresql', 'schema', 'public', 'table', 't', 'sequence', format('["1","%s"]', sequence)) $$;
-- the halves of a key change; the row is whole where a body is given
CREATE FUNCTION pg_temp.gone(partition int, old int, new int, sequence int) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.line(partition, old, jsonb_build_object('op', 'd', 'before', jsonb_build_object('id', old), 'after', NULL, 'source', pg_temp.source(sequence)),
		jsonb_build_array(jsonb_build_array('__debezium.newkey', format('{"id":%s}', new)))) $$;
CREATE FUNCTION pg_temp.come(partition int, old int, new int, sequence int, body text DEFAULT '__debezium_unavailable_value') RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.line(partition, new, jsonb_build_object('op', 'c', 'before', NULL, 'after', jsonb_build_object('id', new, 'body', body), 'source', pg_temp.source(sequence)),
		jsonb_build_array(jsonb_build_array('other', 'x'), jsonb_build_array('__debezium.oldkey', format('{"id":%s}', old)))) $$;
-- feeds records, all of a call in one batch
CREATE FUNCTION pg_temp.feed(VARIADIC events text[]) RETURNS TABLE (partition int, next_offset bigint, state text, message text) LANGUAGE sql AS $$
	SELECT f.partition, f.next_offset, f.state, f.message FROM pg_temp.cdc_test_feed('s', array_to_string(events, '')) f WHERE f.topic IS NOT NULL ORDER BY 1 $$;

CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE TABLE t (id int PRIMARY KEY, body text);
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false);
SELECT cdc_sink.add_mapping('s', 't', 't');
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 6) i;

-- both halves in one batch, whichever comes first and whether the insert has every value: nothing stays
SELECT * FROM pg_temp.feed(pg_temp.gone(0, 1, 11, 101), pg_temp.come(0, 1, 11, 101));
SELECT * FROM pg_temp.feed(pg_temp.gone(0, 2, 12, 102), pg_temp.come(0, 2, 12, 102, 'whole'));
SELECT * FROM pg_temp.feed(pg_temp.come(1, 3, 13, 103, 'whole'), pg_temp.gone(0, 3, 13, 103));
SELECT * FROM t ORDER BY id;
SELECT old_key, new_key FROM cdc_sink.moved_row;
-- each in its own: the row stays until the insert comes
SELECT * FROM pg_temp.feed(pg_temp.gone(0, 4, 14, 104), pg_temp.gone(0, 5, 15, 105), pg_temp.gone(0, 6, 16, 106));
SELECT old_key, new_key FROM cdc_sink.moved_row ORDER BY 1;
SELECT * FROM pg_temp.feed(pg_temp.come(1, 4, 14, 104));
SELECT * FROM pg_temp.feed(pg_temp.come(1, 5, 15, 105, 'whole'));
SELECT * FROM t ORDER BY id;
SELECT old_key, new_key FROM cdc_sink.moved_row;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE t;
