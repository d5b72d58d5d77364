CREATE TABLE t (
	id int PRIMARY KEY,
	b1 bit(1),
	b5 bit(5),
	b20 bit(20),
	b64 bit(64),
	v1 varbit(1),
	v12 varbit(12),
	v varbit
);
