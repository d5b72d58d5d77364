CREATE TABLE t (
	id int PRIMARY KEY,
	s smallint,
	i int,
	b bigint,
	f double precision,
	r real,
	n numeric
);
