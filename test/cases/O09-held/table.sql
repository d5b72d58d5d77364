CREATE TABLE t (
	id int PRIMARY KEY,
	name text UNIQUE,
	n numeric(10,2),
	ts timestamptz
);
INSERT INTO t VALUES (3, 'three', 1, NULL);
