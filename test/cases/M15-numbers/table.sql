CREATE TABLE t (
	id int PRIMARY KEY,
	d date,
	t time,
	ts timestamp(3)
);
