-- Wrong arguments raise errors with the SQLSTATE that the comments promise.
BEGIN;
CREATE EXTENSION cdc_sink;
SELECT no_plan();
SET client_min_messages = warning;

CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER other FOREIGN DATA WRAPPER other;
CREATE TABLE target (id int PRIMARY KEY, a text);
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false);
SELECT cdc_sink.add_mapping('s', 'mapped', 'target');
SELECT cdc_sink.add_mapping('s', 'several', 'target', 'public.a');

-- calls, SQLSTATE, what is wrong
CREATE TEMP TABLE wrong (call text, state text, why text);
INSERT INTO wrong VALUES
	($$SELECT cdc_sink.create_subscription(NULL, 'kafka')$$, '22004', 'create: NULL name'),
	($$SELECT cdc_sink.create_subscription('x', NULL)$$, '22004', 'create: NULL server'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', NULL)$$, '22004', 'create: NULL start_position'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', enabled => NULL)$$, '22004', 'create: NULL enabled'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', source => NULL)$$, '22004', 'create: NULL source'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => NULL)$$, '22004', 'create: NULL options'),
	($$SELECT cdc_sink.create_subscription('', 'kafka')$$, '22023', 'create: empty name'),
	($$SELECT cdc_sink.create_subscription('s', 'kafka')$$, '42710', 'create: name is taken'),
	($$SELECT cdc_sink.create_subscription('x', 'absent')$$, '42704', 'create: no such server'),
	($$SELECT cdc_sink.create_subscription('x', 'other')$$, '42809', 'create: server of another wrapper'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', 'tomorrow')$$, '22023', 'create: start_position is no place'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', '2024-02-31')$$, '22008', 'create: start_position is no date'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', source => '[]')$$, '22023', 'create: source is no object'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', source => '{"decimal.handling.mode": "x"}')$$, '22023', 'create: unknown decimal mode'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '"a"')$$, '22023', 'create: options are no object'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"nope": 1}')$$, '22023', 'options: unknown name'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"nope": null}')$$, '22023', 'options: unknown name with null'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"plugin.library.paths": "/x"}')$$, '22023', 'options: refused property'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"bootstrap.servers": "x"}')$$, '22023', 'options: property of the server'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"mode": "append"}')$$, '22023', 'options: option of a mapping'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"batch_rows": 0}')$$, '22023', 'options: number below its range'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"batch_rows": 1000001}')$$, '22023', 'options: number above its range'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"batch_rows": "1e"}')$$, '22023', 'options: no number'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"batch_rows": 2.5}')$$, '22023', 'options: no whole number'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"batch_rows": 99999999999999999999}')$$, '22023', 'options: number that overflows'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"batch_rows": [1]}')$$, '22023', 'options: array for a number'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"run_as_owner": "maybe"}')$$, '22023', 'options: no boolean'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"on_truncate": "Apply"}')$$, '22023', 'options: no such word'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"retry_backoff_ms": 9}')$$, '22023', 'options: delay below 10 ms'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"retry_backoff_ms": 200, "retry_backoff_max_ms": 100}')$$, '22023', 'options: longest delay below the first'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"workers": 65}')$$, '22023', 'options: more workers than 64'),
	($$SELECT cdc_sink.create_subscription('x', 'kafka', options => '{"dead_letter_topic": "no topic"}')$$, '22023', 'options: dead_letter_topic that no topic can be called'),
	($$SELECT cdc_sink.alter_subscription('s', options => '{"dead_letter_topic": "mapped"}')$$, '22023', 'alter: dead_letter_topic that is mapped'),
	(format('SELECT cdc_sink.create_subscription(''x'', ''kafka'', options => %L)', jsonb_build_object('consumer_group', repeat('g', 256))), '22023', 'options: consumer_group of 256 bytes'),
	($$SELECT cdc_sink.alter_subscription(NULL)$$, '22004', 'alter: NULL name'),
	($$SELECT cdc_sink.alter_subscription('absent')$$, '42704', 'alter: no such subscription'),
	($$SELECT cdc_sink.alter_subscription('s', server => 'absent')$$, '42704', 'alter: no such server'),
	($$SELECT cdc_sink.alter_subscription('s', new_name => '')$$, '22023', 'alter: empty name'),
	($$SELECT cdc_sink.alter_subscription('s', owner => 0)$$, '42704', 'alter: no such role'),
	($$SELECT cdc_sink.alter_subscription('s', options => '{"workers": 0}')$$, '22023', 'alter: no worker'),
	($$SELECT cdc_sink.enable_subscription('absent')$$, '42704', 'enable: no such subscription'),
	($$SELECT cdc_sink.enable_subscription(NULL)$$, '22004', 'enable: NULL name'),
	($$SELECT cdc_sink.disable_subscription('absent')$$, '42704', 'disable: no such subscription'),
	($$SELECT cdc_sink.disable_subscription('s', NULL)$$, '22004', 'disable: NULL wait'),
	($$SELECT cdc_sink.drop_subscription('absent')$$, '42704', 'drop: no such subscription'),
	($$SELECT cdc_sink.drop_subscription('s', NULL)$$, '22004', 'drop: NULL if_exists'),
	($$SELECT cdc_sink.add_mapping('absent', 't', 'target')$$, '42704', 'add_mapping: no such subscription'),
	($$SELECT cdc_sink.add_mapping('s', NULL, 'target')$$, '22004', 'add_mapping: NULL topic'),
	($$SELECT cdc_sink.add_mapping('s', 't', NULL)$$, '22004', 'add_mapping: NULL relation'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', columns => NULL)$$, '22004', 'add_mapping: NULL columns'),
	($$SELECT cdc_sink.add_mapping('s', '', 'target')$$, '22023', 'add_mapping: empty topic'),
	($$SELECT cdc_sink.add_mapping('s', 'a topic', 'target')$$, '22023', 'add_mapping: topic with a space'),
	($$SELECT cdc_sink.add_mapping('s', repeat('t', 250), 'target')$$, '22023', 'add_mapping: topic of 250 letters'),
	($$SELECT cdc_sink.add_mapping('s', 'mapped', 'target')$$, '42710', 'add_mapping: topic is mapped'),
	($$SELECT cdc_sink.add_mapping('s', 'mapped', 'target', 'public.a')$$, '42710', 'add_mapping: single table of a topic that is mapped'),
	($$SELECT cdc_sink.add_mapping('s', 'several', 'target')$$, '42710', 'add_mapping: all of a topic with single tables'),
	($$SELECT cdc_sink.add_mapping('s', 'several', 'target', 'public.a')$$, '42710', 'add_mapping: single table is mapped'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', 'nodot')$$, '22023', 'add_mapping: source_table without schema'),
	($$SELECT cdc_sink.add_mapping('s', 't', 4294967295::oid::regclass)$$, '42P01', 'add_mapping: no such relation'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', columns => '[]')$$, '22023', 'add_mapping: columns are no object'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', columns => '{"a": 1}')$$, '22023', 'add_mapping: column is no name'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', columns => '{"a": ""}')$$, '22023', 'add_mapping: column is empty'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', options => '{"batch_rows": 1}')$$, '22023', 'add_mapping: option of a subscription'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', options => '{"fetch.min.bytes": 1}')$$, '22023', 'add_mapping: property'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', options => '{"key_columns": ["nope"]}')$$, '42703', 'add_mapping: no such key column'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', options => '{"key_columns": []}')$$, '22023', 'add_mapping: no key column'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', options => '{"key_columns": "id"}')$$, '22023', 'add_mapping: key_columns is no array'),
	($$SELECT cdc_sink.add_mapping('s', 't', 'target', options => '{"key_columns": ["id", "id"]}')$$, '22023', 'add_mapping: key column twice'),
	(format('SELECT cdc_sink.add_mapping(''s'', ''t'', ''target'', options => %L)', (SELECT jsonb_build_object('key_columns', jsonb_agg('c' || i)) FROM generate_series(1, 33) i)), '22023', 'add_mapping: 33 key columns'),
	($$SELECT cdc_sink.add_mapping('s', 'several', 'target', 'public.b', options => '{"enabled": false}')$$, '55000', 'add_mapping: one of several is disabled'),
	($$SELECT cdc_sink.alter_mapping('s', 'absent')$$, '42704', 'alter_mapping: topic is not mapped'),
	($$SELECT cdc_sink.alter_mapping('s', 'several')$$, '42704', 'alter_mapping: topic has single tables'),
	($$SELECT cdc_sink.alter_mapping('s', 'several', 'public.b')$$, '42704', 'alter_mapping: no such single table'),
	($$SELECT cdc_sink.alter_mapping('s', 'mapped', options => '{"key_columns": ["nope"]}')$$, '42703', 'alter_mapping: no such key column'),
	($$SELECT cdc_sink.remove_mapping('s', 'absent')$$, '42704', 'remove_mapping: topic is not mapped'),
	($$SELECT cdc_sink.remove_mapping('s', 'mapped', keep_position => NULL)$$, '22004', 'remove_mapping: NULL keep_position'),
	($$SELECT cdc_sink.skip_record('absent', 't', 0, 0)$$, '42704', 'skip_record: no such subscription'),
	($$SELECT cdc_sink.skip_record('s', 'mapped', 0, 0)$$, '42704', 'skip_record: no position'),
	($$SELECT cdc_sink.skip_record('s', 'mapped', 0, -1)$$, '22023', 'skip_record: negative offset'),
	($$SELECT cdc_sink.skip_record('s', 'mapped', NULL, 0)$$, '22004', 'skip_record: NULL partition'),
	($$SELECT cdc_sink.retry_dead_letter(NULL)$$, '22004', 'retry_dead_letter: NULL'),
	($$SELECT cdc_sink.resolve_dead_letter(NULL, 'x')$$, '22004', 'resolve_dead_letter: NULL'),
	($$SELECT cdc_sink.resolve_dead_letter('{-1}', 'x')$$, '42704', 'resolve_dead_letter: no such dead letter'),
	($$SELECT cdc_sink.purge_dead_letter(NULL)$$, '22004', 'purge_dead_letter: NULL'),
	($$SELECT cdc_sink.set_position('absent', NULL, NULL, 'earliest')$$, '42704', 'set_position: no such subscription'),
	($$SELECT cdc_sink.set_position('s', NULL, NULL, NULL)$$, '22004', 'set_position: NULL position'),
	($$SELECT cdc_sink.set_position('s', NULL, NULL, 'nowhere')$$, '22023', 'set_position: no place'),
	($$SELECT cdc_sink.set_position('s', 'absent', NULL, 'earliest')$$, '42704', 'set_position: topic is not mapped'),
	($$SELECT cdc_sink.set_position('s', 'mapped', -1, 'earliest')$$, '22023', 'set_position: a negative partition is not all of them'),
	($$CREATE SERVER x FOREIGN DATA WRAPPER cdc_sink OPTIONS ("plugin.library.paths" 'x')$$, 'HV00D', 'server: refused option');

SELECT throws_ok(call, state, NULL, why) FROM wrong;

-- what is right
SELECT lives_ok($$SELECT cdc_sink.create_subscription('ok', 'kafka', enabled => false, options => '{"batch_rows": "7", "run_as_owner": "on", "batch_bytes": 2048, "on_delete": "ignore", "fetch.min.bytes": 10, "workers": 1, "max_errors": null}')$$,
	'numbers and booleans may be text, null means the default');
SELECT is(options, '{"batch_rows": "7", "run_as_owner": "on", "batch_bytes": 2048, "on_delete": "ignore", "fetch.min.bytes": 10, "workers": 1}'::jsonb,
	'options are stored without nulls') FROM cdc_sink.subscription WHERE subscription = 'ok';
SELECT lives_ok($$SELECT cdc_sink.alter_subscription('ok', options => '{"batch_rows": null, "batch_bytes": 4096}')$$, 'alter merges options');
SELECT is(options - 'fetch.min.bytes' - 'workers', '{"run_as_owner": "on", "batch_bytes": 4096, "on_delete": "ignore"}'::jsonb,
	'a null resets one, the others stay') FROM cdc_sink.subscription WHERE subscription = 'ok';
SELECT lives_ok($$SELECT cdc_sink.alter_subscription('ok', source => '{"name": "c", "config": {"database.password": "hunter2", "time.precision.mode": "connect", "tasks.max": 1, "transforms": "unwrap"}}')$$,
	'a whole connector configuration may be pasted');
SELECT ok(source ? 'time.precision.mode' AND source::text !~ 'hunter2|tasks', 'only what decides how values are encoded is stored')
	FROM cdc_sink.subscription WHERE subscription = 'ok';
SELECT lives_ok($$SELECT cdc_sink.alter_subscription('ok', source => '{"time.precision.mode": null}')$$, 'alter merges source');
SELECT ok(NOT source ? 'time.precision.mode', 'a null resets a setting') FROM cdc_sink.subscription WHERE subscription = 'ok';
SELECT lives_ok($$SELECT cdc_sink.drop_subscription('absent', if_exists => true)$$, 'drop if_exists passes over an absent one');

SELECT * FROM finish();
ROLLBACK;
