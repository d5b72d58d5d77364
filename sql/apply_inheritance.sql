-- A table with children by inheritance: its own rows are the target, theirs are not.
SET client_min_messages = warning;
CREATE EXTENSION cdc_sink;
CREATE FUNCTION pg_temp.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
-- one line of events: a row, and what became of it; more: other members of the line
CREATE FUNCTION pg_temp.ev(topic text, after json, op text DEFAULT 'c', before json DEFAULT NULL, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT (jsonb_build_object('topic', topic, 'key', (SELECT json_build_object('id', id)::text FROM json_extract_path(coalesce(after, before), 'id') id WHERE id IS NOT NULL),
		'value', json_build_object('before', before, 'after', after, 'op', op, 'ts_ms', 1,
			'source', json_build_object('connector', 'postgresql', 'schema', 'public', 'table', topic))::text) || more)::text || E'\n' $$;
CREATE FUNCTION pg_temp.feed(VARIADIC events text[])
RETURNS TABLE (topic text, next_offset bigint, state text, state_reason text, sqlstate text, message text) LANGUAGE sql AS $$
	SELECT f.topic, f.next_offset, f.state, f.state_reason, f.sqlstate, f.message
	FROM pg_temp.cdc_test_feed('s', array_to_string(events, '')) f WHERE f.topic IS NOT NULL ORDER BY f.topic COLLATE "C"
$$;

CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false);
CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (extra text) INHERITS (parent);
INSERT INTO child VALUES (1, 'child', 'x'), (2, 'child', 'x'), (3, 'child', 'x');
INSERT INTO parent VALUES (1, 'parent');
SELECT cdc_sink.add_mapping('s', 'parent', 'parent');

-- a key that both have: the parent's row changes and goes
SELECT * FROM pg_temp.feed(pg_temp.ev('parent', '{"id":1,"v":"updated"}', 'u'));
SELECT tableoid::regclass, * FROM parent ORDER BY 1, 2;
SELECT * FROM pg_temp.feed(pg_temp.ev('parent', NULL, 'd', '{"id":1,"v":"updated"}'));
SELECT tableoid::regclass, * FROM parent ORDER BY 1, 2;
-- one that only a child has is not there
SELECT * FROM pg_temp.feed(pg_temp.ev('parent', '{"id":2,"v":"inserted"}'));
SELECT * FROM pg_temp.feed(pg_temp.ev('parent', NULL, 'd', '{"id":3,"v":"read"}', '{"headers": [["__debezium.newkey", "{\"id\":4}"]]}'));
SELECT count(*) FROM cdc_sink.moved_row;
SELECT tableoid::regclass, * FROM parent ORDER BY 1, 2;
-- rows without a key
CREATE TABLE keyless (a int, b text);
CREATE TABLE keyless_child () INHERITS (keyless);
INSERT INTO keyless_child VALUES (1, 'a');
SELECT cdc_sink.add_mapping('s', 'keyless', 'keyless');
SELECT * FROM pg_temp.feed(pg_temp.ev('keyless', '{"a":1,"b":"changed"}', 'u', '{"a":1,"b":"a"}'), pg_temp.ev('keyless', NULL, 'd', '{"a":1,"b":"a"}'));
SELECT tableoid::regclass, * FROM keyless ORDER BY 1, 2;
-- a truncate
SELECT * FROM pg_temp.feed(pg_temp.ev('parent', NULL, 't'));
SELECT tableoid::regclass, * FROM parent ORDER BY 1, 2;
-- partitions are the table
CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
SELECT cdc_sink.add_mapping('s', 'parts', 'parts');
SELECT * FROM pg_temp.feed(pg_temp.ev('parts', '{"id":1,"v":"a"}'), pg_temp.ev('parts', '{"id":2,"v":"b"}'));
SELECT * FROM pg_temp.feed(pg_temp.ev('parts', '{"id":1,"v":"updated"}', 'u'), pg_temp.ev('parts', NULL, 'd', '{"id":2,"v":"b"}'));
TABLE parts;
SELECT * FROM pg_temp.feed(pg_temp.ev('parts', NULL, 't'));
TABLE parts;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE parent, child, keyless, keyless_child, parts;
