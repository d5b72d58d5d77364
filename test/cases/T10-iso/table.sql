CREATE TABLE t (
	id int PRIMARY KEY,
	d date,
	ad date[]
);
