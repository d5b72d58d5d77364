"""The goals: each a ratio or a bound, computed from the results of one run."""
import statistics


def median(values):
    return statistics.median(values) if values else None


class Results:
    """Medians and ranges over the repetitions of a run."""

    def __init__(self, results):
        self.results = results

    def runs(self, group, label):
        return self.results.get(group, {}).get(label, [])

    def median(self, group, label, what="rate"):
        return median([r[what] for r in self.runs(group, label) if r.get(what) is not None])

    def rates(self, group, label):
        return {r["repetition"]: r["rate"] for r in self.runs(group, label)}

    def ratio(self, group, label, other):
        """Median and range of the quotients of the repetitions that both have, each of the same minutes; None without one."""
        a, b = self.rates(group, label), self.rates(group, other)
        quotients = [a[i] / b[i] for i in a.keys() & b.keys()]
        if not quotients:
            return None
        return {"value": median(quotients), "low": min(quotients), "high": max(quotients)}

    def best_of(self, group, labels):
        """The label with the highest median: a peer is compared in its best mode."""
        known = [(self.median(group, x), x) for x in labels if self.runs(group, x)]
        return max(known)[1] if known else labels[0]


JDBC = ("jdbc", "jdbc_best")
# what it is, cell, method, compared with, at least
RATIOS = [
    ("insert, schemaless ÷ COPY text", "insert", "sink", "copy_text", 0.8),
    ("insert, with schema ÷ COPY text", "insert-schema", "sink", "copy_text", 0.6),
    ("insert, with schema ÷ JDBC sink in its best mode", "insert-schema", "sink", JDBC, 10),
    ("insert with 1 % repeated keys ÷ the same without", "mix", "repeats", "clean", 0.6),
    ("update, key order ÷ row-wise upsert", "update-seq", "sink", "rowwise", 1.3),
    ("update, random ÷ row-wise upsert", "update-random", "sink", "rowwise", 1.3),
    ("update, random, HOT ÷ row-wise upsert", "update-random", "sink_hot", "rowwise_hot", 1.3),
    ("update, random ÷ JDBC sink", "update-random", "sink", JDBC, 5),
    ("update, key order ÷ JDBC sink", "update-seq", "sink", JDBC, 8),
    ("delete ÷ row-wise", "delete", "sink", "rowwise", 1.5),
    ("hot keys ÷ row-wise, commit per 1 000", "hot-keys", "sink", "rowwise", 4),
    ("one-row transactions ÷ logical replication", "one-row-tx", "sink", "logical", 1.8),
    ("consume, decode, discard ÷ bare librdkafka, schemaless", "insert", "sink_discard", "consume", 0.8),
    ("consume, decode, discard ÷ bare librdkafka, with schema", "insert-schema", "sink_discard", "consume", 0.8),
]
# the same against the stricter anchor, for information
STRICT = [
    ("update, key order ÷ row-wise inside the server", "update-seq", "sink", "rowwise_server"),
    ("update, random ÷ row-wise inside the server", "update-random", "sink", "rowwise_server"),
    ("update, random, HOT ÷ row-wise inside the server", "update-random", "sink_hot", "rowwise_server_hot"),
    ("delete ÷ row-wise inside the server", "delete", "sink", "rowwise_server"),
    ("hot keys ÷ row-wise inside the server, commit per 1 000", "hot-keys", "sink", "rowwise_server"),
    ("40/40/20 mix ÷ row-wise inside the server", "mix", "sink", "rowwise_server"),
    ("40/40/20 mix ÷ JDBC sink", "mix", "sink", JDBC),
    ("insert, schemaless ÷ COPY binary", "insert", "sink", "copy_binary"),
    ("60 columns ÷ COPY text", "wide", "sink", "copy_text"),
    ("8 KB out of line ÷ COPY text", "toast", "sink", "copy_text"),
    ("two more indexes ÷ COPY text", "indexes", "sink", "copy_text"),
    ("16 partitions: 4 workers ÷ 1 worker", "partitions", "sink", "sink_1_worker"),
]


def goal(text, at_least, value, form="{:.2f} ×", low=None, high=None, at_most=None):
    met = None if value is None else (value >= at_least if at_most is None else value <= at_most)
    bound = "≥ " + form.format(at_least) if at_most is None else "≤ " + form.format(at_most)
    return {"goal": text, "bound": bound, "value": value, "low": low, "high": high, "form": form, "met": met,
            "of_goal": None if value is None or at_most is not None else value / at_least}


def ratio_goals(results):
    out = []
    for text, group, label, other, bound in RATIOS:
        r = results.ratio(group, label, results.best_of(group, other) if isinstance(other, tuple) else other)
        out.append(goal(text, bound, r and r["value"], low=r and r["low"], high=r and r["high"]))
    return out


def information(results):
    out = []
    for text, group, label, other in STRICT:
        r = results.ratio(group, label, results.best_of(group, other) if isinstance(other, tuple) else other)
        if r:
            out.append({"text": text, **r})
    return out


def latency_goals(results):
    out = []
    for load in ("idle", "1 000/s", "5 000/s"):
        for what in ("p50", "p99"):
            ours = results.median("latency", f"sink, {load}", what)
            theirs = results.median("latency", f"jdbc, {load}", what)
            value = ours / theirs if ours is not None and theirs else None
            out.append(goal(f"latency, {load}, {what} ÷ JDBC sink", None, value, at_most=0.5))
    for what, bound in (("p50", 10), ("p99", 50)):
        out.append(goal(f"latency at half of the peak, {what}", None, results.median("latency", "sink, half of the peak", what),
                        "{:.1f} ms", at_most=bound))
    return out


def other_goals(results):
    out = [goal("decode, schemaless", 1.5, scaled(results.median("decode", "schemaless")), "{:.2f} M/s"),
           goal("decode, with schema", 1.0, scaled(results.median("decode", "with schema")), "{:.2f} M/s")]
    drains = results.runs("no-cliff", "long drain")
    if drains and drains[0]["windows"]:
        rates = drains[0]["windows"]
        good = sum(r >= 0.7 * median(rates) for r in rates) / len(rates)
        out.append(goal("long drain: share of 10-s windows at 0.7 × the median or above", 0.9, good, "{:.2f}"))
    r = results.ratio("no-cliff", "into 10 M rows", "into 1 M rows")
    out.append(goal("insert into 10 M rows ÷ into 1 M rows", 0.8, r and r["value"], low=r and r["low"], high=r and r["high"]))
    peaks = [r["rss_mb"] for cell in results.results.values() for label, runs in cell.items() for r in runs
             if r.get("rss_mb") and label not in ("32MB", "256MB")]
    out.append(goal("worker's RssAnon, largest of all runs", None, max(peaks, default=None), "{:.0f} MB", at_most=128))
    out.append(goal("the same with memory_limit = 32MB", None, results.median("memory", "32MB", "rss_mb"), "{:.0f} MB", at_most=32))
    idle = results.runs("memory", "idle")
    out.append(goal("20 idle subscriptions, share of one core", None, idle[0]["core_share"] * 100 if idle else None, "{:.2f} %", at_most=1))
    return out


def scaled(value):
    return None if value is None else value / 1e6


def all_goals(raw):
    results = Results(raw)
    return ratio_goals(results) + latency_goals(results) + other_goals(results)
