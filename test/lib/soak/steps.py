"""The steps of a soak: what happens to servers, network and tables while records come in.

Each step is a function of the world and the random numbers of the run. It returns what it did, for the log, or None when it
could not be done now. A trouble that lasts (a cut network, a stopped process) is handed to world.trouble with the time of its
end and the function that ends it, so that other steps fall into it.
"""
import os
import signal
import time

from say import Failure
from world import SUBSCRIPTIONS, WORKERS

STEPS = {}


def step(weight):
    """Registers a function as a step; weight: how often it lies in the deck."""
    def register(function):
        STEPS[function.__name__] = (function, weight)
        return function
    return register


class Troubles:
    """What is broken at the moment, and how it is mended."""

    def __init__(self):
        self.open = {}

    def begin(self, name, seconds, mend):
        self.open[name] = (time.monotonic() + seconds, mend)

    def mend(self, everything=False):
        """Ends what is due; returns the names."""
        due = [name for name, (end, _) in self.open.items() if everything or time.monotonic() >= end]
        for name in due:
            self.open.pop(name)[1]()
        return due


def send(pid, number):
    """A signal to a process of ours that may have ended meanwhile; False when it has."""
    try:
        os.kill(int(pid), number)
        return True
    except ProcessLookupError:
        return False


def a_worker(world, rng):
    """A process that applies; one that was ended a moment ago is back soon."""
    pids = world.sink.until(lambda: world.sink.rows(WORKERS), "an apply worker runs")
    return int(rng.choice(sorted(pids, key=lambda row: int(row[0])))[0])


# ---- processes of the server

@step(3)
def kill_worker(world, rng):
    """Its server goes through crash recovery."""
    sink = world.sink
    start = sink.one("SELECT pg_postmaster_start_time()::text || pg_conf_load_time()::text")
    pid = a_worker(world, rng)
    if not send(pid, signal.SIGKILL):
        return None
    sink.kills += 1
    sink.until(lambda: not os.path.exists(f"/proc/{pid}") and sink.one("SELECT 1") == "1", "the server recovers from a killed worker")
    return f"process {pid} of {sink.name}, started {start[:19]}"


@step(3)
def terminate_worker(world, rng):
    pid = a_worker(world, rng)
    return f"process {pid}" if world.sink.one(f"SELECT pg_terminate_backend({pid})") == "t" else None


@step(1)
def terminate_launcher(world, rng):
    return world.sink.one("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'cdc_sink launcher'") and "done"


@step(2)
def pause_worker(world, rng):
    """SIGSTOP now, SIGCONT later."""
    if "paused worker" in world.trouble.open:
        return None
    pid, seconds = a_worker(world, rng), rng.uniform(0.5, 4)
    if not send(pid, signal.SIGSTOP):
        return None
    world.trouble.begin("paused worker", seconds, lambda: send(pid, signal.SIGCONT))
    return f"process {pid} for {seconds:.1f} s"


def wake_workers(world):
    """A stopped process would hold up an orderly end of its server."""
    if "paused worker" in world.trouble.open:
        world.trouble.open.pop("paused worker")[1]()


# ---- the server

@step(2)
def immediate_stop(world, rng):
    wake_workers(world)
    world.sink.stop(signal.SIGQUIT)
    world.sink.stops += 1
    world.sink.start()
    return world.sink.name


@step(1)
def fast_restart(world, rng):
    wake_workers(world)
    world.sink.stop(signal.SIGINT)
    world.sink.start()
    return world.sink.name


@step(1)
def kill_postmaster(world, rng):
    wake_workers(world)
    world.sink.kill()
    world.sink.stops += 1
    world.sink.start()
    return world.sink.name


# ---- Kafka and the network

def broker_away(world, rng, number):
    if "broker" in world.trouble.open:
        return None
    seconds = rng.uniform(0.1, 5)
    world.kafka.stop(number)
    world.trouble.begin("broker", seconds, world.kafka.start)
    return f"for {seconds:.1f} s"


@step(1)
def broker_stop(world, rng):
    return broker_away(world, rng, signal.SIGTERM)


@step(1)
def broker_kill(world, rng):
    return broker_away(world, rng, signal.SIGKILL)


@step(1)
def broker_pause(world, rng):
    if "broker" in world.trouble.open:
        return None
    seconds, pid = rng.uniform(1, 6), world.kafka.process.pid
    send(pid, signal.SIGSTOP)
    world.trouble.begin("broker", seconds, lambda: send(pid, signal.SIGCONT))
    return f"for {seconds:.1f} s"


def network(world, rng, mode):
    if "network" in world.trouble.open:
        return None
    seconds, proxy = rng.uniform(0.2, 6), world.kafka.proxy

    def mend():
        proxy.mode = "open"
    proxy.mode = mode
    world.trouble.begin("network", seconds, mend)
    return f"for {seconds:.1f} s"


@step(2)
def network_cut(world, rng):
    return network(world, rng, "cut")


@step(2)
def network_stall(world, rng):
    return network(world, rng, "stalled")


# ---- tables and subscriptions

@step(1)
def ddl_add_column(world, rng):
    name, table = f"more{int(time.monotonic() * 1000) % 1000000}", rng.choice([t.name for t in world.tables] + ["log"])
    world.sink.sql(f"ALTER TABLE {table} ADD {name} text DEFAULT 'x'")
    return f"{table}.{name}"


@step(1)
def ddl_drop_column(world, rng):
    found = world.sink.rows("SELECT attrelid::regclass, attname FROM pg_attribute WHERE attname LIKE 'more%' AND NOT attisdropped ORDER BY 1, 2")
    if not found:
        return None
    table, name = rng.choice(found)
    world.sink.sql(f"ALTER TABLE {table} DROP {name}")
    return f"{table}.{name}"


@step(1)
def ddl_rewrite(world, rng):
    table = rng.choice(world.tables).name
    what = rng.choice([f"VACUUM FULL {table}", f"CLUSTER {table} USING {table}_pkey",
                       f"ALTER TABLE {table} ALTER n TYPE bigint", f"ALTER TABLE {table} ALTER n TYPE int"])
    world.sink.sql(what)
    return what


@step(1)
def ddl_index(world, rng):
    table = rng.choice(world.tables).name
    drop = world.sink.one(f"SELECT to_regclass('{table}_n')")
    what = f"DROP INDEX CONCURRENTLY {table}_n" if drop else f"CREATE INDEX CONCURRENTLY {table}_n ON {table} (n)"
    world.sink.sql(what)
    return what


@step(1)
def ddl_rename(world, rng):
    """Away and back: the partitions of the table stop, and go on by themselves."""
    table, seconds = rng.choice([t.name for t in world.tables] + ["log"]), rng.uniform(0.1, 2)
    world.sink.sql(f"ALTER TABLE {table} RENAME TO elsewhere")
    time.sleep(seconds)
    world.sink.sql(f"ALTER TABLE elsewhere RENAME TO {table}")
    return f"{table} for {seconds:.1f} s"


@step(1)
def ddl_rename_column(world, rng):
    table, seconds = rng.choice(world.tables).name, rng.uniform(0.1, 2)
    world.sink.sql(f"ALTER TABLE {table} RENAME body TO elsewhere")
    time.sleep(seconds)
    world.sink.sql(f"ALTER TABLE {table} RENAME elsewhere TO body")
    return f"{table}.body for {seconds:.1f} s"


@step(1)
def lock_table(world, rng):
    table, seconds = rng.choice([t.name for t in world.tables] + ["log"]), rng.uniform(0.2, 3)
    with world.sink.conn() as c:
        c.rows("BEGIN")
        c.rows(f"LOCK TABLE {table}")
        time.sleep(seconds)
        c.rows("COMMIT")
    return f"{table} for {seconds:.1f} s"


@step(1)
def disable_enable(world, rng):
    name = rng.choice(SUBSCRIPTIONS)
    # a stopped worker cannot answer the request to end
    wake_workers(world)
    world.sink.rows(f"SELECT cdc_sink.disable_subscription('{name}', wait => {rng.choice(('true', 'false'))})")
    world.sink.rows(f"SELECT cdc_sink.enable_subscription('{name}')")
    return name


@step(1)
def change_workers(world, rng):
    name, count = rng.choice(SUBSCRIPTIONS), rng.randrange(1, 5)
    world.sink.rows(f"""SELECT cdc_sink.alter_subscription('{name}', options => '{{"workers": {count}}}')""")
    return f"{name}: {count}"


# ---- copies of the server

@step(1)
def clone(world, rng):
    """The files of the stopped server, started beside it: at first switched off, then on. Checked at the next quiet point."""
    if world.clone is not None:
        return None
    wake_workers(world)
    original = world.sink
    original.stop(signal.SIGQUIT)
    original.stops += 1
    copy = world.new_sink("clone", lambda path: world.copy_files(original, path), **{"cdc_sink.enabled": "off"})
    copy.stops += 1
    original.start()
    copy.start()
    before = copy.applied()
    goes_on(world, original, before)
    if copy.rows(WORKERS) or copy.applied() != before:
        raise Failure(f"{copy.name}: a worker ran though cdc_sink.enabled is off")
    copy.sql("ALTER SYSTEM SET cdc_sink.enabled = on; SELECT pg_reload_conf()")
    world.clone = copy
    return f"{copy.name} of {original.name}"


@step(1)
def promote(world, rng):
    """An asynchronous standby takes over from a server that falls: what it had not received comes again from Kafka."""
    original = world.sink
    standby = world.new_sink("standby", lambda path: world.base_backup(original, path, "-R"), hot_standby="on",
                             max_standby_streaming_delay=-1)
    standby.start()
    before = original.applied()
    original.until(lambda: original.one("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") != "0", "the standby streams")
    work_comes(world, before)
    if standby.rows(WORKERS):
        raise Failure(f"{standby.name}: a worker runs on a standby")
    # the network between them may lag: what was committed here in the last moment is not there
    if rng.random() < 0.5:
        standby.sql("SELECT pg_wal_replay_pause()")
        goes_on(world, original, original.applied())
    wake_workers(world)
    last = original.applied()
    original.stop(signal.SIGQUIT)
    standby.sql("SELECT pg_promote()")
    had = standby.applied()
    world.sink = standby
    world.drop(original)
    return f"{standby.name} in place of {original.name}, {max(0, last - had)} records behind"


@step(1)
def backup(world, rng):
    """A base backup for a later restore."""
    if world.backup is not None:
        world.forget_backup()
    path = os.path.join(world.dir, f"backup{world.count}")
    world.base_backup(world.sink, path)
    world.backup = path
    return path


@step(1)
def restore(world, rng):
    """The server is replaced by an older backup of itself."""
    if world.backup is None:
        return None
    wake_workers(world)
    original, path = world.sink, world.backup
    last = original.applied()
    original.stop(signal.SIGQUIT)
    restored = world.new_sink("restored", lambda data: os.rename(path, data))
    world.backup = None
    restored.start()
    had = restored.applied()
    world.sink = restored
    world.drop(original)
    return f"{restored.name} in place of {original.name}, {max(0, last - had)} records behind"


def goes_on(world, sink, before):
    """Waits until a server has applied more than before; troubles end meanwhile when it is their time."""
    def more():
        world.trouble.mend()
        return sink.applied() > before
    sink.until(more, "records are applied", 120)


def work_comes(world, before, seconds=3):
    """Waits until records have come through since, so that a step falls into work; not for ever, a trouble may hold them back."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if world.sink.applied() > before:
                return
        except Failure:
            pass
        time.sleep(0.05)
