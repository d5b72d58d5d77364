CREATE TABLE t (
	id int PRIMARY KEY,
	name text
);
CREATE VIEW columns AS
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull FROM pg_attribute
WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum;
