CREATE TABLE t (
	id int PRIMARY KEY,
	code text UNIQUE,
	name text
);
