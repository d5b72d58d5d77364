CREATE DOMAIN pair AS int[] CHECK (cardinality(VALUE) = 2);
CREATE DOMAIN short AS varchar(3);
CREATE DOMAIN shorts AS text[] CHECK (cardinality(VALUE) < 3);
CREATE TABLE t (id int PRIMARY KEY, a pair, b shorts);
