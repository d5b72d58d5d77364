CREATE TABLE t (
	code text PRIMARY KEY,
	id int,
	name text
);
