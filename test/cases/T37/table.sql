CREATE TABLE t (
	id int PRIMARY KEY,
	dt timestamp,
	do_ timestamptz,
	m money,
	ti smallint,
	n numeric,
	d2 timestamp(3)
);
