CREATE TABLE t (
	id int PRIMARY KEY,
	name text NOT NULL,
	n numeric(10,2),
	ts timestamptz
);
