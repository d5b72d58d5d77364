-- What becomes of records that cannot be applied: on_error and its budget, dead letters, skip_record.
SET client_min_messages = warning;
SET TimeZone = UTC;
CREATE EXTENSION cdc_sink;
CREATE FUNCTION pg_temp.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
-- one line of events: an envelope of the table t at an offset
CREATE FUNCTION pg_temp.ev(topic text, off bigint, id text, v text, op text DEFAULT 'c') RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('topic', topic, 'offset', off, 'ts', 1700000000000 + off, 'key', format('{"id":%s}', id),
		'value', format('{"before":%s,"after":%s,"op":"%s","ts_ms":1,"source":{"connector":"postgresql","schema":"public","table":"t"}}',
			CASE WHEN op = 'd' THEN format('{"id":%s,"v":null}', id) ELSE 'null' END,
			CASE WHEN op = 'd' THEN 'null' ELSE format('{"id":%s,"v":%s}', id, v) END, op),
		'headers', json_build_array(json_build_array('h', 'text'), json_build_array('raw', json_build_object('b64', '/w=='))))::text || E'\n'
$$;
-- feeds; counts of the subscription, which follow the partitions, left out
CREATE FUNCTION pg_temp.feed(sub name, VARIADIC events text[])
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text) LANGUAGE sql AS $$
	SELECT * FROM pg_temp.cdc_test_feed(sub, array_to_string(events, '')) f WHERE f.partition IS NOT NULL AND f.state IN ('stopped', 'waiting', 'streaming')
$$;

CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v < 1000));
CREATE TABLE u (id int PRIMARY KEY, v int);
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false, options => '{"on_error": "dead_letter"}');
SELECT cdc_sink.add_mapping('s', 't', 't');
SELECT cdc_sink.add_mapping('s', 'skips', 'u', options => '{"on_error": "skip"}');
SELECT cdc_sink.add_mapping('s', 'stops', 'u', options => '{"on_error": "stop"}');

-- a bad value, a violated constraint, bytes that are no JSON: one letter each, and all others are applied
SELECT * FROM pg_temp.feed('s',
	pg_temp.ev('t', 0, '1', '10'), pg_temp.ev('t', 1, '2', '"x"'), pg_temp.ev('t', 2, '3', '30'), pg_temp.ev('t', 3, '4', '4000'),
	'{"topic": "t", "offset": 4, "ts": 1700000000004, "key": {"b64": "/w=="}, "value": {"b64": "AP8B"}}' || E'\n',
	pg_temp.ev('t', 5, '6', '60'), pg_temp.ev('t', 6, '7', '"a\u0000b"'));
TABLE t;
SELECT id, topic, partition, "offset", ts, convert_from(key, 'UTF8') AS key, headers, relation, relation_name, op, old_row, new_row,
	sqlstate, message, detail, context, attempts, status, superseded_by, resolved_at, note
FROM cdc_sink.dead_letter WHERE "offset" <> 4 ORDER BY id;
SELECT "offset", key, value, headers, relation, op, old_row, new_row, sqlstate, message FROM cdc_sink.dead_letter WHERE "offset" = 4;
SELECT encode(value, 'escape') FROM cdc_sink.dead_letter WHERE "offset" = 1;

-- a mapping has its own policy
SELECT * FROM pg_temp.feed('s',
	pg_temp.ev('skips', 0, '1', '"x"'), pg_temp.ev('skips', 1, '2', '20'), pg_temp.ev('stops', 0, '3', '"x"'), pg_temp.ev('stops', 1, '4', '40'));
TABLE u;
SELECT count(*) FROM cdc_sink.dead_letter WHERE topic IN ('skips', 'stops');

-- only errors of the data: what DDL or a GRANT repairs stops
ALTER TABLE t RENAME TO t2;
SELECT topic, next_offset, state, state_reason, sqlstate FROM pg_temp.feed('s', pg_temp.ev('t', 7, '8', '80'));
ALTER TABLE t2 RENAME TO t;

-- a record read again does not get a second open letter
UPDATE cdc_sink.position SET next_offset = 1 WHERE topic = 't';
SELECT next_offset, state FROM pg_temp.feed('s', pg_temp.ev('t', 1, '2', '"y"'));
SELECT "offset", attempts, message FROM cdc_sink.dead_letter WHERE "offset" = 1;
UPDATE cdc_sink.position SET next_offset = 7 WHERE topic = 't';

-- max_errors: one more in the window stops
SELECT cdc_sink.create_subscription('b', 'kafka', enabled => false,
	options => '{"on_error": "dead_letter", "max_errors": 2, "error_window_ms": 3600000}');
SELECT cdc_sink.add_mapping('b', 'b', 't');
SELECT next_offset, state, state_reason, sqlstate FROM pg_temp.feed('b',
	pg_temp.ev('b', 0, '20', '"x"'), pg_temp.ev('b', 1, '21', '1'), pg_temp.ev('b', 2, '22', '"x"'), pg_temp.ev('b', 3, '23', '"x"'), pg_temp.ev('b', 4, '24', '1'));
SELECT "offset" FROM cdc_sink.dead_letter WHERE subscription = 'b' ORDER BY id;
-- enable_subscription counts anew
UPDATE cdc_sink.subscription SET resume_count = resume_count + 1 WHERE subscription = 'b';
SELECT next_offset, state, state_reason FROM pg_temp.feed('b', pg_temp.ev('b', 3, '23', '"x"'), pg_temp.ev('b', 4, '24', '1'));

-- a bad record in each place of a batch, and nothing but bad ones
DO $$ BEGIN
	FOR bad IN 0 .. 9 LOOP
		PERFORM cdc_sink.create_subscription('p', 'kafka', enabled => false, options => '{"on_error": "dead_letter"}');
		PERFORM cdc_sink.add_mapping('p', 'p', 'u');
		PERFORM pg_temp.feed('p', VARIADIC array(SELECT pg_temp.ev('p', i, (100 + i)::text, CASE WHEN i = bad THEN '"x"' ELSE '1' END) FROM generate_series(0, 9) i));
		ASSERT (SELECT array_agg(id ORDER BY id) FROM u WHERE id >= 100) = array(SELECT 100 + i FROM generate_series(0, 9) i WHERE i <> bad);
		ASSERT (SELECT array_agg("offset") FROM cdc_sink.dead_letter WHERE subscription = 'p') = ARRAY[bad]::bigint[];
		DELETE FROM u WHERE id >= 100;
		PERFORM cdc_sink.drop_subscription('p');
	END LOOP;
	PERFORM cdc_sink.create_subscription('p', 'kafka', enabled => false, options => '{"on_error": "dead_letter"}');
	PERFORM cdc_sink.add_mapping('p', 'p', 't');
	PERFORM pg_temp.feed('p', VARIADIC array(SELECT pg_temp.ev('p', i, (100 + i)::text, '4000') FROM generate_series(0, 99) i));
	ASSERT (SELECT count(DISTINCT "offset") = 100 AND count(*) = 100 FROM cdc_sink.dead_letter WHERE subscription = 'p');
END $$;

-- skip_record: armed, then a letter of status skipped, whatever the record is
SELECT cdc_sink.skip_record('s', 'stops', 0, 0, 'known to be bad');
SELECT next_offset, skip_offset, skip_note FROM cdc_sink.position WHERE topic = 'stops';
SELECT next_offset, state, state_reason FROM pg_temp.feed('s', pg_temp.ev('stops', 0, '3', '"x"'), pg_temp.ev('stops', 1, '4', '40'));
SELECT "offset", status, note, attempts, sqlstate, op, relation, new_row, resolved_at IS NOT NULL AS closed FROM cdc_sink.dead_letter WHERE topic = 'stops';
SELECT next_offset, skip_offset, skip_note FROM cdc_sink.position WHERE topic = 'stops';
SELECT cdc_sink.skip_record('s', 'stops', 0, 1);
SELECT cdc_sink.skip_record('s', 'stops', 1, 1);
SELECT cdc_sink.skip_record('s', 'none', 0, 1);
SELECT cdc_sink.skip_record('s', 'stops', 0, -1);
SELECT cdc_sink.skip_record('none', 'stops', 0, 1);
-- behind a record at which the partition stops it stays armed
SELECT cdc_sink.skip_record('s', 'stops', 0, 3);
SELECT next_offset, state FROM pg_temp.feed('s', pg_temp.ev('stops', 2, '5', '"x"'), pg_temp.ev('stops', 3, '6', '60'), pg_temp.ev('stops', 4, '7', '70'));
SELECT next_offset, skip_offset FROM cdc_sink.position WHERE topic = 'stops';
SELECT next_offset, state FROM pg_temp.feed('s', pg_temp.ev('stops', 2, '5', '50'), pg_temp.ev('stops', 3, '6', '60'), pg_temp.ev('stops', 4, '7', '70'));
SELECT id FROM u ORDER BY id;
SELECT "offset", status FROM cdc_sink.dead_letter WHERE topic = 'stops' ORDER BY id;
-- a gap clears it
SELECT cdc_sink.skip_record('s', 'stops', 0, 6, 'nothing there');
SELECT next_offset, state FROM pg_temp.feed('s', pg_temp.ev('stops', 5, '8', '80'), pg_temp.ev('stops', 8, '9', '90'));
SELECT next_offset, skip_offset, skip_note FROM cdc_sink.position WHERE topic = 'stops';
SELECT count(*) FROM cdc_sink.dead_letter WHERE topic = 'stops';

-- after the position was set back an older record of a key does not make its letter be forgotten
SELECT cdc_sink.create_subscription('back', 'kafka', enabled => false, options => '{"on_error": "dead_letter"}');
SELECT cdc_sink.add_mapping('back', 'back', 't');
SELECT next_offset, state FROM pg_temp.feed('back', pg_temp.ev('back', 0, '200', '1'), pg_temp.ev('back', 1, '200', '"x"'));
UPDATE cdc_sink.position SET next_offset = 0 WHERE topic = 'back';
SELECT next_offset, state FROM pg_temp.feed('back', pg_temp.ev('back', 0, '200', '1'), pg_temp.ev('back', 2, '200', '2'));
SELECT "offset", status, superseded_by FROM cdc_sink.dead_letter WHERE subscription = 'back';

-- a truncate supersedes the letters of records without a key, where there are no others
CREATE TABLE w (id int, v int);
SELECT cdc_sink.create_subscription('keyless', 'kafka', enabled => false, options => '{"on_error": "dead_letter"}');
SELECT cdc_sink.add_mapping('keyless', 'keyless', 'w');
SELECT next_offset, state FROM pg_temp.feed('keyless', (pg_temp.ev('keyless', 0, '1', '"x"')::jsonb || '{"key": null}')::text || E'\n');
SELECT next_offset, state FROM pg_temp.feed('keyless', json_build_object('topic', 'keyless', 'offset', 1, 'key', NULL, 'value',
	'{"before":null,"after":null,"op":"t","ts_ms":1,"source":{"connector":"postgresql","schema":"public","table":"w"}}')::text || E'\n');
SELECT "offset", key, status, superseded_by FROM cdc_sink.dead_letter WHERE subscription = 'keyless';

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE t, u, w;
