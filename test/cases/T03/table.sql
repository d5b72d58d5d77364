CREATE TABLE t (
	id int PRIMARY KEY,
	a numeric(10,2),
	b numeric(50,5),
	ax numeric(10,2)[]
);
