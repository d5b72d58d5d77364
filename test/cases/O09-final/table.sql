CREATE TABLE t (
	id int PRIMARY KEY,
	v text UNIQUE
);
INSERT INTO t VALUES (90, 'x'), (91, 'y'), (92, 'r');
