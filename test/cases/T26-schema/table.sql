CREATE TABLE t (
	id int PRIMARY KEY,
	a text[],
	v varchar(10)[]
);
