CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	n numeric(10,2),
	ts timestamptz
);
INSERT INTO t VALUES (1, 'long text', 99.99, '2001-01-01 00:00:00+00'), (2, 'other', 1, NULL);
