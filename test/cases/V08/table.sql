CREATE SCHEMA "Sch.ema";
CREATE TABLE "Sch.ema"."Wörld ""q" (
	"Id" int PRIMARY KEY,
	"na me" text,
	"dot.ted" text,
	"1st" text,
	"ünï" text,
	"q""uote" text,
	"select" text,
	"éééééééééééééééééééééééééééééééx" text,
	"$d" text,
	"semi;colon--" text
);
