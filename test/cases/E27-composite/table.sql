CREATE TABLE t (a int, b text, v text, UNIQUE (a, b));
