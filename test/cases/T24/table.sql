CREATE TABLE t (
	id int PRIMARY KEY,
	c5 char(5),
	c1 "char",
	nm name,
	vc varchar(3),
	bp bpchar,
	ac char(5)[]
);
