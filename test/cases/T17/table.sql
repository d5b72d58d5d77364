CREATE TABLE t (
	id int PRIMARY KEY,
	d date,
	ti time(2),
	ts timestamp,
	tz timestamptz,
	tt timetz
);
