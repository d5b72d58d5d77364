CREATE TYPE mood AS ENUM ('sad', 'ok', 'so "so"', 'très, bien');
CREATE DOMAIN code5 AS varchar(5);
CREATE DOMAIN code5b AS code5 CHECK (VALUE::text <> 'bad');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE TABLE t (
	id int PRIMARY KEY,
	di posint,
	dc code5b
);
