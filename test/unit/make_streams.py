#!/usr/bin/env python3
"""Cuts recorded streams down to what test_streams.c needs, and says what each record is.

  make_streams.py CORPUS_DIR OUTPUT_DIR [--all]

Keeps, of every topic, the first record and each that is the first of its form (--all: every record). "expect" in a line is what an independent reading
of the record (this file: Python's json and the rules of the format) says of it; the C test compares the decoder with that.
"""
import base64
import json
import sys
from pathlib import Path

FIRST = 1
LONGEST = 20000
ENOUGH = 120000
SPECIAL = ("__debezium.newkey", "__debezium.oldkey")


def raw(x):
    if x is None:
        return None
    return base64.b64decode(x["b64"]) if isinstance(x, dict) else x.encode()


def unwrap(doc):
    """(payload, schema) of a document."""
    if isinstance(doc, dict) and set(doc) == {"schema", "payload"}:
        schema = doc["schema"]
        if schema is None or isinstance(schema, dict) and "type" in schema:
            return doc["payload"], schema
    return doc, None


def fields(schema):
    return len(schema["fields"]) if schema and schema["type"] == "struct" else -1


def row_fields(schema):
    for name in ("after", "before"):
        for f in (schema or {}).get("fields", []):
            if f["field"] == name:
                return len(f["fields"])
    return -1


def sequence(text):
    try:
        pair = json.loads(text)
        return [int(x) if x is not None else -1 for x in pair]
    except (TypeError, ValueError):
        return [-1, -1]


def members(row):
    return len(row) if isinstance(row, dict) else -1


def change(expect, op, source, before, after, schema_fields):
    expect.update(kind="message" if op == "m" else "change", op=op, table=source.get("table"), schema=source.get("schema"),
                  sequence=sequence(source.get("sequence")), row_schema=schema_fields if op != "m" else -1,
                  snapshot=op == "r" or source.get("snapshot") not in (None, "false", False))
    if op not in "tm":
        expect.update(before=members(before), after=members(after))


def flat(expect, row, schema, settings):
    op = row.get("__op") if settings["op"] else None
    deleted = row.get("__deleted") in ("true", True) if settings["deleted"] else False
    op = "d" if deleted or op == "d" else op or "w"
    expect.update(kind="change", op=op, flat=True, row_schema=fields(schema), snapshot=op == "r",
                  table=row.get("__table") if settings["table"] else None)
    expect["before" if op == "d" else "after"] = len(row)


def classify(value, key, settings):
    expect = dict(kind="change", op="", flat=False, snapshot=False, table=None, schema=None, sequence=[-1, -1], before=-1, after=-1,
                  row_schema=-1)
    if value is None:
        expect["kind"] = "empty" if key is None else "tombstone"
        return expect
    if value[:1] == b"\0":
        return dict(error="22000")
    doc, schema = unwrap(json.loads(value))
    if doc is None:
        expect.update(kind="tombstone", flat=True, row_schema=fields(schema))
    elif "iodebeziumop" in doc:
        source = {k[len("iodebezium"):]: v for k, v in doc.items() if k.startswith("iodebezium")}
        change(expect, source["op"], source, doc["data"].get("before"), doc["data"].get("after"), -1)
    elif isinstance(doc.get("op"), str) and isinstance(doc.get("source"), dict):
        change(expect, doc["op"], doc["source"], doc.get("before"), doc.get("after"), row_fields(schema))
    elif doc.get("status") in ("BEGIN", "END") and "event_count" in doc:
        expect["kind"] = "transaction"
    elif list(doc) == ["ts_ms"] and "serverName" in (key or {}):
        expect["kind"] = "heartbeat"
    elif "aggregate_type" in doc:
        expect["kind"] = "notification"
    else:
        flat(expect, doc, schema, settings)
    return expect


def settings_of(config):
    unwrap_mode = config.get("transforms.unwrap.delete.tombstone.handling.mode", "tombstone")
    added = config.get("transforms.unwrap.add.fields", "").split(",")
    return dict(op="op" in added, table="table" in added, deleted=unwrap_mode.startswith("rewrite"))


def expectation(record, settings):
    key = raw(record["key"])
    value = raw(record["value"])
    if (key or b"")[:1] == b"\0":
        expect = classify(value, {}, settings)
        return expect if "error" in expect else dict(error="22000")
    doc, schema = unwrap(json.loads(key)) if key is not None else (None, None)
    expect = classify(value, doc, settings)
    if "error" not in expect:
        expect.update(key=members(doc), key_schema=fields(schema))
        if expect["kind"] in ("change", "tombstone"):
            names = [n for n, v in record["headers"]]
            expect.update(newkey=SPECIAL[0] in names, oldkey=SPECIAL[1] in names)
    return expect


def shape(record, expect):
    return record["topic"], json.dumps({k: v for k, v in expect.items() if k not in ("sequence",)}, sort_keys=True)


def cut(source, target, everything):
    config = json.loads((source / "connector.json").read_text())
    settings = settings_of(config)
    seen, topics, lines = set(), {}, []
    for line in (source / "events.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        record = json.loads(line)
        expect = expectation(record, settings)
        n = topics[record["topic"]] = topics.get(record["topic"], 0) + 1
        if not everything and (len(line) > LONGEST or sum(map(len, lines)) > ENOUGH or
                               n > FIRST and shape(record, expect) in seen):
            continue
        seen.add(shape(record, expect))
        record["expect"] = expect
        lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    source_settings = {k: v for k, v in config.items() if k.startswith("transforms")}
    target.write_text("\n".join([json.dumps(dict(settings=source_settings))] + lines) + "\n", encoding="utf-8")
    return len(lines), target.stat().st_size


def main():
    corpus, output = Path(sys.argv[1]), Path(sys.argv[2])
    for source in sorted(p for p in corpus.iterdir() if p.is_dir()):
        print(source.name, *cut(source, output / f"{source.name}.jsonl", "--all" in sys.argv))


if __name__ == "__main__":
    main()
