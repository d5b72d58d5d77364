#!/usr/bin/env python3
"""Writes recorded records as inputs of fuzz_decode, or with --convert of fuzz_convert.

  make_seeds.py [--convert] OUTPUT_DIR STREAM.jsonl ...
"""
import base64
import hashlib
import json
import re
import struct
import sys
from pathlib import Path


def raw(x):
    if x is None:
        return None
    return base64.b64decode(x["b64"]) if isinstance(x, dict) else x.encode()


def short(data):
    return struct.pack("<H", len(data)) + data


def seed(record, convert):
    key, value = raw(record["key"]), raw(record["value"])
    headers = {name: raw(v) for name, v in record["headers"]}
    newkey, oldkey = headers.get("__debezium.newkey"), headers.get("__debezium.oldkey")
    flags = (key is None) | (value is None) << 1 | (newkey is not None) << 3
    body = short(key or b"") + short(newkey or oldkey or b"") + (value or b"")
    if convert:
        # any settings and any column to begin with
        chosen = hashlib.sha1(body).digest()
        return bytes([flags | (chosen[0] & 7) << 4, chosen[1]]) + body
    return bytes([flags]) + body


def single_values(record):
    """Each value of the row by itself, with a schema of its type from fuzz_schemas.h, and without one."""
    try:
        value = json.loads(raw(record["value"]))
        root = value if "payload" in value and "schema" in value else {"schema": None, "payload": value}
        row = root["payload"].get("after") or root["payload"]
        fields = root["schema"]["fields"] if root["schema"] else []
        fields = next((f["fields"] for f in fields if f.get("field") == "after"), fields)
    except (ValueError, TypeError, AttributeError, UnicodeDecodeError):
        return
    named = {f["field"]: (f["type"], f.get("name")) for f in fields}
    for field, one in row.items():
        text = json.dumps(one).encode()
        known = SCHEMAS.index(named[field]) + 1 if named.get(field) in SCHEMAS else 0
        if len(text) < 500 and (field, known) not in SEEN:
            SEEN.add((field, known))
            for column in range(0, 80, 16):
                yield bytes([128 | sum(text) % 8 << 4, column, known]) + text


def schemas():
    text = (Path(__file__).parent / "fuzz_schemas.h").read_text(encoding="utf-8")
    return [(kind, name or None) for kind, name in re.findall(r'^SCHEMA\("(\w+)", (?:""|NAME\("([\w.]+)"\))', text, re.M)]


SCHEMAS = schemas()
SEEN = set()


def main():
    convert = sys.argv[1] == "--convert"
    arguments = sys.argv[2:] if convert else sys.argv[1:]
    output = Path(arguments[0])
    output.mkdir(parents=True, exist_ok=True)
    for path in arguments[1:]:
        for line in Path(path).read_text(encoding="utf-8").split("\n")[:-1]:
            record = json.loads(line)
            if "topic" in record:
                for data in [seed(record, convert), *(single_values(record) if convert else ())]:
                    (output / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
