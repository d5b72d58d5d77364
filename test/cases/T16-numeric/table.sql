CREATE TABLE t (
	id int PRIMARY KEY,
	i interval
);
