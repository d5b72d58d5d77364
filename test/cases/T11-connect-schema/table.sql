CREATE TABLE t (
	id int PRIMARY KEY,
	a timestamp(3),
	b timestamp(6),
	c timestamp,
	ab timestamp[]
);
