CREATE TABLE t (
	a int,
	b int,
	v text,
	PRIMARY KEY (a, b)
);
INSERT INTO t VALUES (1, 1, 'one'), (2, 1, 'two'), (2, 2, 'three'), (3, 3, 'x');
