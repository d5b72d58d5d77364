"""The source that a soak imagines: tables whose random changes become records, written to Kafka while faults happen.

The changes come from test/random-mix: inserts, updates with values that stayed out of line, deletes with their tombstones, key
changes between partitions, unique names that wander, truncates where there is one partition. Two tables are written plainly, two
by a transactional producer whose transactions span both and end in a commit or an abort.
"""
import importlib.machinery
import importlib.util
import os
import random
import threading
import time

from confluent_kafka import KafkaException, Producer

from topics import Log

_PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "random-mix")
_SPEC = importlib.util.spec_from_loader("random_mix", importlib.machinery.SourceFileLoader("random_mix", os.path.abspath(_PATH)))
random_mix = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(random_mix)


class Table:
    """One table of the source: its rows, and all that it wrote by partition."""

    def __init__(self, name, seed, partitions, keys, unique=False, truncates=False, transactional=False):
        self.name, self.topic, self.partitions, self.transactional = name, "soak." + name, partitions, transactional
        self.unique, self.truncates, self.keys = unique, truncates, range(1, keys)
        self.source = random_mix.Source(random.Random(seed), partitions, unique)
        self.source.names = [f"name{i}" for i in range(keys * 2)]
        self.written = [[] for _ in range(partitions)]

    def definition(self):
        return random_mix.TABLE.format(unique=" UNIQUE" if self.unique else "").replace("CREATE TABLE t", f"CREATE TABLE {self.name}")

    def change(self, transactions):
        """The events of some transactions, not yet written."""
        for _ in range(transactions):
            self.source.transaction(self.keys, self.truncates)
        events, self.source.events = self.source.events, []
        return events

    def keep(self, events):
        """These events stand in Kafka now."""
        for event in events:
            self.written[event["partition"]].append(event["value"])


class Feeder(threading.Thread):
    """Writes records all the time; pause() stops it between transactions, with everything acknowledged."""

    def __init__(self, bootstrap, tables, seed, records_per_second, name):
        super().__init__(daemon=True)
        self.tables, self.rng, self.rate = tables, random.Random(seed), records_per_second
        self.error, self.count, self.aborted = None, 0, 0
        self._ended, self._lock = threading.Event(), threading.Lock()
        self.bootstrap, self.name = bootstrap, name
        settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 600000,
                    "log_level": 0}
        self.settings = settings
        self.plain = Producer(settings)
        self._open_producer()

    def run(self):
        try:
            while not self._ended.is_set():
                with self._lock:
                    if self.rng.random() < 0.5:
                        wrote = self._write_plainly()
                    else:
                        wrote = self._write_transaction()
                self._ended.wait(min(1.0, wrote / self.rate))
        except BaseException as e:  # whatever it was, the main thread reports it
            self.error = e

    def pause(self, seconds):
        """Waits until all is written and nothing is open; False when the broker does not take it in time."""
        if not self._lock.acquire(timeout=seconds):
            return False
        if self.error is None and self.plain.flush(seconds) == 0:
            return True
        self._lock.release()
        return False

    def resume(self):
        self._lock.release()

    def end(self):
        self._ended.set()

    def _put(self, producer, table, event):
        while True:
            try:
                producer.produce(table.topic, event["value"], event["key"], event["partition"],
                                 headers=[tuple(h) for h in event["headers"]] or None, on_delivery=self._delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        self.count += 1

    def _open_producer(self):
        """The transactional one; what the one before it left open is aborted, or ended as it was about to."""
        self.bound = Producer({**self.settings, "transactional.id": self.name, "transaction.timeout.ms": 600000})
        self.bound.init_transactions(120)

    def _delivered(self, error, message):
        # a record of an aborted transaction is purged: that is the abort's own doing
        if error is not None and not error.name().startswith("_PURGE"):
            self.error = KafkaException(error)

    def _write_plainly(self):
        table = self.rng.choice([t for t in self.tables if not t.transactional])
        # now and then a burst, so that a backlog is there when something falls
        events = table.change(self.rng.choice((2, 5, 10, 20, 40, 400)))
        for event in events:
            self._put(self.plain, table, event)
        table.keep(events)
        return len(events)

    def _write_transaction(self):
        """A Kafka transaction over the transactional tables; sometimes it stays open for a while, sometimes it is aborted."""
        tables = [t for t in self.tables if t.transactional]
        before = [dict(t.source.rows) for t in tables]
        written = [table.change(self.rng.randrange(1, 15)) for table in tables]
        self.bound.begin_transaction()
        for table, events in zip(tables, written):
            for event in events:
                self._put(self.bound, table, event)
        if self.rng.random() < 0.1:
            # an open transaction holds back what comes after it
            self.bound.flush(5)
            self._ended.wait(self.rng.uniform(0.2, 2))
        if self._end_transaction(self.rng.random() < 0.75, tables[0], written[0]):
            for table, events in zip(tables, written):
                table.keep(events)
        else:
            self.aborted += 1
            for table, rows in zip(tables, before):
                table.source.rows = rows
        return sum(map(len, written))

    def _end_transaction(self, commit, table, events):
        """True when it is committed. A producer that can go on no more is replaced, and Kafka asked what became of the transaction."""
        try:
            if commit and self._settle(self.bound.commit_transaction):
                return True
            self._settle(self.bound.abort_transaction)
            return False
        except KafkaException:
            self._open_producer()
            one = next(event for event in events if event["value"] is not None)
            log = Log(self.bootstrap, [table])
            log.read()
            return one["value"] in [value for _, value in log.records[table.topic, one["partition"]]]

    def _settle(self, act):
        """Commits or aborts, again and again while the broker is away; False when the library wants an abort instead."""
        while True:
            try:
                act(10)
                return True
            except KafkaException as e:
                if e.args[0].txn_requires_abort():
                    return False
                if not e.args[0].retriable():
                    raise
                time.sleep(0.1)
