"""What is not a drain of a cell: latency, the decoder alone, long drains and large tables, memory, the cost of being idle."""
import time

import proc
from cells import Stream, Table, make_case
from goals import median
from methods import measured
from pq import literal
from say import Failure
from targets import DATABASE

IDLE_SUBSCRIPTIONS = 20
SETTLE = 10                 # seconds


class Extras:
    def __init__(self, lab, targets, methods, scale):
        self.lab, self.targets, self.methods, self.scale = lab, targets, methods, scale
        self.drained = None       # events per second of the insert cell, when it was measured
        self.flat_out = []        # events per second that became visible while more were produced

    def drain_rate(self):
        """How fast a backlog is drained: from the insert cell, else measured here."""
        if self.drained is None:
            stream = Stream("drain", "insert", int(600_000 * self.scale))
            self.drained = self.methods.sink(make_case(1, "drain", "sink", stream, Table()), 0)["rate"]
        return self.drained

    # ---- latency
    LOADS = {"idle": 25, "1 000/s": 1000, "5 000/s": 5000}

    def rate_of(self, load):
        """The peak is what flows while it is produced, on the cores that generator and broker share with the worker: what becomes visible
        when as much is asked of the generator as a drain applies, which is more than it can make beside them."""
        if load in self.LOADS:
            return self.LOADS[load]
        if load == "flat out":
            return round(self.drain_rate())
        if load == "half of a drain":
            return round(self.drain_rate() / 2)
        if not self.flat_out:
            raise Failure("the peak was not measured: flat out comes first")
        return round(median(self.flat_out) / 2)

    def latency(self, system, load, seconds):
        rate = self.rate_of(load)
        # the JDBC sink reads only events with schema; at higher loads it is not asked
        schema = load in self.LOADS
        if system == "jdbc":
            self.methods.warm_up()
        topic = f"latency.{time.monotonic_ns()}"
        self.lab.create_topic(topic)
        try:
            with self.targets.fresh(Table()) as c:
                run = getattr(self, "latency_" + system)(c, topic, rate, seconds, schema)
        finally:
            self.lab.delete_topic(topic)
        if load == "flat out":
            self.flat_out.append(run["visible"])
        return run

    def measure_latency(self, c, topic, rate, seconds, schema, warm_up):
        run = self.lab.tool_json("latency", "--brokers", self.lab.kafka.bootstrap, "--topic", topic,
                                 "--dsn", self.lab.read.dsn(DATABASE), "--rate", rate, "--seconds", seconds, "--warm-up", warm_up,
                                 *(["--schema"] if schema else []))
        if run["unseen"]:
            raise Failure(f"{run['unseen']} rows did not become visible")
        # every row that was sent and nothing else
        events = int(rate * (seconds + warm_up))
        self.targets.verify(c, Stream("latency", "insert", events), events)
        return run

    def latency_sink(self, c, topic, rate, seconds, schema):
        self.methods.subscribe(c, topic, "ev", {})
        c.rows("SELECT cdc_sink.enable_subscription('bench')")
        self.methods.poll(c, "SELECT 1 FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE state = 'streaming'")
        run = self.measure_latency(c, topic, rate, seconds, schema, 2)
        self.methods.unsubscribe(c)
        return run

    def latency_jdbc(self, c, topic, rate, seconds, schema):
        name = f"jdbc-{time.monotonic_ns()}"
        self.lab.connect.add_connector(name, self.methods.jdbc_config(topic, "ev", False))
        try:
            return self.measure_latency(c, topic, rate, seconds, schema, 5)
        finally:
            self.lab.connect.remove_connector(name)

    # ---- decoder
    def decode(self, schema):
        run = self.lab.tool_json("decode", *(["--schema"] if schema else []))
        return measured(run["events"], run["seconds"], bytes_per_event=run["bytes"] / run["events"])

    # ---- no cliff
    def long_drain(self, seconds, window=10):
        """A backlog of inserts that lasts so long; the rate of each window."""
        events = min(int(self.drain_rate() * (seconds + 5)), 60_000_000)
        stream = Stream("long-drain", "insert", events, compression="lz4")
        made = self.lab.fill(stream)
        seen = []
        with self.lab.read.conn() as c:
            c.rows("ALTER SYSTEM SET autovacuum = on")
            c.rows("SELECT pg_reload_conf()")
        try:
            with self.targets.fresh(Table()) as c:
                self.methods.subscribe(c, made["topic"], "ev", {})
                run = self.methods.drain(c, made["records"], on_progress=lambda now, done: seen.append((now, done)))
                self.methods.unsubscribe(c)
                # all rows are there; those of the first part and of the end are compared value by value
                if c.rows("SELECT count(*), min(id), max(id) FROM ev") != [[str(events), "1", str(events)]]:
                    raise Failure(f"the long drain of {events} events did not bring rows 1 to {events}")
                self.targets.verify(c, stream, events, above=events - 200_000)
        finally:
            with self.lab.read.conn() as c:
                c.rows("ALTER SYSTEM RESET autovacuum")
                c.rows("SELECT pg_reload_conf()")
        return {"events": events, "rate": run["records"] / run["seconds"], "seconds": run["seconds"], "rss_mb": run["rss_mb"],
                "window_seconds": window, "windows": windows(seen, window), "progress": thin(seen)}

    def large_table(self, rows):
        """Inserts of new keys into a table that holds so many rows."""
        stream = Stream("large-table", "insert", int(500_000 * self.scale), before=rows)
        made = self.lab.fill(stream)
        with self.targets.fresh(Table(before=rows)) as c:
            self.methods.subscribe(c, made["topic"], "ev", {})
            run = self.methods.drain(c, made["records"])
            self.methods.unsubscribe(c)
            self.targets.verify(c, stream, stream.events, above=rows)
        return measured(run["records"], run["seconds"])

    # ---- memory and idleness
    def memory(self, limit):
        """Largest RssAnon of the worker while it drains events with schema; limit is cdc_sink.memory_limit, None the default."""
        stream = Stream("memory", "insert", int(600_000 * self.scale), schema=True)
        made = self.lab.fill(stream)
        if limit:
            self.set_memory_limit(limit)
        try:
            with self.targets.fresh(Table()) as c:
                shown = c.one("SHOW cdc_sink.memory_limit")
                self.methods.subscribe(c, made["topic"], "ev", {})
                run = self.methods.drain(c, made["records"])
                self.methods.unsubscribe(c)
                self.targets.verify(c, stream, stream.events)
        finally:
            if limit:
                self.set_memory_limit(None)
        return {"memory_limit": shown, "rss_mb": run["rss_mb"], "rate": run["records"] / run["seconds"]}

    def set_memory_limit(self, value):
        with self.lab.read.conn() as c:
            c.rows("ALTER SYSTEM " + (f"SET cdc_sink.memory_limit = {literal(value)}" if value else "RESET cdc_sink.memory_limit"))
            if c.one("SELECT context FROM pg_settings WHERE name = 'cdc_sink.memory_limit'") == "postmaster":
                c.close()
                self.lab.read.stop()
                self.lab.read.start()
            else:
                c.rows("SELECT pg_reload_conf()")

    def idle(self, seconds):
        """CPU of subscriptions with nothing to do: workers and launcher, as a share of one core."""
        topic = f"idle.{time.monotonic_ns()}"
        self.lab.create_topic(topic)
        with self.targets.fresh(Table()) as c:
            c.rows("CREATE EXTENSION cdc_sink")
            c.rows(f"CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS (\"bootstrap.servers\" {literal(self.lab.kafka.bootstrap)})")
            for i in range(IDLE_SUBSCRIPTIONS):
                c.rows(f"CREATE TABLE ev{i} (LIKE ev INCLUDING ALL)")
                c.rows(f"SELECT cdc_sink.create_subscription('idle{i}', 'kafka', enabled => false)")
                c.rows(f"SELECT cdc_sink.add_mapping('idle{i}', {literal(topic)}, 'ev{i}')")
                c.rows(f"SELECT cdc_sink.enable_subscription('idle{i}')")
            self.methods.poll(c, "SELECT 1 FROM cdc_sink.pg_stat_cdc_sink_subscription "
                                 f"HAVING count(*) FILTER (WHERE state = 'streaming') = {IDLE_SUBSCRIPTIONS}")
            pids = [int(r[0]) for r in c.rows("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'cdc_sink%'")]
            workers = self.methods.worker_pids(c)
            # each has its first transaction, and plans it, after it streams: that is no idleness
            time.sleep(SETTLE)
            before, begin = sum(proc.cpu(p) for p in pids), time.monotonic()
            time.sleep(seconds)
            share = (sum(proc.cpu(p) for p in pids) - before) / (time.monotonic() - begin)
            rss = max(proc.rss_anon_mb(p) for p in workers)
            for i in range(IDLE_SUBSCRIPTIONS):
                c.rows(f"SELECT cdc_sink.disable_subscription('idle{i}')")
                c.rows(f"SELECT cdc_sink.drop_subscription('idle{i}')")
        self.lab.delete_topic(topic)
        return {"subscriptions": IDLE_SUBSCRIPTIONS, "core_share": share, "rss_mb_each": rss, "seconds": seconds}


def windows(seen, width):
    """Rates of whole windows between the first and the last look; the positions between looks are interpolated."""
    def at(moment):
        for (t0, n0), (t1, n1) in zip(seen, seen[1:]):
            if t0 <= moment <= t1:
                return n0 + (n1 - n0) * (moment - t0) / max(t1 - t0, 1e-9)
        return seen[-1][1]

    count = int((seen[-1][0] - seen[0][0]) / width)
    marks = [at(seen[0][0] + i * width) for i in range(count + 1)]
    return [(b - a) / width for a, b in zip(marks, marks[1:])]


def thin(seen, step=1.0):
    """The course of a drain at one point a second, for the chart: seconds and events since its first commit."""
    out, next_at = [], seen[0][0]
    for now, done in seen:
        if now >= next_at:
            out.append([round(now - seen[0][0], 2), done])
            next_at = now + step
    return out
