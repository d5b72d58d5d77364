--
-- bytea in every binary.handling.mode, bit strings.
--
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/test/convert/functions.sql'
\set ECHO none
\i :functions
\set ECHO all
BEGIN;
SET bytea_output = hex;
INSERT INTO cases (value, type, schema, source, wanted)
SELECT v, t, pg_temp.schema_of(c, n), jsonb_build_object('binary.handling.mode', m), w FROM (VALUES
	('"AAECA/8="', 'bytea', 'bytes', NULL, 'bytes', '\x00010203ff'),
	('"AAECA/8="', 'bytea', NULL, NULL, 'bytes', '\x00010203ff'),
	('""', 'bytea', NULL, NULL, 'bytes', '\x'),
	('"AA=="', 'bytea', NULL, NULL, 'bytes', '\x00'),
	('"+/8A"', 'bytea', NULL, NULL, 'base64', '\xfbff00'),
	('"+/8A"', 'bytea', 'string', NULL, 'base64', '\xfbff00'),
	('"-_8A"', 'bytea', NULL, NULL, 'base64-url-safe', '\xfbff00'),
	('"-_8A"', 'bytea', 'string', NULL, 'base64-url-safe', '\xfbff00'),
	('"_w=="', 'bytea', NULL, NULL, 'base64-url-safe', '\xff'),
	('"_w"', 'bytea', NULL, NULL, 'base64-url-safe', '\xff'),
	('"fbff00"', 'bytea', NULL, NULL, 'hex', '\xfbff00'),
	('"FBFF00"', 'bytea', 'string', NULL, 'hex', '\xfbff00'),
	('""', 'bytea', NULL, NULL, 'hex', '\x'),
	('"\\xfbff00"', 'bytea', 'string', NULL, 'bytes', '\xfbff00'),
	('"+/8A"', 'text', 'bytes', NULL, 'bytes', '\xfbff00'),
	-- malformed
	('"fbff00"', 'bytea', 'string', NULL, 'bytes', 'ERROR 22P03: a string cannot be read as bytea without knowing its form'),
	('"+/8"', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02: value "+/8" is not valid base64'),
	('"+/8A="', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02'),
	('"A==="', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02'),
	('"===="', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02'),
	('"A=AA"', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02'),
	('"AB=="', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02'),
	('"-_8A"', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02'),
	('"+/ 8A"', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02'),
	('"+/8A"', 'bytea', NULL, NULL, 'base64-url-safe', 'ERROR 22P02: value "+/8A" is not valid URL-safe base64'),
	('"A"', 'bytea', NULL, NULL, 'base64-url-safe', 'ERROR 22P02'),
	('"fbf"', 'bytea', NULL, NULL, 'hex', 'ERROR 22P02: value "fbf" is not valid hex'),
	('"fbfg"', 'bytea', NULL, NULL, 'hex', 'ERROR 22P02'),
	('5', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02: value 5 is not valid base64'),
	('{"a":1}', 'bytea', NULL, NULL, 'bytes', 'ERROR 22P02'),
	-- bit strings are base64 in every mode
	('true', 'bit(1)', 'boolean', NULL, 'bytes', '1'),
	('false', 'bit', NULL, NULL, 'bytes', '0'),
	('true', 'bit(3)', 'boolean', NULL, 'bytes', '001'),
	('"BQ=="', 'bit(5)', 'bytes', 'io.debezium.data.Bits', 'bytes', '00101'),
	('"BQ=="', 'bit(5)', NULL, NULL, 'hex', '00101'),
	('""', 'bit(5)', NULL, NULL, 'bytes', '00000'),
	('"Hw=="', 'bit(5)', NULL, NULL, 'bytes', '11111'),
	('"Pw=="', 'bit(5)', NULL, NULL, 'bytes', 'ERROR 22001: bit string of 6 bits is too long for type bit(5)'),
	('"AQE="', 'bit(20)', NULL, NULL, 'bytes', '00000000000100000001'),
	('"AAAI"', 'bit(20)', NULL, NULL, 'bytes', '10000000000000000000'),
	('"BQAAAAAAAAA="', 'bit(5)', 'bytes', 'io.debezium.data.Bits', 'bytes', '00101'),
	('"AAAAAAAAAIA="', 'bit(64)', NULL, NULL, 'bytes', '1' || repeat('0', 63)),
	('"//////////8="', 'bit(64)', NULL, NULL, 'bytes', repeat('1', 64)),
	('"BQ=="', 'varbit', 'bytes', 'io.debezium.data.Bits', 'bytes', '101'),
	('"BQ=="', 'varbit(12)', NULL, NULL, 'bytes', '101'),
	('"BQ=="', 'varbit(2)', NULL, NULL, 'bytes', 'ERROR 22001'),
	('""', 'varbit', NULL, NULL, 'bytes', ''),
	('"AIA="', 'varbit', NULL, NULL, 'bytes', '1000000000000000'),
	('true', 'varbit(1)', NULL, NULL, 'bytes', '1'),
	('false', 'varbit(1)', NULL, NULL, 'bytes', '0'),
	('"BQ=="', 'int', 'bytes', 'io.debezium.data.Bits', 'bytes', '5'),
	('"AQE="', 'bigint', 'bytes', 'io.debezium.data.Bits', 'bytes', '257'),
	('"//////////8="', 'bigint', 'bytes', 'io.debezium.data.Bits', 'bytes', 'ERROR 22003'),
	('"/////////38="', 'bigint', 'bytes', 'io.debezium.data.Bits', 'bytes', '9223372036854775807'),
	('"BQ=="', 'text', 'bytes', 'io.debezium.data.Bits', 'bytes', '101'),
	('"AQ=="', 'boolean', 'bytes', 'io.debezium.data.Bits', 'bytes', 't'),
	('"Ag=="', 'boolean', 'bytes', 'io.debezium.data.Bits', 'bytes', 'ERROR 22P02'),
	('1', 'bit(1)', NULL, NULL, 'bytes', 'ERROR 22P02: value 1 is not a bit string'),
	('"102"', 'bit(3)', 'string', NULL, 'bytes', 'ERROR 22P02'),
	('"101"', 'bit(3)', 'string', NULL, 'bytes', '101')
) AS x(v, t, c, n, m, w);

SELECT * FROM pg_temp.failures();
SELECT count(*) FROM cases;
ROLLBACK;
