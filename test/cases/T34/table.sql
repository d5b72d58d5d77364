CREATE TABLE t (
	id int PRIMARY KEY,
	a int NOT NULL,
	b text,
	doubled int GENERATED ALWAYS AS (a * 2) STORED,
	loud text GENERATED ALWAYS AS (upper(b)) STORED
);
