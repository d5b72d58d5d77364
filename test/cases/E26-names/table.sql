CREATE TABLE t (id int PRIMARY KEY, before text, after text, payload text, schema text, source text);
