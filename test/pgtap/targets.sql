-- Which relations add_mapping takes, and for whom.
BEGIN;
CREATE EXTENSION cdc_sink;
SELECT no_plan();
SET client_min_messages = error;

CREATE ROLE tap_owner;
CREATE ROLE tap_tables;
CREATE ROLE tap_other;
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
GRANT USAGE ON FOREIGN SERVER kafka TO tap_owner, tap_other;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO tap_owner, tap_other', current_database()); END $$;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO tap_owner, tap_other;
CREATE SCHEMA app;
GRANT ALL ON SCHEMA app TO PUBLIC;

SET LOCAL ROLE tap_tables;
CREATE TABLE app.plain (id int PRIMARY KEY);
CREATE TABLE app.parted (id int PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE app.keyless (id int);
CREATE TABLE app.deferrable_key (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE app.deferrable_unique (id int PRIMARY KEY, n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE app.ruled (id int PRIMARY KEY);
CREATE RULE r AS ON INSERT TO app.ruled DO ALSO NOTHING;
CREATE TABLE app.secured (id int PRIMARY KEY);
ALTER TABLE app.secured ENABLE ROW LEVEL SECURITY;
CREATE TABLE app.forced (id int PRIMARY KEY);
ALTER TABLE app.forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE UNLOGGED TABLE app.unlogged (id int PRIMARY KEY);
CREATE VIEW app.view AS SELECT 1 AS id;
CREATE MATERIALIZED VIEW app.matview AS SELECT 1 AS id;
CREATE SEQUENCE app.sequence;
CREATE TABLE app."Odd ""name" ("Id" int PRIMARY KEY);
RESET ROLE;
CREATE TEMP TABLE temporary (id int PRIMARY KEY);

SET LOCAL ROLE tap_owner;
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false);
RESET ROLE;

-- one who cannot SET ROLE to the owner of the table
SET LOCAL ROLE tap_owner;
SELECT throws_ok($$SELECT cdc_sink.add_mapping('s', 'a', 'app.plain')$$, '42501', NULL, 'the owner must be able to SET ROLE to the table''s owner');
SELECT lives_ok($$SELECT cdc_sink.alter_subscription('s', options => '{"run_as_owner": true}')$$);
SELECT lives_ok($$SELECT cdc_sink.add_mapping('s', 'a', 'app.plain')$$, 'not with run_as_owner');
SELECT throws_ok($$SELECT cdc_sink.add_mapping('s', 'b', 'app.secured')$$, '0A000', NULL, 'row security binds another role');
SELECT lives_ok($$SELECT cdc_sink.alter_subscription('s', options => '{"run_as_owner": null}')$$);
SELECT lives_ok($$SELECT cdc_sink.remove_mapping('s', 'a')$$);
RESET ROLE;
GRANT tap_tables TO tap_owner;

SET LOCAL ROLE tap_owner;
SELECT lives_ok(format($$SELECT cdc_sink.add_mapping('s', %L, %L)$$, 'topic_' || n, r), r || ' is taken')
	FROM unnest(ARRAY['app.plain', 'app.parted', 'app.keyless', 'app.deferrable_unique', 'app.secured', 'app.unlogged', 'app."Odd ""name"'])
		WITH ORDINALITY AS t (r, n);
SELECT is(relation_name, 'app."Odd ""name"', 'the name is stored quoted') FROM cdc_sink.mapping WHERE topic = 'topic_7';
SELECT throws_ok(format($$SELECT cdc_sink.add_mapping('s', 'x', %L)$$, r), state, NULL, r || ' is refused')
	FROM (VALUES ('app.view', '42809'), ('app.matview', '42809'), ('app.sequence', '42809'), ('temporary', '42809'),
		('pg_catalog.pg_class', '42809'), ('information_schema.sql_features', '42809'), ('cdc_sink.position', '42809'), ('app.ruled', '0A000'),
		('app.forced', '0A000'), ('app.deferrable_key', '55000')) AS v (r, state);
RESET ROLE;

-- others
SET LOCAL ROLE tap_other;
SELECT throws_ok(call, '42501', NULL, 'who is no member of the owner cannot ' || call) FROM (VALUES
	($$SELECT cdc_sink.add_mapping('s', 'y', 'app.plain')$$),
	($$SELECT cdc_sink.alter_mapping('s', 'topic_1', columns => '{}')$$),
	($$SELECT cdc_sink.remove_mapping('s', 'topic_1')$$),
	($$SELECT cdc_sink.alter_subscription('s', new_name => 'mine')$$),
	($$SELECT cdc_sink.enable_subscription('s')$$),
	($$SELECT cdc_sink.disable_subscription('s')$$),
	($$SELECT cdc_sink.drop_subscription('s')$$),
	($$SELECT cdc_sink.drop_subscription('s', true)$$),
	($$SELECT cdc_sink.set_position('s', NULL, NULL, 'earliest')$$),
	($$SELECT cdc_sink.wait_for_catchup('s', '0')$$),
	($$SELECT cdc_sink.wait_for_offset('s', 'topic_1', 0, 0, '0')$$),
	($$SELECT cdc_sink.reset_stats('s')$$)) AS v (call);
RESET ROLE;

-- creating
SET LOCAL ROLE tap_tables;
SELECT throws_ok($$SELECT cdc_sink.create_subscription('z', 'kafka', enabled => false)$$, '42501', NULL, 'creating needs EXECUTE');
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER kafka FROM tap_other;
SET LOCAL ROLE tap_other;
SELECT throws_ok($$SELECT cdc_sink.create_subscription('z', 'kafka', enabled => false)$$, '42501', NULL, 'creating needs USAGE on the server');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER kafka TO tap_other;
DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM tap_other', current_database()); END $$;
SET LOCAL ROLE tap_other;
SELECT throws_ok($$SELECT cdc_sink.create_subscription('z', 'kafka', enabled => false)$$, '42501', NULL, 'creating needs CREATE on the database');
RESET ROLE;

-- changing the owner asks both sides
SET LOCAL ROLE tap_owner;
SELECT throws_ok($$SELECT cdc_sink.alter_subscription('s', owner => 'tap_other')$$, '42501', NULL, 'giving away needs SET ROLE to the new owner');
RESET ROLE;
SELECT throws_ok($$SELECT cdc_sink.alter_subscription('s', owner => 'tap_other')$$, '42501', NULL, 'the new owner needs CREATE on the database');
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO tap_other', current_database()); END $$;
SELECT throws_ok($$SELECT cdc_sink.alter_subscription('s', owner => 'tap_other')$$, '42501', NULL, 'the new owner must be able to SET ROLE to the tables'' owner');
GRANT tap_tables TO tap_other;
SELECT lives_ok($$SELECT cdc_sink.alter_subscription('s', owner => 'tap_other')$$, 'with all of it a superuser can give it away');
SELECT is(owner, 'tap_other'::regrole, 'the subscription has its new owner') FROM cdc_sink.subscription;

-- hostile search_path: nothing of the caller's is run as the extension's owner
CREATE SCHEMA trap;
CREATE FUNCTION trap.eq(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.eq);
SET LOCAL search_path = trap, public, pg_catalog;
SELECT lives_ok($$SELECT cdc_sink.alter_subscription('s', new_name => 's2')$$, 'operators in the caller''s search_path are not used');

SELECT * FROM finish();
ROLLBACK;
