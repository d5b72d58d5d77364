--
-- Integers, floating point, booleans, decimals in every decimal.handling.mode, money.
--
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/test/convert/functions.sql'
\set ECHO none
\i :functions
\set ECHO all
BEGIN;
SET lc_monetary = 'C';
-- a decimal's schema
CREATE FUNCTION pg_temp.decimal(scale int) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.schema_of('bytes', 'org.apache.kafka.connect.data.Decimal',
							 jsonb_build_object('parameters', jsonb_build_object('scale', scale::text)))
$$;

-- integers and what is none
INSERT INTO cases (value, type, schema, wanted)
SELECT v, t, pg_temp.schema_of(c), w FROM (VALUES
	('-32768', 'smallint', 'int16', '-32768'),
	('32768', 'smallint', 'int32', 'ERROR 22003: value 32768 is out of range for type smallint'),
	('2147483647', 'int', 'int32', '2147483647'),
	('-2147483649', 'int', 'int64', 'ERROR 22003: value -2147483649 is out of range for type integer'),
	('9223372036854775807', 'bigint', 'int64', '9223372036854775807'),
	('-9223372036854775808', 'bigint', 'int64', '-9223372036854775808'),
	('9223372036854775808', 'bigint', 'int64', 'ERROR 22003'),
	('-12', 'bigint', 'int16', '-12'),
	('4294967295', 'oid', 'int64', '4294967295'),
	('4294967296', 'oid', 'int64', 'ERROR 22003: value 4294967296 is out of range for type oid'),
	('-1', 'oid', 'int64', 'ERROR 22003'),
	('true', 'int', 'boolean', '1'),
	('7.0', 'int', 'double', '7'),
	('1.5', 'int', 'double', 'ERROR 22P02: value 1.5 is not an integer'),
	('"12"', 'int', 'string', '12'),
	('"abc"', 'int', 'string', 'ERROR 22P02'),
	('"12"', 'int', 'int32', 'ERROR 22P02: value "12" is not an integer'),
	('12', 'text', 'int32', '12'),
	('"12"', 'text', 'int32', 'ERROR 22P02: value "12" is not an integer, as its schema says'),
	('12', 'text', 'string', 'ERROR 22P02'),
	('12', 'numeric(6,2)', 'int32', '12.00'),
	('12', 'double precision', 'int32', '12'),
	('12', 'boolean', 'int32', 'ERROR 22P02'),
	('1', 'boolean', 'int8', 't'),
	('true', 'boolean', 'boolean', 't'),
	('1', 'boolean', 'boolean', 'ERROR 22P02'),
	('"true"', 'boolean', 'string', 't'),
	('42', 'jsonb', 'int32', '42'),
	('{"a":1}', 'int', NULL, 'ERROR 22P02: value {"a":1} is not an integer'),
	('[1]', 'int', NULL, 'ERROR 22P02'),
	('"abc"', 'int', NULL, 'ERROR 22P02: value "abc" is not an integer'),
	('"abcd"', 'int', NULL, 'ERROR 22P02: value "abcd" is not an integer'),
	('1.5', 'int', NULL, 'ERROR 22P02: value 1.5 is not an integer'),
	('1E3', 'int', NULL, '1000'),
	('1e400', 'bigint', NULL, 'ERROR 22003'),
	('1e-400', 'bigint', NULL, 'ERROR 22P02'),
	('true', 'smallint', NULL, '1'),
	('false', 'bigint', NULL, '0'),
	('-0', 'int', NULL, '0'),
	('0', 'boolean', NULL, 'f'),
	('2', 'boolean', NULL, 'ERROR 22P02: value 2 is not a boolean'),
	('"true"', 'boolean', NULL, 't'),
	('"AQ=="', 'boolean', NULL, 't'),
	('""', 'boolean', NULL, 'f'),
	('null', 'int', NULL, 'NULL')
) AS x(v, t, c, w);
INSERT INTO cases (value, type, wanted) VALUES
	(repeat('9', 10000), 'bigint', 'ERROR 22003'),
	(repeat('9', 10000), 'numeric', repeat('9', 10000));

-- floating point in Java's notation
INSERT INTO cases (value, type, schema, wanted)
SELECT v, t, pg_temp.schema_of(c), w FROM (VALUES
	('1.2E-308', 'double precision', 'double', '1.2e-308'),
	('-0.0', 'double precision', 'double', '-0'),
	('1.23456789125E8', 'double precision', 'double', '123456789.125'),
	('1.4E-45', 'real', 'float', '1e-45'),
	('3.4028235E38', 'real', 'float', '3.4028235e+38'),
	('"NaN"', 'real', 'float', 'NaN'),
	('"Infinity"', 'double precision', 'double', 'Infinity'),
	('"-Infinity"', 'double precision', 'double', '-Infinity'),
	('"NaN"', 'double precision', NULL, 'NaN'),
	('"1.5"', 'double precision', NULL, 'ERROR 22P02: value "1.5" is not a number'),
	('1.5', 'text', 'double', '1.5'),
	('"1.5"', 'double precision', 'double', 'ERROR 22P02: value "1.5" is not a number'),
	('1e400', 'double precision', NULL, 'ERROR 22003'),
	('1e-400', 'double precision', NULL, 'ERROR 22003'),
	('1.1', 'real', NULL, '1.1'),
	('{"scale":2,"value":"MDk="}', 'double precision', NULL, '123.45')
) AS x(v, t, c, w);
INSERT INTO cases (value, type, schema, wanted) VALUES
	('"BNI="', 'double precision', pg_temp.decimal(2), '12.34');

-- decimals with a schema
INSERT INTO cases (value, type, schema, wanted)
SELECT v, t, pg_temp.decimal(s), w FROM (VALUES
	('"BNI="', 'numeric(10,2)', 2, '12.34'),
	('"BNI="', 'numeric', 2, '12.34'),
	('"BNI="', 'numeric(10,1)', 2, '12.3'),
	('"BNI="', 'numeric(10,4)', 2, '12.3400'),
	('"BNI="', 'numeric(3,2)', 2, 'ERROR 22003'),
	('"/2o="', 'numeric', 2, '-1.50'),
	('"AA=="', 'numeric(10,2)', 2, '0.00'),
	('"A6DJIHXA2/O4rLxfls4/CtI="', 'numeric(40,20)', 20, '12345678901234567890.12345678901234567890'),
	('"SztMqFqGxHoJiiI//////w=="', 'numeric(38,0)', 0, '99999999999999999999999999999999999999'),
	('"tMSzV6V5O4X2dd3AAAAAAQ=="', 'numeric', 0, '-99999999999999999999999999999999999999'),
	('"gAAAAAAAAAA="', 'numeric', 0, '-9223372036854775808'),
	('"f/////////8="', 'numeric', 18, '9.223372036854775807'),
	('"gA=="', 'numeric', 0, '-128'),
	('"AIA="', 'numeric', 0, '128'),
	('12.340', 'numeric', 3, '12.340'),
	('1.00E-8', 'numeric', 10, '0.0000000100'),
	('0E-20', 'numeric', 20, '0.00000000000000000000'),
	('0E-2046', 'numeric(5,-2)', 2046, '0'),
	('0E-2046', 'numeric', 2046, '0'),
	('"BNI="', 'text', 2, '12.34'),
	('"BNI="', 'bigint', 2, 'ERROR 22P02'),
	('"BNI="', 'bigint', 0, '1234'),
	('"AP//////////"', 'bigint', 0, 'ERROR 22003'),
	('"AeJA"', 'money', 2, '$1,234.56'),
	('"gAAAAAAAAAA="', 'money', 2, '-$92,233,720,368,547,758.08'),
	('"BNI"', 'numeric', 2, 'ERROR 22P02: value "BNI" is not valid base64'),
	('"BN I="', 'numeric', 2, 'ERROR 22P02'),
	('""', 'numeric', 2, 'ERROR 22P02'),
	('true', 'numeric', 2, 'ERROR 22P02')
) AS x(v, t, s, w);
INSERT INTO cases (value, type, schema, wanted)
SELECT v, t, pg_temp.schema_of('struct', 'io.debezium.data.VariableScaleDecimal'), w FROM (VALUES
	('{"scale":2,"value":"MDk="}', 'numeric', '123.45'),
	('{"scale":10,"value":"AQ=="}', 'numeric', '0.0000000001'),
	('{"scale":0,"value":"AA=="}', 'numeric', '0'),
	('{"scale":-3,"value":"AQ=="}', 'numeric', '1000'),
	('{"scale":-3,"value":"AA=="}', 'numeric', '0'),
	('{"scale":9,"value":"/togXI5eYZCDSrxqNgA7msn/"}', 'numeric', '-99999999999999999999999999999999.000000001'),
	('{"scale":2,"value":"MDk="}', 'text', '123.45'),
	('{"scale":0,"value":"BNI="}', 'bigint', '1234'),
	('{"scale":1000000,"value":"AQ=="}', 'numeric', 'ERROR 22003'),
	('{"scale":-1000000,"value":"AQ=="}', 'numeric', 'ERROR 22003'),
	('{"scale":99999999999,"value":"AQ=="}', 'numeric', 'ERROR 22003'),
	('{"value":"AQ=="}', 'numeric', 'ERROR 22P02: value {"value":"AQ=="} is not a decimal with scale and value'),
	('{"scale":"2","value":"AQ=="}', 'numeric', 'ERROR 22P02'),
	('{"scale":2,"value":"AQ="}', 'numeric', 'ERROR 22P02')
) AS x(v, t, w);

-- the three modes without a schema
INSERT INTO cases (value, type, source, wanted)
SELECT v, t, jsonb_build_object('decimal.handling.mode', m), w FROM (VALUES
	('"BNI="', 'numeric(10,2)', 'precise', '12.34'),
	('"BNI="', 'numeric', 'precise', 'ERROR 22P02'),
	('{"scale":2,"value":"MDk="}', 'numeric', 'precise', '123.45'),
	('"1234"', 'numeric(10,2)', 'precise', '-26588.24'),
	('"1234"', 'numeric(10,2)', 'string', '1234.00'),
	('"1234"', 'bigint', 'string', '1234'),
	('"BNI="', 'bigint', 'precise', '1234'),
	('12.5', 'numeric', 'precise', '12.5'),
	('"Dx6pTqubj+J6"', 'numeric(40,0)', 'precise', '278910544696801485434'),
	('12.345', 'numeric', 'double', '12.345'),
	('7.0', 'numeric', 'double', '7.0'),
	('1.0E-10', 'numeric', 'double', '0.00000000010'),
	('"NaN"', 'numeric', 'double', 'NaN'),
	('"Infinity"', 'numeric', 'double', 'Infinity'),
	('"-Infinity"', 'numeric', 'double', '-Infinity'),
	('"12.5"', 'numeric', 'double', 'ERROR 22P02: value "12.5" is not a number'),
	('"123.4500"', 'numeric', 'string', '123.4500'),
	('"-1.50"', 'numeric(10,2)', 'string', '-1.50'),
	('"NAN"', 'numeric', 'string', 'NaN'),
	('"POSITIVE_INFINITY"', 'numeric', 'string', 'Infinity'),
	('"NEGATIVE_INFINITY"', 'numeric', 'string', '-Infinity'),
	('"POSITIVE_INFINITY"', 'numeric(10,2)', 'string', 'ERROR 22003'),
	('"NAN"', 'numeric(10,2)', 'string', 'NaN'),
	('"POSITIVE_INFINITY"', 'double precision', 'string', 'Infinity'),
	('"12.5"', 'double precision', 'string', '12.5'),
	('"AeJA"', 'money', 'precise', '$1,234.56'),
	('1234.56', 'money', 'double', '$1,234.56'),
	('"1234.56"', 'money', 'string', '$1,234.56'),
	('"NAN"', 'money', 'string', 'ERROR 22003: value "NAN" is out of range for type money'),
	('"99999999999999999999"', 'money', 'string', 'ERROR 22003')
) AS x(v, t, m, w);
INSERT INTO cases (value, type, source, wanted) VALUES
	('"1234500.0"', 'numeric(5,-2)', '{"decimal.handling.mode":"string"}', '1234500'),
	('1e400', 'numeric', NULL, '1' || repeat('0', 400)),
	('1e-400', 'numeric', NULL, '0.' || repeat('0', 399) || '1'),
	('1e999999999', 'numeric', NULL, 'ERROR 22003');
-- an unscaled integer of 60000 bytes, and one that no numeric can hold
INSERT INTO cases (value, type, schema, wanted)
SELECT format('"%s"', replace(encode(decode(repeat('7f', n), 'hex'), 'base64'), E'\n', '')), 'int', pg_temp.decimal(0), 'ERROR 22003'
FROM (VALUES (5000), (60000), (200000)) AS x(n);

SELECT * FROM pg_temp.failures();
SELECT count(*) FROM cases;
ROLLBACK;
