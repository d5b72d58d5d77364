CREATE EXTENSION isn;
CREATE TABLE t (
	id int PRIMARY KEY,
	i isbn,
	e ean13
);
