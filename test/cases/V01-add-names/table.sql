CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	generated int GENERATED ALWAYS AS (id * 2) STORED
);
