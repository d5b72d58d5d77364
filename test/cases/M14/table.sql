CREATE TABLE t (
	id int PRIMARY KEY,
	n numeric(10,2),
	b bytea,
	v bit(12),
	x bytea[]
);
