--
-- unavailable.value.placeholder in every encoding of the types; only whole values count.
--
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/test/convert/functions.sql'
\set ECHO none
\i :functions
\set ECHO all
BEGIN;
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE FUNCTION pg_temp.set_of(placeholder text, mode text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('unavailable.value.placeholder', placeholder, 'binary.handling.mode', mode))
$$;
INSERT INTO cases (value, type, schema, source, wanted)
SELECT v, t, pg_temp.schema_of(c, n, m::jsonb), pg_temp.set_of(p, b), w FROM (VALUES
	('"__debezium_unavailable_value"', 'text', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('"__debezium_unavailable_value"', 'varchar(10)', 'string', NULL, '{}', NULL, NULL, '<unchanged>'),
	('"__debezium_unavailable_value"', 'jsonb', 'string', 'io.debezium.data.Json', '{}', NULL, NULL, '<unchanged>'),
	('"__debezium_unavailable_value"', 'numrange', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('"__debezium_unavailable_value"', 'numeric', 'string', NULL, '{}', NULL, NULL, '<unchanged>'),
	('"__debezium_unavailable_value"', 'bytea', NULL, NULL, '{}', NULL, 'hex', '<unchanged>'),
	('"__debezium_unavailable_value"', 'bytea', 'string', NULL, '{}', NULL, 'hex', '<unchanged>'),
	('"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="', 'bytea', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="', 'bytea', 'bytes', NULL, '{}', NULL, NULL, '<unchanged>'),
	('"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="', 'text', 'bytes', NULL, '{}', NULL, NULL, '<unchanged>'),
	('"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="', 'text', NULL, NULL, '{}', NULL, NULL, 'X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=='),
	('"{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"', 'hstore', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('{"__debezium_unavailable_value":"__debezium_unavailable_value"}', 'hstore', 'map', NULL, '{}', NULL, NULL, '<unchanged>'),
	('{"__debezium_unavailable_value":"__debezium_unavailable_value"}', 'hstore', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('{"__debezium_unavailable_value":"other"}', 'hstore', NULL, NULL, '{}', NULL, NULL, '"__debezium_unavailable_value"=>"other"'),
	('["__debezium_unavailable_value"]', 'text[]', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('["__debezium_unavailable_value"]', 'varchar(3)[]', 'array', NULL, '{}', NULL, NULL, '<unchanged>'),
	('["__debezium_unavailable_value"]', 'char(3)[]', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('["__debezium_unavailable_value"]', 'jsonb[]', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="]', 'bytea[]', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]', 'uuid[]', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('["b68a35a7-17ad-35b3-af2a-ae46edb4545b"]', 'uuid[]', NULL, NULL, '{}', NULL, NULL, '{b68a35a7-17ad-35b3-af2a-ae46edb4545b}'),
	('"b68a35a7-17ad-35b3-af2a-ae46edb4545a"', 'uuid', NULL, NULL, '{}', NULL, NULL, 'b68a35a7-17ad-35b3-af2a-ae46edb4545a'),
	('[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]', 'int[]', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]', 'bigint[]', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]', 'date[]', NULL, NULL, '{}', NULL, NULL, '<unchanged>'),
	('[95,95,100]', 'int[]', NULL, NULL, '{}', NULL, NULL, '{95,95,100}'),
	-- not the whole value
	('"x __debezium_unavailable_value x"', 'text', NULL, NULL, '{}', NULL, NULL, 'x __debezium_unavailable_value x'),
	('["__debezium_unavailable_value","x"]', 'text[]', NULL, NULL, '{}', NULL, NULL, '{__debezium_unavailable_value,x}'),
	-- custom placeholders
	('"gone"', 'text', NULL, NULL, '{}', 'gone', NULL, '<unchanged>'),
	('"__debezium_unavailable_value"', 'text', NULL, NULL, '{}', 'gone', NULL, '__debezium_unavailable_value'),
	('"Z29uZQ=="', 'bytea', NULL, NULL, '{}', 'gone', NULL, '<unchanged>'),
	('[103,111,110,101]', 'int[]', NULL, NULL, '{}', 'gone', NULL, '<unchanged>'),
	('"gone"', 'text', NULL, NULL, '{}', 'hex:676f6e65', NULL, '<unchanged>'),
	('"Z29uZQ=="', 'bytea', NULL, NULL, '{}', 'hex:676f6e65', NULL, '<unchanged>'),
	('"3q2+7w=="', 'bytea', NULL, NULL, '{}', 'hex:deadbeef', NULL, '<unchanged>'),
	('[-34,-83,-66,-17]', 'bigint[]', NULL, NULL, '{}', 'hex:deadbeef', NULL, '<unchanged>'),
	('"a\ufffdb\ufffd"', 'text', NULL, NULL, '{}', 'hex:61ff62c3', NULL, '<unchanged>'),
	('"\ufffd-\ufffd\ufffd\ufffd\ufffd"', 'text', NULL, NULL, '{}', 'hex:e2822dc0e0ede282', NULL, '<unchanged>'),
	('{"gone":"gone"}', 'jsonb', NULL, NULL, '{}', 'gone', NULL, '<unchanged>'),
	('["gone"]', 'jsonb', 'array', NULL, '{}', 'gone', NULL, '<unchanged>'),
	('{"gone":"gone"}', 'hstore', NULL, NULL, '{}', 'gone', NULL, '<unchanged>'),
	('["2f24a8d6-0c54-3a3d-a5b4-7b1b6d1e4a5e"]', 'uuid[]', NULL, NULL, '{}', NULL, NULL, '{2f24a8d6-0c54-3a3d-a5b4-7b1b6d1e4a5e}')
) AS x(v, t, c, n, m, p, b, w);

SELECT * FROM pg_temp.failures();
SELECT count(*) FROM cases;
ROLLBACK;
