"""What Kafka holds, as another client than the sink's reads it."""
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from say import Failure


class Log:
    """The records of all topics as a reader of committed transactions sees them, kept between quiet points."""

    def __init__(self, bootstrap, tables):
        self.bootstrap, self.tables = bootstrap, tables
        self.records = {(t.topic, p): [] for t in tables for p in range(t.partitions)}
        self._next = dict.fromkeys(self.records, OFFSET_BEGINNING)

    def catch_up(self, seconds=90):
        """Reads until it is as long as what the source wrote: the end of a transaction may take a moment to be seen."""
        want = {(t.topic, p): t.written[p] for t in self.tables for p in range(t.partitions)}
        end = time.monotonic() + seconds
        while True:
            self.read()
            if all(len(self.records[key]) >= len(want[key]) for key in want):
                break
            if time.monotonic() > end:
                raise Failure("Kafka does not hold what was written: " + ", ".join(
                    f"{key}: {len(self.records[key])} of {len(want[key])}" for key in want if len(self.records[key]) != len(want[key])))
        for key, values in want.items():
            if [value for _, value in self.records[key]] != values:
                raise Failure(f"{key}: what stands in Kafka is not what was written; this is no fault of the sink")

    def read(self):
        """From where it left off to the present end of each partition."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "oracle", "isolation.level": "read_committed",
                             "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "error", "log_level": 0})
        try:
            consumer.assign([TopicPartition(topic, p, self._next[topic, p]) for topic, p in self.records])
            open_partitions = set(self.records)
            end = time.monotonic() + 60
            while open_partitions:
                for message in consumer.consume(1000, 1):
                    key = (message.topic(), message.partition())
                    if message.error() is None:
                        value = message.value()
                        self.records[key].append((message.offset(), None if value is None else value.decode()))
                        self._next[key] = message.offset() + 1
                    elif message.error().code() == KafkaError._PARTITION_EOF:
                        open_partitions.discard(key)
                if time.monotonic() > end:
                    raise Failure("the oracle cannot read Kafka")
        finally:
            consumer.close()
