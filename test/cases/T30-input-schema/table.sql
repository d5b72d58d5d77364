-- Types of these names whose input keeps the text, made members of an extension of that name: shows what the converter
-- writes where the real extension is not installed.
CREATE TYPE vector;
CREATE FUNCTION vector_in(cstring) RETURNS vector AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION vector_out(vector) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out, LIKE = text);
CREATE TYPE halfvec;
CREATE FUNCTION halfvec_in(cstring) RETURNS halfvec AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION halfvec_out(halfvec) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE halfvec (INPUT = halfvec_in, OUTPUT = halfvec_out, LIKE = text);
CREATE TYPE sparsevec;
CREATE FUNCTION sparsevec_in(cstring) RETURNS sparsevec AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION sparsevec_out(sparsevec) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE sparsevec (INPUT = sparsevec_in, OUTPUT = sparsevec_out, LIKE = text);
INSERT INTO pg_extension SELECT oid, 'vector', typowner, typnamespace, false, '0' FROM pg_type WHERE typname = 'vector';
ALTER EXTENSION vector ADD TYPE vector;
ALTER EXTENSION vector ADD TYPE halfvec;
ALTER EXTENSION vector ADD TYPE sparsevec;
CREATE TABLE t (
	id int PRIMARY KEY,
	v vector,
	h halfvec,
	s sparsevec
);
CREATE VIEW seen AS SELECT id, regexp_replace(textin(vector_out(v)), '\.0+(?=[],}])| ', '', 'g') AS v, regexp_replace(textin(halfvec_out(h)), '\.0+(?=[],}])| ', '', 'g') AS h, regexp_replace(textin(sparsevec_out(s)), '\.0+(?=[],}])| ', '', 'g') AS s FROM t;
