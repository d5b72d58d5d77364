--
-- Text types, uuid, documents, hstore, enums, domains, ranges, types that the source does not know.
--
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/test/convert/functions.sql'
\set ECHO none
\i :functions
\set ECHO all
BEGIN;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE EXTENSION IF NOT EXISTS isn;
CREATE EXTENSION IF NOT EXISTS ltree;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'so "so"');
CREATE DOMAIN code5 AS varchar(5) CHECK (VALUE <> 'bad');
CREATE DOMAIN code5b AS code5 CHECK (VALUE <> 'worse');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE DOMAIN required AS text NOT NULL;
CREATE TYPE pair AS (a int, b text);

INSERT INTO cases (value, type, schema, wanted)
SELECT v, t, pg_temp.schema_of(c, n), w FROM (VALUES
	('"plain"', 'text', 'string', NULL, 'plain'),
	('""', 'text', 'string', NULL, ''),
	('"\ud83d\ude00"', 'text', 'string', NULL, '😀'),
	('"a\u0000b"', 'text', 'string', NULL, 'ERROR 22021: value contains the character U+0000, which text cannot hold'),
	('"abc"', 'varchar(3)', 'string', NULL, 'abc'),
	('"äöü"', 'varchar(3)', 'string', NULL, 'äöü'),
	('"abc  "', 'varchar(3)', 'string', NULL, 'abc'),
	('"abcd"', 'varchar(3)', 'string', NULL, 'ERROR 22001'),
	('"ab"', 'char(5)', 'string', NULL, 'ab   '),
	('"é    "', 'char(5)', 'string', NULL, 'é    '),
	('"é"', 'char(5)', 'string', NULL, 'é    '),
	('"abcdef"', 'char(5)', 'string', NULL, 'ERROR 22001'),
	('"ab "', 'bpchar', 'string', NULL, 'ab '),
	('"MiXed"', 'citext', 'string', NULL, 'MiXed'),
	('"q"', '"char"', 'string', NULL, 'q'),
	('"some_name"', 'name', 'string', NULL, 'some_name'),
	('"x"', 'text', NULL, NULL, 'x'),
	('12.50', 'text', NULL, NULL, '12.50'),
	('true', 'varchar(10)', NULL, NULL, 'true'),
	('{ "a" : [1, "x y"] }', 'text', NULL, NULL, '{"a":[1,"x y"]}'),
	('{"a":1}', 'varchar(3)', NULL, NULL, 'ERROR 22001'),
	('"123e4567-e89b-12d3-a456-426614174000"', 'uuid', 'string', 'io.debezium.data.Uuid', '123e4567-e89b-12d3-a456-426614174000'),
	('"123E4567E89B12D3A456426614174000"', 'uuid', NULL, NULL, '123e4567-e89b-12d3-a456-426614174000'),
	('"123e4567-e89b-12d3-a456-42661417400x"', 'uuid', NULL, NULL, 'ERROR 22P02'),
	('"123e4567-e89b-12d3-a456-426614174-00"', 'uuid', NULL, NULL, 'ERROR 22P02'),
	('5', 'uuid', NULL, NULL, 'ERROR 22P02: value 5 is not a uuid'),
	('"<a b=\"1\">x</a>"', 'xml', 'string', 'io.debezium.data.Xml', '<a b="1">x</a>'),
	('"192.168.0.1"', 'inet', 'string', NULL, '192.168.0.1'),
	('"10.0.0.0/8"', 'cidr', NULL, NULL, '10.0.0.0/8'),
	('"10.0.0.1/8"', 'cidr', NULL, NULL, 'ERROR 22P02'),
	('"08:00:2b:01:02:03"', 'macaddr', NULL, NULL, '08:00:2b:01:02:03'),
	('"[1,6)"', 'int4range', NULL, NULL, '[1,6)'),
	('"(0044-03-15 BC,infinity]"', 'daterange', NULL, NULL, '["0044-03-16 BC",infinity]'),
	('"[\"2023-12-31 15:00:00+09\",)"', 'tstzrange', NULL, NULL, '["2023-12-31 06:00:00+00",)'),
	('"ok"', 'mood', 'string', 'io.debezium.data.Enum', 'ok'),
	('"so \"so\""', 'mood', NULL, NULL, 'so "so"'),
	('"glad"', 'mood', NULL, NULL, 'ERROR 22P02'),
	('"a,b"', 'text', 'string', 'io.debezium.data.EnumSet', 'a,b'),
	('"Top.Science"', 'ltree', 'string', 'io.debezium.data.Ltree', 'Top.Science'),
	('"0-393-04002-X"', 'isbn', NULL, NULL, '0-393-04002-X'),
	('"''cat'':3B"', 'tsvector', 'string', 'io.debezium.data.Tsvector', '''cat'':3B'),
	-- domains
	('"abc"', 'code5b', NULL, NULL, 'abc'),
	('"bad"', 'code5b', NULL, NULL, 'ERROR 23514'),
	('"worse"', 'code5b', NULL, NULL, 'ERROR 23514'),
	('"toolong"', 'code5b', NULL, NULL, 'ERROR 22001'),
	('5', 'posint', NULL, NULL, '5'),
	('-5', 'posint', NULL, NULL, 'ERROR 23514'),
	('null', 'required', NULL, NULL, 'ERROR 23502'),
	('null', 'posint', NULL, NULL, 'NULL'),
	-- documents
	('"{\"a\": 1, \"a\":2 ,  \"b\":[1, 2]}"', 'json', 'string', 'io.debezium.data.Json', '{"a": 1, "a":2 ,  "b":[1, 2]}'),
	('"{\"a\": 1, \"a\":2}"', 'jsonb', 'string', 'io.debezium.data.Json', '{"a": 2}'),
	('"\"x\""', 'json', NULL, NULL, '"x"'),
	('"null"', 'jsonb', NULL, NULL, 'null'),
	('"123456789012345678901234567890.10"', 'jsonb', NULL, NULL, '123456789012345678901234567890.10'),
	('"plain"', 'jsonb', NULL, NULL, 'ERROR 22P02'),
	('{"a": [1, 2]}', 'json', NULL, NULL, '{"a": [1, 2]}'),
	('{"a": [1, 2]}', 'jsonb', 'map', NULL, '{"a": [1, 2]}'),
	('{"f":1}', 'jsonb', 'struct', NULL, '{"f": 1}'),
	('5', 'jsonb', 'struct', NULL, 'ERROR 22P02: value 5 is not an object or array'),
	('true', 'jsonb', NULL, NULL, 'true'),
	('{"a":"\u0000"}', 'json', NULL, NULL, '{"a":"\u0000"}'),
	('{"a":"\u0000"}', 'jsonb', NULL, NULL, 'ERROR 22P05'),
	('"{\"a\":\"\\u0000\"}"', 'jsonb', NULL, NULL, 'ERROR 22P05'),
	-- hstore
	('"{\"a\":\"1\",\"b\":null}"', 'hstore', 'string', 'io.debezium.data.Json', '"a"=>"1", "b"=>NULL'),
	('"{}"', 'hstore', NULL, NULL, ''),
	('"{\"\":\"\",\"sp ace\":\"a,b=>c\",\"quo\\\"te\":\"back\\\\slash\"}"', 'hstore', NULL, NULL, '""=>"", "quo\"te"=>"back\\slash", "sp ace"=>"a,b=>c"'),
	('{"k":"v","n":null}', 'hstore', NULL, NULL, '"k"=>"v", "n"=>NULL'),
	('{"k":"v","n":null}', 'hstore', 'map', NULL, '"k"=>"v", "n"=>NULL'),
	('[["k","v"],["n",null]]', 'hstore', 'map', NULL, '"k"=>"v", "n"=>NULL'),
	('{"k":5,"t":true}', 'hstore', NULL, NULL, '"k"=>"5", "t"=>"true"'),
	('{"k":[1]}', 'hstore', NULL, NULL, 'ERROR 22P02: value [1] is not a value of hstore'),
	('"[1]"', 'hstore', NULL, NULL, 'ERROR 22P02'),
	('"a=>1"', 'hstore', NULL, NULL, 'ERROR 22P02: value "a=>1" is not a JSON document'),
	('5', 'hstore', NULL, NULL, 'ERROR 22P02'),
	-- types that the source does not know: their text, encoded
	('"MTYvQjM3NEQ4NDg="', 'pg_lsn', NULL, NULL, '16/B374D848'),
	('"MTYvQjM3NEQ4NDg="', 'pg_lsn', 'bytes', NULL, '16/B374D848'),
	('"16/B374D848"', 'pg_lsn', 'string', NULL, '16/B374D848'),
	('"16/B374D848"', 'pg_lsn', NULL, NULL, 'ERROR 22P02: value "16/B374D848" is not valid base64'),
	('"gIA="', 'pg_lsn', NULL, NULL, 'ERROR 22021'),
	('"KDcsIngseSIp"', 'pair', NULL, NULL, '(7,"x,y")'),
	('"e1sxLDMpLFs1LDkpfQ=="', 'int4multirange', NULL, NULL, '{[1,3),[5,9)}'),
	('"J2ZhdCcgJiAnY2F0Jw=="', 'tsquery', NULL, NULL, '''fat'' & ''cat'''),
	('{"a":1}', 'pair', NULL, NULL, 'ERROR 22P02')
) AS x(v, t, c, n, w);
INSERT INTO cases (value, type, source, wanted) VALUES
	('"31362f4233373444383438"', 'pg_lsn', '{"binary.handling.mode":"hex"}', '16/B374D848'),
	('"28372c22782c792229"', 'pair', '{"binary.handling.mode":"hex"}', '(7,"x,y")'),
	('"MTYvQjM3NEQ4NDg"', 'pg_lsn', '{"binary.handling.mode":"base64-url-safe"}', '16/B374D848'),
	('"MTYvQjM3NEQ4NDg="', 'pg_lsn', '{"binary.handling.mode":"base64"}', '16/B374D848');
INSERT INTO cases (value, type, schema, source, wanted) VALUES
	('"31362f4233373444383438"', 'pg_lsn', pg_temp.schema_of('string'), '{"binary.handling.mode":"hex"}', '16/B374D848');
INSERT INTO cases (value, type, wanted)
	SELECT format('"%s"', repeat('x', n)), 'varchar(100)', 'ERROR 22001' FROM (VALUES (101), (100000)) AS x(n);
-- a long value is cut in the message
INSERT INTO cases (value, type, wanted) VALUES
	(format('"%s"', repeat('ä', 100)), 'int', format('ERROR 22P02: value "%s..." is not an integer', repeat('ä', 30)));

SELECT * FROM pg_temp.failures();
SELECT count(*) FROM cases;
ROLLBACK;
