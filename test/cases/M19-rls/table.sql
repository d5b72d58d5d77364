CREATE ROLE cdc_case_owner;
CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	n numeric(10,2),
	ts timestamptz
);
ALTER TABLE t OWNER TO cdc_case_owner;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
ALTER TABLE t FORCE ROW LEVEL SECURITY;
