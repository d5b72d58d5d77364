-- Types of these names whose input keeps the text, made members of an extension of that name: shows what the converter
-- writes where the real extension is not installed.
CREATE TYPE geometry;
CREATE FUNCTION geometry_in(cstring) RETURNS geometry AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION geometry_out(geometry) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE geometry (INPUT = geometry_in, OUTPUT = geometry_out, LIKE = text);
CREATE TYPE geography;
CREATE FUNCTION geography_in(cstring) RETURNS geography AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION geography_out(geography) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE geography (INPUT = geography_in, OUTPUT = geography_out, LIKE = text);
INSERT INTO pg_extension SELECT oid, 'postgis', typowner, typnamespace, false, '0' FROM pg_type WHERE typname = 'geometry';
ALTER EXTENSION postgis ADD TYPE geometry;
ALTER EXTENSION postgis ADD TYPE geography;
CREATE TABLE t (
	id int PRIMARY KEY,
	g geometry,
	a geometry,
	gg geography
);
CREATE VIEW seen AS SELECT id, upper(textin(geometry_out(g))) AS g, upper(textin(geometry_out(a))) AS a, upper(textin(geography_out(gg))) AS gg FROM t;
