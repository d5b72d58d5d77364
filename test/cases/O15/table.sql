CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	n numeric(10,2),
	ts timestamptz
);
INSERT INTO t VALUES (2, 'stale', 1, NULL);
