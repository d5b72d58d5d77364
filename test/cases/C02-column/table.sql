CREATE TABLE t (
	src text,
	id int,
	name text,
	n numeric(10,2),
	ts timestamptz,
	PRIMARY KEY (src, id)
);
