#!/usr/bin/env python3
"""Kafka, Kafka Connect and Debezium from Maven, in the versions of pom.xml, checked against jars.sha256.

  jars.py [scram]               brings what is missing and prints the directory (libs/ and plugins/ in it)
  jars.py --write-sums [scram]  makes jars.sha256 anew from what Maven brings, after a change of pom.xml

scram: the older broker of scram.xml and scram.sha256, where old librdkafka can log in by SCRAM.

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
# name -> (what Maven is asked for, the sums of what it must bring, what that is)
SETS = {"pipeline": ("pom.xml", "jars.sha256", "Kafka, Connect and Debezium with Maven (about 80 MB)"),
        "scram": ("scram.xml", "scram.sha256", "an older Kafka with Maven (about 45 MB)")}
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


def described(name, part):
    return os.path.join(HERE, SETS[name][part])


def bring(name, into):
    """Has Maven copy every artifact of a set into a directory."""
    if not shutil.which("mvn"):
        raise Failure("Maven is needed to bring Kafka and Debezium: install the package maven")
    command = ["mvn", "-B", "-f", described(name, 0), GOAL, f"-DoutputDirectory={into}", "-DincludeScope=runtime"]
    last, count = [], 0
    with Step("bring " + SETS[name][2]) as step:
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in p.stdout:
            last = (last + [line])[-30:]
            if "Downloaded" in line:
                count += 1
                # the file's name only: "Downloaded from central: <url> (size)"
                words = line.split()
                file = next((w.rsplit("/", 1)[-1] for w in words if "/" in w), "")
                step.note(f"({count} files, {file})")
        if p.wait() != 0:
            raise Failure("Maven failed:\n" + "".join(last))


def read_sums(name):
    with open(described(name, 1)) as f:
        return {file: digest for digest, file in (line.split() for line in f if line.strip())}


def verify(name, directory):
    """Every file must be listed with its sum, and every listed file must be there."""
    want, sums = read_sums(name), "scripts/lib/" + SETS[name][1]
    have = set(os.listdir(directory))
    for file in sorted(have | set(want)):
        if file not in want:
            raise Failure(f"{file} is not listed in {sums}")
        if file not in have:
            raise Failure(f"Maven did not bring {file}, which {sums} lists")
        if sha256(os.path.join(directory, file)) != want[file]:
            raise Failure(f"checksum of {file} differs from {sums}")


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


def ensure(name="pipeline"):
    """The directory with libs/ and plugins/; brings them when they are not cached yet. Safe to run several times at once."""
    root = cache_root()
    os.makedirs(root, exist_ok=True)
    # the list of sums names the versions: another list, another directory
    final = os.path.join(root, f"{name}-" + sha256(described(name, 1))[:12])
    with open(os.path.join(root, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(final):
            with tempfile.TemporaryDirectory(dir=root, prefix="stage-") as work:
                stage, ready = os.path.join(work, "stage"), os.path.join(work, "ready")
                bring(name, stage)
                verify(name, stage)
                unpack(stage, ready)
                os.chmod(ready, 0o755)
                os.rename(ready, final)
    return final


def write_sums(name="pipeline"):
    with tempfile.TemporaryDirectory() as stage:
        bring(name, stage)
        lines = [f"{sha256(os.path.join(stage, n))}  {n}\n" for n in sorted(os.listdir(stage))]
    with open(described(name, 1), "w") as f:
        f.writelines(lines)
    say(f"{len(lines)} sums written to {described(name, 1)}")


if __name__ == "__main__":
    try:
        names = [word for word in sys.argv[1:] if word != "--write-sums"]
        if len(names) > 1 or not set(names) <= set(SETS):
            sys.exit(__doc__)
        if "--write-sums" in sys.argv[1:]:
            write_sums(*names)
        else:
            out, sys.stdout = sys.stdout, sys.stderr  # progress aside: standard output is the answer
            path = ensure(*names)
            print(path, file=out)
    except Failure as e:
        sys.exit(f"jars.py: {e}")
