CREATE TABLE parent (
	id int PRIMARY KEY,
	v text
);
CREATE TABLE child (
	id int PRIMARY KEY,
	parent int REFERENCES parent
);
