CREATE TABLE t (
	mail text PRIMARY KEY,
	v int
);
