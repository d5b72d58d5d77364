CREATE TABLE "MiXed Tbl.x" (
	id int PRIMARY KEY,
	v text
);
CREATE TABLE "MiXed_Tbl" (
	id int PRIMARY KEY,
	v text
);
