CREATE TABLE k (id int, name text);
CREATE TABLE a (id int, name text, __op "char");
