CREATE TYPE mood AS ENUM ('sad', 'so ok');
CREATE TABLE t (j json, x xml, p point, n numeric[], e mood[], v int);
