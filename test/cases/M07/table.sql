CREATE TABLE t (
	id int PRIMARY KEY,
	i int,
	d date,
	b boolean,
	f double precision,
	x int[],
	u uuid
);
