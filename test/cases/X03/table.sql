CREATE EXTENSION citext;
CREATE EXTENSION hstore;
CREATE EXTENSION ltree;
CREATE TABLE t (
	id int PRIMARY KEY,
	note text,
	t text,
	vc varchar(200),
	c40 char(40),
	ct citext,
	j json,
	jb jsonb,
	x xml,
	lt ltree,
	tsv tsvector,
	ba bytea,
	hs hstore,
	at text[],
	av varchar(40)[],
	ac char(30)[],
	aj json[],
	ajb jsonb[],
	aba bytea[],
	a4 int[],
	a8 bigint[],
	ad date[],
	au uuid[],
	n numeric
);
INSERT INTO t VALUES (1, 'old', 'a text', 'vc', 'char', 'Ci', '{"a": 1}', '{"b": 2}', '<a/>', 'Top.A', '''cat'':1', '\x00ff', 'k=>v', '{a,b}', '{c}', '{d}', ARRAY['{"x":1}']::json[], ARRAY['2']::jsonb[], '{"\\x01"}', '{1,2}', '{3}', '{2024-02-29}', '{123e4567-e89b-12d3-a456-426614174000}', 5.5);
