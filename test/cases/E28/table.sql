CREATE TABLE "MiXed Tbl.x" (
	id int PRIMARY KEY,
	v text
);
