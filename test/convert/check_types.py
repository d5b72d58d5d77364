#!/usr/bin/env python3
"""docs/types.md against the converter tables: prints TAP, fails when one names what the other lacks."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# columns as the page names them: the target, or the built-in or extension type
COLUMNS = {
    "smallint": "INT2", "integer": "INT4", "bigint": "INT8", "oid": "OID", "boolean": "BOOL", "real": "FLOAT4",
    "double precision": "FLOAT8", "numeric": "NUMERIC", "money": "MONEY", "text": "TEXT", "citext": "TEXT", "varchar": "VARCHAR",
    "char(n)": "BPCHAR", "uuid": "UUID", "bytea": "BYTEA", "bit(n)": "BIT", "varbit": "VARBIT", "json": "JSON", "jsonb": "JSONB",
    "hstore": "HSTORE", "date": "DATE", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMPTZ", "time": "TIME", "timetz": "TIMETZ",
    "interval": "INTERVAL", "point": "POINT", "box": "BOX", "lseg": "LSEG", "path": "PATH", "polygon": "POLYGON",
    "circle": "CIRCLE", "line": "LINE", "geometry": "GEOMETRY", "geography": "GEOMETRY", "vector": "VECTOR", "halfvec": "VECTOR",
    "sparsevec": "SPARSEVEC", "arrays": "ARRAY", "other types": "OTHER", "enums": "STRING",
}
# the names of pg_type.h where they differ from the page's
OIDS = {"TEXT": "text", "VARCHAR": "varchar", "BPCHAR": "char(n)", "CHAR": '"char"', "NAME": "name", "BOOL": "boolean",
        "INT2": "smallint", "INT4": "integer", "INT8": "bigint", "FLOAT4": "real", "FLOAT8": "double precision", "CASH": "money",
        "BIT": "bit(n)"}


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(text, heading):
    """Rows of the first table below a heading, as dictionaries."""
    lines = text[text.index(heading):].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    names = cells(lines[start])
    rows = []
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(names, cells(line), strict=True)))
    return rows


def source_rows():
    """(from, to) -> converter, of all converter tables."""
    found = {}
    for path in sorted(ROOT.glob("src/convert_*.c")):
        for kind, target, function, name in re.findall(
                r'\{CDC_FROM_(\w+), CDC_TO_(\w+), (\w+), "(\w+)"\}', path.read_text()):
            if function != name:
                raise SystemExit(f"{path.name}: row of {function} is called {name}")
            if (kind, target) in found:
                raise SystemExit(f"{path.name}: second row from {kind} to {target}")
            found[kind, target] = name
    return found


def page_rows(page):
    found = {}
    for row in table(page, "## What it becomes"):
        for column in row["Column"].split(", "):
            target = COLUMNS.get(column, "STRING")
            for kind in row["Value"].split(", "):
                found.setdefault((kind.upper().replace(" ", "_"), target), set()).add(row["Converter"].strip("`"))
    return found


def known_types(registry):
    """Types that the registry knows: page's name -> target."""
    found = {}
    for oid, target in re.findall(r"\{(\w+)OID, CDC_TO_(\w+)\}", registry):
        found[OIDS.get(oid, oid.lower())] = target
    for name, target in re.findall(r'\{"\w+", "(\w+)", CDC_TO_(\w+)\}', registry):
        found[name] = target
    return found


def main():
    page = (ROOT / "docs/types.md").read_text()
    registry = (ROOT / "src/convert.c").read_text()
    failures = []

    rows, documented = source_rows(), page_rows(page)
    for pair in sorted(set(rows) | set(documented)):
        wanted = documented.get(pair, set())
        if wanted != {rows.get(pair)}:
            failures.append(f"{' to '.join(pair)}: the page says {sorted(wanted)}, the tables say {rows.get(pair)}")

    columns = {column for row in table(page, "## What it becomes") for column in row["Column"].split(", ")}
    types = known_types(registry)
    for name, target in types.items():
        if name not in columns or COLUMNS.get(name, "STRING") != target:
            failures.append(f"type {name} is {target} in convert.c, not so on the page")
    for column in columns - set(types) - {"arrays", "other types", "enums"}:
        failures.append(f"type {column} is on the page, not in convert.c")

    words = {row["Word"]: row["Connect type and semantic name"] for row in table(page, "## What a value is")}
    kinds = set(re.findall(r"^\tCDC_FROM_(\w+)", (ROOT / "src/convert_rows.h").read_text(), re.M))
    if kinds != {word.upper().replace(" ", "_") for word in words}:
        failures.append(f"words of the page and CdcFrom differ: {sorted(words)} and {sorted(kinds)}")
    names = re.findall(r'\{CDC_CONNECT_\w+, "([\w.]+)", CDC_FROM_(\w+)', registry)
    for name, kind in names:
        if f"`{name}`" not in words.get(kind.lower().replace("_", " "), ""):
            failures.append(f"semantic name {name} is missing at {kind}")

    if len(rows) < 100 or len(types) < 50 or len(names) < 20:
        failures.append(f"too little read: {len(rows)} rows, {len(types)} types, {len(names)} names")
    print("1..1")
    print(f"{'not ok' if failures else 'ok'} 1 - docs/types.md is what the converter tables say"
          f" ({len(rows)} rows, {len(types)} types, {len(names)} semantic names)")
    for failure in failures:
        print("#", failure)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
