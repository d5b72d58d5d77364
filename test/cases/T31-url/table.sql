CREATE TYPE pair AS (a int, b text);
CREATE TABLE t (
	id int PRIMARY KEY,
	co pair,
	mr int4multirange,
	ls pg_lsn,
	xi xid8,
	tq tsquery,
	jp jsonpath,
	rc regclass,
	sn txid_snapshot
);
