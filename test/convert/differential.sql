-- The converters against the server's own input functions, casts and arithmetic, on random values.
--
--     psql -X -q -v seed=0.42 -v rows=2000 -f test/convert/differential.sql
--
-- needs a server that finds cdc_sink's library and, for hstore, contrib.  Prints a line for each kind of value;
-- ends with an ERROR (and status 3) when a value differs.  seed: between -1 and 1; rows: values of each kind.
\set ON_ERROR_STOP on
\if :{?seed}
\else
	\set seed 0.42
\endif
\if :{?rows}
\else
	\set rows 2000
\endif
SELECT current_setting('server_encoding') = 'UTF8' AS utf8 \gset
\ir functions.sql
SET extra_float_digits = 1;
SET bytea_output = hex;
BEGIN;
CREATE EXTENSION IF NOT EXISTS hstore;
SELECT setseed(:seed) \g /dev/null

CREATE TEMP TABLE values_to_try (
	kind text,
	value text,				-- JSON text
	type regtype,
	typmod int DEFAULT -1,
	schema text,
	source jsonb DEFAULT '{}',
	wanted text				-- the server's answer; 'ERROR' and its SQLSTATE
);

-- a random integer of both signs and any length up to so many bits
CREATE FUNCTION pg_temp.random_int(bits int) RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT (CASE WHEN random() < 0.5 THEN -1 ELSE 1 END * trunc(random() * 2 ^ least(bits, 31)))::bigint *
		   CASE WHEN bits > 31 THEN trunc(random() * 2 ^ (bits - 31))::bigint ELSE 1 END
		   + trunc(random() * 3)::int - 1
$$;

-- random text: ASCII, accents, emoji, quotes, blanks at the end
CREATE FUNCTION pg_temp.random_text(longest int) RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT coalesce(string_agg(substr('abcXYZ019 "\{},''=>:éßñ', 1 + trunc(random() * 21)::int, 1), ''), '') ||
		   CASE WHEN random() < 0.1 THEN '😀' ELSE '' END || repeat(' ', trunc(random() * 3)::int)
	FROM generate_series(1, trunc(random() * longest)::int)
$$;

-- the server's answer of an input function, as the output function prints it
CREATE FUNCTION pg_temp.input(function text, text text, typmod int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	IF function ~ '^int[248]in' THEN
		EXECUTE format('SELECT %s($1::cstring)::text', function) INTO result USING text;
	ELSE
		EXECUTE format('SELECT %s($1::cstring, 0, $2)::text', function) INTO result USING text, typmod;
	END IF;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN 'ERROR ' || SQLSTATE;
END $$;

-- base64 of the big-endian two's complement of an integer, as Java's BigInteger writes it
CREATE FUNCTION pg_temp.unscaled(number numeric) RETURNS text LANGUAGE plpgsql STRICT AS $$
DECLARE
	bytes bytea := '';
	rest numeric := number;
	lowest int;
BEGIN
	LOOP
		lowest := mod(mod(rest, 256) + 256, 256)::int;
		bytes := set_byte('\x00', 0, lowest) || bytes;
		rest := div(rest - lowest, 256);
		EXIT WHEN (rest = 0 AND get_byte(bytes, 0) < 128) OR (rest = -1 AND get_byte(bytes, 0) >= 128);
	END LOOP;
	RETURN replace(encode(bytes, 'base64'), E'\n', '');
END $$;

-- ISO 8601 as Java writes it: astronomical years, a sign before more than four digits
CREATE FUNCTION pg_temp.java_iso(t timestamp, suffix text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN year <= 0 THEN '-' || lpad((-year)::text, 4, '0') WHEN year > 9999 THEN '+' || year
		   ELSE lpad(year::text, 4, '0') END || to_char(t, '-MM-DD"T"HH24:MI:SS') ||
		   CASE WHEN micros = 0 THEN '' ELSE rtrim('.' || lpad(micros::text, 6, '0'), '0') END || suffix
	FROM (SELECT CASE WHEN extract(year FROM t) < 0 THEN extract(year FROM t) + 1 ELSE extract(year FROM t) END::int,
				 mod(extract(microseconds FROM t)::bigint, 1000000)) AS x(year, micros)
$$;

-- integers, whole range and a little beyond each type
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'integers', n::text, t, pg_temp.input(f, n::text, -1)
FROM (SELECT pg_temp.random_int(b) + coalesce(edge, 0) AS n, t, f
	  FROM (SELECT 1 + trunc(random() * 61)::int AS b FROM generate_series(1, :rows)) AS r,
		   (VALUES ('int2'::regtype, 'int2in', 32767), ('int4', 'int4in', 2147483647), ('int8', 'int8in', NULL)) AS y(t, f, edge)) AS x;

-- floating point: any bits that are finite
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'float8', replace(f::text, 'e+', 'E'), 'float8', f::text
FROM (SELECT (pg_temp.random_int(53) * 10.0::float8 ^ trunc(random() * 500 - 250)) AS f FROM generate_series(1, :rows)) AS x;
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'float4', replace(f::text, 'e+', 'E'), 'float4', f::text
FROM (SELECT (pg_temp.random_int(24) * 10.0::float8 ^ trunc(random() * 60 - 40))::float4 AS f FROM generate_series(1, :rows)) AS x
WHERE f <> 'Infinity' AND f <> '-Infinity';

-- decimals: digits of any length, base64 with a schema, without one, as number and as string
CREATE TEMP TABLE decimals AS
SELECT CASE WHEN random() < 0.5 THEN '-' ELSE '' END ||
	   (SELECT ltrim(coalesce(string_agg(trunc(random() * 10 + i * 0)::int::text, ''), ''), '0') || '7' FROM generate_series(1, n) i) AS digits, scale
FROM (SELECT trunc(random() * random() * 70)::int AS n, trunc(random() * 24)::int AS scale FROM generate_series(1, :rows)) AS x;
ALTER TABLE decimals ADD precision int DEFAULT 1 + trunc(random() * 60)::int, ADD point int DEFAULT trunc(random() * 24)::int;
INSERT INTO values_to_try (kind, value, type, typmod, schema, wanted)
SELECT 'decimals with a schema', '"' || pg_temp.unscaled(digits::numeric) || '"', 'numeric', m,
	   pg_temp.schema_of('bytes', 'org.apache.kafka.connect.data.Decimal', format('{"parameters":{"scale":"%s"}}', scale)::jsonb),
	   pg_temp.input('numeric_in', digits || 'e-' || scale, m)
FROM (SELECT *, CASE WHEN random() < 0.3 THEN -1 ELSE ((precision << 16) | (point & 2047)) + 4 END AS m FROM decimals) AS x;
INSERT INTO values_to_try (kind, value, type, typmod, wanted)
SELECT 'decimals by the column', '"' || pg_temp.unscaled(digits::numeric) || '"', 'numeric', m,
	   pg_temp.input('numeric_in', digits || 'e-' || scale, m)
FROM (SELECT *, ((greatest(precision, scale + 1) << 16) | scale) + 4 AS m FROM decimals) AS x;
INSERT INTO values_to_try (kind, value, type, schema, wanted)
SELECT 'variable scale', format('{"scale":%s,"value":"%s"}', scale - 5, pg_temp.unscaled(digits::numeric)), 'numeric',
	   pg_temp.schema_of('struct', 'io.debezium.data.VariableScaleDecimal'), pg_temp.input('numeric_in', digits || 'e' || (5 - scale), -1)
FROM decimals;
INSERT INTO values_to_try (kind, value, type, typmod, source, wanted)
SELECT 'decimal texts', CASE WHEN random() < 0.5 THEN '"' || d || '"' ELSE d END, 'numeric', m, '{"decimal.handling.mode":"string"}',
	   pg_temp.input('numeric_in', d, m)
FROM (SELECT (digits::numeric * 10::numeric ^ -scale)::text || CASE WHEN random() < 0.3 THEN 'E' || trunc(random() * 40 - 20) ELSE '' END AS d,
			 CASE WHEN random() < 0.3 THEN -1 ELSE ((precision << 16) | (point & 2047)) + 4 END AS m FROM decimals) AS x;

-- timestamps: the whole range, in every unit and precision
CREATE TEMP TABLE instants AS
SELECT us, timestamp '1970-01-01' + (us / 86400000000) * interval '1 day' + (us % 86400000000) * interval '1 microsecond' AS t, p
FROM (SELECT CASE WHEN random() < 0.5 THEN trunc(random() * 4e15 - 2e15) ELSE trunc(random() * 9.3e18 - 2.1e17) END::bigint AS us,
			 trunc(random() * 7)::int AS p FROM generate_series(1, :rows)) AS x WHERE us < 9223372036825200000;
INSERT INTO values_to_try (kind, value, type, typmod, schema, wanted)
SELECT 'timestamps in ' || n, CASE n WHEN 'Timestamp' THEN us / 1000 ELSE us END::text, ty, p, pg_temp.schema_of('int64', 'io.debezium.time.' || n),
	   pg_temp.input(f, CASE n WHEN 'Timestamp' THEN date_trunc('milliseconds', t) ELSE t END::text, p)
FROM instants, (VALUES ('Timestamp'), ('MicroTimestamp')) AS y(n), (VALUES ('timestamp'::regtype, 'timestamp_in'), ('timestamptz', 'timestamptz_in')) AS z(ty, f)
WHERE us >= 0 OR n = 'MicroTimestamp';
INSERT INTO values_to_try (kind, value, type, typmod, wanted)
SELECT 'ISO timestamps', '"' || pg_temp.java_iso(t, 'Z') || '"', ty, p, pg_temp.input(f, t::text, p)
FROM instants, (VALUES ('timestamp'::regtype, 'timestamp_in'), ('timestamptz', 'timestamptz_in')) AS z(ty, f);
INSERT INTO values_to_try (kind, value, type, typmod, wanted)
SELECT 'timestamps with an offset', '"' || pg_temp.java_iso(t, o) || '"', 'timestamptz', p,
	   pg_temp.input('timestamptz_in', regexp_replace(t::text, '( BC)?$', o || '\1'), p)
FROM (SELECT *, CASE WHEN random() < 0.5 THEN '+' ELSE '-' END || lpad(trunc(random() * 14)::int::text, 2, '0') || ':' ||
			 lpad(trunc(random() * 60)::int::text, 2, '0') AS o FROM instants) AS x;
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'dates', n::text, 'date', (date '1970-01-01' + n)::text FROM (SELECT (us / 86400000000)::int AS n FROM instants) AS x;
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'ISO dates', '"' || split_part(pg_temp.java_iso(t, 'Z'), 'T', 1) || 'Z"', 'date', t::date::text FROM instants;
INSERT INTO values_to_try (kind, value, type, typmod, schema, wanted)
SELECT 'times', us::text, 'time', p, pg_temp.schema_of('int64', 'io.debezium.time.MicroTime'), pg_temp.input('time_in', (time '00:00' + us * interval '1 microsecond')::text, p)
FROM (SELECT abs(us) % 86400000000 AS us, p FROM instants) AS x;
INSERT INTO values_to_try (kind, value, type, typmod, schema, wanted)
SELECT 'ISO times', '"' || (time '00:00' + us * interval '1 microsecond')::text || z || '"', 'timetz', p, pg_temp.schema_of('string', 'io.debezium.time.ZonedTime'),
	   pg_temp.input('timetz_in', (time '00:00' + us * interval '1 microsecond')::text || z, p)
FROM (SELECT abs(us) % 86400000000 AS us, p, CASE WHEN random() < 0.5 THEN 'Z' ELSE '+05:30' END AS z FROM instants) AS x;
INSERT INTO values_to_try (kind, value, type, typmod, wanted)
SELECT 'durations', us::text, 'interval', (32767 << 16) | p,
	   pg_temp.input('interval_in', format('%s hours %s microseconds', us / 3600000000, us % 3600000000), (32767 << 16) | p)
FROM instants WHERE abs(us) < 7000000000000000000;

-- texts with a length
INSERT INTO values_to_try (kind, value, type, typmod, wanted)
SELECT ty::text || ' texts', to_json(s)::text, ty, m, pg_temp.input(f, s, m)
FROM (SELECT pg_temp.random_text(12) AS s, CASE WHEN random() < 0.1 THEN -1 ELSE 5 + trunc(random() * 12)::int END AS m FROM generate_series(1, :rows)) AS x,
	 (VALUES ('varchar'::regtype, 'varcharin'), ('bpchar', 'bpcharin')) AS y(ty, f);
-- a cast of bpchar to text drops the blanks that its output keeps
UPDATE values_to_try SET wanted = CASE WHEN wanted LIKE 'ERROR 2%' THEN wanted
	ELSE rpad(wanted, CASE WHEN typmod < 0 THEN length((value::json #>> '{}')) ELSE typmod - 4 END) END
WHERE kind = 'character texts';
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'text', to_json(s)::text, 'text', s FROM (SELECT pg_temp.random_text(200) AS s FROM generate_series(1, :rows)) AS x;

-- uuid, some of them broken or in another form
CREATE FUNCTION pg_temp.uuid_of(s text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RETURN s::uuid::text; EXCEPTION WHEN OTHERS THEN RETURN 'ERROR ' || SQLSTATE; END $$;
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'uuid', '"' || u || '"', 'uuid', pg_temp.uuid_of(u)
FROM (SELECT CASE trunc(random() * 6)::int WHEN 0 THEN upper(u) WHEN 1 THEN replace(u, '-', '') WHEN 2 THEN '{' || u || '}'
			 WHEN 3 THEN overlay(u PLACING substr('-gG0x', 1 + trunc(random() * 5)::int, 1) FROM 1 + trunc(random() * 36)::int) ELSE u END AS u
	  FROM (SELECT md5(random()::text)::uuid::text AS u FROM generate_series(1, :rows)) AS y) AS x;

-- bytes and bit strings
CREATE TEMP TABLE byte_strings AS
SELECT substr(decode(string_agg(md5(random()::text || i), ''), 'hex'), 1, max(n)) AS b
FROM (SELECT r, trunc(random() * 60)::int AS n FROM generate_series(1, :rows) r) AS x, generate_series(1, 4) i GROUP BY r;
INSERT INTO values_to_try (kind, value, type, source, wanted)
SELECT 'bytea in ' || m, '"' || CASE m WHEN 'hex' THEN encode(b, 'hex')
		WHEN 'base64-url-safe' THEN translate(replace(encode(b, 'base64'), E'\n', ''), '+/', '-_') ELSE replace(encode(b, 'base64'), E'\n', '') END || '"',
	   'bytea', jsonb_build_object('binary.handling.mode', m), b::text
FROM byte_strings, (VALUES ('bytes'), ('base64'), ('base64-url-safe'), ('hex')) AS y(m);
-- base64 of the bytes of a bit string, lowest first, without leading zero bytes
CREATE FUNCTION pg_temp.little_endian(bits text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	bytes bytea := '';
	rest text := ltrim(bits, '0');
BEGIN
	WHILE rest <> '' LOOP
		bytes := bytes || set_byte('\x00', 0, lpad(right(rest, 8), 8, '0')::bit(8)::int);
		rest := left(rest, -8);
	END LOOP;
	RETURN encode(bytes, 'base64');
END $$;
INSERT INTO values_to_try (kind, value, type, typmod, schema, wanted)
SELECT 'bit strings', '"' || pg_temp.little_endian(s) || '"', ty, length(s), pg_temp.schema_of('bytes', 'io.debezium.data.Bits'),
	   CASE WHEN ty = 'bit'::regtype THEN s ELSE ltrim(s, '0') END
FROM (SELECT (SELECT string_agg(CASE WHEN random() + i * 0 < 0.5 THEN '0' ELSE '1' END, '') FROM generate_series(1, n) i) AS s
	  FROM (SELECT 1 + trunc(random() * 90)::int AS n FROM generate_series(1, :rows)) AS w) AS x, (VALUES ('bit'::regtype), ('varbit')) AS y(ty);

-- arrays and hstore
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'text[]', array_to_json(a)::text, 'text[]', a::text
FROM (SELECT ARRAY(SELECT CASE WHEN random() < 0.1 THEN NULL WHEN random() < 0.1 THEN 'NULL' ELSE pg_temp.random_text(6) END
				   FROM generate_series(1, trunc(random() * 5 + r * 0)::int)) AS a FROM generate_series(1, :rows) r) AS x;
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'int[][]', array_to_json(a)::text, 'int[]', a::text
FROM (SELECT (SELECT array_agg(ARRAY[pg_temp.random_int(20), NULL, i]::int[]) FROM generate_series(1, 1 + trunc(random() * 3 + r * 0)::int) i) AS a
	  FROM generate_series(1, :rows) r) AS x;
INSERT INTO values_to_try (kind, value, type, wanted)
SELECT 'hstore as ' || m, CASE m WHEN 'json' THEN to_json(hstore_to_json(h)::text)::text ELSE hstore_to_json(h)::text END, 'hstore', h::text
FROM (SELECT hstore(array_agg(pg_temp.random_text(4) || i), array_agg(CASE WHEN random() < 0.2 THEN NULL ELSE pg_temp.random_text(6) END)) AS h
	  FROM generate_series(1, :rows) r, generate_series(1, 3) i GROUP BY r) AS x, (VALUES ('json'), ('map')) AS y(m);

-- a NULL here would compare with nothing
SELECT count(*) FILTER (WHERE wanted IS NULL OR value IS NULL) AS empty FROM values_to_try \gset

CREATE FUNCTION pg_temp.try(v values_to_try) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN pg_temp.cdc_test_convert(v.schema, v.source, v.value, v.type, v.typmod);
EXCEPTION WHEN OTHERS THEN
	RETURN 'ERROR ' || SQLSTATE;
END $$;
CREATE TEMP TABLE results AS SELECT v.*, pg_temp.try(v) AS got FROM values_to_try v;
SELECT kind, count(*) AS values, count(*) FILTER (WHERE wanted LIKE 'ERROR %') AS refused,
	   count(*) FILTER (WHERE got IS DISTINCT FROM wanted) AS different
FROM results GROUP BY kind ORDER BY kind;
SELECT kind, left(value, 60) AS value, type, typmod, left(wanted, 60) AS wanted, left(got, 60) AS got
FROM results WHERE got IS DISTINCT FROM wanted ORDER BY kind, value LIMIT 20;
DO $$ BEGIN
	IF EXISTS (SELECT FROM results WHERE got IS DISTINCT FROM wanted) OR (SELECT count(DISTINCT kind) FROM results) < 25 THEN
		RAISE 'converters and server differ';
	END IF;
END $$;
ROLLBACK;
