CREATE TABLE t (
	id int PRIMARY KEY,
	a timestamptz(0),
	b timestamptz(3),
	c timestamptz,
	ac timestamptz[]
);
