#!/usr/bin/env python3
"""Kafka, Kafka Connect and Debezium from Maven, in the versions of pom.xml, checked against jars.sha256.

  jars.py               brings what is missing and prints the directory (libs/ and plugins/ in it)
  jars.py --write-sums  makes jars.sha256 anew from what Maven brings, after a change of pom.xml

The cache is $CDC_SINK_CACHE, else $XDG_CACHE_HOME/cdc_sink, else ~/.cache/cdc_sink.
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from say import Failure, Step, say  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
POM = os.path.join(HERE, "pom.xml")
SUMS = os.path.join(HERE, "jars.sha256")
GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


def cache_root():
    explicit = os.environ.get("CDC_SINK_CACHE")
    if explicit:
        return os.path.abspath(explicit)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "cdc_sink")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def bring(into):
    """Has Maven copy every artifact of pom.xml into a directory."""
    if not shutil.which("mvn"):
        raise Failure("Maven is needed to bring Kafka and Debezium: install the package maven")
    command = ["mvn", "-B", "-f", POM, GOAL, f"-DoutputDirectory={into}", "-DincludeScope=runtime"]
    last, count = [], 0
    with Step("bring Kafka, Connect and Debezium with Maven (about 80 MB)") as step:
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in p.stdout:
            last = (last + [line])[-30:]
            if "Downloaded" in line:
                count += 1
                # the file's name only: "Downloaded from central: <url> (size)"
                words = line.split()
                name = next((w.rsplit("/", 1)[-1] for w in words if "/" in w), "")
                step.note(f"({count} files, {name})")
        if p.wait() != 0:
            raise Failure("Maven failed:\n" + "".join(last))


def read_sums():
    with open(SUMS) as f:
        return {name: digest for digest, name in (line.split() for line in f if line.strip())}


def verify(directory):
    """Every file must be listed with its sum, and every listed file must be there."""
    want = read_sums()
    have = set(os.listdir(directory))
    for name in sorted(have | set(want)):
        if name not in want:
            raise Failure(f"{name} is not listed in scripts/lib/jars.sha256")
        if name not in have:
            raise Failure(f"Maven did not bring {name}, which scripts/lib/jars.sha256 lists")
        if sha256(os.path.join(directory, name)) != want[name]:
            raise Failure(f"checksum of {name} differs from scripts/lib/jars.sha256")


def unpack(stage, into):
    """libs/ from the jars, plugins/ from the connector's archive."""
    libs, plugins = os.path.join(into, "libs"), os.path.join(into, "plugins")
    os.makedirs(libs)
    os.makedirs(plugins)
    for name in os.listdir(stage):
        path = os.path.join(stage, name)
        if name.endswith(".jar"):
            shutil.move(path, libs)
        else:
            with tarfile.open(path) as archive:
                # every member is inside the archive's own directory; its sum was verified above
                archive.extractall(plugins)


def ensure():
    """The directory with libs/ and plugins/; brings them when they are not cached yet. Safe to run several times at once."""
    root = cache_root()
    os.makedirs(root, exist_ok=True)
    # the list of sums names the versions: another list, another directory
    final = os.path.join(root, "pipeline-" + sha256(SUMS)[:12])
    with open(os.path.join(root, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(final):
            with tempfile.TemporaryDirectory(dir=root, prefix="stage-") as work:
                stage, ready = os.path.join(work, "stage"), os.path.join(work, "ready")
                bring(stage)
                verify(stage)
                unpack(stage, ready)
                os.chmod(ready, 0o755)
                os.rename(ready, final)
    return final


def write_sums():
    with tempfile.TemporaryDirectory() as stage:
        bring(stage)
        lines = [f"{sha256(os.path.join(stage, n))}  {n}\n" for n in sorted(os.listdir(stage))]
    with open(SUMS, "w") as f:
        f.writelines(lines)
    say(f"{len(lines)} sums written to {SUMS}")


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--write-sums"]:
            write_sums()
        elif not sys.argv[1:]:
            out, sys.stdout = sys.stdout, sys.stderr  # progress aside: standard output is the answer
            path = ensure()
            print(path, file=out)
        else:
            sys.exit(__doc__)
    except Failure as e:
        sys.exit(f"jars.py: {e}")
