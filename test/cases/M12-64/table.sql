CREATE TABLE t (
	id int PRIMARY KEY,
	body text
);
CREATE VIEW digest AS SELECT id, length(body) AS chars, octet_length(body) AS bytes, md5(body) AS md5 FROM t;
