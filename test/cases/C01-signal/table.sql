CREATE TABLE t (
	id int PRIMARY KEY,
	name text,
	n numeric(10,2),
	ts timestamptz
);
CREATE TABLE dbz_signal (
	id varchar(42) PRIMARY KEY,
	type varchar(32) NOT NULL,
	data varchar(2048)
);
