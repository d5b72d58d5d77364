CREATE TABLE t (
	id int PRIMARY KEY,
	a numeric(20,2)
);
