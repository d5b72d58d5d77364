CREATE TABLE t (
	id int PRIMARY KEY,
	a text,
	j json,
	jb jsonb,
	v varchar(10),
	x text[]
);
