CREATE EXTENSION hstore;
CREATE TABLE t (
	id int PRIMARY KEY,
	h hstore,
	ah hstore[]
);
