CREATE EXTENSION vector;
CREATE TABLE t (
	id int PRIMARY KEY,
	v vector(3),
	h halfvec(2),
	s sparsevec(5)
);
