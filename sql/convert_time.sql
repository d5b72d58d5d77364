--
-- Dates and times in every time.precision.mode, with and without a schema.
--
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/test/convert/functions.sql'
\set ECHO none
\i :functions
\set ECHO all
BEGIN;
SET DateStyle = ISO; SET TimeZone = UTC; SET IntervalStyle = postgres;
CREATE FUNCTION pg_temp.unit(mode text) RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('time.precision.mode', mode) $$;

-- with a schema, by its semantic name
INSERT INTO cases (value, type, schema, wanted)
SELECT v, t, pg_temp.schema_of(c, n), w FROM (VALUES
	('19782', 'date', 'int32', 'io.debezium.time.Date', '2024-02-29'),
	('-1', 'date', 'int32', 'io.debezium.time.Date', '1969-12-31'),
	('-735160', 'date', 'int32', 'io.debezium.time.Date', '0044-03-15 BC'),
	('19782', 'date', 'int32', 'org.apache.kafka.connect.data.Date', '2024-02-29'),
	('-9223372036854775808', 'date', 'int32', 'io.debezium.time.Date', 'ERROR 22008'),
	('"2024-02-29Z"', 'date', 'string', 'io.debezium.time.IsoDate', '2024-02-29'),
	('"-0043-03-15Z"', 'date', 'string', 'io.debezium.time.IsoDate', '0044-03-15 BC'),
	('"0000-12-31Z"', 'date', 'string', 'io.debezium.time.IsoDate', '0001-12-31 BC'),
	('"+12345-06-07Z"', 'date', 'string', 'io.debezium.time.IsoDate', '12345-06-07'),
	('49890120', 'time', 'int32', 'io.debezium.time.Time', '13:51:30.12'),
	('49890123', 'time', 'int32', 'org.apache.kafka.connect.data.Time', '13:51:30.123'),
	('49890123', 'time', 'int64', 'org.apache.kafka.connect.data.Time', '13:51:30.123'),
	('49890123456', 'time', 'int64', 'io.debezium.time.MicroTime', '13:51:30.123456'),
	('49890123456', 'time(3)', 'int64', 'io.debezium.time.MicroTime', '13:51:30.123'),
	('49890123456789', 'time', 'int64', 'io.debezium.time.NanoTime', '13:51:30.123457'),
	('86400000000', 'time', 'int64', 'io.debezium.time.MicroTime', '24:00:00'),
	('86400000', 'time', 'int32', 'io.debezium.time.Time', '24:00:00'),
	('86400000000000', 'time', 'int64', 'io.debezium.time.NanoTime', '24:00:00'),
	('86400000001', 'time', 'int64', 'io.debezium.time.MicroTime', 'ERROR 22008: value 86400000001 is out of range for type time'),
	('"13:51:30.123456Z"', 'time', 'string', 'io.debezium.time.IsoTime', '13:51:30.123456'),
	('"11:51:30.123456Z"', 'timetz', 'string', 'io.debezium.time.ZonedTime', '11:51:30.123456+00'),
	('"24:00:00Z"', 'timetz', 'string', 'io.debezium.time.ZonedTime', '24:00:00+00'),
	('"05:00:00.5Z"', 'timetz', 'string', 'io.debezium.time.ZonedTime', '05:00:00.5+00'),
	('"13:51:30+05:30"', 'timetz', 'string', 'io.debezium.time.ZonedTime', '13:51:30+05:30'),
	('"13:51:30-11:30"', 'time', 'string', 'io.debezium.time.ZonedTime', '01:21:30'),
	('1709214690123', 'timestamp', 'int64', 'io.debezium.time.Timestamp', '2024-02-29 13:51:30.123'),
	('1709214690123', 'timestamp', 'int64', 'org.apache.kafka.connect.data.Timestamp', '2024-02-29 13:51:30.123'),
	('1709214690123456', 'timestamp', 'int64', 'io.debezium.time.MicroTimestamp', '2024-02-29 13:51:30.123456'),
	('1709214690123456', 'timestamp(0)', 'int64', 'io.debezium.time.MicroTimestamp', '2024-02-29 13:51:30'),
	('1709214690123456', 'timestamptz', 'int64', 'io.debezium.time.MicroTimestamp', '2024-02-29 13:51:30.123456+00'),
	('1709214690123456700', 'timestamp', 'int64', 'io.debezium.time.NanoTimestamp', '2024-02-29 13:51:30.123457'),
	('-1', 'timestamp', 'int64', 'io.debezium.time.MicroTimestamp', '1969-12-31 23:59:59.999999'),
	('-63517787999500', 'timestamp', 'int64', 'io.debezium.time.Timestamp', '0044-03-15 10:00:00.5 BC'),
	('9224318015999999', 'timestamp', 'int64', 'io.debezium.time.Timestamp', '294276-12-31 23:59:59.999'),
	('9224318016000000', 'timestamp', 'int64', 'io.debezium.time.Timestamp', 'ERROR 22008'),
	('"2024-02-29T13:51:30.12Z"', 'timestamp', 'string', 'io.debezium.time.IsoTimestamp', '2024-02-29 13:51:30.12'),
	('"2024-02-29T11:51:30.123456Z"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', '2024-02-29 11:51:30.123456+00'),
	('"2024-02-29T11:51:30Z"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', '2024-02-29 11:51:30+00'),
	('"2024-02-29T17:21:30.1234567+05:30"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', '2024-02-29 11:51:30.123457+00'),
	('"2024-02-29T12:51:30+01:00[Europe/Paris]"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', '2024-02-29 11:51:30+00'),
	('"2024-02-29T12:51:30[Europe/Paris]"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', 'ERROR 22007'),
	('"-0043-03-15T10:00:00.500Z"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', '0044-03-15 10:00:00.5+00 BC'),
	('"+294276-12-31T23:59:59.999999Z"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', '294276-12-31 23:59:59.999999+00'),
	('"+294277-01-01T00:00:00Z"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', 'ERROR 22008'),
	('"-4713-11-24T00:00:00Z"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', '4714-11-24 00:00:00+00 BC'),
	('"-4713-11-23T23:59:59Z"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', 'ERROR 22008'),
	('"2024-02-29T11:51:30.123456Z"', 'timestamp', 'string', 'io.debezium.time.ZonedTimestamp', '2024-02-29 11:51:30.123456'),
	('"infinity"', 'timestamptz', 'string', 'io.debezium.time.ZonedTimestamp', 'infinity'),
	('19782', 'timestamp', 'int32', 'io.debezium.time.Date', '2024-02-29 00:00:00'),
	('1709214690123456', 'text', 'int64', 'io.debezium.time.MicroTimestamp', '2024-02-29 13:51:30.123456'),
	('-9223372036854775808', 'text', 'int64', 'io.debezium.time.MicroTimestamp', '290309-12-21 19:59:05.224192 BC'),
	('-63517787999500', 'text', 'int64', 'io.debezium.time.Timestamp', '0044-03-15 10:00:00.5 BC'),
	('1709214690123456', 'date', 'int64', 'io.debezium.time.MicroTimestamp', '2024-02-29'),
	('19782', 'text', 'int32', 'io.debezium.time.Date', '2024-02-29'),
	('49890123456', 'text', 'int64', 'io.debezium.time.MicroTime', '13:51:30.123456'),
	('2024', 'int', 'int32', 'io.debezium.time.Year', '2024'),
	-- M18: the payload is not what the schema says
	('"2024-02-29"', 'date', 'int32', 'io.debezium.time.Date', 'ERROR 22P02: value "2024-02-29" is not an integer'),
	('19782.5', 'date', 'int32', 'io.debezium.time.Date', 'ERROR 22P02'),
	('true', 'timestamp', 'int64', 'io.debezium.time.MicroTimestamp', 'ERROR 22P02')
) AS x(v, t, c, n, w);

-- without a schema: the unit is that of the mode and the column's precision
INSERT INTO cases (value, type, source, wanted)
SELECT v, t, pg_temp.unit(m), w FROM (VALUES
	('19782', 'date', 'adaptive', '2024-02-29'),
	('49890120', 'time(3)', 'adaptive', '13:51:30.12'),
	('49890123456', 'time', 'adaptive', '13:51:30.123456'),
	('49890123456', 'time(4)', 'adaptive', '13:51:30.1235'),
	('1709214690120', 'timestamp(3)', 'adaptive', '2024-02-29 13:51:30.12'),
	('1709214690123456', 'timestamp', 'adaptive', '2024-02-29 13:51:30.123456'),
	('1709214690123456', 'timestamptz', 'adaptive', '2024-02-29 13:51:30.123456+00'),
	('"2024-02-29T11:51:30.123456Z"', 'timestamptz', 'adaptive', '2024-02-29 11:51:30.123456+00'),
	('49890120000', 'time(3)', 'adaptive_time_microseconds', '13:51:30.12'),
	('1709214690120', 'timestamp(3)', 'adaptive_time_microseconds', '2024-02-29 13:51:30.12'),
	('1709214690123456', 'timestamp', 'adaptive_time_microseconds', '2024-02-29 13:51:30.123456'),
	('49890123', 'time', 'connect', '13:51:30.123'),
	('1709214690123', 'timestamp', 'connect', '2024-02-29 13:51:30.123'),
	('49890120000', 'time(3)', 'microseconds', '13:51:30.12'),
	('1709214690120000', 'timestamp(3)', 'microseconds', '2024-02-29 13:51:30.12'),
	('49890123456000', 'time', 'nanoseconds', '13:51:30.123456'),
	('1709214690123456000', 'timestamp', 'nanoseconds', '2024-02-29 13:51:30.123456'),
	('"2024-02-29Z"', 'date', 'isostring', '2024-02-29'),
	('"13:51:30.123456Z"', 'time', 'isostring', '13:51:30.123456'),
	('"2024-02-29T13:51:30.123456Z"', 'timestamp', 'isostring', '2024-02-29 13:51:30.123456'),
	('1709214690', 'timestamp', 'isostring', 'ERROR 22007: value 1709214690 is not an ISO 8601 string, as time.precision.mode of source says'),
	('{"year":2024,"month":2,"day":29,"specialValue":null}', 'date', 'structured', '2024-02-29'),
	('{"hour":13,"minute":51,"second":30,"nanos":123456000,"precision":6}', 'time', 'structured', '13:51:30.123456'),
	('{"hour":13,"minute":51,"second":30,"picoseconds":123456000000,"precision":6}', 'time', 'structured', '13:51:30.123456'),
	('{"hour":24,"minute":0,"second":0,"nanos":0}', 'time', 'structured', '24:00:00'),
	('{"hour":24,"minute":0,"second":1,"nanos":0}', 'time', 'structured', 'ERROR 22007'),
	('{"year":2024,"month":2,"day":29,"hour":13,"minute":51,"second":30,"nanos":5}', 'timestamp', 'structured', '2024-02-29 13:51:30'),
	('{"year":-43,"month":3,"day":15,"hour":10,"minute":0,"second":0,"nanos":0}', 'timestamp', 'structured', '0044-03-15 10:00:00 BC'),
	('{"year":2024,"month":2,"day":29,"hour":13,"minute":51,"second":30,"nanos":0,"offsetSeconds":7200,"zoneId":"+02:00"}', 'timestamptz', 'structured', '2024-02-29 11:51:30+00'),
	('{"hour":13,"minute":51,"second":30,"nanos":0,"offsetSeconds":-18000,"zoneId":null}', 'timetz', 'structured', '13:51:30-05'),
	('{"year":null,"month":null,"day":null,"specialValue":"POSITIVE_INFINITY"}', 'date', 'structured', 'infinity'),
	('{"specialValue":"NEGATIVE_INFINITY"}', 'timestamp', 'structured', '-infinity'),
	('{"specialValue":"SOMETHING"}', 'timestamp', 'structured', 'ERROR 22007'),
	('{"year":0,"month":0,"day":0}', 'date', 'structured', 'ERROR 22007'),
	('{}', 'date', 'structured', 'ERROR 22007')
) AS x(v, t, m, w);

-- infinities as streamed, as of the snapshot (two time zones), and in arrays
INSERT INTO cases (value, type, source, wanted)
SELECT v, t, pg_temp.unit(m), w FROM (VALUES
	('-2147472692', 'date', 'adaptive', 'infinity'),
	('-2147472691', 'date', 'adaptive', '-infinity'),
	('-622191234', 'date', 'adaptive', 'infinity'),
	('-622191233', 'date', 'adaptive', 'infinity'),
	('-625821272', 'date', 'adaptive', '-infinity'),
	('-625821271', 'date', 'adaptive', '-infinity'),
	('"-5877611-06-21Z"', 'date', 'isostring', 'infinity'),
	('"-5877611-06-22Z"', 'date', 'isostring', '-infinity'),
	('"+292278994-08-16Z"', 'date', 'isostring', 'infinity'),
	('"+292269055-12-02Z"', 'date', 'isostring', '-infinity'),
	('9223372036825200000', 'timestamp', 'adaptive', 'infinity'),
	('-9223372036832400000', 'timestamp', 'adaptive', '-infinity'),
	('9223372036825200', 'timestamp(3)', 'adaptive', 'infinity'),
	('-9223372036832400', 'timestamp(3)', 'adaptive', '-infinity'),
	('9223372036854775807', 'timestamp', 'nanoseconds', 'infinity'),
	('-9223372036854775808', 'timestamp', 'nanoseconds', '-infinity'),
	('"+294247-01-10T04:00:25.2Z"', 'timestamp', 'isostring', 'infinity'),
	('"-290308-12-21T19:59:27.6Z"', 'timestamp', 'isostring', '-infinity'),
	('"+294247-01-10T04:00:25.3Z"', 'timestamp', 'isostring', '294247-01-10 04:00:25.3'),
	('["infinity","-infinity","+292269055-12-02T23:00:00.000000Z"]', 'timestamptz[]', 'adaptive', '{infinity,-infinity,-infinity}'),
	('[-622191234,-625821272]', 'date[]', 'adaptive', '{infinity,-infinity}'),
	('[9223372036825200000,-9223372036832400000]', 'timestamp[]', 'adaptive', '{infinity,-infinity}'),
	('-2440589', 'date', 'adaptive', 'ERROR 22008'),
	('2147483647', 'date', 'adaptive', 'ERROR 22008')
) AS x(v, t, m, w);

-- malformed
INSERT INTO cases (value, type, wanted) VALUES
	('"2024-02-30Z"', 'date', 'ERROR 22007: value "2024-02-30Z" is not a date'),
	('"2023-02-29Z"', 'date', 'ERROR 22007'),
	('"24:00:01Z"', 'time', 'ERROR 22007: value "24:00:01Z" is not a time of day'),
	('"13:60:00Z"', 'time', 'ERROR 22007'),
	('"infinityX"', 'timestamptz', 'ERROR 22007: value "infinityX" is not a date and time'),
	('"2024-02-29T13:51:30ZZ"', 'timestamp', 'ERROR 22007'),
	('"now"', 'timestamptz', 'ERROR 22007'),
	('"today"', 'date', 'ERROR 22007'),
	('""', 'date', 'ERROR 22007'),
	('true', 'date', 'ERROR 22007: value true is not a date'),
	('[1]', 'timestamp', 'ERROR 22007'),
	('99999999999999999999', 'timestamp', 'ERROR 22003');

-- intervals
INSERT INTO cases (value, type, schema, source, wanted)
SELECT v, t, pg_temp.schema_of(c, n), s::jsonb, w FROM (VALUES
	('2802601500000', 'interval', 'int64', 'io.debezium.time.MicroDuration', '{}', '778:30:01.5'),
	('-1', 'interval', 'int64', 'io.debezium.time.MicroDuration', '{}', '-00:00:00.000001'),
	('1500', 'interval', 'int64', 'io.debezium.time.NanoDuration', '{}', '00:00:00.000002'),
	('"P1Y2M-3DT4H5M6.789S"', 'interval', 'string', 'io.debezium.time.Interval', '{}', '1 year 2 mons -3 days +04:05:06.789'),
	('"P0Y0M0DT0H0M-0.000001S"', 'interval', 'string', 'io.debezium.time.Interval', '{}', '-00:00:00.000001'),
	('{"years":-1,"months":-1,"days":2,"hours":0,"minutes":0,"seconds":-1,"nanos":-500000000,"precision":6}', 'interval', 'struct', 'io.debezium.time.StructuredDuration', '{}', '-1 years -1 mons +2 days -00:00:01.5'),
	('-3020399000000', 'interval', 'int64', 'io.debezium.time.MicroTime', '{}', '-838:59:59'),
	('2802601500000', 'interval', NULL, NULL, '{}', '778:30:01.5'),
	('"P0Y1M2DT0H0M1.5S"', 'interval', NULL, NULL, '{"interval.handling.mode":"string"}', '1 mon 2 days 00:00:01.5'),
	('1500000', 'interval', NULL, NULL, '{"interval.handling.mode":"string"}', 'ERROR 22007'),
	('{"months":1,"seconds":2}', 'interval', NULL, NULL, '{"interval.handling.mode":"structured"}', '1 mon 00:00:02'),
	('"1 day"', 'interval', NULL, NULL, '{}', 'ERROR 22007: value "1 day" is not an ISO 8601 duration'),
	('1500000', 'interval(0)', NULL, NULL, '{}', '00:00:02'),
	('2802601500000', 'text', 'int64', 'io.debezium.time.MicroDuration', '{}', 'PT2802601.500000S'),
	('-3020399000000', 'time', 'int64', 'io.debezium.time.MicroTime', '{}', 'ERROR 22008')
) AS x(v, t, c, n, s, w);


SELECT * FROM pg_temp.failures();
SELECT count(*) FROM cases;

-- nothing of this depends on the session's settings: compared as values, not as texts
SET DateStyle = 'SQL, DMY'; SET TimeZone = '<+0545>-05:45'; SET IntervalStyle = sql_standard;
SELECT c.id, c.value, c.type, c.wanted, r.got FROM cases c,
	LATERAL (SELECT pg_temp.convert(c.value, c.type, c.schema, c.source)) r(got)
WHERE c.wanted NOT LIKE 'ERROR%' AND c.type !~ '\[\]' AND c.type <> 'text' AND NOT pg_temp.same(r.got, c.wanted, c.type);
SELECT pg_temp.convert('"2024-07-01T11:51:30Z"', 'timestamptz', NULL, NULL),
	pg_temp.convert('"2024-07-01T11:51:30Z"', 'timestamp', NULL, NULL),
	pg_temp.convert('1719834690000000', 'timestamp', NULL, NULL),
	pg_temp.convert('"P1Y2M-3DT4H5M6.789S"', 'interval', NULL, NULL);
ROLLBACK;
