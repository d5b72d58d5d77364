CREATE TABLE t (
	id int PRIMARY KEY,
	a text,
	b text,
	c bytea
);
INSERT INTO t VALUES (1, 'a', 'b', '\x01'), (2, 'a', 'b', '\x02');
