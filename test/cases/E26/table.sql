CREATE TABLE t (
	id int PRIMARY KEY,
	op text,
	before text,
	after text,
	source text,
	schema text,
	payload text,
	transaction text,
	ts_ms bigint,
	__deleted text
);
