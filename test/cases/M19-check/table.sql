CREATE TABLE t (
	id int PRIMARY KEY,
	name text UNIQUE CHECK (name <> 'bad'),
	n numeric(10,2),
	ts timestamptz
);
