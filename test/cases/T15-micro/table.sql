CREATE TABLE t (
	id int PRIMARY KEY,
	a time(3),
	b time(6),
	c timetz
);
