CREATE EXTENSION hstore
CREATE EXTENSION citext
CREATE EXTENSION ltree
CREATE EXTENSION isn
CREATE TYPE mood AS ENUM ('sad', 'ok', 'so "so"')
CREATE TYPE pair AS (a int, b text)
CREATE DOMAIN posint AS int CHECK (VALUE > 0)
CREATE DOMAIN code5 AS varchar(5) NOT NULL
CREATE DOMAIN ints AS int[] CHECK (cardinality(VALUE) < 5)
CREATE TABLE target (c01 int2, c02 int4, c03 int8, c04 oid, c05 float4, c06 float8, c07 numeric, c08 numeric(10,2), c09 numeric(5,-2), c10 money, c11 bool, c12 text, c13 varchar(5), c14 char(5), c15 "char", c16 name, c17 citext, c18 bytea, c19 bit, c20 bit(20), c21 varbit, c22 varbit(5), c23 uuid, c24 json, c25 jsonb, c26 hstore, c27 ltree, c28 isbn, c29 date, c30 time, c31 time(3), c32 timetz, c33 timestamp, c34 timestamp(3), c35 timestamptz, c36 interval, c37 point, c38 box, c39 lseg, c40 path, c41 polygon, c42 circle, c43 line, c44 inet, c45 int4range, c46 tstzrange, c47 int4multirange, c48 tsvector, c49 pg_lsn, c50 mood, c51 pair, c52 posint, c53 code5, c54 ints, c55 int4[], c56 int8[], c57 text[], c58 numeric(10,2)[], c59 bytea[], c60 uuid[], c61 jsonb[], c62 date[], c63 timestamptz[], c64 mood[], c65 posint[], c66 pair[], c67 hstore[], c68 float8[], c69 bit(3)[], c70 point[], c71 interval[], c72 time[], c73 varchar(3)[], c74 tsquery, c75 macaddr, c76 cidr, c77 bool[], c78 numeric[], c79 citext[], c80 xml)
CREATE FUNCTION cdc_fuzz_converters(target regclass, arguments text[]) RETURNS void LANGUAGE c AS 'LIBRARY'
