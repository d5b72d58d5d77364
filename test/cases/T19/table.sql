CREATE TABLE t (
	id int PRIMARY KEY,
	b bytea,
	ab bytea[]
);
