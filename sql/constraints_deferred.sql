-- Deferrable constraints with session_replication_role origin: checked as rows are applied, by a batch and by retry_dead_letter.
SET client_min_messages = warning;
CREATE EXTENSION cdc_sink;
CREATE FUNCTION pg_temp.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
CREATE FUNCTION pg_temp.ev(tab text, off bigint, id int, v text) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('topic', 't', 'offset', off, 'key', format('{"id":%s}', id),
		'value', format('{"before":null,"after":{"id":%s,"v":%s},"op":"c","ts_ms":1,"source":{"connector":"postgresql","schema":"public","table":"%s"}}', id, v, tab))::text || E'\n'
$$;
CREATE FUNCTION pg_temp.feed(sub name, VARIADIC events text[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', f.next_offset, f.state, f.state_reason, f.sqlstate, f.message), ', ')
	FROM pg_temp.cdc_test_feed(sub, array_to_string(events, '')) f WHERE f.topic IS NOT NULL
$$;
CREATE FUNCTION pg_temp.retry() RETURNS TABLE ("offset" bigint, ok bool, error text) LANGUAGE sql AS $$
	SELECT (SELECT d."offset" FROM cdc_sink.dead_letter d WHERE d.id = r.id), r.ok, r.error
	FROM cdc_sink.retry_dead_letter(ARRAY(SELECT d.id FROM cdc_sink.dead_letter d WHERE d.status = 'open')) r
$$;
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false, options => '{"session_replication_role": "origin"}');
SELECT cdc_sink.create_subscription('d', 'kafka', enabled => false, options => '{"session_replication_role": "origin", "on_error": "dead_letter"}');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, v int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE parted (id int PRIMARY KEY, v int REFERENCES parent DEFERRABLE INITIALLY DEFERRED) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE elsewhere (id int PRIMARY KEY, v int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);

-- a trigger that defers constraints, and a table of another owner in the same batch
CREATE ROLE regress_defers;
CREATE TABLE defers (id int PRIMARY KEY, v int);
CREATE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$;
CREATE TRIGGER defer BEFORE INSERT ON defers FOR EACH ROW EXECUTE FUNCTION defer();
ALTER TABLE defers OWNER TO regress_defers;
SELECT cdc_sink.add_mapping('s', 't', 'defers', 'public.defers');
SELECT cdc_sink.add_mapping('s', 't', 'child', 'public.child');
INSERT INTO parent VALUES (1);
SELECT pg_temp.feed('s', pg_temp.ev('defers', 0, 1, '1'), pg_temp.ev('child', 1, 1, '1'), pg_temp.ev('child', 2, 2, '1'));
SELECT * FROM child ORDER BY id;
SELECT cdc_sink.remove_mapping('s', 't', 'public.child');

-- a letter of a table with a deferred foreign key is retried, also of a partitioned one
SELECT cdc_sink.add_mapping('d', 't', 'child', 'public.child');
SELECT cdc_sink.add_mapping('d', 't', 'parted', 'public.parted');
SELECT pg_temp.feed('d', pg_temp.ev('child', 0, 10, '10'), pg_temp.ev('parted', 1, 11, '10'));
SELECT "offset", sqlstate FROM cdc_sink.dead_letter ORDER BY 1;
SELECT "offset", ok FROM pg_temp.retry();
INSERT INTO parent VALUES (10);
SELECT * FROM pg_temp.retry();
SELECT * FROM child WHERE id = 10 UNION ALL SELECT * FROM parted;

-- what the caller has put off is neither run early nor lost: of other tables, and of the same one
SELECT pg_temp.feed('d', pg_temp.ev('child', 2, 20, '20'));
INSERT INTO parent VALUES (20);
BEGIN;
INSERT INTO child VALUES (30, 30);
SELECT * FROM pg_temp.retry();
INSERT INTO parent VALUES (30);
COMMIT;
BEGIN;
INSERT INTO elsewhere VALUES (1, 40);
SELECT * FROM pg_temp.retry();
INSERT INTO parent VALUES (40);
COMMIT;
SELECT pg_temp.feed('d', pg_temp.ev('parted', 3, 50, '50'));
INSERT INTO parent VALUES (50);
BEGIN;
INSERT INTO elsewhere VALUES (2, 60);
SELECT * FROM pg_temp.retry();
COMMIT;
SELECT "offset", status FROM cdc_sink.dead_letter ORDER BY 1;
SELECT id, v FROM child UNION ALL SELECT id, v FROM parted UNION ALL SELECT id, v FROM elsewhere ORDER BY 1;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE defers, child, parted, elsewhere, parent;
DROP FUNCTION defer;
DROP ROLE regress_defers;
