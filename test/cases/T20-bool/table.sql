CREATE TABLE t (
	id int PRIMARY KEY,
	b boolean,
	ab boolean[]
);
