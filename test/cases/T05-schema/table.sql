CREATE TABLE t (
	id int PRIMARY KEY,
	a numeric,
	b numeric(10,2),
	ax numeric[]
);
