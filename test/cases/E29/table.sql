CREATE TABLE stock (
	id int,
	region text,
	qty int,
	PRIMARY KEY (id, region)
) PARTITION BY LIST (region);
CREATE TABLE stock_a PARTITION OF stock FOR VALUES IN ('a');
CREATE TABLE stock_b PARTITION OF stock FOR VALUES IN ('b');
INSERT INTO stock VALUES (1, 'a', 5), (2, 'a', 6);
