CREATE TABLE t (
	id int PRIMARY KEY,
	v double precision[],
	s text
);
