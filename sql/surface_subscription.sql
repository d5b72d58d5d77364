-- Life of a subscription, as rows and messages; no broker is needed, for the
-- server is named by an address that nobody listens on.
\set VERBOSITY default
CREATE EXTENSION cdc_sink;
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE ROLE surface_owner LOGIN;
CREATE ROLE surface_second LOGIN;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO surface_owner, surface_second;

-- what a plain role lacks, told one by one
SET ROLE surface_owner;
SELECT cdc_sink.create_subscription('orders', 'kafka', enabled => false);
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER kafka TO surface_owner;
SET ROLE surface_owner;
SELECT cdc_sink.create_subscription('orders', 'kafka', enabled => false);
RESET ROLE;
GRANT CREATE ON DATABASE contrib_regression TO surface_owner;
SET ROLE surface_owner;
SELECT cdc_sink.create_subscription('orders', 'kafka', enabled => false,
	source => '{"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "database.password": "hunter2", "decimal.handling.mode": "string"}',
	options => '{"batch_rows": "100", "on_delete": "ignore", "max_errors": null}');
SELECT subscription, owner, server, enabled, start_position, source, options, resume_count
FROM cdc_sink.subscription;

-- a superuser may own one, and is told that it takes none
RESET ROLE;
SELECT cdc_sink.create_subscription('admins', 'kafka', enabled => false);
-- a time-stamp is stored with its zone
SET TimeZone = 'Asia/Tokyo';
SELECT cdc_sink.create_subscription('since', 'kafka', '2026-01-02 03:04:05', false);
SELECT start_position::timestamptz = '2026-01-01 18:04:05+00' AS same_instant FROM cdc_sink.subscription WHERE subscription = 'since';
RESET TimeZone;

-- alter merges, null resets
SELECT cdc_sink.alter_subscription('orders', options => '{"batch_rows": null, "batch_bytes": 1048576}', source => '{"decimal.handling.mode": null, "time.precision.mode": "connect"}');
SELECT source, options FROM cdc_sink.subscription WHERE subscription = 'orders';
-- an option is checked together with those that are stored
SELECT cdc_sink.alter_subscription('orders', options => '{"retry_backoff_max_ms": 50}');
SELECT cdc_sink.alter_subscription('orders', options => '{"retry_backoff_ms": 20, "retry_backoff_max_ms": 50}');
SELECT cdc_sink.alter_subscription('orders', options => '{"retry_backoff_ms": null}');

-- a rename takes everything along, whatever session_replication_role is
CREATE TABLE orders (id int PRIMARY KEY);
ALTER TABLE orders OWNER TO surface_owner;
SELECT cdc_sink.add_mapping('orders', 'shop.public.orders', 'orders');
INSERT INTO cdc_sink.position (subscription, topic, partition, next_offset) VALUES ('orders', 'shop.public.orders', 0, 7);
SET session_replication_role = replica;
SELECT cdc_sink.alter_subscription('orders', new_name => 'purchases');
RESET session_replication_role;
SELECT 'mapping' AS tab, subscription FROM cdc_sink.mapping
UNION ALL SELECT 'position', subscription FROM cdc_sink.position;
SELECT cdc_sink.alter_subscription('purchases', new_name => 'admins');

-- a new owner
SELECT cdc_sink.alter_subscription('purchases', owner => 'surface_second');
GRANT CREATE ON DATABASE contrib_regression TO surface_second;
GRANT USAGE ON FOREIGN SERVER kafka TO surface_second;
SELECT cdc_sink.alter_subscription('purchases', owner => 'surface_second');
GRANT surface_owner TO surface_second;
SELECT cdc_sink.alter_subscription('purchases', owner => 'surface_second');

-- others see nothing and may nothing
SET ROLE surface_owner;
SELECT subscription FROM cdc_sink.subscription;
SELECT cdc_sink.drop_subscription('purchases');
RESET ROLE;

-- what a worker could not connect as cannot be enabled
REVOKE CONNECT ON DATABASE contrib_regression FROM PUBLIC;
SELECT cdc_sink.enable_subscription('purchases');
GRANT CONNECT ON DATABASE contrib_regression TO PUBLIC;
REVOKE USAGE ON FOREIGN SERVER kafka FROM surface_second, surface_owner;
SELECT cdc_sink.enable_subscription('purchases');
GRANT USAGE ON FOREIGN SERVER kafka TO surface_second;

-- enabling in a transaction that rolls back changes nothing
BEGIN;
SELECT cdc_sink.enable_subscription('purchases');
SELECT enabled, resume_count FROM cdc_sink.subscription WHERE subscription = 'purchases';
ROLLBACK;
SELECT enabled, resume_count FROM cdc_sink.subscription WHERE subscription = 'purchases';
-- disabling one that is disabled is no error
SELECT cdc_sink.disable_subscription('purchases');

-- drop takes everything along, whatever session_replication_role is
SET session_replication_role = replica;
SELECT cdc_sink.drop_subscription('purchases');
RESET session_replication_role;
SELECT count(*) AS mappings FROM cdc_sink.mapping;
SELECT count(*) AS positions FROM cdc_sink.position;
SELECT cdc_sink.drop_subscription('purchases');
SELECT cdc_sink.drop_subscription('purchases', if_exists => true);

-- DROP EXTENSION takes the schema
SET client_min_messages = warning;
DROP EXTENSION cdc_sink CASCADE;
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname = 'cdc_sink';
DROP TABLE orders;
REVOKE ALL ON DATABASE contrib_regression FROM surface_owner, surface_second;
DROP ROLE surface_second;
DROP ROLE surface_owner;
