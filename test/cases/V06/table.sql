CREATE TABLE t (
	id int PRIMARY KEY,
	a smallint,
	b varchar(3),
	c numeric(4,2)
);
