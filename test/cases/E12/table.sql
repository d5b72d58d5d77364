CREATE TABLE orders (
	region text,
	u uuid,
	n int,
	v text,
	PRIMARY KEY (region, u, n)
);
