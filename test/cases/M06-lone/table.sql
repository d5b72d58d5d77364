CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	n numeric(10,2),
	ts timestamptz
);
