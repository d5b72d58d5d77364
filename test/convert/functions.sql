-- Functions of the converter tests.  Sourced by sql/convert_*.sql and test/convert/differential.
SET client_min_messages = warning;
SET DateStyle = ISO;
SET TimeZone = UTC;
SET IntervalStyle = postgres;

CREATE FUNCTION pg_temp.cdc_test_convert(schema text, source jsonb, value text, type regtype, typmod int)
RETURNS text LANGUAGE c AS 'cdc_sink', 'cdc_test_convert';
CREATE FUNCTION pg_temp.cdc_test_converter(schema text, source jsonb, type regtype, typmod int)
RETURNS text LANGUAGE c AS 'cdc_sink', 'cdc_test_converter';

-- typmod of a type as a column declares it
CREATE FUNCTION pg_temp.typmod_of(type text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	result int;
BEGIN
	EXECUTE format('CREATE TEMP TABLE typmod_of (c %s)', type);
	SELECT atttypmod INTO result FROM pg_attribute
	WHERE attrelid = 'pg_temp.typmod_of'::regclass AND attname = 'c';
	DROP TABLE pg_temp.typmod_of;
	RETURN result;
END $$;

-- text output of a value of the JSON text, NULL, or the error
CREATE FUNCTION pg_temp.convert(value text, type text, schema text, source jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	typmod int := pg_temp.typmod_of(type);
BEGIN
	RETURN coalesce(pg_temp.cdc_test_convert(schema, coalesce(source, '{}'), value,
											 type::regtype, typmod), 'NULL');
EXCEPTION WHEN OTHERS THEN
	RETURN format('ERROR %s: %s', SQLSTATE, SQLERRM);
END $$;

-- schema of a field, NULL without a type; more: parameters, items, keys, values, fields
CREATE FUNCTION pg_temp.schema_of(connect text, name text DEFAULT NULL, more jsonb DEFAULT '{}')
RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN connect IS NOT NULL THEN
		   (jsonb_strip_nulls(jsonb_build_object('type', connect, 'name', name)) ||
			CASE connect WHEN 'struct' THEN '{"fields":[{"type":"int32","field":"f"}]}'
				WHEN 'array' THEN '{"items":{"type":"string","optional":true}}'
				WHEN 'map' THEN '{"keys":{"type":"string"},"values":{"type":"string","optional":true}}'
				ELSE '{}' END::jsonb || more)::text END
$$;

CREATE TEMP TABLE cases (
	id int GENERATED ALWAYS AS IDENTITY,
	value text,				-- JSON text
	type text,				-- of the column
	schema text,			-- of the field, or NULL
	source jsonb,
	wanted text				-- text output; an error without message: any message
);

-- the cases that fail, and how many there are
CREATE FUNCTION pg_temp.failures()
RETURNS TABLE (id int, value text, type text, wanted text, got text) LANGUAGE sql AS $$
	SELECT c.id, left(c.value, 80), c.type, c.wanted, left(r.got, 200)
	FROM pg_temp.cases c, LATERAL (SELECT pg_temp.convert(c.value, c.type, c.schema, c.source)) r(got)
	WHERE CASE WHEN c.wanted ~ '^ERROR [0-9A-Z]{5}$' THEN left(r.got, 11) ELSE r.got END IS DISTINCT FROM c.wanted
	ORDER BY c.id
$$;

-- do two texts mean the same value of a type, under the settings of the session?
CREATE FUNCTION pg_temp.same(a text, b text, type text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	result bool;
BEGIN
	EXECUTE format('SELECT %L::%s IS NOT DISTINCT FROM %L::%2$s', a, type, b) INTO result;
	RETURN result;
END $$;
