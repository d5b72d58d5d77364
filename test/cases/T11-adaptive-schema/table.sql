CREATE TABLE t (
	id int PRIMARY KEY,
	a timestamp,
	b timestamp,
	c timestamp,
	ab timestamp[]
);
