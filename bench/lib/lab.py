"""The servers and tools of a benchmark run: its own Kafka, Kafka Connect with the JDBC sink, and PostgreSQL clusters.

Built on scripts/lib; what differs is that nothing is throttled: the Java programs get the compiler and heap that their own start
scripts give them, and the measured server syncs its WAL.
"""
import glob
import json
import mmap
import os
import shutil
import subprocess
import tarfile
import tempfile
import time

import jars
import servers
from machine import run_shown
from pq import Conn
from say import Failure

PEER_VERSION = "3.6.0.Final"
PEER = f"debezium-connector-jdbc-{PEER_VERSION}-plugin.tar.gz"
PEER_SHA256 = "c23af8d416f0f801ffb0271b1a8fd9b5360ff8d66b0dd650e066bb56ecfddc05"
# the options of Kafka's own start scripts
JVM = ["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"]


def fetch_peer():
    """The archive of the JDBC sink's plugin in the cache of scripts/lib, brought by Maven when it is not there."""
    path = os.path.join(jars.cache_root(), PEER)
    if not os.path.exists(path):
        os.makedirs(jars.cache_root(), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=jars.cache_root(), prefix="stage-") as stage:
            run_shown("bring the JDBC sink with Maven (about 60 MB)",
                      ["mvn", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy",
                       f"-Dartifact=io.debezium:debezium-connector-jdbc:{PEER_VERSION}:tar.gz:plugin",
                       f"-DoutputDirectory={stage}"])
            os.rename(os.path.join(stage, PEER), path)
    if jars.sha256(path) != PEER_SHA256:
        raise Failure(f"checksum of {path} differs from the one in bench/lib/lab.py: delete it and try again")
    return path


def full_java(command):
    """The command line of a server of scripts/lib, without what makes its start fast and its work slow."""
    slow = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    return ["java", *JVM, *(a for a in command[1:] if a not in slow)]


class Kafka(servers.Kafka):
    def __init__(self, jars_dir, directory):
        super().__init__(jars_dir, directory, **{"auto.create.topics.enable": "false", "file.delete.delay.ms": 100})

    def start(self, timeout=120):
        self.launch(full_java(servers.java(self.jars, "1g", self.dir, "kafka.Kafka", self.config)))
        self.wait_for(self.answers, "the start", timeout)


class Connect(servers.Connect):
    """Kafka Connect with the Debezium source of scripts/lib and the JDBC sink."""

    def __init__(self, jars_dir, directory, bootstrap, peer_dir):
        super().__init__(jars_dir, directory, bootstrap)
        with open(self.config, "a") as f:
            f.write(f"plugin.path={os.path.join(jars_dir, 'plugins')},{peer_dir}\n"
                    "connector.client.config.override.policy=All\n")

    def start(self, timeout=180):
        self.launch(full_java(servers.java(self.jars, "2g", self.dir,
                                           "org.apache.kafka.connect.cli.ConnectStandalone", self.config)))
        self.wait_for(lambda: self.try_rest("GET", "/connectors") is not None, "the start", timeout)


def shared_buffers_mb():
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return min(4096, pages * size // (1 << 20) // 4)


class Postgres(servers.Postgres):
    """A cluster that syncs, with WAL enough to keep checkpoints out of the measurements."""

    def __init__(self, name, directory, bindir, **settings):
        super().__init__(name, directory, bindir)
        self.configure(fsync="on", max_wal_size="16GB", min_wal_size="2GB", checkpoint_timeout="1h", jit="off",
                       autovacuum="off", max_worker_processes=64, **settings)

    def dsn(self, database="postgres"):
        return f"host={self.socket} port={self.port} user=postgres dbname={database}"

    def conn(self, database="postgres"):
        return Conn(self.dsn(database))


class Lab:
    """Everything one run of the benchmark needs, under one directory. Servers start when they are first asked for."""

    def __init__(self, directory, jars_dir, pg_config, with_sink, say):
        self.dir, self.jars_dir, self.with_sink, self.say = directory, jars_dir, with_sink, say
        self.tools = os.path.join(directory, "source", "bench", "out")
        self.bindir = subprocess.run([pg_config, "--bindir"], check=True, text=True, capture_output=True).stdout.strip()
        self.started = []
        self._kafka = self._connect = self._read = self._source = None
        self._topics = {}

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def tool(self, name, *args, stdin=None, text=True):
        """Output of one of the programs of bench/src."""
        done = subprocess.run([os.path.join(self.tools, name), *map(str, args)], input=stdin, capture_output=True, text=text)
        if done.returncode != 0:
            error = done.stderr if text else done.stderr.decode()
            raise Failure(f"{name} {' '.join(map(str, args))}: {error.strip()}")
        return done.stdout

    def tool_json(self, name, *args):
        return json.loads(self.tool(name, *args))

    def tool_to_file(self, path, name, *args):
        with open(path, "wb") as f:
            done = subprocess.run([os.path.join(self.tools, name), *map(str, args)], stdout=f, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise Failure(f"{name}: {done.stderr.decode().strip()}")
        return path

    def _start(self, server):
        self.started.append(server)
        server.start()
        return server

    @property
    def kafka(self):
        if self._kafka is None:
            kafka = Kafka(self.jars_dir, self.path("kafka"))
            kafka.format()
            self._kafka = self._start(kafka)
        return self._kafka

    @property
    def connect(self):
        if self._connect is None:
            self._connect = self._start(Connect(self.jars_dir, self.path("connect"), self.kafka.bootstrap, self.path("peer")))
        return self._connect

    @property
    def read(self):
        """The measured server."""
        if self._read is None:
            pg = Postgres("the measured PostgreSQL", self.path("read"), self.bindir,
                          shared_buffers=f"{shared_buffers_mb()}MB", wal_level="replica", log_min_messages="info",
                          **({"shared_preload_libraries": "cdc_sink", "cdc_sink.max_workers": 32} if self.with_sink else {}))
            self._read = self._start(pg)
        return self._read

    @property
    def source(self):
        """Publisher of logical replication, and source of the generator's check."""
        if self._source is None:
            pg = Postgres("the source PostgreSQL", self.path("pub"), self.bindir, shared_buffers="512MB",
                          wal_level="logical", synchronous_commit="off", max_replication_slots=40, max_wal_senders=20)
            self._source = self._start(pg)
        return self._source

    # ---- topics
    def create_topic(self, name, partitions=1):
        self.tool("topic", "create", "--brokers", self.kafka.bootstrap, "--topic", name, "--partitions", partitions)

    def delete_topic(self, name):
        self.tool("topic", "delete", "--brokers", self.kafka.bootstrap, "--topic", name)

    def fill(self, stream):
        """The topic of a stream, produced on first use."""
        if stream not in self._topics:
            name = f"{stream.label}.{len(self._topics)}"
            self.create_topic(name, stream.partitions)
            made = self.tool_json("gen", "produce", "--brokers", self.kafka.bootstrap, "--topic", name, *stream.args(),
                                  "--partitions", stream.partitions, "--compression", stream.compression,
                                  "--tx-rows", stream.tx_rows, *(["--schema"] if stream.schema else []))
            self._topics[stream] = {"topic": name, **made}
        return self._topics[stream]

    def drop_topics(self):
        """Gives the disk back between cells."""
        for made in self._topics.values():
            if made.get("topic"):
                self.delete_topic(made["topic"])
        self._topics = {}

    def stop(self):
        for server in reversed(self.started):
            server.stop()
        self.started = []


def unpack_peer(archive, directory):
    target = os.path.join(directory, "peer")
    os.makedirs(target)
    with tarfile.open(archive) as tar:
        # its checksum was verified when it was fetched
        tar.extractall(target)
    return target


def free_disk_gb(path):
    return shutil.disk_usage(path).free / 1e9


def memory_speed(size=256 << 20):
    """How fast memory is now: microseconds until a fresh page can be written, and GB/s of copying. On a virtual machine whose host
    lends its memory elsewhere, the first is many times what it is on one of its own, and every figure of the report hangs on both."""
    with mmap.mmap(-1, size) as fresh:
        begin = time.monotonic()
        for at in range(0, size, mmap.PAGESIZE):
            fresh[at] = 1
        touched = time.monotonic()
        with memoryview(fresh) as view:
            view[:size // 2] = view[size // 2:]
        copied = time.monotonic()
    return {"touch_us": (touched - begin) * 1e6 * mmap.PAGESIZE / size, "copy_gb_s": size / 2e9 / (copied - touched)}


def machine_facts(lab):
    """What the report says about where it ran."""
    cpu = "unknown"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    with open("/proc/loadavg") as f:
        load = f.read().split()[0]
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()
    kafka = [os.path.basename(p) for p in glob.glob(os.path.join(lab.jars_dir, "libs", "kafka_2.13-*.jar"))]
    with lab.read.conn() as c:
        version = c.one("SHOW server_version")
    pkg = subprocess.run(["pkg-config", "--modversion", "rdkafka"], capture_output=True, text=True).stdout.strip()
    return {"processor": cpu, "cores": os.cpu_count(), "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
            "load_at_start": load, "memory": [memory_speed()], "kernel": os.uname().release, "postgresql": version, "librdkafka": pkg,
            "kafka": kafka[0][len("kafka_2.13-"):-4] if kafka else "?", "jdbc_sink": PEER_VERSION,
            "java": java[0] if java else "?", "shared_buffers_mb": shared_buffers_mb()}
