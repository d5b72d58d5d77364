CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	n numeric(10,2),
	ts timestamptz
);
INSERT INTO t VALUES (1, 'old', 99.99, NULL), (2, 'older', 1, NULL);
