"""The rungs of scripts/test --full that run the extension in servers made to notice more: sanitizers, assertions, valgrind, the soak.

Each works in a directory of its own in the ladder's, with its own copy of the checkout and of a PostgreSQL installation.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

import assert_postgres
import machine
import rungs
import user
from say import Failure
from tally import Part, last_lines

SANITIZE = "-fsanitize=address,undefined -fno-omit-frame-pointer -O1 -g"
# leaks: a server leaves its memory to the kernel. A bad address ends the server; undefined behaviour is told, and found in the logs
SANITIZER_OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:disable_coredump=1:detect_stack_use_after_return=0",
                     "UBSAN_OPTIONS": "print_stacktrace=1"}
SANITIZED_TAP = ["050_pipeline"]
ASSERTED_TAP = ["014_drop_extension", "050_pipeline", "061_transactions", "067_privileges", "070_dead_letter"]
# of each group of cases some: forms, logical types, placeholders, orders, hostile input
VALGRIND_CASES = ["E01", "E05", "E10", "E19-partitions", "E26", "T01", "T03", "T10", "T20", "X01", "X05", "O01", "O09", "M01", "M06", "M12", "M19", "U01"]


def workshop(ladder, name, source_pg=None):
    """A ladder of its own for a special build, which is yet to be made."""
    directory = user.make_dir(os.path.join(ladder.dir, name))
    machine.copy_tree(os.path.join(directory, "src"))
    user.own_tree(directory)
    if source_pg:
        shutil.copytree(source_pg, os.path.join(directory, "pg"), symlinks=True)
        user.own_tree(os.path.join(directory, "pg"))
        pg_config = os.path.join(directory, "pg", "bin", "pg_config")
    else:
        pg_config = machine.private_postgres(directory)
    return rungs.Ladder(directory, pg_config, ladder.jars, Part(ladder.tally, name + ": "), False)


def wrap_server(shop, lines):
    """Puts a shell script in the place of "postgres". initdb's calls of it go to the server itself: they show nothing new and take long."""
    program = os.path.join(shop.bin, "postgres")
    os.rename(program, program + ".real")
    user.write_file(program, "#!/bin/sh\ncase \"$1\" in --boot|--single|--check|-V|--version|-C) exec \"$0.real\" \"$@\" ;; esac\n" + lines, mode=0o755)
    os.chmod(program, 0o755)


def tap_files(shop, names):
    for name in names:
        shop.match = name
        rungs.perl_tap(shop)


def sanitized_server(ladder):
    """The extension built with the address and undefined-behaviour sanitizers, in its server: regress, cases and a pipeline."""
    libraries = [subprocess.run(["gcc", f"-print-file-name={name}.so"], capture_output=True, text=True).stdout.strip()
                 for name in ("libasan", "libubsan")]
    if not all(os.path.isabs(path) for path in libraries):
        ladder.tally.skip("sanitized server", "this gcc has no libasan or libubsan")
        return "none"
    shop = workshop(ladder, "sanitized")
    machine.build_and_install(shop.src, shop.pg_config, "DEVELOPER=1", f"COPT={SANITIZE}", f"CXXFLAGS_EXTRA={SANITIZE}")
    # see there why it is needed
    no_nls = os.path.join(shop.dir, "no_nls.so")
    out, code = shop.run(["gcc", "-shared", "-fPIC", "-O2", "-o", no_nls, shop.path("test", "lib", "no_nls.c")], 60)
    if code != 0:
        raise Failure(out)
    environment = " ".join(f"{k}='{v}'" for k, v in {**SANITIZER_OPTIONS, "LD_PRELOAD": " ".join([*libraries, no_nls])}.items())
    wrap_server(shop, f"exec env {environment} \"$0.real\" \"$@\"\n")
    rungs.regress(shop)
    rungs.isolation(shop)
    rungs.cases(shop)
    tap_files(shop, SANITIZED_TAP)
    reports = sanitizer_reports(shop.dir)
    shop.tally.check("no report of a sanitizer in any log", not reports, "\n".join(reports[:40]))
    return f"{len(reports)} reports"


def sanitizer_reports(directory):
    """Lines that sanitizers wrote into the logs of servers."""
    found = []
    for path, dirs, files in os.walk(directory):
        dirs[:] = [d for d in dirs if d not in ("src", "pg", "base")]
        for name in files:
            if "log" in name:
                with open(os.path.join(path, name), errors="replace") as f:
                    found += [f"{os.path.join(path, name)}: {line.strip()}" for line in f if re.search(r"runtime error:|ERROR: AddressSanitizer|^SUMMARY: ", line)]
    return found


def asserting_postgres(ladder, what):
    """The cached build with assertions; None, and a skip, when it cannot be had."""
    reason = assert_postgres.why_not()
    try:
        if reason is None:
            return assert_postgres.ensure(str(ladder.major))
    except Failure as e:
        reason = str(e)
    ladder.tally.skip(what, reason.splitlines()[0])
    return None


def assertions(ladder):
    """A server with assertions, built from source: regress, isolation, cases and some TAP files."""
    postgres = asserting_postgres(ladder, "assertions")
    if postgres is None:
        return "none"
    shop = workshop(ladder, "asserting", postgres)
    machine.build_and_install(shop.src, shop.pg_config, "DEVELOPER=1")
    rungs.regress(shop)
    rungs.isolation(shop)
    rungs.cases(shop)
    tap_files(shop, ASSERTED_TAP)
    return "regress, isolation, cases, " + ", ".join(ASSERTED_TAP)


def valgrind(ladder):
    """Some cases in a server with assertions under valgrind, which knows its memory contexts."""
    if not machine.bring_packages(["valgrind"]):
        ladder.tally.skip("valgrind", "valgrind is not installed")
        return "none"
    postgres = asserting_postgres(ladder, "valgrind")
    if postgres is None:
        return "none"
    shop = workshop(ladder, "valgrind", postgres)
    machine.build_and_install(shop.src, shop.pg_config, "DEVELOPER=1")
    logs = user.make_dir(os.path.join(shop.dir, "found"))
    suppressions = [os.path.join(postgres, assert_postgres.SUPPRESSIONS), shop.path("test", "valgrind.supp")]
    shown = " ".join(f"--suppressions='{user.write_file(os.path.join(shop.dir, f'{n}.supp'), open(path).read())}'"
                     for n, path in enumerate(suppressions))
    wrap_server(shop, f"exec valgrind --quiet --leak-check=no --gen-suppressions=all --track-origins=no --error-markers=VALGRINDERROR,END "
                      f"{shown} --log-file='{logs}/%p.log' \"$0.real\" \"$@\"\n")
    with rungs.running_server(shop, "cases", seconds=300) as server:
        env = {**shop.test_environment(), "PGHOST": server.socket, "PGPORT": str(server.port), "PGUSER": "postgres"}
        chosen = [word for name in VALGRIND_CASES for word in ("--only", name)]
        out, code = shop.run(["test/run-cases", "--timeout", "600", "-j", "1", *chosen], 3000, env)
        summary = shop.tally.tap("cases", out, code)
    found = []
    for path in sorted(glob.glob(os.path.join(logs, "*.log"))):
        with open(path, errors="replace") as f:
            found += [line for line in f.read().splitlines() if line]
    shop.tally.check("valgrind finds nothing", not found, "\n".join(found[:60]))
    return f"{summary}; {len(found)} lines of valgrind"


def soak(ladder):
    """Two minutes of random faults, changes and DDL against real Kafka, with an oracle."""
    seed = os.environ.get("CDC_SINK_SEED") or "1"
    done = subprocess.run([sys.executable, os.path.join(machine.ROOT, "test", "soak"), "--seed", seed, "--minutes", "2", "--workers", "3",
                           "--pg-config", ladder.pg_config], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=1800)
    ladder.tally.check(f"soak, seed {seed}", done.returncode == 0, last_lines(done.stdout, 80))
    return last_lines(done.stdout, 1)
