CREATE TABLE t (
	id bigint PRIMARY KEY,
	d timestamp(0),
	name text
);
