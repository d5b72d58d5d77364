-- Who sees which rows, and what of them.
BEGIN;
CREATE EXTENSION cdc_sink;
SELECT no_plan();

CREATE ROLE tap_alice;
CREATE ROLE tap_bob;
CREATE ROLE tap_member IN ROLE tap_alice;
CREATE ROLE tap_monitor IN ROLE pg_read_all_stats;
GRANT ALL ON SCHEMA public TO PUBLIC;
CREATE TABLE target (id int PRIMARY KEY);
INSERT INTO cdc_sink.subscription (subscription, owner, server, enabled, start_position, source, options, system_identifier, database)
	SELECT s, o, 'kafka', true, 'earliest', '{}', '{}', c.system_identifier, d.oid
	FROM (VALUES ('alices', 'tap_alice'::regrole), ('bobs', 'tap_bob')) AS v (s, o), pg_control_system() AS c, pg_database AS d
	WHERE d.datname = current_database();
INSERT INTO cdc_sink.mapping (subscription, topic, relation, relation_name, columns, options)
	SELECT s, 'topic', 'target', 'public.target', '{}', '{}' FROM (VALUES ('alices'), ('bobs')) AS v (s);
INSERT INTO cdc_sink.position (subscription, topic, partition, next_offset)
	SELECT s, 'topic', 0, 42 FROM (VALUES ('alices'), ('bobs')) AS v (s);
INSERT INTO cdc_sink.dead_letter (subscription, topic, partition, "offset", value)
	SELECT s, 'topic', 0, 41, 'secret' FROM (VALUES ('alices'), ('bobs')) AS v (s);
INSERT INTO cdc_sink.moved_row (subscription, relation, old_key, new_key, "row")
	SELECT s, 'target', '{}', '{}', '{}' FROM (VALUES ('alices'), ('bobs')) AS v (s);

CREATE FUNCTION sees() RETURNS TABLE (tab text, sub text) LANGUAGE sql AS $$
	SELECT 'subscription', subscription::text FROM cdc_sink.subscription
	UNION ALL SELECT 'mapping', subscription FROM cdc_sink.mapping
	UNION ALL SELECT 'position', subscription FROM cdc_sink.position
	UNION ALL SELECT 'dead_letter', subscription FROM cdc_sink.dead_letter
	UNION ALL SELECT 'moved_row', subscription FROM cdc_sink.moved_row
$$;

SELECT is(count(*), 10::bigint, 'a superuser sees all rows') FROM sees();
SET LOCAL ROLE tap_alice;
SELECT results_eq('SELECT sub COLLATE "default", count(*) FROM sees() GROUP BY 1', $$ VALUES ('alices', 5::bigint) $$, 'an owner sees her rows in all five tables');
SELECT throws_ok('UPDATE cdc_sink.position SET next_offset = 0', '42501', NULL, 'an owner cannot write positions');
SELECT throws_ok('DELETE FROM cdc_sink.dead_letter', '42501', NULL, 'an owner cannot delete dead letters');
SET LOCAL ROLE tap_member;
SELECT results_eq('SELECT sub COLLATE "default", count(*) FROM sees() GROUP BY 1', $$ VALUES ('alices', 5::bigint) $$, 'a member of the owner sees them too');
SET LOCAL ROLE tap_monitor;
SELECT is_empty('SELECT * FROM sees()', 'a monitoring role sees no row of the tables');
SELECT results_eq('SELECT subscription::text COLLATE "default", partitions FROM cdc_sink.pg_stat_cdc_sink_subscription ORDER BY 1',
	$$ VALUES ('alices', 1::bigint), ('bobs', 1::bigint) $$, 'but all rows of the views');
SET LOCAL ROLE tap_bob;
SELECT results_eq('SELECT subscription::text COLLATE "default", next_offset FROM cdc_sink.pg_stat_cdc_sink_partition ORDER BY 1',
	$$ VALUES ('alices', 42::bigint), ('bobs', 42::bigint) $$, 'everybody sees all counters');
SELECT results_eq('SELECT subscription::text COLLATE "default", relation FROM cdc_sink.pg_stat_cdc_sink_table ORDER BY 1',
	$$ VALUES ('alices', 'target'::regclass), ('bobs', 'target'::regclass) $$, 'and all mapped relations');
SELECT throws_ok('INSERT INTO cdc_sink.pg_stat_cdc_sink_error DEFAULT VALUES', '55000', NULL::text, 'views cannot be written');
RESET ROLE;

-- where a subscription is not at home it counts as disabled
UPDATE cdc_sink.subscription SET database = 1 WHERE subscription = 'alices';
SELECT results_eq($$ SELECT state, state_reason, enabled FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'alices' $$,
	$$ VALUES ('disabled', 'restored', true) $$, 'a subscription of another database is disabled, reason restored');
UPDATE cdc_sink.subscription SET system_identifier = 1 WHERE subscription = 'bobs';
SELECT results_eq($$ SELECT state, state_reason FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = 'bobs' $$,
	$$ VALUES ('disabled', 'restored') $$, 'so is one of another cluster, with its partitions');

SELECT * FROM finish();
ROLLBACK;
