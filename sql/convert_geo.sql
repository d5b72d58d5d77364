--
-- Geometric types, PostGIS and pgvector.  Neither extension is needed: types of their names, entered as
-- members of extensions of their names, show the text that the input functions get.
--
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/test/convert/functions.sql'
\set ECHO none
\i :functions
\set ECHO all
BEGIN;
SET client_min_messages = error;	-- shell types
CREATE FUNCTION pg_temp.make_type(extension text, type text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TYPE %I', type);
	EXECUTE format('CREATE FUNCTION %I(cstring) RETURNS %I LANGUAGE internal IMMUTABLE STRICT AS ''textin''', type || '_in', type);
	EXECUTE format('CREATE FUNCTION %I(%I) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS ''textout''', type || '_out', type);
	EXECUTE format('CREATE TYPE %I (INPUT = %I, OUTPUT = %I)', type, type || '_in', type || '_out');
	INSERT INTO pg_extension SELECT (SELECT max(oid)::int + 1 FROM pg_extension)::oid, extension, 10, 'public'::regnamespace, false, '0'
	WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = extension);
	INSERT INTO pg_depend SELECT 'pg_type'::regclass, type::regtype, 0, 'pg_extension'::regclass, oid, 0, 'e'
	FROM pg_extension WHERE extname = extension;
END $$;
SET allow_system_table_mods = on;
SELECT pg_temp.make_type(e, t) FROM (VALUES ('postgis', 'geometry'), ('postgis', 'geography'), ('vector', 'vector'),
	('vector', 'halfvec'), ('vector', 'sparsevec'), ('other', 'box2d')) AS x(e, t);
RESET allow_system_table_mods;

-- WKB, little-endian, of a linestring (2) or of a polygon with one ring (3)
CREATE FUNCTION pg_temp.wkb(kind int, VARIADIC xy float8[]) RETURNS text LANGUAGE sql AS $$
	WITH words(n, x) AS (SELECT n, float8send(x) FROM unnest(xy) WITH ORDINALITY AS u(x, n)),
	bytes(b) AS (SELECT string_agg(substr(x, i, 1), '' ORDER BY n, i DESC) FROM words, generate_series(1, 8) i),
	head(h) AS (SELECT decode('01' || lpad(kind::text, 2, '0') || '000000' || CASE kind WHEN 3 THEN '01000000' ELSE '' END ||
							  lpad(to_hex(array_length(xy, 1) / 2), 2, '0') || '000000', 'hex'))
	SELECT replace(encode(h || b, 'base64'), E'\n', '') FROM bytes, head
$$;
SELECT pg_temp.wkb(2, 1.5, -2);

INSERT INTO cases (value, type, wanted) VALUES
	('{"x":1.5,"y":-2.0,"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":null}', 'point', '(1.5,-2)'),
	('{"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":null}', 'point', '(1.5,-2)'),
	('{"wkb":"AAAAAAE/+AAAAAAAAMAAAAAAAAAA"}', 'point', '(1.5,-2)'),
	('{"x":1.0E300,"y":"NaN"}', 'point', '(1e+300,NaN)'),
	('{"x":"Infinity","y":"-Infinity"}', 'point', '(Infinity,-Infinity)'),
	('{"x":1}', 'point', 'ERROR 22P02: value {"x":1} is not a structure with the number "y"'),
	('{"x":1,"y":"a"}', 'point', 'ERROR 22P02'),
	('{"wkb":"AQIAAAAAAAAAAAD4PwAAAAAAAADA"}', 'point', 'ERROR 22P03'),
	('{"wkb":"AQEAAAA="}', 'point', 'ERROR 22P03'),
	('{"wkb":""}', 'point', 'ERROR 22P03'),
	('5', 'point', 'ERROR 22P02'),
	('"KDEuNSwtMik="', 'point', '(1.5,-2)'),
	(format('{"wkb":"%s","srid":null,"extensions":{"type":"box"}}', pg_temp.wkb(3, 1, 2, 1, 4, 3, 4, 3, 2, 1, 2)), 'box', '(3,4),(1,2)'),
	(format('{"wkb":"%s"}', pg_temp.wkb(3, 1, 2, 1, 4, 3, 4, 1, 2)), 'box', 'ERROR 22P03'),
	(format('{"wkb":"%s"}', pg_temp.wkb(2, 1, 2, 3, 4)), 'lseg', '[(1,2),(3,4)]'),
	(format('{"wkb":"%s"}', pg_temp.wkb(2, 1, 2, 3, 4, 5, 6)), 'lseg', 'ERROR 22P03'),
	(format('{"wkb":"%s","extensions":{"type":"path","closed":"false"}}', pg_temp.wkb(2, 0, 0, 1, 1, 2, 0)), 'path', '[(0,0),(1,1),(2,0)]'),
	(format('{"wkb":"%s","extensions":{"type":"path","closed":"true"}}', pg_temp.wkb(2, 0, 0, 1, 1, 2, 0)), 'path', '((0,0),(1,1),(2,0))'),
	(format('{"wkb":"%s","extensions":{"closed":"true"}}', pg_temp.wkb(3, 0, 0, 1, 1, 2, 0, 0, 0)), 'path', '((0,0),(1,1),(2,0))'),
	(format('{"wkb":"%s"}', pg_temp.wkb(3, 0, 0, 0, 1, 1, 1, 0, 0)), 'polygon', '((0,0),(0,1),(1,1))'),
	('{"wkb":"AQMAAAABAAAA/////wAAAAAAAAAA"}', 'polygon', 'ERROR 22P03'),
	('{"center":{"x":1.0,"y":2.0,"wkb":"","srid":null},"radius":3.0}', 'circle', '<(1,2),3>'),
	('{"center":{"x":1.0,"y":2.0},"radius":-3.0}', 'circle', 'ERROR 22P02'),
	('{"radius":3.0}', 'circle', 'ERROR 22P02: value {"radius":3.0} is not a circle'),
	('{"a":1.0,"b":-1.0,"c":0.0}', 'line', '{1,-1,0}'),
	('{"a":0,"b":0,"c":1}', 'line', 'ERROR 22P02'),
	-- PostGIS
	('{"wkb":"AQEAACDmEAAAAAAAAAAAAAAAAAAAAAAAAA==","srid":4326,"extensions":null}', 'geometry', '0101000020e610000000000000000000000000000000000000'),
	('{"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":4326}', 'geometry', '0101000020e6100000000000000000f83f00000000000000c0'),
	('{"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":null}', 'geometry', '0101000000000000000000f83f00000000000000c0'),
	('{"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":0}', 'geometry', '0101000000000000000000f83f00000000000000c0'),
	('{"wkb":"AAAAAAE/+AAAAAAAAMAAAAAAAAAA","srid":4326}', 'geography', '0020000001000010e63ff8000000000000c000000000000000'),
	('{"x":1.5,"y":-2}', 'geometry', 'POINT(1.5 -2)'),
	('{"x":1.5,"y":-2,"srid":4326}', 'geometry', 'SRID=4326;POINT(1.5 -2)'),
	('"POINT(1 2)"', 'geometry', 'POINT(1 2)'),
	('{"wkb":"AQ=="}', 'geometry', 'ERROR 22P03: value {"wkb":"AQ=="} is not a geometry'),
	('{"wkb":"%%"}', 'geometry', 'ERROR 22P02'),
	('5', 'geometry', 'ERROR 22P02'),
	('[{"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":null}]', 'geometry[]', '{0101000000000000000000f83f00000000000000c0}'),
	('"Qk9YKDEgMikp"', 'box2d', 'BOX(1 2))'),
	-- pgvector
	('[1.0,2.5]', 'vector', '[1.0,2.5]'),
	('[]', 'vector', '[]'),
	('"[1,2]"', 'halfvec', '[1,2]'),
	('[1,null]', 'vector', 'ERROR 22P02: value [1,null] is not a vector'),
	('{"a":1}', 'vector', 'ERROR 22P02'),
	('{"dimensions":5,"vector":[[1,0.5],[3,2.0]]}', 'sparsevec', '{1:0.5,3:2.0}/5'),
	('{"dimensions":5,"vector":{"1":0.5,"3":2.0}}', 'sparsevec', '{1:0.5,3:2.0}/5'),
	('{"dimensions":5,"vector":[]}', 'sparsevec', '{}/5'),
	('{"dimensions":5,"vector":[[1]]}', 'sparsevec', 'ERROR 22P02'),
	('{"vector":[]}', 'sparsevec', 'ERROR 22P02');

-- older connectors do not know the geometric types
INSERT INTO cases (value, type, schema, source, wanted)
SELECT v, t, pg_temp.schema_of(c), jsonb_build_object('binary.handling.mode', m), w FROM (VALUES
	('"28332e302c342e30292c28312e302c322e3029"', 'box', NULL, 'hex', '(3,4),(1,2)'),
	('"KDMsNCksKDEsMik="', 'box', NULL, 'bytes', '(3,4),(1,2)'),
	('"KDMsNCksKDEsMik="', 'box', 'bytes', 'bytes', '(3,4),(1,2)'),
	('"28332c34292c28312c3229"', 'box', 'string', 'hex', '(3,4),(1,2)'),
	('"PCgxLDIpLDM+"', 'circle', 'bytes', 'bytes', '<(1,2),3>'),
	('"xyz"', 'box', NULL, 'bytes', 'ERROR 22P02')
) AS x(v, t, c, m, w);

-- with a schema
INSERT INTO cases (value, type, schema, wanted)
SELECT v, t, pg_temp.schema_of(c, n), w FROM (VALUES
	('{"x":1.5,"y":-2.0,"wkb":null,"srid":null}', 'point', 'struct', 'io.debezium.data.geometry.Point', '(1.5,-2)'),
	('{"a":1.0,"b":-1.0,"c":0.0}', 'line', 'struct', 'io.debezium.data.geometry.Line', '{1,-1,0}'),
	('{"wkb":"AQEAACDmEAAAAAAAAAAAAAAAAAAAAAAAAA==","srid":4326}', 'geography', 'struct', 'io.debezium.data.geometry.Geography', '0101000020e610000000000000000000000000000000000000'),
	('{"x":1.5,"y":-2.0}', 'jsonb', 'struct', 'io.debezium.data.geometry.Point', '{"x": 1.5, "y": -2.0}'),
	('{"x":1.5, "y":-2.0}', 'text', 'struct', 'io.debezium.data.geometry.Point', '{"x":1.5,"y":-2.0}'),
	('[1.0,2.5]', 'vector', 'array', 'io.debezium.data.DoubleVector', '[1.0,2.5]'),
	('{"dimensions":5,"vector":[[1,0.5]]}', 'sparsevec', 'struct', 'io.debezium.data.SparseDoubleVector', '{1:0.5}/5')
) AS x(v, t, c, n, w);

SELECT * FROM pg_temp.failures();
SELECT count(*) FROM cases;
ROLLBACK;
