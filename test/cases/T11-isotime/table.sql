CREATE TABLE t (
	id int PRIMARY KEY,
	a time(3),
	b time,
	ab time[]
);
