"""Target databases: each measurement gets a fresh copy of a template, and its table is compared with the expected one.

The copy is made through the WAL (STRATEGY WAL_LOG), right after a checkpoint: its pages lie in shared buffers and were logged
since the checkpoint, so no method pays for cold reads or full-page images that another one does not.
"""
import os

from pq import literal
from say import Failure

DATABASE = "bench"


class Targets:
    def __init__(self, lab):
        self.lab = lab
        self.templates, self.digests, self.files = {}, {}, {}

    def file(self, stream, events, *more, command="table"):
        """COPY text made by the generator: of the table after some events, or of the changes."""
        key = (command, stream.table, stream.pattern, stream.before, events, *more)
        if key not in self.files:
            path = self.lab.path(f"rows-{len(self.files)}")
            self.files[key] = self.lab.tool_to_file(path, "gen", command, *stream.args(events), *more)
        return self.files[key]

    def drop_files(self):
        for path in self.files.values():
            os.unlink(path)
        self.files = {}
        with self.lab.read.conn() as c:
            for name in self.templates.values():
                c.rows(f"DROP DATABASE {name}")
        self.templates = {}

    def ddl(self, table, fillfactor=100):
        ddl = self.lab.tool("gen", "ddl", "--table", table).strip().rstrip(";")
        return ddl.replace("PRIMARY KEY", "PRIMARY KEY WITH (fillfactor=90)") + f" WITH (fillfactor={fillfactor})"

    def template(self, table, stage=None):
        """Name of a database that holds the table; with stage (stream, events) also the changes, for the in-server loop."""
        key = (table, stage)
        if key in self.templates:
            return self.templates[key]
        name = f"template_{len(self.templates)}"
        with self.lab.read.conn() as c:
            c.rows(f"DROP DATABASE IF EXISTS {name}")
            c.rows(f"CREATE DATABASE {name}")
        with self.lab.read.conn(name) as c:
            c.rows(self.ddl(table.name, table.fillfactor))
            if table.before:
                c.rows(f"COPY {table.name} FROM {literal(self.initial(table))}")
            for column in table.indexes:
                c.rows(f"CREATE INDEX ON {table.name} ({column})")
            if stage:
                self.load_stage(c, table, *stage)
            c.rows("VACUUM (FREEZE, ANALYZE)")
        self.templates[key] = name
        return name

    def initial(self, table):
        key = ("initial", table.name, table.before)
        if key not in self.files:
            self.files[key] = self.lab.tool_to_file(self.lab.path(f"rows-{len(self.files)}"), "gen", "table", "--table", table.name,
                                                    "--pattern", "insert", "--before", table.before, "--events", 0)
        return self.files[key]

    def load_stage(self, c, table, stream, events):
        c.rows(f"CREATE TABLE stage (number bigint PRIMARY KEY, op text, LIKE {table.name})")
        c.rows(f"COPY stage FROM {literal(self.file(stream, events, command='changes'))}")

    def fresh(self, table, stage=None):
        """Makes the database DATABASE anew."""
        name = self.template(table, stage)
        with self.lab.read.conn() as c:
            c.rows(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            c.rows("CHECKPOINT")
            c.rows(f"CREATE DATABASE {DATABASE} TEMPLATE {name} STRATEGY WAL_LOG")
        return self.lab.read.conn(DATABASE)

    @staticmethod
    def digest(c, table, above=0):
        c.rows("SET timezone = 'UTC'")
        return tuple(c.rows("SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) "
                            f"FROM {table} t WHERE id > {above}")[0])

    def expected(self, stream, events, records=None, above=0):
        """Digest of the table that a prefix of a stream leads to, by way of the generator's own rows."""
        key = (stream.table, stream.pattern, stream.before, events, records, above)
        if key not in self.digests:
            more = (["--records", records] if records is not None else []) + (["--above", above] if above else [])
            path = self.file(stream, events, *more)
            with self.lab.read.conn() as c:
                c.rows(f"DROP TABLE IF EXISTS {stream.table}")
                c.rows(self.ddl(stream.table).replace("CREATE TABLE", "CREATE UNLOGGED TABLE").replace("PRIMARY KEY WITH (fillfactor=90)", ""))
                c.rows(f"COPY {stream.table} FROM {literal(path)}")
                self.digests[key] = self.digest(c, stream.table, above)
                c.rows(f"DROP TABLE {stream.table}")
        return self.digests[key]

    def verify(self, c, stream, events, records=None, above=0):
        """Compares the table of a connection; a difference ends the measurement: a wrong result has no speed."""
        got, want = self.digest(c, stream.table, above), self.expected(stream, events, records, above)
        if got != want:
            raise Failure(f"wrong table after {records or events} of {stream.label}: "
                          f"{got[0]} rows, sum {got[1]}; expected {want[0]} rows, sum {want[1]}")
