#!/bin/bash
# First start of the read side: the table, and the subscription of a role without any further rights. The worker starts with the
# server and waits for the broker and the topic.
set -eu
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE EXTENSION cdc_sink;
CREATE ROLE sink LOGIN;
GRANT CREATE ON DATABASE shop TO sink;
GRANT CREATE ON SCHEMA public TO sink;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO sink;
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" 'kafka:9092');
GRANT USAGE ON FOREIGN SERVER kafka TO sink;
SET SESSION AUTHORIZATION sink;
CREATE TABLE public.customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    email text,
    balance numeric(12,2) NOT NULL DEFAULT 0
);
SELECT cdc_sink.create_subscription('shop', 'kafka');
SELECT cdc_sink.add_mapping('shop', 'shop.public.customers', 'public.customers');
SQL
