CREATE EXTENSION citext;
CREATE EXTENSION ltree;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'so "so"', 'très, bien');
CREATE DOMAIN code5 AS varchar(5);
CREATE DOMAIN code5b AS code5 CHECK (VALUE::text <> 'bad');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE TABLE t (
	id int PRIMARY KEY,
	u uuid,
	ip inet,
	ci cidr,
	ma macaddr,
	ma8 macaddr8,
	r4 int4range,
	r8 int8range,
	rn numrange,
	rts tsrange,
	rtz tstzrange,
	rd daterange,
	lt ltree,
	ct citext,
	x xml,
	en mood,
	dc code5b,
	di posint,
	au uuid[],
	ai inet[],
	aci cidr[],
	am macaddr[],
	ar int4range[],
	act citext[],
	ae mood[]
);
