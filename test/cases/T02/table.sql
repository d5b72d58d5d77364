CREATE TABLE t (
	id int PRIMARY KEY,
	f8 double precision,
	f4 real,
	af8 double precision[],
	af4 real[]
);
