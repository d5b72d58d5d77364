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

-- a column gets another type between the conversion of a row and its insert: the range is cut there, and the row converted again
SELECT cdc_sink.alter_subscription('s', options => '{"batch_rows": 100}');
SELECT * FROM pg_temp.feed(pg_temp.ev('alters', '{"id":2,"what":"ALTER TABLE public.t ALTER v TYPE text"}'), pg_temp.ev('t', '{"id":3,"v":1094795585}'));
SELECT * FROM t ORDER BY id;
-- likewise a row that is read for the insert of its key change
SELECT * FROM pg_temp.feed(pg_temp.ev('alters', '{"id":3,"what":"ALTER TABLE public.t ALTER v TYPE numeric USING v::numeric"}'),
	pg_temp.ev('t', NULL, 'd', '{"id":3,"v":1094795585}', '{"headers": [["__debezium.newkey", "{\"id\":4}"]]}'));
SELECT old_key, new_key, "row" FROM cdc_sink.moved_row;
-- and one that is updated: its value is wrong for the new type, and not rounded
SELECT * FROM pg_temp.feed(pg_temp.ev('alters', '{"id":4,"what":"ALTER TABLE public.t ALTER v TYPE int8"}'), pg_temp.ev('t', '{"id":2,"v":2.75,"w":3}', 'u'));
SELECT topic, "offset", sqlstate, message FROM cdc_sink.dead_letter WHERE topic = 't';
SELECT * FROM t ORDER BY id;
-- a column goes, another one takes its name
SELECT * FROM pg_temp.feed(pg_temp.ev('alters', '{"id":5,"what":"ALTER TABLE public.t DROP v, ADD v text"}'), pg_temp.ev('t', '{"id":5,"v":"five","w":5}'));
SELECT * FROM t ORDER BY id;
-- a table takes the name of another
CREATE TABLE other (LIKE t);
SELECT * FROM pg_temp.feed(pg_temp.ev('alters', '{"id":7,"what":"ALTER TABLE public.t RENAME TO t_old; ALTER TABLE public.other RENAME TO t"}'), pg_temp.ev('t', '{"id":7,"v":"seven","w":7}'));
ALTER TABLE t RENAME TO other;
ALTER TABLE t_old RENAME TO t;
TABLE other;
SELECT * FROM pg_temp.feed(pg_temp.ev('t', '{"id":7,"v":"seven","w":7}'));
SELECT * FROM t WHERE id = 7;
-- a trigger that comes in the middle fires
CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := NEW.v || ' marked'; RETURN NEW; END $$;
SELECT * FROM pg_temp.feed(pg_temp.ev('alters', json_build_object('id', 6, 'what',
		'CREATE TRIGGER mark BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.mark(); ALTER TABLE public.t ENABLE ALWAYS TRIGGER mark')),
	pg_temp.ev('t', '{"id":6,"v":"six","w":6}'));
SELECT * FROM t WHERE id = 6;

-- a row whose own conversion changes its table stops its partition, and is applied once that is over
CREATE TABLE self (id int PRIMARY KEY, v int8);
CREATE FUNCTION meddle(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN ALTER TABLE public.self ALTER v TYPE text; RETURN true; END $$;
CREATE DOMAIN meddling AS int CHECK (public.meddle(VALUE));
ALTER TABLE self ADD n meddling;
CREATE INDEX ON self (v);
SELECT cdc_sink.add_mapping('s', 'self', 'self');
SELECT * FROM pg_temp.feed(pg_temp.ev('self', '{"id":1,"v":1094795585,"n":1}'));
SELECT * FROM self;
SELECT count(*) FROM cdc_sink.dead_letter WHERE topic = 'self';
CREATE OR REPLACE FUNCTION meddle(int) RETURNS bool LANGUAGE sql AS 'SELECT true';
SELECT * FROM pg_temp.feed(pg_temp.ev('self', '{"id":1,"v":1094795585,"n":1}'));
SELECT id, v, pg_typeof(v), n FROM self;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE t, other, bad, retries, alters, self;
DROP DOMAIN meddling;
DROP FUNCTION retry, run_what, mark, meddle;
