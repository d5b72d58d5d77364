-- Dead letters afterwards: superseded_by, retry_dead_letter, resolve_dead_letter, purge_dead_letter.
SET client_min_messages = warning;
SET TimeZone = UTC;
CREATE EXTENSION cdc_sink;
CREATE FUNCTION pg_temp.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
CREATE FUNCTION pg_temp.ev(topic text, off bigint, id text, v text, op text DEFAULT 'c') RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('topic', topic, 'offset', off, 'ts', 1700000000000 + off,
		'key', CASE WHEN op <> 't' THEN format('{"id":%s}', id) END,
		'value', CASE WHEN op <> 'null' THEN format('{"before":%s,"after":%s,"op":"%s","ts_ms":1,"source":{"connector":"postgresql","schema":"public","table":"t"}}',
			CASE WHEN op = 'd' THEN format('{"id":%s,"v":null}', id) ELSE 'null' END,
			CASE WHEN op IN ('d', 't') THEN 'null' ELSE format('{"id":%s,"v":%s}', id, v) END, op) END)::text || E'\n'
$$;
CREATE FUNCTION pg_temp.feed(sub name, VARIADIC events text[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', f.topic, f.partition, f.next_offset, f.state, f.state_reason), ', ' ORDER BY f.topic COLLATE "C")
	FROM pg_temp.cdc_test_feed(sub, array_to_string(events, '')) f WHERE f.state IN ('stopped', 'waiting', 'streaming')
$$;
CREATE FUNCTION pg_temp.ids(VARIADIC offs bigint[]) RETURNS bigint[] LANGUAGE sql AS $$
	SELECT array_agg(id ORDER BY id DESC) FROM cdc_sink.dead_letter WHERE "offset" = ANY (offs) AND topic = 't' $$;

CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v < 1000), who text DEFAULT current_user);
CREATE TABLE log (id int, v int CHECK (v < 1000), __offset bigint);
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false, options => '{"on_error": "dead_letter", "batch_rows": 4}');
SELECT cdc_sink.add_mapping('s', 't', 't');
SELECT cdc_sink.add_mapping('s', 'log', 'log', options => '{"mode": "append"}');

-- superseded: by a later record in the same batch, in a later one, by a delete, a tombstone; not by a record that failed itself
SELECT pg_temp.feed('s',
	pg_temp.ev('t', 0, '1', '1000'), pg_temp.ev('t', 1, '1', '1'), pg_temp.ev('t', 2, '2', '2000'), pg_temp.ev('t', 3, '3', '3000'),
	pg_temp.ev('t', 4, '4', '4000'), pg_temp.ev('t', 5, '5', '5000'), pg_temp.ev('t', 6, '2', '2'), pg_temp.ev('t', 7, '3', NULL, 'd'),
	pg_temp.ev('t', 8, '4', '4001'), pg_temp.ev('t', 9, '6', '6000'), pg_temp.ev('t', 10, '6', NULL, 'null'), pg_temp.ev('t', 11, '2', '22', 'u'),
	pg_temp.ev('t', 12, '1', '1001'), pg_temp.ev('log', 0, '1', '1000'), pg_temp.ev('log', 1, '1', '1'));
SELECT topic, "offset", status, superseded_by, attempts FROM cdc_sink.dead_letter ORDER BY topic COLLATE "C" DESC, "offset";
SELECT id, v FROM t ORDER BY id;

-- in a session of its own the worker finds the letters again
SELECT pg_temp.feed('s', pg_temp.ev('t', 13, '1', '11', 'u'), pg_temp.ev('t', 14, '7', '7'));
SELECT "offset", superseded_by FROM cdc_sink.dead_letter WHERE topic = 't' AND "offset" IN (0, 5, 12) ORDER BY 1;

-- retry: in offset order, each in a subtransaction, whatever the order of the ids; nothing of superseded ones
SELECT (SELECT "offset" FROM cdc_sink.dead_letter d WHERE d.id = r.id), r.ok, r.error FROM cdc_sink.retry_dead_letter(pg_temp.ids(0, 4, 5, 8)) r;
ALTER TABLE t DROP CONSTRAINT t_v_check;
ALTER TABLE log DROP CONSTRAINT log_v_check;
BEGIN;
SELECT (SELECT "offset" FROM cdc_sink.dead_letter d WHERE d.id = r.id), r.ok, r.error FROM cdc_sink.retry_dead_letter(pg_temp.ids(0, 4, 5, 8)) r;
SELECT id, v FROM t ORDER BY id;
ROLLBACK;
SELECT "offset", status, attempts, sqlstate FROM cdc_sink.dead_letter WHERE "offset" IN (4, 5, 8) ORDER BY 1;
SELECT (SELECT "offset" FROM cdc_sink.dead_letter d WHERE d.id = r.id), r.ok, r.error FROM cdc_sink.retry_dead_letter(pg_temp.ids(8)) r;
-- now a later record of the key was applied, by hand
SELECT (SELECT "offset" FROM cdc_sink.dead_letter d WHERE d.id = r.id), r.ok, r.error FROM cdc_sink.retry_dead_letter(pg_temp.ids(4, 5, 8)) r;
SELECT id, v FROM t ORDER BY id;
SELECT r.ok, r.error FROM cdc_sink.dead_letter d, cdc_sink.retry_dead_letter(ARRAY[d.id]) r WHERE d.topic = 'log';
SELECT * FROM log;
SELECT "offset", status, superseded_by, attempts, resolved_at IS NOT NULL AS closed FROM cdc_sink.dead_letter WHERE topic = 't' ORDER BY "offset";
SELECT * FROM cdc_sink.retry_dead_letter(ARRAY[-1, 0]);
SELECT * FROM cdc_sink.retry_dead_letter('{}');
SELECT * FROM cdc_sink.retry_dead_letter(ARRAY[NULL]::bigint[]);
SELECT * FROM cdc_sink.retry_dead_letter(NULL);

-- a truncate is not retried; one that was applied supersedes what came before it
SELECT cdc_sink.alter_mapping('s', 't', options => '{"on_truncate": "error"}');
SELECT pg_temp.feed('s', pg_temp.ev('t', 15, '9', '"x"'), pg_temp.ev('t', 16, NULL, NULL, 't'));
SELECT "offset", op, sqlstate, superseded_by FROM cdc_sink.dead_letter WHERE "offset" > 14 ORDER BY 1;
SELECT cdc_sink.alter_mapping('s', 't', options => '{"on_truncate": null}');
SELECT ok, error FROM cdc_sink.retry_dead_letter(pg_temp.ids(16));
SELECT pg_temp.feed('s', pg_temp.ev('t', 17, NULL, NULL, 't'));
SELECT "offset", superseded_by FROM cdc_sink.dead_letter WHERE "offset" > 14 ORDER BY 1;

-- retried as the worker would: settings and roles
CREATE ROLE regress_sink_owner;
CREATE ROLE regress_sink_table;
CREATE ROLE regress_sink_other;
GRANT regress_sink_table TO regress_sink_owner;
GRANT USAGE ON FOREIGN SERVER kafka TO regress_sink_owner;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO PUBLIC;
CREATE TABLE d (id int PRIMARY KEY, at date NOT NULL, who text DEFAULT current_user);
ALTER TABLE d OWNER TO regress_sink_table;
ALTER ROLE regress_sink_owner LOGIN;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_sink_owner', current_database()); END $$;
SELECT cdc_sink.create_subscription('o', 'kafka', enabled => false, options => '{"on_error": "dead_letter"}');
SELECT cdc_sink.alter_subscription('o', owner => 'regress_sink_owner');
SELECT cdc_sink.add_mapping('o', 'd', 'd', columns => '{"v": "at"}');
SELECT pg_temp.feed('o', pg_temp.ev('d', 0, '1', '"later"'), pg_temp.ev('d', 1, '2', 'null'));
ALTER TABLE d ALTER at DROP NOT NULL;
SET DateStyle = 'SQL, DMY';
SET ROLE regress_sink_other;
SELECT * FROM cdc_sink.retry_dead_letter(ARRAY(SELECT generate_series(1, 100)));
SELECT cdc_sink.resolve_dead_letter(ARRAY[1], 'mine');
SELECT count(*) FROM cdc_sink.dead_letter;
SELECT cdc_sink.skip_record('o', 'd', 0, 5);
SELECT cdc_sink.purge_dead_letter('0');
RESET ROLE;
SET ROLE regress_sink_owner;
SELECT count(*) FROM cdc_sink.dead_letter;
SELECT (SELECT "offset" FROM cdc_sink.dead_letter d WHERE d.id = r.id), r.ok, r.error FROM cdc_sink.retry_dead_letter(ARRAY(SELECT id FROM cdc_sink.dead_letter)) r;
RESET ROLE;
-- code of the table's owner cannot climb to whoever retries
CREATE FUNCTION climb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.who; NEW.who := current_user; RETURN NEW; END $$;
CREATE TRIGGER climb BEFORE INSERT ON d FOR EACH ROW EXECUTE FUNCTION climb();
ALTER TABLE d ENABLE ALWAYS TRIGGER climb;
UPDATE cdc_sink.dead_letter SET value = convert_to(replace(convert_from(value, 'UTF8'), '"later"', '20000'), 'UTF8') WHERE topic = 'd' AND status = 'open';
ALTER TABLE d ALTER who SET DEFAULT 'RESET ROLE';
SELECT r.ok, r.error FROM cdc_sink.retry_dead_letter(ARRAY(SELECT id FROM cdc_sink.dead_letter WHERE topic = 'd' AND status = 'open')) r;
ALTER TABLE d ALTER who SET DEFAULT 'RESET SESSION AUTHORIZATION';
SELECT r.ok, r.error FROM cdc_sink.retry_dead_letter(ARRAY(SELECT id FROM cdc_sink.dead_letter WHERE topic = 'd' AND status = 'open')) r;
ALTER TABLE d ALTER who SET DEFAULT 'DELETE FROM cdc_sink.dead_letter';
SELECT r.ok, r.error FROM cdc_sink.retry_dead_letter(ARRAY(SELECT id FROM cdc_sink.dead_letter WHERE topic = 'd' AND status = 'open')) r;
ALTER TABLE d ALTER who SET DEFAULT 'SET work_mem = 777';
SELECT r.ok, r.error FROM cdc_sink.retry_dead_letter(ARRAY(SELECT id FROM cdc_sink.dead_letter WHERE topic = 'd' AND status = 'open')) r;
SHOW work_mem;
SELECT current_user = session_user AS same, current_setting('DateStyle') AS datestyle, current_setting('session_replication_role') AS role;
SELECT * FROM d ORDER BY id;
RESET DateStyle;

-- resolve and purge
SELECT cdc_sink.resolve_dead_letter(pg_temp.ids(0, 2), 'not needed');
SELECT cdc_sink.resolve_dead_letter(ARRAY[min(id)], 'again') FROM cdc_sink.dead_letter WHERE status = 'resolved';
SELECT cdc_sink.resolve_dead_letter(NULL, 'none');
SELECT cdc_sink.resolve_dead_letter(ARRAY[-1], NULL);
SELECT "offset", status, note FROM cdc_sink.dead_letter WHERE topic = 't' AND status <> 'open' ORDER BY "offset";
SELECT cdc_sink.purge_dead_letter('1 day');
SELECT cdc_sink.purge_dead_letter('0');
SELECT cdc_sink.purge_dead_letter(NULL);
SELECT DISTINCT status FROM cdc_sink.dead_letter;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE t, log, d;
DROP FUNCTION climb;
DROP OWNED BY regress_sink_owner;
DROP ROLE regress_sink_owner, regress_sink_table, regress_sink_other;
