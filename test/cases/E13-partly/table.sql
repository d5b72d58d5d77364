CREATE TABLE t (tenant int, code text, v int, PRIMARY KEY (tenant, code));
