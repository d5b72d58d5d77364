CREATE EXTENSION postgis;
CREATE TABLE t (
	id int PRIMARY KEY,
	g geometry(Point, 4326),
	a geometry,
	gg geography(Point, 4326)
);
