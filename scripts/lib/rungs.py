"""The rungs of the test ladder. Each takes the Ladder (where things are, and the tally) and returns a short summary."""
import concurrent.futures
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time

import jars
import machine
import user
from say import Failure, say, tail
from servers import Postgres, free_port
from tally import last_lines

STRICT = "-Wall -Wextra -Wno-unused-parameter -Werror"
# options that a package's PostgreSQL was built with: those that clang does not know, and gcc's link-time optimization
CLANG_LENIENT = " -fno-lto -Wno-unknown-warning-option -Wno-ignored-optimization-argument -Wno-unused-command-line-argument"


# lines of a TAP test's log that only say how its servers came and went
SERVER_CONTROL = re.compile(r"^(###|# Running:|waiting for server|server st|# No postmaster)|\.\.\. ok$")


class Ladder:
    """Where a run of the ladder finds and puts things."""

    def __init__(self, directory, pg_config, jars_dir, tally, full, match=""):
        self.dir, self.pg_config, self.jars, self.tally, self.full = directory, pg_config, jars_dir, tally, full
        self.match = match
        self.src = os.path.join(directory, "src")
        self.bin = os.path.dirname(pg_config)
        self.pgxs = os.path.dirname(os.path.dirname(os.path.dirname(machine.pg_dir(pg_config, "--pgxs"))))
        self.major = int(re.search(r"PostgreSQL (\d+)", machine.pg_dir(pg_config, "--version")).group(1))

    def path(self, *parts):
        return os.path.join(self.src, *parts)

    def files(self, where, suffix):
        """Names in a folder of the checkout that end so, in order."""
        folder = self.path(where)
        return sorted(n for n in os.listdir(folder) if n.endswith(suffix)) if os.path.isdir(folder) else []

    def run(self, command, timeout, env=None, cwd=None):
        """Runs a command as the unprivileged user; returns its output and code (124 after the time limit)."""
        p = subprocess.Popen(user.wrap(command, "KILL"), env=user.environment(env), cwd=cwd or self.src, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
        try:
            out, _ = p.communicate(timeout=timeout)
            return out, p.returncode
        except subprocess.TimeoutExpired:
            # its own process group: what it started goes with it
            os.killpg(p.pid, 15)
            try:
                out, _ = p.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, 9)
                out, _ = p.communicate()
            return out + f"\nended by the ladder after {timeout} s", 124

    def make_variable(self, name):
        """The value of a variable of the Makefile, as words."""
        out, _ = self.run(["make", "-s", f"PG_CONFIG={self.pg_config}", "--eval", f"cdc-print: ; @echo $({name})", "cdc-print"], 60)
        return out.split()

    def test_environment(self):
        """What TAP tests and runners find in their environment."""
        perl = [self.path("test/perl"), os.path.join(self.pgxs, "src/test/perl")]
        return {"PATH": self.bin + os.pathsep + os.environ["PATH"], "PG_CONFIG": self.pg_config, "PERL5LIB": os.pathsep.join(perl),
                "PG_REGRESS": os.path.join(self.pgxs, "src/test/regress/pg_regress"), "CDC_SINK_PIPELINE": self.jars or "",
                "CDC_SINK_SOURCE": self.src, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8",
                # the longest that a test waits for a condition: slow machines need it, fast ones never reach it
                "PG_TEST_TIMEOUT_DEFAULT": os.environ.get("PG_TEST_TIMEOUT_DEFAULT", "120")}


def compile_strict(ladder):
    """Each compiler, with and without DEVELOPER, must be silent."""
    variants = [("gcc", "gcc", "g++", STRICT, []), ("gcc DEVELOPER=1", "gcc", "g++", STRICT, ["DEVELOPER=1"]),
                ("clang", "clang", "clang++", STRICT + CLANG_LENIENT, [])]
    for name, cc, cxx, flags, extra in variants:
        if not shutil.which(cc):
            ladder.tally.skip(f"compile with {name}", f"{cc} is not installed")
            continue
        copy = os.path.join(ladder.dir, "compile-" + name.replace(" ", "-"))
        user.run(["cp", "-a", ladder.src, copy], check=True)
        out, code = ladder.run(["make", "-s", "-C", copy, f"-j{os.cpu_count() or 1}", f"PG_CONFIG={ladder.pg_config}", f"CC={cc}",
                                f"CXX={cxx}", f"COPT={flags}", f"CXXFLAGS_EXTRA={flags}", *extra], 600)
        ladder.tally.check(f"compile with {name}", code == 0, last_lines(out))
    return "gcc, clang, DEVELOPER=1"


def floors(ladder):
    """No file reaches up; objects of the strict gcc build tell the calls."""
    built = os.path.join(ladder.dir, "compile-gcc")
    out, code = ladder.run([os.path.join(built if os.path.isdir(built) else ladder.src, "test", "floors")], 120)
    return ladder.tally.tap("floors", out, code)


def reasons(ladder):
    """The states page lists the reasons of the code."""
    out, code = ladder.run([os.path.join(ladder.src, "test", "reasons")], 60)
    return ladder.tally.tap("reasons", out, code)


def faults(ladder):
    """Each row of the fault table has a test."""
    out, code = ladder.run([os.path.join(ladder.src, "test", "faults")], 60)
    return ladder.tally.tap("faults", out, code)


def reference_tables(ladder):
    """The tables of README and docs are those of the code."""
    out, code = ladder.run(["scripts/gen-reference", "--check"], 60)
    ladder.tally.check("README: tables are those of the code", code == 0, out)
    out, code = ladder.run(["python3", "test/convert/check_types.py"], 60)
    ladder.tally.tap("docs/types.md", out, code)
    return "README.md, docs/types.md"


# addresses of package registries, and places that exist on one machine only; in two halves so that they do not name themselves
REGISTRY = re.compile(r"https?:/" + r"/(?:[\w-]+\.)*(?:repo\d*|registry|registry-\d|deb|security|ftp|pypi|files|index|mirrors?|proxy|ghcr|quay)\.")
MACHINE = re.compile(r"(?<![\w.$}\])*-])/(?:work|farm|root|home/[a-z]+)" + r"/\w")
DATA = ("test/fixtures/", "test/cases/", "expected/")


def no_machine_names(ladder):
    """No committed file names a registry's host or a place on the author's machine."""
    found = []
    for path, dirs, files in os.walk(ladder.src):
        dirs[:] = [d for d in dirs if d not in (".git", "__pycache__")]
        for name in files:
            short = os.path.relpath(os.path.join(path, name), ladder.src)
            if short.startswith(DATA):
                continue
            with open(os.path.join(path, name), "rb") as f:
                text = f.read()
            if b"\0" not in text:
                found += [f"{short}:{n}: {line.strip()[:120]}" for n, line in enumerate(text.decode(errors="replace").splitlines(), 1)
                          if REGISTRY.search(line) or MACHINE.search(line)]
    ladder.tally.check("no registry host and no machine path", not found, "\n".join(found))
    return f"{len(found)} found"


def unit(ladder):
    """Programs that link a module without a server."""
    out, code = ladder.run(["make", "-C", "test/unit", "-s", "check", "PROVE=prove -v", f"PG_CONFIG={ladder.pg_config}"], 900, ladder.test_environment())
    return ladder.tally.tap("unit", out, code, planned=False)


def sanitizers(ladder):
    """The unit programs under the sanitizers for addresses and undefined behaviour; the one with a thread under that for data races."""
    make = ["make", "-C", "test/unit", "-s", "check", "PROVE=prove -v", f"PG_CONFIG={ladder.pg_config}"]
    out, code = ladder.run([*make, "SAN=1"], 1800, ladder.test_environment())
    races, race_code = ladder.run([*make, "SAN=thread", "TESTS=test_ahead"], 1800, ladder.test_environment())
    ladder.tally.tap("unit with the thread sanitizer", races, race_code, planned=False)
    return ladder.tally.tap("unit with sanitizers", out, code, planned=False)


def fuzz(ladder):
    """libFuzzer on the JSON reader and the decoder, five minutes, and on the converters, two."""
    # a recommendation of clang: absent where these are left out
    if not machine.bring_packages(["libclang-rt-dev"]):
        ladder.tally.skip("fuzz", "the runtime of clang's sanitizers is not installed")
        return "none"
    out, code = ladder.run(["make", "-C", "test/fuzz", "-s", "run", "SECONDS=300", f"PG_CONFIG={ladder.pg_config}"], 900,
                           ladder.test_environment())
    ladder.tally.check("fuzzing finds nothing", code == 0, last_lines(out, 40))
    out, code = ladder.run(["make", "-C", "test/fuzz", "-s", "run-converters", "SECONDS=120", f"PG_CONFIG={ladder.pg_config}"], 900,
                           ladder.test_environment())
    ladder.tally.check("fuzzing the converters finds nothing", code == 0, last_lines(out, 40))
    return last_lines(out, 1)


def regress(ladder):
    """pg_regress on an instance of its own."""
    tests = ladder.make_variable("REGRESS")
    scripts = [n[:-4] for n in ladder.files("sql", ".sql") if not n.startswith("cdc_sink--")]
    for name in sorted(set(scripts) - set(tests)):
        ladder.tally.fail(f"regress: {name}", "sql/ holds it, the Makefile's REGRESS does not")
    if not tests:
        ladder.tally.skip("regress", "the Makefile names no tests in REGRESS")
        return "none"
    return pg_regress(ladder, "regress", os.path.join(ladder.pgxs, "src/test/regress/pg_regress"), ".", tests, "contrib_regression")


def isolation(ladder):
    """Isolation specs on an instance of their own."""
    specs = ladder.make_variable("ISOLATION") or [n[:-5] for n in ladder.files("test/isolation/specs", ".spec")]
    if not specs:
        ladder.tally.skip("isolation", "there are no specs in test/isolation/specs")
        return "none"
    return pg_regress(ladder, "isolation", os.path.join(ladder.pgxs, "src/test/isolation/pg_isolation_regress"),
                      "test/isolation", specs, "isolation_regression")


def pg_regress(ladder, name, program, inputdir, tests, database):
    output = user.make_dir(os.path.join(ladder.dir, name))
    config = user.write_file(os.path.join(output, "extra.conf"), server_settings(ladder))
    # PostgreSQL's isolation runner wants its results folder made
    user.make_dir(os.path.join(output, "results"))
    load = ["--load-extension=cdc_sink"] if name == "isolation" else []
    out, code = ladder.run([program, f"--bindir={ladder.bin}", f"--inputdir={ladder.path(inputdir)}", f"--outputdir={output}",
                            f"--temp-instance={output}/instance", f"--temp-config={config}", f"--port={free_port()}", "--encoding=UTF8",
                            "--no-locale", f"--dbname={database}", *load, *tests], 900, ladder.test_environment())
    summary = ladder.tally.regress(name, out, code)
    differences = os.path.join(output, "regression.diffs")
    if code != 0 and os.path.exists(differences):
        with open(differences, errors="replace") as f:
            say(last_lines(f.read(), 200))
    no_crash(ladder, name, os.path.join(output, "log", "postmaster.log"))
    return summary


def server_settings(ladder):
    """Settings of a test's server: test/regress.conf of the checkout, if any, on top of what every test needs."""
    text = "shared_preload_libraries = 'cdc_sink'\nmax_worker_processes = 32\nfsync = off\n"
    extra = ladder.path("test", "regress.conf")
    if os.path.exists(extra):
        with open(extra) as f:
            text += f.read()
    return text


def no_crash(ladder, name, log):
    if os.path.exists(log):
        with open(log, errors="replace") as f:
            text = f.read()
        found = [x for x in text.splitlines() if "terminated by signal" in x or "TRAP:" in x or "PANIC" in x]
        ladder.tally.check(f"{name}: no server process crashed", not found, "\n".join(found[:10]))


@contextlib.contextmanager
def running_server(ladder, name, seconds=60):
    """A server of the rung's own that preloads the extension, up within seconds; ends with a look for crashes in its log."""
    server = Postgres(f"{name} server", os.path.join(ladder.dir, name), ladder.bin, shared_preload_libraries="cdc_sink",
                      max_worker_processes=32)
    try:
        server.start(seconds)
        yield server
    finally:
        server.stop()
    no_crash(ladder, name, server.log)


def pgtap(ladder):
    """pgTAP scripts, each in a database of its own."""
    scripts = ladder.files("test/pgtap", ".sql")
    if not os.path.exists(os.path.join(machine.pg_dir(ladder.pg_config, "--sharedir"), "extension", "pgtap.control")):
        ladder.tally.skip("pgtap", "the extension pgtap is not installed for this PostgreSQL")
        return "none"
    with running_server(ladder, "pgtap") as server:
        for script in scripts:
            database = "tap_" + re.sub(r"\W", "_", script[:-4])
            server.sql(f'CREATE DATABASE "{database}"')
            server.sql("CREATE EXTENSION IF NOT EXISTS pgtap;", database=database)
            out, code = ladder.run(server.psql("-q", "-A", "-t", "-f", ladder.path("test/pgtap", script), database=database), 300,
                                   ladder.test_environment(), cwd=ladder.path("test/pgtap"))
            ladder.tally.tap(script, out, code)
    return f"{len(scripts)} scripts"


def cases(ladder):
    """Format cases that are data, and random mixes of changes from a model of the source."""
    seed = int(os.environ.get("CDC_SINK_SEED") or time.time())
    with running_server(ladder, "cases") as server:
        env = {**ladder.test_environment(), "PGHOST": server.socket, "PGPORT": str(server.port), "PGUSER": "postgres"}
        out, code = ladder.run(["test/run-cases"], 900, env)
        summary = ladder.tally.tap("cases", out, code)
        mix = os.path.join(ladder.dir, "mix")
        count = 300 if ladder.full else 30
        out, code = ladder.run(["test/random-mix", mix, "--seed", str(seed), "--count", str(count)], 120, env)
        if code == 0:
            out, code = ladder.run(["test/run-cases", "--dir", mix], 1800, env)
        summary += "; mixes: " + ladder.tally.tap(f"random mixes, CDC_SINK_SEED={seed}", out, code)
    return summary


def differential(ladder):
    """The converters against the server's own input functions and casts, on random values."""
    seed = int(os.environ.get("CDC_SINK_SEED") or time.time())
    with running_server(ladder, "differential") as server:
        out, code = ladder.run(server.psql("-q", "-v", f"seed={(seed % 1000) / 1000}", "-v", f"rows={20000 if ladder.full else 2000}",
                                           "-f", "test/convert/differential.sql"), 1800, ladder.test_environment())
    ladder.tally.check(f"differential, CDC_SINK_SEED={seed}", code == 0, last_lines(out))
    return f"code {code}"


def mutants(ladder):
    """Do the format cases notice when a handling is taken out of the source?"""
    done = subprocess.run([sys.executable, os.path.join(machine.ROOT, "test", "mutants")], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=7200)
    return ladder.tally.tap("mutants", done.stdout, done.returncode)


def majors(ladder):
    """The other majors of PostgreSQL, each in a release of Debian or Ubuntu that has it."""
    done = []
    for major in sorted({"16", "17", "18"} - {str(ladder.major)}):
        p = subprocess.run([sys.executable, os.path.join(machine.ROOT, "scripts", "check-major"), major], text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3600)
        if p.returncode == 77:
            ladder.tally.skip(f"PostgreSQL {major}", last_lines(p.stdout, 1).strip())
        else:
            ladder.tally.check(f"PostgreSQL {major}", p.returncode == 0, last_lines(p.stdout, 60))
            done.append(major)
    return ", ".join(done) or "none"


def perl_tap(ladder):
    """test/t: servers of their own, the mock broker, real Kafka and Debezium. Two at a time: they mostly wait."""
    # those from 200 on take long
    names = [n for n in ladder.files("test/t", ".pl") if ladder.match in n and (ladder.full or ladder.match or n < "200")]
    if not names:
        ladder.tally.skip("TAP", "there are no tests in test/t")
        return "none"
    if os.path.isdir(ladder.path("test/mockbroker")):
        out, code = ladder.run(["make", "-C", "test/mockbroker"], 120, ladder.test_environment())
        ladder.tally.check("the mock broker builds", code == 0, last_lines(out))

    scram = scram_broker(ladder)

    def one(name):
        work = user.make_dir(os.path.join(ladder.dir, "t", name[:-3]))
        env = {**ladder.test_environment(), "TESTDIR": work, "TESTDATADIR": os.path.join(work, "tmp_check"),
               "TESTLOGDIR": os.path.join(work, "log"), "CDC_SINK_FULL": "1" if ladder.full else "", "CDC_SINK_SCRAM": scram}
        start = time.monotonic()
        out, code = ladder.run(["perl", ladder.path("test/t", name)], 1800 if ladder.full else 600, env, cwd=ladder.path("test"))
        if code != 0:
            # what a test says before its first result, and what it ran, stands in its own log
            for folder in ("log", os.path.join("tmp_check", "log")):
                log = os.path.join(work, folder, "regress_log_" + name[:-3])
                if os.path.exists(log):
                    told = [line for line in tail(log, 80).splitlines() if not SERVER_CONTROL.search(line)]
                    out += "\n# the end of its log:\n# " + "\n# ".join(told[-12:])
        summary = ladder.tally.tap(name, out, code)
        say(f"  {name}: {summary}, {time.monotonic() - start:.0f} s")

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(one, names))
    return f"{len(names)} files"


def scram_broker(ladder):
    """Where the jars for the test of SCRAM are; "" leaves that test out."""
    try:
        return user.for_user(jars.ensure("scram"), "scram") if ladder.full else ""
    except Failure as e:
        say(f"  no older Kafka: {e}")
        return ""


def demo(ladder):
    """The demo itself, as a reader would start it: the build without DEVELOPER."""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, os.path.join(machine.ROOT, "scripts", "demo"), "--once"], env=env, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=900)
    ladder.tally.check("scripts/demo --once", done.returncode == 0, last_lines(done.stdout + done.stderr, 60))
    return f"code {done.returncode}"
