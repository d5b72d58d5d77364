#!/bin/bash
# First start of the writer: what Debezium reads, and the role it reads as.
set -eu
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE TABLE public.customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    email text,
    balance numeric(12,2) NOT NULL DEFAULT 0
);
\set password `cat /run/secrets/debezium_password`
CREATE ROLE debezium LOGIN REPLICATION PASSWORD :'password';
GRANT SELECT ON public.customers TO debezium;
CREATE PUBLICATION debezium FOR TABLE public.customers;
SQL
