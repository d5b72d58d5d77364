CREATE TABLE parent (
	id int PRIMARY KEY
);
CREATE TABLE t (
	id int PRIMARY KEY,
	parent int REFERENCES parent
);
INSERT INTO parent VALUES (1);
