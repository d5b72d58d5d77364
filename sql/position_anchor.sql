-- The fingerprint of the last record that is kept with each position. The numbers must never change: positions are dumped and restored.
SET client_min_messages = warning;
CREATE EXTENSION cdc_sink;
CREATE FUNCTION pg_temp.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
CREATE FUNCTION pg_temp.feed(VARIADIC events text[])
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, message text) LANGUAGE sql AS $$
	SELECT f.topic, f.partition, f.next_offset, f.state, f.message
	FROM pg_temp.cdc_test_feed('s', array_to_string(events, E'\n') || E'\n') f WHERE f.partition IS NOT NULL
$$;
CREATE FUNCTION pg_temp.ev(topic text, off bigint, partition int, key text, value text, ts bigint DEFAULT 1700000000000) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('topic', topic, 'offset', off, 'partition', partition, 'ts', ts, 'key', key, 'value', value)::text
$$;
CREATE FUNCTION pg_temp.row(id int) RETURNS text LANGUAGE sql AS $$
	SELECT format('{"before":null,"after":{"id":%s},"op":"c","ts_ms":1,"source":{"schema":"public","table":"t"}}', id)
$$;
CREATE VIEW pg_temp.anchors AS
	SELECT topic, partition, next_offset, anchor_offset, anchor_hash, anchor_ts, cluster_id FROM cdc_sink.position ORDER BY topic, partition;

CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE TABLE t (id int PRIMARY KEY);
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false, options => '{"batch_rows": 3}');
SELECT cdc_sink.add_mapping('s', topic, 't', options => options::jsonb) FROM (VALUES
	('t', '{}'), ('skips', '{"on_error": "skip"}'), ('stops', '{}')) AS m (topic, options);

-- the last record of each partition, whatever came before; a tombstone, an empty value and no key are three different things
SELECT * FROM pg_temp.feed(
	pg_temp.ev('t', 0, 0, '{"id":1}', pg_temp.row(1)), pg_temp.ev('t', 1, 0, '{"id":2}', pg_temp.row(2)),
	pg_temp.ev('t', 0, 1, '{"id":3}', NULL), pg_temp.ev('t', 0, 2, '{"id":1}', pg_temp.row(1)),
	pg_temp.ev('t', 5, 3, '{"id":1}', pg_temp.row(1), 1), pg_temp.ev('t', 6, 4, NULL, pg_temp.row(9)),
	pg_temp.ev('t', 2, 0, '{"id":4}', pg_temp.row(4)), pg_temp.ev('t', 3, 0, '{"id":5}', pg_temp.row(5)));
TABLE pg_temp.anchors;

-- one that was skipped stands for its offset, too; one that stopped its partition does not
SELECT * FROM pg_temp.feed(
	pg_temp.ev('skips', 0, 0, '{"id":11}', pg_temp.row(11)), pg_temp.ev('skips', 1, 0, '{"id":12}', 'no event'),
	pg_temp.ev('skips', 2, 1, '{"id":12}', ''),
	pg_temp.ev('stops', 0, 0, '{"id":13}', pg_temp.row(13)), pg_temp.ev('stops', 4, 0, '{"id":14}', 'no event'));
SELECT * FROM pg_temp.anchors WHERE topic <> 't';

-- repeated records leave it; the next ones move it
SELECT * FROM pg_temp.feed(pg_temp.ev('t', 3, 0, '{"id":5}', pg_temp.row(6)));
SELECT * FROM pg_temp.anchors WHERE topic = 't' AND partition = 0;
SELECT * FROM pg_temp.feed(pg_temp.ev('t', 9, 0, '{"id":1}', pg_temp.row(1)));
SELECT * FROM pg_temp.anchors WHERE topic = 't' AND partition = 0;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE t;
