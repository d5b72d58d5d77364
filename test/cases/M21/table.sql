CREATE TABLE t (
	id int PRIMARY KEY,
	"a""; DROP TABLE t; --" text,
	b text
);
