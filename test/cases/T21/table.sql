CREATE TABLE t (
	id int PRIMARY KEY,
	j json,
	jb jsonb,
	aj json[],
	ajb jsonb[]
);
