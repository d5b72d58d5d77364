CREATE TABLE t (
	a int UNIQUE,
	b text
);
INSERT INTO t VALUES (NULL, 'one'), (NULL, 'two');
