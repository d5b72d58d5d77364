CREATE TABLE t (
	schema text PRIMARY KEY,
	payload text
);
