--
-- Arrays.
--
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/test/convert/functions.sql'
\set ECHO none
\i :functions
\set ECHO all
BEGIN;
SET DateStyle = ISO; SET TimeZone = UTC; SET bytea_output = hex;
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN word AS text NOT NULL CHECK (VALUE <> 'no');
CREATE TYPE couple AS (a int, b text);
-- schema of an array with these items
CREATE FUNCTION pg_temp.array_of(items text) RETURNS text LANGUAGE sql AS
$$ SELECT pg_temp.schema_of('array', NULL, jsonb_build_object('items', items::jsonb)) $$;

INSERT INTO cases (value, type, wanted) VALUES
	('[true,false,null]', 'boolean[]', '{t,f,NULL}'),
	('[-32768,null,32767]', 'smallint[]', '{-32768,NULL,32767}'),
	('[1,null,-2147483648]', 'int[]', '{1,NULL,-2147483648}'),
	('[9223372036854775807,null,9007199254740993]', 'bigint[]', '{9223372036854775807,NULL,9007199254740993}'),
	('[1.1,null,"NaN","-Infinity"]', 'real[]', '{1.1,NULL,NaN,-Infinity}'),
	('["BNI=",null,"/2o="]', 'numeric(10,2)[]', '{12.34,NULL,-1.50}'),
	('[{"scale":2,"value":"MDk="},null]', 'numeric[]', '{123.45,NULL}'),
	('["a",null,"NULL","","a,b","{x}","q\"q","b\\s"," sp "]', 'text[]', '{a,NULL,"NULL","","a,b","{x}","q\"q","b\\s"," sp "}'),
	('["{a,b}"]', 'text[]', '{"{a,b}"}'),
	('["ab"]', 'varchar(1)[]', 'ERROR 22001'),
	('["a"]', 'char(3)[]', '{"a  "}'),
	('["AP8=",null,""]', 'bytea[]', '{"\\x00ff",NULL,"\\x"}'),
	('["123e4567-e89b-12d3-a456-426614174000",null]', 'uuid[]', '{123e4567-e89b-12d3-a456-426614174000,NULL}'),
	('[19782,null,-1]', 'date[]', '{2024-02-29,NULL,1969-12-31}'),
	('[49890123000,null,0]', 'time[]', '{13:51:30.123,NULL,00:00:00}'),
	('[1709214690123456,null]', 'timestamp[]', '{"2024-02-29 13:51:30.123456",NULL}'),
	('[1709214690123]', 'timestamp(3)[]', '{"2024-02-29 13:51:30.123"}'),
	('["2024-02-29T11:51:30.123456Z",null]', 'timestamptz[]', '{"2024-02-29 11:51:30.123456+00",NULL}'),
	('["{\"a\": 1}",null,"null","[1, 2]"]', 'json[]', '{"{\"a\": 1}",NULL,"null","[1, 2]"}'),
	('["{\"a\": 1}",[1,2]]', 'jsonb[]', '{"{\"a\": 1}","[1, 2]"}'),
	('["10.0.0.1",null]', 'inet[]', '{10.0.0.1,NULL}'),
	('["[1,6)",null,"empty"]', 'int4range[]', '{"[1,6)",NULL,empty}'),
	('["{\"a\":\"1\"}",null]', 'hstore[]', '{"\"a\"=>\"1\"",NULL}'),
	('[{"a":"1"}]', 'hstore[]', '{"\"a\"=>\"1\""}'),
	('[]', 'int[]', '{}'),
	('[null,null]', 'int[]', '{NULL,NULL}'),
	('[[1,2],[3,4]]', 'int[]', '{{1,2},{3,4}}'),
	('[[1,2],[3]]', 'int[]', 'ERROR 22P02: value [3] is not an array of the same length as its siblings'),
	('[[],[1]]', 'int[]', 'ERROR 22P02'),
	('[[1],2]', 'int[]', 'ERROR 22P02'),
	('[1,[2]]', 'int[]', 'ERROR 22P02'),
	('[[[[[[[1]]]]]]]', 'int[]', 'ERROR 2202E'),
	('[[],[],[]]', 'int[]', '{}'),
	('"{1,NULL,3}"', 'int[]', '{1,NULL,3}'),
	('"[0:1]={1,2}"', 'int[]', '[0:1]={1,2}'),
	('"ezEsMn0="', 'int[]', '{1,2}'),
	('"MTIz"', 'int[]', 'ERROR 22P02: value "MTIz" is not an array'),
	('5', 'int[]', 'ERROR 22P02: value 5 is not an array'),
	('{"a":1}', 'int[]', 'ERROR 22P02'),
	('["x"]', 'int[]', 'ERROR 22P02: value "x" is not an integer'),
	('["MQ==","Mg=="]', 'positive[]', '{1,2}'),
	('[1,2]', 'positive[]', '{1,2}'),
	('["LTE="]', 'positive[]', 'ERROR 23514'),
	('["bm8="]', 'word[]', 'ERROR 23514'),
	('[null]', 'word[]', 'ERROR 23502'),
	('["eWVz"]', 'word[]', '{yes}'),
	('["KDEsYSk=",null]', 'couple[]', '{"(1,a)",NULL}');
INSERT INTO cases (value, type, source, wanted) VALUES
	('["31","32"]', 'positive[]', '{"binary.handling.mode":"hex"}', '{1,2}'),
	('["00ff",null,""]', 'bytea[]', '{"binary.handling.mode":"hex"}', '{"\\x00ff",NULL,"\\x"}'),
	('["12.34",null]', 'numeric(10,2)[]', '{"decimal.handling.mode":"string"}', '{12.34,NULL}'),
	('["2024-02-29Z",null]', 'date[]', '{"time.precision.mode":"isostring"}', '{2024-02-29,NULL}');
INSERT INTO cases (value, type, schema, wanted)
SELECT v, t, pg_temp.array_of(pg_temp.schema_of(c, n, m::jsonb)), w FROM (VALUES
	('[19782,null]', 'date[]', 'int32', 'io.debezium.time.Date', '{}', '{2024-02-29,NULL}'),
	('[49890123]', 'time[]', 'int32', 'org.apache.kafka.connect.data.Time', '{}', '{13:51:30.123}'),
	('["BNI=",null]', 'numeric[]', 'bytes', 'org.apache.kafka.connect.data.Decimal', '{"parameters":{"scale":"2"}}', '{12.34,NULL}'),
	('["BQ=="]', 'bit(5)[]', 'bytes', 'io.debezium.data.Bits', '{}', '{00101}'),
	('["a"]', 'int[]', 'int32', NULL, '{}', 'ERROR 22P02'),
	('"{1}"', 'text', 'string', NULL, '{}', 'ERROR 22P02'),
	('["a", "b"]', 'text', 'string', NULL, '{}', '["a","b"]'),
	('["a"]', 'jsonb', 'string', NULL, '{}', '["a"]'),
	('["a"]', 'int', 'string', NULL, '{}', 'ERROR 22P02'),
	('["MQ=="]', 'positive[]', 'bytes', NULL, '{}', '{1}'),
	('["1"]', 'positive[]', 'string', NULL, '{}', '{1}'),
	('[1]', 'positive[]', 'int32', NULL, '{}', '{1}')
) AS x(v, t, c, n, m, w);
INSERT INTO cases (value, type, schema, wanted) VALUES
	('"{1,2}"', 'int[]', pg_temp.schema_of('string'), '{1,2}'),
	('"ezEsMn0="', 'int[]', pg_temp.schema_of('bytes'), '{1,2}');

SELECT * FROM pg_temp.failures();
SELECT count(*) FROM cases;
ROLLBACK;
