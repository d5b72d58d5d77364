"""The report: JSON with every number, a Markdown page with medians and ranges, charts."""
import json
import os

import charts
from goals import Results, all_goals, information, median

NAMES = {
    "sink": "cdc_sink", "sink_hot": "cdc_sink, HOT (fillfactor 50)", "sink_1_worker": "cdc_sink, 1 worker",
    "sink_discard": "cdc_sink, decode and discard", "repeats": "cdc_sink, inserts with 1 % repeated keys",
    "clean": "cdc_sink, the same inserts without repeats", "copy_text": "COPY text", "copy_binary": "COPY binary",
    "rowwise": "row-wise prepared upsert (libpq)", "rowwise_hot": "row-wise prepared upsert, HOT",
    "rowwise_server": "row-wise inside the server", "rowwise_server_hot": "row-wise inside the server, HOT",
    "logical": "logical replication", "consume": "bare librdkafka loop", "jdbc": "JDBC sink, default",
    "jdbc_best": "JDBC sink, best mode"}


def name(label):
    return NAMES.get(label, label)


def number(value):
    return f"{value:,.0f}".replace(",", " ")


def spread(values, form=number):
    if len(values) < 2:
        return form(values[0])
    return f"{form(median(values))} [{form(min(values))}–{form(max(values))}]"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(x) for x in row) + " |" for row in rows]) + "\n"


def each(runs, key, form):
    values = [r[key] for r in runs if r.get(key) is not None]
    return form(median(values)) if values else "–"


def goal_rows(found):
    rows = []
    for g in found:
        if g["value"] is None:
            rows.append([g["goal"], g["bound"], "not measured", "–"])
            continue
        value = g["form"].format(g["value"])
        if g["low"] is not None:
            value += f" [{g['low']:.2f}–{g['high']:.2f}]"
        rows.append([g["goal"], g["bound"], value, "yes" if g["met"] else "**no**"])
    return rows


def cell_section(cell, runs_by_label):
    rows = []
    for case in cell.cases:
        runs = runs_by_label.get(case.label)
        if runs:
            rows.append([name(case.label), spread([r["rate"] for r in runs]), number(median([r["events"] for r in runs])), len(runs),
                         each(runs, "cpu_us", "{:.1f}".format), each(runs, "wal_bytes", number), each(runs, "rss_mb", number),
                         each(runs, "rate_with_start", number)])
    return f"### {cell.name}: {cell.title}\n\n" + table(
        ["method", "events/s: median [range]", "events", "runs", "CPU µs/event", "WAL bytes/event", "RssAnon MB",
         "events/s with start"], rows)


def by_load(group):
    """Key that orders latencies by load, and the systems beside each other."""
    system, load = group[0].split(", ")
    return median([r["rate"] for r in group[1]]), load, system != "sink"


LATENCY_NOTE = """Flat out, as many events are asked of the generator as the insert cell drains a second, which is more than it makes
while broker and worker have their part of the same cores; the peak is what becomes visible a second then. Half of a drain is half of what
the insert cell drains, a backlog that nobody produces meanwhile.

"""


def latency_section(groups):
    rows = []
    for label, runs in sorted(groups.items(), key=by_load):
        rows.append([label.replace("sink,", "cdc_sink,").replace("jdbc,", "JDBC sink,"),
                     *(number(median([r[what] for r in runs])) for what in ("rate", "achieved", "visible")),
                     len(runs)] + [spread([r[p] for r in runs], "{:.1f}".format) for p in ("p50", "p99", "p999", "max")])
    return LATENCY_NOTE + table(["system, load", "asked/s", "produced/s", "visible/s", "runs", "p50 ms", "p99 ms", "p99.9 ms", "max ms"],
                                rows)


def cliff_section(groups, charts_dir):
    out = []
    rows = [[label, spread([r["rate"] for r in runs]), len(runs)] for label, runs in groups.items() if label != "long drain"]
    if rows:
        out.append(table(["inserts", "events/s", "runs"], rows))
    for drain in groups.get("long drain", []):
        out.append(f"A backlog of {number(drain['events'])} inserts took {drain['seconds']:.0f} s: {number(drain['rate'])} events/s, "
                   f"RssAnon at most {number(drain['rss_mb'])} MB, autovacuum on.\n")
        if drain["windows"]:
            out.append(f"![rate of each window]({charts_dir}/long-drain.svg)\n")
    return "\n".join(out)


def memory_section(groups):
    rows = [["drain, memory_limit " + r["memory_limit"], f"{r['rss_mb']:.0f} MB", number(r["rate"]) + " events/s"]
            for label, runs in groups.items() if label != "idle" for r in runs]
    rows += [[f"{r['subscriptions']} idle subscriptions", f"{r['rss_mb_each']:.0f} MB each", f"{r['core_share'] * 100:.2f} % of one core"]
             for r in groups.get("idle", [])]
    return table(["", "RssAnon of the worker", ""], rows)


def notes(facts):
    return f"""Every run starts from a fresh copy of its table, right after a checkpoint; every resulting table is compared with
the expected one by count and checksum of all rows before a rate counts. Methods are interleaved: each runs once before any runs again.
Rates are medians over the repetitions, the range is in brackets. A ratio is the median of those of each repetition, whose runs
follow each other, so that a machine that changes its speed matters less. cdc_sink and the JDBC sink are timed from their first visible
commit (cdc_sink without the rows of that commit, the JDBC sink with them); the last column has cdc_sink with its start. CPU is that
of the worker or backend, with all its threads; for the JDBC sink that of Kafka Connect and its database sessions. Row-wise upserts commit
each 1 000 rows with `synchronous_commit` off, as cdc_sink does by default. Broker, producer, peers and the measured server share the
machine. The events are those of Debezium 3.6.1 with its default settings, headers included (`bench/run --check-generator` compares
them with real ones byte by byte).

Fewer repetitions where time ran short: {facts['dropped']} steps were left out.
"""


def memory_text(speeds):
    """Of the beginning and the end of the run."""
    def both(key, form):
        return " and ".join(form.format(s[key]) for s in speeds)
    return f"memory: {both('touch_us', '{:.1f}')} µs until a fresh page can be written, {both('copy_gb_s', '{:.1f}')} GB/s of copying (at the start and the end)"


def markdown(facts, cells, results, failures, charts_dir):
    found = all_goals(results)
    met = sum(bool(g["met"]) for g in found)
    known = sum(g["met"] is not None for g in found)
    out = ["# Benchmarks\n", "Made by `bench/run`; do not edit.\n",
           f"{facts['date']}, {facts['minutes']} minutes, scale {facts['scale']}, {facts['repetitions']} repetitions "
           f"(JDBC sink {facts['peer_repetitions']}). {facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB, "
           f"load {facts['load_at_start']} at the start; {memory_text(facts['memory'])}. PostgreSQL {facts['postgresql']} (shared_buffers {facts['shared_buffers_mb']} MB, "
           f"fsync on), librdkafka {facts['librdkafka']}, Kafka {facts['kafka']}, JDBC sink {facts['jdbc_sink']}, {facts['java']}.\n",
           f"## Goals: {met} of {known} measured ones met\n", table(["goal", "bound", "measured [range]", "met"], goal_rows(found)),
           f"![measured against the goals]({charts_dir}/goals.svg)\n"]
    more = information(Results(results))
    if more:
        out.append("Further ratios:\n")
        out.append(table(["ratio", "measured [range]"], [[m["text"], f"{m['value']:.2f} × [{m['low']:.2f}–{m['high']:.2f}]"] for m in more]))
    if failures:
        out.append("## Failed measurements\n")
        out.append(table(["where", "run", "error"], [[f"{f['group']} {f['label']}", f["repetition"], f["error"].replace("|", "\\|").replace("\n", " ")]
                                                   for f in failures]))
    out += ["## How to read it\n", notes(facts), "## Cells\n", f"![rates of all cells]({charts_dir}/rates.svg)\n"]
    out += [cell_section(c, results[c.name]) for c in cells if results.get(c.name)]
    if results.get("latency"):
        out += ["## Latency: event in the topic to row visible\n", latency_section(results["latency"]), f"![latency]({charts_dir}/latency.svg)\n"]
    if results.get("decode"):
        out += ["## Decoder alone, one core\n", table(["form", "events/s", "bytes/event"], [
            [label, spread([r["rate"] for r in runs]), number(runs[0]["bytes_per_event"])] for label, runs in results["decode"].items()])]
    if results.get("no-cliff"):
        out += ["## No cliff\n", cliff_section(results["no-cliff"], charts_dir)]
    if results.get("memory"):
        out += ["## Memory and idleness\n", memory_section(results["memory"])]
    out.append(f"All numbers: [{charts_dir}/results.json]({charts_dir}/results.json)\n")
    return "\n".join(out)


def rate_groups(cells, results):
    groups = []
    for cell in cells:
        rows = []
        for case in cell.cases:
            rates = [r["rate"] for r in results.get(cell.name, {}).get(case.label, [])]
            if rates:
                rows.append((name(case.label), median(rates), min(rates), max(rates)))
        if rows:
            groups.append((cell.name, rows))
    return groups


def latency_groups(groups):
    out = []
    for what in ("p50", "p99"):
        rows = []
        for label, runs in sorted(groups.items(), key=by_load):
            values = [r[what] for r in runs]
            rows.append((label.replace("sink,", "cdc_sink,").replace("jdbc,", "JDBC sink,"), median(values), min(values), max(values)))
        out.append((what, rows))
    return out


def draw(directory, cells, results):
    def write(file, content):
        with open(os.path.join(directory, file), "w") as f:
            f.write(content)

    shares = [(g["goal"], g["of_goal"]) for g in all_goals(results) if g.get("of_goal") is not None]
    write("goals.svg", charts.goals(shares))
    write("rates.svg", charts.bars("Events per second: median, line over the range", rate_groups(cells, results)))
    if results.get("latency"):
        write("latency.svg", charts.bars("Event in the topic to row visible, ms", latency_groups(results["latency"]), "{:.1f}".format))
    drains = results.get("no-cliff", {}).get("long drain", [])
    if drains and drains[0]["windows"]:
        write("long-drain.svg", charts.course("Long drain: events per second in each window", drains[0]["progress"], drains[0]["windows"]))


def write(out, facts, cells, results, failures, charts_dir):
    """Writes <out>/benchmarks.md and <out>/<charts_dir>/{results.json,*.svg}."""
    directory = os.path.join(out, charts_dir)
    os.makedirs(directory, exist_ok=True)
    draw(directory, cells, results)
    with open(os.path.join(directory, "results.json"), "w") as f:
        json.dump({"facts": facts, "goals": all_goals(results), "results": results, "failures": failures}, f, indent=1)
        f.write("\n")
    with open(os.path.join(out, "benchmarks.md"), "w") as f:
        f.write(markdown(facts, cells, results, failures, charts_dir))
