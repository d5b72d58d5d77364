CREATE TABLE t (
	id int PRIMARY KEY,
	a timestamptz(3),
	b timestamptz
);
