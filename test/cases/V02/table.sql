CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	kept text DEFAULT 'dflt',
	at int NOT NULL DEFAULT 42
);
INSERT INTO t VALUES (1, 'old', 'mine', 7);
