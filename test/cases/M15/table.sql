CREATE TABLE t (
	id int PRIMARY KEY,
	d date,
	t time,
	tz timestamptz,
	tt timetz,
	ts timestamp,
	i interval
);
