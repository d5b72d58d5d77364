-- What the views say of a subscription that cannot run, or has not run yet.
SET client_min_messages = warning;
CREATE EXTENSION cdc_sink;
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE TABLE target (id int PRIMARY KEY);
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false);
SELECT subscription, server, enabled, pid, state, state_reason, hint, partitions, partitions_stopped, records, dead_letters
FROM cdc_sink.pg_stat_cdc_sink_subscription;

-- a mapping and a position, without a worker
SELECT cdc_sink.add_mapping('s', 'topic', 'target');
INSERT INTO cdc_sink.position (subscription, topic, partition, next_offset) VALUES ('s', 'topic', 3, 42), ('s', 'kept', 0, 1);
SELECT topic, partition, pid, state, state_reason, next_offset, end_offset, lag_records, lag_interval
FROM cdc_sink.pg_stat_cdc_sink_partition ORDER BY topic;
SELECT * FROM cdc_sink.pg_stat_cdc_sink_table;
SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_error;

-- enabled in this transaction: no worker runs before the commit
BEGIN;
SELECT cdc_sink.enable_subscription('s');
SELECT topic, state, state_reason FROM cdc_sink.pg_stat_cdc_sink_partition ORDER BY topic;
SELECT cdc_sink.alter_mapping('s', 'topic', options => '{"enabled": "off"}');
SELECT topic, state, state_reason FROM cdc_sink.pg_stat_cdc_sink_partition ORDER BY topic;
SELECT cdc_sink.remove_mapping('s', 'topic', keep_position => true);
SELECT state, state_reason, hint FROM cdc_sink.pg_stat_cdc_sink_subscription;
ROLLBACK;

-- a copy of the row in another place is disabled there
UPDATE cdc_sink.subscription SET enabled = true, database = 1;
SELECT enabled, state, state_reason, hint FROM cdc_sink.pg_stat_cdc_sink_subscription;
SELECT topic, state, state_reason FROM cdc_sink.pg_stat_cdc_sink_partition ORDER BY topic;

DROP EXTENSION cdc_sink CASCADE;
DROP TABLE target;
