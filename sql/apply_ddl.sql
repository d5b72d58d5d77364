-- DDL by code of the tables' owners while a batch is applied.
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
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false, options => '{"on_error": "dead_letter", "batch_rows": 1}');
CREATE TABLE t (id int PRIMARY KEY, v int8);
CREATE TABLE bad (id int PRIMARY KEY, v int CHECK (v < 10));
CREATE TABLE retries (id int PRIMARY KEY);
CREATE TABLE alters (id int PRIMARY KEY, what text);
SELECT cdc_sink.add_mapping('s', x, x) FROM unnest('{t,bad,retries,alters}'::text[]) x;
CREATE FUNCTION retry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM cdc_sink.retry_dead_letter(ARRAY(SELECT id FROM cdc_sink.dead_letter WHERE status = 'open')); RETURN NEW; END $$;
CREATE TRIGGER retry BEFORE INSERT ON retries FOR EACH ROW EXECUTE FUNCTION retry();
ALTER TABLE retries ENABLE ALWAYS TRIGGER retry;
CREATE FUNCTION run_what() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.what; RETURN NEW; END $$;
CREATE TRIGGER run_what BEFORE INSERT ON alters FOR EACH ROW EXECUTE FUNCTION run_what();
ALTER TABLE alters ENABLE ALWAYS TRIGGER run_what;

-- a trigger retries a dead letter; afterwards DDL is noticed as before
SELECT * FROM pg_temp.feed(pg_temp.ev('t', '{"id":1,"v":1}'), pg_temp.ev('bad', '{"id":1,"v":100}'), pg_temp.ev('retries', '{"id":1}'),
	pg_temp.ev('alters', '{"id":1,"what":"ALTER TABLE public.t ADD w int"}'), pg_temp.ev('t', '{"id":2,"v":2,"w":2}'));
SELECT "offset", topic, attempts, message FROM cdc_sink.dead_letter;
SELECT * FROM t ORDER BY id;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE t, bad, retries, alters;
DROP FUNCTION retry, run_what;
