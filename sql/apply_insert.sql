-- Inserts without a statement leave out nothing that an INSERT would do.
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

-- a column that the event leaves out and that has no default of its own: its type has one, or says that it is not NULL
CREATE TYPE widget;
CREATE FUNCTION widget_in(cstring) RETURNS widget AS 'int4in' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION widget_out(widget) RETURNS cstring AS 'int4out' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE widget (INPUT = widget_in, OUTPUT = widget_out, LIKE = int4, DEFAULT = '42');
CREATE DOMAIN filled AS int DEFAULT 7;
CREATE DOMAIN never_null AS int NOT NULL;
CREATE DOMAIN given AS int CHECK (VALUE IS NOT NULL);
CREATE TABLE t_widget (id int, n widget, v text);
CREATE TABLE t_filled (id int, n filled, v text);
CREATE TABLE t_never_null (id int, n never_null, v text);
CREATE TABLE t_given (id int, n given, v text);
SELECT cdc_sink.add_mapping('s', x, 't_' || x, options => '{"mode": "append"}') FROM unnest('{widget,filled,never_null,given}'::text[]) x;
SELECT * FROM pg_temp.feed(pg_temp.ev('widget', '{"id":1,"v":"a"}'), pg_temp.ev('filled', '{"id":1,"v":"a"}'),
	pg_temp.ev('never_null', '{"id":1,"v":"a"}'), pg_temp.ev('given', '{"id":1,"v":"a"}'));
SELECT * FROM pg_temp.feed(pg_temp.ev('filled', '{"id":2,"n":8,"v":"b"}'), pg_temp.ev('filled', '{"id":3,"n":null,"v":"c"}'));
TABLE t_widget;
TABLE t_filled;
SELECT (SELECT count(*) FROM t_never_null), (SELECT count(*) FROM t_given);

-- a check that looks at a table sees what the batch has written there
CREATE TABLE parent (id int PRIMARY KEY);
CREATE FUNCTION has_parent(int) RETURNS bool LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN EXISTS (SELECT FROM public.parent p WHERE p.id = $1); END $$;
CREATE TABLE child (id int PRIMARY KEY, parent int CHECK (has_parent(parent)));
SELECT cdc_sink.add_mapping('s', x, x) FROM unnest('{parent,child}'::text[]) x;
SELECT * FROM pg_temp.feed(pg_temp.ev('parent', '{"id":1}'), pg_temp.ev('child', '{"id":1,"parent":1}'));
SELECT * FROM pg_temp.feed(pg_temp.ev('child', '{"id":2,"parent":2}'), pg_temp.ev('parent', '{"id":3}'));
TABLE child;

-- without USAGE on its schema the applying role does not get at a table
CREATE ROLE regress_sink_table;
CREATE SCHEMA hidden;
CREATE TABLE hidden.log (id int, v text);
ALTER TABLE hidden.log OWNER TO regress_sink_table;
SELECT cdc_sink.add_mapping('s', 'hidden', 'hidden.log', options => '{"mode": "append"}');
SELECT * FROM pg_temp.feed(pg_temp.ev('hidden', '{"id":1,"v":"a"}'));
GRANT USAGE ON SCHEMA hidden TO regress_sink_table;
SELECT * FROM pg_temp.feed(pg_temp.ev('hidden', '{"id":1,"v":"a"}'));
TABLE hidden.log;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE t_widget, t_filled, t_never_null, t_given, parent, child;
DROP FUNCTION has_parent;
DROP SCHEMA hidden CASCADE;
DROP ROLE regress_sink_table;
DROP DOMAIN filled, never_null, given;
DROP TYPE widget CASCADE;
