CREATE TABLE t (
	id int PRIMARY KEY,
	b1 boolean,
	b2 boolean,
	b3 smallint,
	ub numeric(20),
	ub2 numeric(20),
	yr int,
	st text,
	zd date,
	tm interval,
	b64 bit(64),
	dt timestamp(0),
	tsz timestamptz,
	js jsonb,
	bi bytea
);
