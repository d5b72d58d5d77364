CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	n numeric(10,2),
	ts timestamptz
);
INSERT INTO t VALUES (5, 'Ann', 12.34, '2024-02-29 11:51:30.123456+00');
