CREATE TABLE t (
	id int PRIMARY KEY,
	p point,
	bx box,
	ls lseg,
	pa path,
	po path,
	pg polygon,
	ci circle,
	li line
);
