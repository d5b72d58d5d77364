CREATE TABLE t (
	id int PRIMARY KEY,
	a smallint,
	b int,
	c bigint,
	o oid,
	aa smallint[],
	ab int[],
	ac bigint[]
);
