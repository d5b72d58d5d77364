CREATE EXTENSION vector;
CREATE TABLE t (
	id int PRIMARY KEY,
	v vector(3)
);
