CREATE TABLE log (
	id int,
	name text,
	n numeric(10,2),
	__op text,
	__topic text,
	__partition int,
	__offset bigint
);
