CREATE TABLE t (
	a int,
	b text,
	c numeric(8,3)
);
