CREATE TABLE t (
	id int PRIMARY KEY,
	name text UNIQUE,
	n numeric(10,2),
	ts timestamptz
);
INSERT INTO t VALUES (2, 'name7', 1, NULL), (6, 'name8', 1, NULL), (7, 'x', 1, NULL);
