CREATE TABLE t (
	id int PRIMARY KEY,
	a time[],
	c timetz[]
);
