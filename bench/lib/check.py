"""Compares the generator with real Debezium, byte by byte.

A source PostgreSQL runs the statements of each stream, a real connector writes the topic, and the generator makes the same
records. Places (transaction id, LSNs, times, run id) are the only thing taken from the real events; keys, values, headers,
order and partition must come out equal to the byte.
"""
import json
import struct
import time

from cells import Stream
from say import Failure, say

STREAMS = [
    Stream("mix", "mix", 300, before=120, tx_rows=7),
    Stream("wide", "insert", 60, table="wide", tx_rows=1),
    Stream("toast", "insert", 30, table="doc", tx_rows=10),
]


def frames(data):
    """The frames that gen.c and consume.c print."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("=i", data, at)
        at += 4
        yield None if length < 0 else data[at:at + length]
        at += max(length, 0)


def real_records(lab, topic, count):
    """What the connector wrote: (partition, key, value, headers)."""
    data = frames(lab.tool("consume", "--brokers", lab.kafka.bootstrap, "--topic", topic, "--records", count, "--dump", text=False))
    for partition in data:
        key, value = next(data), next(data)
        (headers,) = struct.unpack("=i", next(data))
        yield struct.unpack("=i", partition)[0], key, value, [(next(data), next(data)) for _ in range(headers)]


def made_records(lab, stream, schema, names, run_id, places):
    """What the generator makes of the same changes: (key, value, headers)."""
    data = frames(lab.tool("gen", "records", *stream.args(), "--prefix", names, "--database", names, "--run-id", run_id,
                           *(["--schema"] if schema else []), stdin=places.encode(), text=False))
    for key in data:
        yield key, next(data), [(next(data), next(data)) for _ in range(4)]


def place_of(value):
    """txid, lsn, commit lsn, ts_us, ts_ns of an event."""
    event = json.loads(value)
    event = event.get("payload", event)
    source = event["source"]
    commit = json.loads(source["sequence"])[0]
    return f"{source['txId']} {source['lsn']} {-1 if commit is None else commit} {source['ts_us']} {event['ts_ns']}\n"


def run_source(lab, schema, names):
    """Makes the source database, starts the connector, runs the streams' statements; returns topic -> records."""
    with lab.source.conn() as c:
        c.rows(f"CREATE DATABASE {names}")
    topics = {}
    with lab.source.conn(names) as c:
        for stream in STREAMS:
            c.rows(lab.tool("gen", "ddl", "--table", stream.table))
            if stream.before:
                path = lab.tool_to_file(lab.path(f"check-{names}-{stream.label}"), "gen", "table", *stream.args(0))
                c.rows(f"COPY {stream.table} FROM '{path}'")
    for stream in STREAMS:
        topics[stream] = f"{names}.public.{stream.table}"
        lab.create_topic(topics[stream])
    lab.connect.add_connector(names, {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
        "database.hostname": "127.0.0.1", "database.port": str(lab.source.port), "database.user": "postgres",
        "database.password": lab.source.password, "database.dbname": names, "topic.prefix": names, "plugin.name": "pgoutput",
        "slot.name": names, "publication.name": names, "snapshot.mode": "no_data",
        "key.converter.schemas.enable": str(schema).lower(), "value.converter.schemas.enable": str(schema).lower(),
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter"})
    with lab.source.conn(names) as c:
        end = time.monotonic() + 60
        while c.one(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{names}'") != "t":
            if time.monotonic() > end:
                raise Failure("the connector did not begin to stream")
            time.sleep(0.2)
    for stream in STREAMS:
        lab.source.sql(lab.tool("gen", "statements", *stream.args(), "--tx-rows", stream.tx_rows), names)
    return topics


def compare(lab, stream, schema, names, topic):
    """Number of equal records of a stream; a difference is a failure that shows both sides."""
    deletes = lab.tool("gen", "changes", *stream.args()).count("\td\t")
    real = list(real_records(lab, topic, stream.events + deletes))
    run_id = dict(real[0][3])[b"__debezium.context.runId"].decode()
    places = "".join(place_of(value) for _, _, value, _ in real if value is not None)
    made = list(made_records(lab, stream, schema, names, run_id, places))
    if len(made) != len(real):
        raise Failure(f"{stream.label}: {len(made)} records generated, {len(real)} real ones")
    for number, ((partition, *want), got) in enumerate(zip(real, made)):
        if tuple(want) != got or partition != 0:
            raise Failure(f"{stream.label}, record {number} of partition {partition} differs: {difference(want, got)}")
    return len(real)


def difference(want, got):
    """The first part of a record that differs, around the first byte that does."""
    for part, a, b in zip(("key", "value", "headers"), want, got):
        if a != b:
            a, b = (x if isinstance(x, bytes) else repr(x).encode() for x in (a, b))
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            return f"{part}, byte {at}: real {a[max(at - 60, 0):at + 60]}, generated {b[max(at - 60, 0):at + 60]}"
    return "the partition is not 0"


def check(lab):
    total = 0
    for schema, names in ((True, "benchschema"), (False, "benchplain")):
        topics = run_source(lab, schema, names)
        try:
            for stream, topic in topics.items():
                count = compare(lab, stream, schema, names, topic)
                say(f"{stream.label} {'with schema' if schema else 'schemaless'}: {count} records equal byte by byte")
                total += count
        finally:
            lab.connect.remove_connector(names)
            drop_source(lab, names)
    return total


def drop_source(lab, names):
    """The slot goes when the connector has let go of it."""
    with lab.source.conn() as c:
        end = time.monotonic() + 60
        while c.one(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{names}'") == "t":
            if time.monotonic() > end:
                raise Failure(f"slot {names} is still in use")
            time.sleep(0.2)
        c.rows(f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{names}'")
        c.rows(f"DROP DATABASE {names} WITH (FORCE)")
