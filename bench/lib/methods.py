"""The methods that are compared. Each takes a case and returns what was measured, after the resulting table was verified:
rate (events per second), events, seconds, and where known cpu_us and wal_bytes per event and rss_mb.
"""
import json
import time

import proc
from pq import literal
from say import Failure
from targets import DATABASE

WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'"


def measured(events, seconds, **more):
    return {"rate": events / seconds, "events": events, "seconds": seconds, **more}


def per_event(seconds, events):
    return seconds * 1e6 / events


class Methods:
    def __init__(self, lab, targets):
        self.lab, self.targets = lab, targets
        self.slots = {}
        self.warm = False

    def run(self, case, repetition):
        return getattr(self, case.method)(case, repetition)

    # ---- cdc_sink, driven by its SQL contract only
    def subscribe(self, c, topic, table, options, **mapping):
        c.rows("CREATE EXTENSION cdc_sink")
        c.rows(f"CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS (\"bootstrap.servers\" {literal(self.lab.kafka.bootstrap)})")
        c.rows(f"SELECT cdc_sink.create_subscription('bench', 'kafka', enabled => false, options => {literal(json.dumps(options))})")
        more = "".join(f", {name} => {literal(value)}" for name, value in mapping.items())
        c.rows(f"SELECT cdc_sink.add_mapping('bench', {literal(topic)}, {literal(table)}{more})")

    @staticmethod
    def worker_pids(c):
        return [int(r[0]) for r in c.rows("SELECT pid FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker'")]

    @staticmethod
    def complain(c, why):
        state = c.rows("SELECT state, state_reason, hint FROM cdc_sink.pg_stat_cdc_sink_subscription")
        error = c.rows("SELECT sqlstate, message, detail FROM cdc_sink.pg_stat_cdc_sink_error ORDER BY occurred_at DESC LIMIT 1")
        raise Failure(f"cdc_sink {why}; state {state}, last error {error}")

    def drain(self, c, records, on_progress=None, patience=60):
        """Enables the subscription and waits until so many records are committed. Times count from the first commit: what a
        worker needs to start is told apart (start_seconds)."""
        query = "SELECT coalesce(sum(next_offset), 0), pg_current_wal_insert_lsn() - '0/0' FROM cdc_sink.position"
        pids = []
        memory = proc.PeakMemory(pids)
        begin = time.monotonic()
        c.rows("SELECT cdc_sink.enable_subscription('bench')")
        first, last_change, done = None, begin, 0
        while done < records:
            position, wal = (int(x) for x in c.rows(query)[0])
            now = time.monotonic()
            if position > done:
                done, last_change = position, now
                if first is None:
                    pids += self.worker_pids(c)
                    first = (now, done, wal, {p: proc.cpu(p) for p in pids})
                if on_progress:
                    on_progress(now, done)
            elif now - last_change > patience or (now - last_change > 2 and self.stopped(c)):
                memory.stop()
                self.complain(c, f"made no progress for {now - last_change:.0f} s at {done} of {records} records")
            if done < records:
                time.sleep(0.025)
        pids[:] = sorted({*pids, *self.worker_pids(c)})
        cpu = sum(proc.cpu(p) - first[3].get(p, 0) for p in pids)
        peak = memory.stop()
        if c.one("SELECT cdc_sink.wait_for_catchup('bench', '60s')") != "t":
            self.complain(c, "did not catch up")
        seconds = max(now - first[0], 1e-3)
        return {"start_seconds": first[0] - begin, "whole_seconds": now - begin, "records": done - first[1], "seconds": seconds,
                "cpu": cpu, "wal": wal - first[2], "rss_mb": peak, "workers": len(pids)}

    @staticmethod
    def stopped(c):
        return c.one("SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE state = 'stopped'") != "0"

    @staticmethod
    def unsubscribe(c):
        c.rows("SELECT cdc_sink.disable_subscription('bench')")
        c.rows("SELECT cdc_sink.drop_subscription('bench')")

    def sink(self, case, repetition):
        made = self.lab.fill(case.stream)
        options = {"workers": case.options["workers"]} if "workers" in case.options else {}
        # a mapping for another table of the topic: every record is read, decoded and skipped
        mapping = {"source_table": "public.other"} if case.options.get("discard") else {}
        with self.targets.fresh(case.table) as c:
            self.subscribe(c, made["topic"], case.table.name, options, **mapping)
            run = self.drain(c, made["records"])
            self.unsubscribe(c)
            if mapping:
                if c.one(f"SELECT count(*) FROM {case.table.name}") != "0":
                    raise Failure("records of another table were applied")
            else:
                self.targets.verify(c, case.stream, case.events)
        events = run["records"] * case.events / made["records"]
        return measured(events, run["seconds"], cpu_us=per_event(run["cpu"], events), wal_bytes=run["wal"] / events,
                        rss_mb=run["rss_mb"], start_seconds=run["start_seconds"], workers=run["workers"],
                        rate_with_start=case.events / run["whole_seconds"])

    # ---- anchors inside PostgreSQL
    def copy(self, case, path, form):
        with self.targets.fresh(case.table) as c:
            cpu, wal, begin = proc.cpu(c.pid), int(c.one(WAL)), time.monotonic()
            c.rows(f"COPY {case.table.name} FROM {literal(path)} {form}")
            seconds = time.monotonic() - begin
            cpu, wal = proc.cpu(c.pid) - cpu, int(c.one(WAL)) - wal
            self.targets.verify(c, case.stream, case.events)
        return measured(case.events, seconds, cpu_us=per_event(cpu, case.events), wal_bytes=wal / case.events)

    def copy_text(self, case, repetition):
        return self.copy(case, self.targets.file(case.stream, case.events), "")

    def copy_binary(self, case, repetition):
        path = self.targets.file(case.stream, case.events) + ".binary"
        key = ("binary", path)
        if key not in self.targets.files:
            with self.targets.fresh(case.table) as c:
                c.rows(f"COPY {case.table.name} FROM {literal(self.targets.file(case.stream, case.events))}")
                c.rows(f"COPY {case.table.name} TO {literal(path)} (FORMAT binary)")
            self.targets.files[key] = path
        return self.copy(case, path, "(FORMAT binary)")

    def rowwise(self, case, repetition):
        with self.targets.fresh(case.table) as c:
            wal = int(c.one(WAL))
            run = self.lab.tool_json("rowwise", "--dsn", self.lab.read.dsn(DATABASE), "--commit-every", 1000,
                                     *case.stream.args(case.events))
            wal = int(c.one(WAL)) - wal
            self.targets.verify(c, case.stream, case.events)
        return measured(case.events, run["seconds"], cpu_us=per_event(run["cpu"], case.events), wal_bytes=wal / case.events)

    LOOP = """
        CREATE PROCEDURE apply_rowwise() LANGUAGE plpgsql AS $$
        DECLARE r record; done bigint := 0;
        BEGIN
          FOR r IN SELECT * FROM stage ORDER BY number LOOP
            IF r.op = 'd' THEN
              DELETE FROM ev WHERE id = r.id;
            ELSE
              INSERT INTO ev VALUES (r.id, r.n, r.amount, r.at, r.note) ON CONFLICT (id)
              DO UPDATE SET n = excluded.n, amount = excluded.amount, at = excluded.at, note = excluded.note;
            END IF;
            done := done + 1;
            IF done % 1000 = 0 THEN COMMIT; END IF;
          END LOOP;
        END $$"""

    def rowwise_server(self, case, repetition):
        """The same statements inside the server, without the round trips: a stricter anchor than rowwise."""
        with self.targets.fresh(case.table, (case.stream, case.events)) as c:
            c.rows(self.LOOP)
            c.rows("SET synchronous_commit = off")
            cpu, wal, begin = proc.cpu(c.pid), int(c.one(WAL)), time.monotonic()
            c.rows("CALL apply_rowwise()")
            seconds = time.monotonic() - begin
            cpu, wal = proc.cpu(c.pid) - cpu, int(c.one(WAL)) - wal
            self.targets.verify(c, case.stream, case.events)
        return measured(case.events, seconds, cpu_us=per_event(cpu, case.events), wal_bytes=wal / case.events)

    # ---- logical replication
    COMMIT_ROWS = """
        CREATE PROCEDURE write_rows(rows bigint, tx_rows bigint) LANGUAGE plpgsql AS $$
        BEGIN
          FOR i IN 0 .. (rows - 1) / tx_rows LOOP
            INSERT INTO ev SELECT id, n, amount, at, note FROM stage WHERE number > i * tx_rows AND number <= least(rows, (i + 1) * tx_rows);
            COMMIT;
          END LOOP;
          INSERT INTO marker VALUES (1);
        END $$"""

    def publish(self, case, repetitions):
        """Writes the stream at the publisher once, behind one slot for each repetition."""
        database = f"pub_{len(self.slots)}"
        with self.lab.source.conn() as c:
            c.rows(f"CREATE DATABASE {database}")
        names = [f"{database}_{i}" for i in range(repetitions)]
        with self.lab.source.conn(database) as c:
            c.rows(self.targets.ddl(case.table.name))
            c.rows("CREATE TABLE marker (id int PRIMARY KEY)")
            c.rows("CREATE PUBLICATION pub FOR TABLE ev, marker")
            self.targets.load_stage(c, case.table, case.stream, case.events)
            c.rows("ANALYZE")
            for name in names:
                c.rows(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
            c.rows(self.COMMIT_ROWS)
            c.rows(f"CALL write_rows({case.events}, {case.stream.tx_rows})")
        self.slots[case.stream] = (database, names)

    def logical(self, case, repetition):
        """Drains a backlog of the publisher: binary, one slot each time."""
        if case.stream not in self.slots:
            self.publish(case, self.repetitions)
        database, names = self.slots[case.stream]
        name = names.pop()
        with self.targets.fresh(case.table) as c:
            c.rows("CREATE TABLE marker (id int PRIMARY KEY)")
            c.rows(f"CREATE SUBSCRIPTION sub CONNECTION {literal(self.lab.source.dsn(database))} PUBLICATION pub "
                   f"WITH (create_slot = false, slot_name = {name}, copy_data = false, enabled = false, binary = true)")
            c.rows("ALTER SUBSCRIPTION sub ENABLE")
            self.poll(c, "SELECT 1 FROM ev LIMIT 1")
            begin, wal = time.monotonic(), int(c.one(WAL))
            pid = int(c.one("SELECT pid FROM pg_stat_subscription WHERE pid IS NOT NULL"))
            cpu = proc.cpu(pid)
            self.poll(c, "SELECT 1 FROM marker")
            seconds, cpu, wal = time.monotonic() - begin, proc.cpu(pid) - cpu, int(c.one(WAL)) - wal
            c.rows("DROP SUBSCRIPTION sub")
            self.targets.verify(c, case.stream, case.events)
        return measured(case.events, seconds, cpu_us=per_event(cpu, case.events), wal_bytes=wal / case.events)

    def drop_publications(self):
        """A forgotten slot would keep all WAL."""
        for database, names in self.slots.values():
            with self.lab.source.conn() as c:
                for name in names:
                    c.rows(f"SELECT pg_drop_replication_slot('{name}')")
                c.rows(f"DROP DATABASE {database} WITH (FORCE)")
        self.slots = {}

    @staticmethod
    def poll(c, sql, timeout=120, pause=0.01):
        end = time.monotonic() + timeout
        while not c.rows(sql):
            if time.monotonic() > end:
                raise Failure(f"nothing came within {timeout} s: {sql}")
            time.sleep(pause)

    # ---- Kafka alone
    def consume(self, case, repetition):
        made = self.lab.fill(case.stream)
        run = self.lab.tool_json("consume", "--brokers", self.lab.kafka.bootstrap, "--topic", made["topic"],
                                 "--partitions", case.stream.partitions, "--records", made["records"])
        events = case.events
        return measured(events, run["seconds"], cpu_us=per_event(run["cpu"], events))

    # ---- the JDBC sink
    def jdbc_config(self, topic, table, best):
        pg = self.lab.read
        config = {
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector", "tasks.max": "1", "topics": topic,
            "connection.url": f"jdbc:postgresql://127.0.0.1:{pg.port}/{DATABASE}", "connection.username": "postgres",
            "connection.password": pg.password, "insert.mode": "upsert", "delete.enabled": "true",
            "primary.key.mode": "record_key", "schema.evolution": "none", "collection.name.format": table,
            "consumer.override.auto.offset.reset": "earliest"}
        if best:
            config.update({
                "connection.url": config["connection.url"] + "?reWriteBatchedInserts=true", "batch.size": "5000",
                "use.reduction.buffer": "true", "dialect.postgres.unnest.insert.enabled": "true",
                "consumer.override.max.poll.records": "5000", "consumer.override.fetch.max.bytes": "104857600",
                "consumer.override.max.partition.fetch.bytes": "52428800"})
        return config

    def probe(self, stream, events):
        """A query that returns a row once so many events of the stream are visible."""
        highest, last, n = self.lab.tool("gen", "probe", *stream.args(events)).split()
        if int(highest) > stream.before:
            return f"SELECT 1 FROM (SELECT max(id) AS top FROM {stream.table}) t WHERE top >= {highest}"
        return f"SELECT 1 FROM {stream.table} WHERE id = {last} AND n = {n}"

    def first_insert(self, stream):
        """How many events it takes until the probe of a mixed stream can tell progress."""
        return 1 if stream.pattern != "mix" else 50

    def warm_up(self):
        """The compiler of the Java machine needs some work before it is fast: not counted."""
        if not self.warm:
            from cells import Stream, Table, make_case
            self.warm = True
            stream = Stream("warm-up", "insert", 60_000, schema=True)
            self.jdbc(make_case(1, "warm-up", "jdbc", stream, Table(), 50_000), 0)

    def jdbc(self, case, repetition):
        self.warm_up()
        made = self.lab.fill(case.stream)
        best, name = case.options.get("best", False), f"jdbc-{time.monotonic_ns()}"
        first = self.first_insert(case.stream)
        connect = self.lab.connect
        with self.targets.fresh(case.table) as c:
            connect.add_connector(name, self.jdbc_config(made["topic"], case.table.name, best))
            try:
                self.poll(c, self.probe(case.stream, first), pause=0.02)
                begin, cpu, wal = time.monotonic(), self.jdbc_cpu(c), int(c.one(WAL))
                self.poll(c, self.probe(case.stream, case.events), timeout=300, pause=0.02)
                seconds = time.monotonic() - begin
                cpu, wal = self.jdbc_cpu(c) - cpu, int(c.one(WAL)) - wal
                records = self.stop_connector(name)
            finally:
                connect.remove_connector(name)
            # it ran on beyond the counted events until it was stopped
            self.targets.verify(c, case.stream, case.stream.events, records)
        events = case.events - first
        return measured(events, seconds, cpu_us=per_event(cpu, events), wal_bytes=wal / events)

    def jdbc_cpu(self, c):
        """CPU seconds of Kafka Connect and of its sessions in the database."""
        pids = [r[0] for r in c.rows(f"SELECT pid FROM pg_stat_activity WHERE datname = '{DATABASE}' AND pid <> pg_backend_pid()")]
        return proc.cpu(self.lab.connect.process.pid) + sum(proc.cpu(p) for p in pids)

    def stop_connector(self, name):
        """Stops a connector in order and returns how many records it has committed."""
        connect = self.lab.connect
        connect.rest("PUT", f"/connectors/{name}/stop")
        for _ in range(600):
            status = connect.try_rest("GET", f"/connectors/{name}/status")
            if status and status["connector"]["state"] == "STOPPED" and not status["tasks"]:
                offsets = connect.rest("GET", f"/connectors/{name}/offsets")["offsets"]
                return sum(o["offset"]["kafka_offset"] for o in offsets)
            time.sleep(0.1)
        raise Failure(f"connector {name} did not stop")
