CREATE TABLE t (
	id int PRIMARY KEY,
	a numeric,
	b numeric(60,8),
	ax numeric[]
);
