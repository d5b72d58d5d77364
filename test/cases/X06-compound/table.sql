CREATE TABLE t (
	id int PRIMARY KEY,
	at text[],
	jb jsonb,
	a4 int[]
);
INSERT INTO t VALUES (1, '{old}', '1', '{1}'), (2, '{old}', '1', '{1}');
