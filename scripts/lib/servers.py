"""The servers of the pipeline, each a child process in the temporary directory: Kafka, Kafka Connect, PostgreSQL.

They run in the foreground of their own session, so that Ctrl-C reaches only the script, which ends them in order; should the
script be killed, the kernel ends them (setpriv --pdeathsig).
"""
import base64
import fcntl
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

import user
from say import Failure, tail

_held_ports = []


def free_port():
    """A port of 127.0.0.1 nobody listens on, below the range that the kernel gives to clients. A lock file keeps it from other
    runs of these scripts between choosing and binding."""
    directory = os.path.join(tempfile.gettempdir(), f"cdc_sink-ports-{os.geteuid()}")
    os.makedirs(directory, exist_ok=True)
    for _ in range(1000):
        port = random.randint(20000, 32000)
        lock = open(os.path.join(directory, str(port)), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _held_ports.append(lock)
        return port
    raise Failure("no free port between 20000 and 32000")


class Server:
    """A child process with a log."""

    def __init__(self, name, directory):
        self.name, self.dir = name, directory
        user.make_dir(directory)
        self.log = os.path.join(directory, "log")
        self.process = None

    def launch(self, command, death_signal="TERM"):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(user.wrap(command, death_signal), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, env=user.environment(), cwd=self.dir)

    def wait_for(self, ready, what, timeout):
        """Waits until ready() holds; a server that ended meanwhile is a failure at once."""
        end = time.monotonic() + timeout
        while not ready():
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended with code {self.process.returncode} while starting; its log ends with:\n{tail(self.log)}")
            if time.monotonic() > end:
                raise Failure(f"{self.name}: {what} took more than {timeout} s; its log ends with:\n{tail(self.log)}")
            time.sleep(0.2)

    def stop(self, number=signal.SIGTERM, timeout=30):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write_properties(path, values):
    user.write_file(path, "".join(f"{key}={value}\n" for key, value in values.items()), mode=0o600)


# warnings and the start to standard output; the rest of what these programs say is of no use to a reader
LOG4J = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.debezium.name = io.debezium
logger.debezium.level = info
"""


def java(jars, heap, directory, main, *args):
    """The command line of a Java program of the pipeline."""
    config = user.write_file(os.path.join(directory, "log4j2.properties"), LOG4J)
    return ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={config}",
            "-cp", os.path.join(jars, "libs", "*"), main, *args]


class Kafka(Server):
    """One broker that is its own controller (KRaft)."""

    def __init__(self, jars, directory, **properties):
        super().__init__("Kafka", directory)
        self.jars, self.port = jars, free_port()
        controller = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.config = os.path.join(directory, "server.properties")
        write_properties(self.config, {
            "process.roles": "broker,controller", "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}", "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}", "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": os.path.join(directory, "data"), "num.partitions": 1,
            "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1, "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1, "group.initial.rebalance.delay.ms": 0, **properties})

    def format(self):
        """Writes the cluster's identity into the empty data directory."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").lstrip("-").ljust(22, "A")
        done = user.run(java(self.jars, "256m", self.dir, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", self.config),
                        capture_output=True)
        if done.returncode != 0:
            raise Failure("Kafka could not be set up:\n" + done.stdout + done.stderr)

    def start(self, timeout=120):
        self.launch(java(self.jars, "700m", self.dir, "kafka.Kafka", self.config))
        self.wait_for(self.answers, "the start", timeout)

    def answers(self):
        return subprocess.run(["kcat", "-b", self.bootstrap, "-L", "-m", "2"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0


class Connect(Server):
    """A Kafka Connect worker of its own, with the Debezium plugins."""

    def __init__(self, jars, directory, bootstrap):
        super().__init__("Kafka Connect", directory)
        self.jars, self.port = jars, free_port()
        self.config = os.path.join(directory, "worker.properties")
        converter = "org.apache.kafka.connect.json.JsonConverter"
        write_properties(self.config, {
            "bootstrap.servers": bootstrap, "key.converter": converter, "value.converter": converter,
            "offset.storage.file.filename": os.path.join(directory, "offsets"), "offset.flush.interval.ms": 1000,
            "plugin.path": os.path.join(jars, "plugins"), "plugin.discovery": "service_load",
            "listeners": f"http://127.0.0.1:{self.port}"})

    def start(self, timeout=180):
        self.launch(java(self.jars, "1g", self.dir, "org.apache.kafka.connect.cli.ConnectStandalone", self.config))
        self.wait_for(lambda: self.try_rest("GET", "/connectors") is not None, "the start", timeout)

    def rest(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as e:
            raise Failure(f"Kafka Connect, {method} {path}: {e.code} {e.read().decode(errors='replace')}")
        return json.loads(text) if text else {}

    def try_rest(self, method, path):
        try:
            return self.rest(method, path)
        except (OSError, Failure):
            return None

    def add_connector(self, name, config, timeout=120):
        """Registers a connector and waits until its task runs."""
        self.rest("PUT", f"/connectors/{name}/config", config)

        def running():
            status = self.try_rest("GET", f"/connectors/{name}/status") or {}
            for part in [status.get("connector", {}), *status.get("tasks", [])]:
                if part.get("state") == "FAILED":
                    raise Failure(f"connector {name} failed: {part.get('trace', '')[:2000]}")
            tasks = status.get("tasks", [])
            return bool(tasks) and all(t["state"] == "RUNNING" for t in tasks)
        self.wait_for(running, f"connector {name}", timeout)

    def remove_connector(self, name):
        self.try_rest("DELETE", f"/connectors/{name}")


class Postgres(Server):
    """A PostgreSQL server: trusted through its socket, which only its owner can reach; with passwords on 127.0.0.1."""

    def __init__(self, name, directory, bindir, bring=None, **settings):
        """bring(path): makes the data directory from another server's, in place of initdb."""
        super().__init__(name, directory)
        self.bin, self.port = bindir, free_port()
        self.data, self.socket = os.path.join(directory, "data"), os.path.join(directory, "s")
        user.make_dir(self.socket, mode=0o700)
        (bring or self.initialize)(self.data)
        # a crash of the machine loses a temporary server anyway, so it need not sync; a crash of the server loses nothing
        self.configure(port=self.port, listen_addresses="127.0.0.1", unix_socket_directories=self.socket, fsync="off",
                       log_line_prefix="%m [%p] %b ", **settings)

    def initialize(self, data):
        self.password = secrets.token_urlsafe(12)
        password_file = user.write_file(os.path.join(self.dir, "password"), self.password + "\n", mode=0o600)
        self.command([os.path.join(self.bin, "initdb"), "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
                      "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_file}"])
        os.unlink(password_file)

    def configure(self, **settings):
        with open(os.path.join(self.data, "postgresql.conf"), "a") as f:
            f.writelines("{} = '{}'\n".format(k, str(v).replace("'", "''")) for k, v in settings.items())

    def command(self, args):
        done = user.run(args, capture_output=True)
        if done.returncode != 0:
            raise Failure(f"{' '.join(args)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, timeout=60):
        # to PostgreSQL INT means a fast shutdown
        self.launch([os.path.join(self.bin, "postgres"), "-D", self.data], death_signal="INT")
        self.wait_for(self.answers, "the start", timeout)

    def answers(self):
        return user.run([os.path.join(self.bin, "pg_isready"), "-q", "-h", self.socket, "-p", str(self.port)]).returncode == 0

    def stop(self, number=signal.SIGINT, timeout=30):
        super().stop(number, timeout)

    def psql(self, *args, database="postgres"):
        """The command line of psql on this server."""
        return [os.path.join(self.bin, "psql"), "-X", "-h", self.socket, "-p", str(self.port), "-U", "postgres", "-d", database, *args]

    def sql(self, text, database="postgres", pretty=False):
        """Runs SQL, each statement its own transaction; returns what psql prints (bare values, or tables when pretty)."""
        form = ["-q"] if pretty else ["-q", "-A", "-t"]
        done = user.run(self.psql(*form, "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", database=database),
                        input=text, capture_output=True)
        if done.returncode != 0:
            raise Failure(f"{self.name}: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")
