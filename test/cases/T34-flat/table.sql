CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	twice int GENERATED ALWAYS AS (id * 2) STORED
);
