CREATE TABLE t (
	id int PRIMARY KEY,
	a numeric(5,-2)
);
