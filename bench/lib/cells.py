"""The twelve cells: which streams, which tables, which methods, how many events."""
from dataclasses import dataclass, field, replace
from functools import partial


@dataclass(frozen=True)
class Stream:
    """Events of one topic; the words are those of bench/src/gen.c."""
    label: str
    pattern: str
    events: int
    before: int = 0
    table: str = "ev"
    schema: bool = False
    partitions: int = 1
    compression: str = "none"
    tx_rows: int = 1000

    def args(self, events=None):
        return ["--table", self.table, "--pattern", self.pattern, "--before", self.before,
                "--events", self.events if events is None else events]


@dataclass(frozen=True)
class Table:
    """The target as it is before the stream: rows 1..before, perhaps with room for HOT updates or more indexes."""
    name: str = "ev"
    before: int = 0
    fillfactor: int = 100
    indexes: tuple = ()


@dataclass(frozen=True)
class Case:
    """One method on one stream. seconds is a guess that only the estimate of the time left uses."""
    label: str
    method: str
    stream: Stream
    table: Table
    events: int
    seconds: float
    peer: bool = False
    options: dict = field(default_factory=dict, hash=False, compare=False)


@dataclass
class Cell:
    name: str
    title: str
    cases: list

    def fill_seconds(self):
        """Producing the topics and loading the tables, once per cell."""
        streams = {c.stream for c in self.cases if c.method in ("sink", "jdbc", "consume")}
        tables = {c.table for c in self.cases}
        size = {"ev": 0.7, "doc": 8.8, "wide": 2.2}
        megabytes = sum(s.events * (size[s.table] + (2.7 if s.schema else 0)) / 1000 for s in streams)
        return 2 + megabytes / 130 + sum(2 + t.before / 150_000 for t in tables)


# rows per second by which durations are guessed
GUESS = {"sink": 150_000, "copy_text": 300_000, "copy_binary": 400_000, "rowwise": 18_000, "rowwise_server": 70_000,
         "jdbc": 18_000, "logical": 70_000, "consume": 400_000}
# what a method costs beside its rows: a fresh database, start, verification; about a third of it whatever the scale
FIXED = {"sink": 5, "copy_text": 3, "copy_binary": 3, "rowwise": 4, "rowwise_server": 4, "jdbc": 12, "logical": 4, "consume": 1}


def make_case(scale, label, method, stream, table, events=None, **options):
    n = min(events or stream.events, stream.events)
    seconds = FIXED[method] * (1 + 2 * scale) / 3 + n / GUESS[method]
    return Case(label, method, stream, table, n, seconds, method == "jdbc", options)


def build(scale):
    """The cells at a scale: 1 for the whole run, less for a quick one."""
    case = partial(make_case, scale)

    def k(thousands):
        return int(thousands * 1000 * scale)

    rowwise, server, peer = k(60), k(100), k(200)
    million = k(1000)
    full, empty = Table(before=million), Table()

    insert = Stream("insert", "insert", million)
    insert_schema = replace(insert, label="insert-schema", schema=True)
    seq = Stream("update-seq", "update-seq", k(500), million, schema=True)
    rnd = replace(seq, label="update-random", pattern="update-random")
    delete = Stream("delete", "delete", k(500), million)
    mix = Stream("mix", "mix", k(500), million, schema=True)
    clean = Stream("clean", "insert", k(500), million)
    repeats = replace(clean, label="repeats", pattern="repeats")
    hot = Stream("hot-keys", "hot", million, 1000)
    one = replace(insert, label="one-row-tx", events=k(500), tx_rows=1)
    wide = Stream("wide", "insert", k(200), table="wide")
    toast = Stream("toast", "insert", k(60), table="doc")
    parts = replace(insert, label="partitions", partitions=16, compression="lz4")
    indexed = replace(insert, label="indexes", events=k(500))
    room, some = replace(full, fillfactor=50), Table(before=1000)
    indexes = Table(indexes=("n", "at"))

    def jdbc(stream, table, events=peer):
        return [case("jdbc", "jdbc", stream, table, events), case("jdbc_best", "jdbc", stream, table, events, best=True)]

    return [
        Cell("insert", "insert, schemaless", [
            case("sink", "sink", insert, empty), case("copy_text", "copy_text", insert, empty),
            case("copy_binary", "copy_binary", insert, empty), case("rowwise", "rowwise", insert, empty, rowwise),
            case("logical", "logical", insert, empty, k(500)), case("consume", "consume", insert, empty),
            case("sink_discard", "sink", insert, empty, discard=True)]),
        Cell("insert-schema", "insert, with schema", [
            case("sink", "sink", insert_schema, empty), case("copy_text", "copy_text", insert_schema, empty),
            case("consume", "consume", insert_schema, empty),
            case("sink_discard", "sink", insert_schema, empty, discard=True), *jdbc(insert_schema, empty)]),
        Cell("update-seq", "update of existing rows in key order, with schema", [
            case("sink", "sink", seq, full), case("rowwise", "rowwise", seq, full, rowwise),
            case("rowwise_server", "rowwise_server", seq, full, server), *jdbc(seq, full)]),
        Cell("update-random", "update of existing rows in random order, with schema", [
            case("sink", "sink", rnd, full), case("rowwise", "rowwise", rnd, full, rowwise),
            case("rowwise_server", "rowwise_server", rnd, full, server),
            case("sink_hot", "sink", rnd, room), case("rowwise_hot", "rowwise", rnd, room, rowwise),
            case("rowwise_server_hot", "rowwise_server", rnd, room, server), *jdbc(rnd, full)]),
        Cell("delete", "delete in random order, schemaless", [
            case("sink", "sink", delete, full), case("rowwise", "rowwise", delete, full, rowwise),
            case("rowwise_server", "rowwise_server", delete, full, server)]),
        Cell("mix", "40 % insert, 40 % update, 20 % delete, 1 % repeated keys, with schema; and inserts with 1 % repeated keys", [
            case("sink", "sink", mix, full), case("rowwise_server", "rowwise_server", mix, full, server),
            case("clean", "sink", clean, full), case("repeats", "sink", repeats, full),
            # deletes between other changes cut its batches: about a thousand a second
            *jdbc(mix, full, k(20))]),
        Cell("hot-keys", "update of 1 000 hot keys, schemaless", [
            case("sink", "sink", hot, some), case("rowwise", "rowwise", hot, some, rowwise),
            case("rowwise_server", "rowwise_server", hot, some, server)]),
        Cell("one-row-tx", "insert, each row a source transaction, schemaless", [
            case("sink", "sink", one, empty), case("logical", "logical", one, empty, k(300))]),
        Cell("wide", "insert of 60 columns, schemaless", [
            case("sink", "sink", wide, Table("wide")), case("copy_text", "copy_text", wide, Table("wide")),
            case("rowwise", "rowwise", wide, Table("wide"), k(30))]),
        Cell("toast", "insert of 8 KB texts stored out of line, schemaless", [
            case("sink", "sink", toast, Table("doc")), case("copy_text", "copy_text", toast, Table("doc")),
            case("rowwise", "rowwise", toast, Table("doc"), k(20))]),
        Cell("partitions", "insert from 16 partitions, lz4, 4 workers, schemaless", [
            case("sink", "sink", parts, empty, workers=4), case("sink_1_worker", "sink", parts, empty),
            case("copy_text", "copy_text", parts, empty), case("consume", "consume", parts, empty)]),
        Cell("indexes", "insert into a table with two more indexes, schemaless", [
            case("sink", "sink", indexed, indexes), case("copy_text", "copy_text", indexed, indexes),
            case("rowwise", "rowwise", indexed, indexes, rowwise)]),
    ]
