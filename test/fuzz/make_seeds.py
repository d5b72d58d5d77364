#!/usr/bin/env python3
"""Writes recorded records as inputs of fuzz_decode.

  make_seeds.py OUTPUT_DIR STREAM.jsonl ...
"""
import base64
import hashlib
import json
import struct
import sys
from pathlib import Path


def raw(x):
    if x is None:
        return None
    return base64.b64decode(x["b64"]) if isinstance(x, dict) else x.encode()


def short(data):
    return struct.pack("<H", len(data)) + data


def seed(record):
    key, value = raw(record["key"]), raw(record["value"])
    headers = {name: raw(v) for name, v in record["headers"]}
    newkey, oldkey = headers.get("__debezium.newkey"), headers.get("__debezium.oldkey")
    flags = (key is None) | (value is None) << 1 | (newkey is not None) << 3
    return bytes([flags]) + short(key or b"") + short(newkey or oldkey or b"") + (value or b"")


def main():
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    for path in sys.argv[2:]:
        for line in Path(path).read_text(encoding="utf-8").split("\n")[:-1]:
            record = json.loads(line)
            if "topic" in record:
                data = seed(record)
                (output / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
