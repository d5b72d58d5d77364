"""A PostgreSQL with assertions, built from Debian's source package of the same major release.

It checks its own rules (locks held, snapshots set, memory contexts intact) where a released server trusts its callers, and it
tells valgrind of its memory contexts. Built once and kept in the cache of jars.py; a user of it takes a copy.
"""
import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile

import jars
import machine
from say import Failure

CONFIGURE = ["--enable-cassert", "--enable-debug", "--enable-tap-tests", "--disable-rpath", "--without-readline", "--without-zlib",
             "CFLAGS=-O1 -g -fno-omit-frame-pointer"]
# used where their headers are
OPTIONAL = {"libxml-2.0": "--with-libxml", "icu-uc": "--with-icu"}
SUPPRESSIONS = os.path.join("share", "valgrind.supp")


def options():
    found = [flag for package, flag in OPTIONAL.items()
             if subprocess.run(["pkg-config", "--exists", package], capture_output=True).returncode == 0]
    if os.path.exists("/usr/include/valgrind/memcheck.h"):
        found.append("CPPFLAGS=-DUSE_VALGRIND")
    return CONFIGURE + found


def why_not():
    """The reason why it cannot be built here; None when it can."""
    if not shutil.which("apt-get"):
        return "no apt-get to bring PostgreSQL's source"
    return None


def ensure(major):
    """The directory of the installation; brings the source and builds when it is not cached yet. A Failure when the source cannot be had."""
    key = hashlib.sha256(" ".join([major, *options()]).encode()).hexdigest()[:12]
    final = os.path.join(jars.cache_root(), f"postgres-assert-{major}-{key}")
    os.makedirs(jars.cache_root(), exist_ok=True)
    with open(os.path.join(jars.cache_root(), "lock-assert"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(final):
            # beside the cache: apt-get drops its rights, and cannot enter a closed home
            with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"), prefix="cdc_sink-assert.") as work:
                os.chmod(work, 0o755)
                build(fetch(major, work), os.path.join(work, "inst"))
                shutil.copytree(os.path.join(work, "inst"), final + ".new", symlinks=True)
                os.rename(final + ".new", final)
    return final


def source_lists(work):
    """Where apt-get looks: the sources of the binary packages that this machine uses."""
    parts = os.path.join(work, "parts")
    os.makedirs(parts)
    for path in glob.glob("/etc/apt/sources.list") + glob.glob("/etc/apt/sources.list.d/*.list") + glob.glob("/etc/apt/sources.list.d/*.sources"):
        with open(path) as f:
            text = f.read()
        text = re.sub(r"^Types:.*$", "Types: deb-src", text, flags=re.MULTILINE)
        text = re.sub(r"^deb\s", "deb-src ", text, flags=re.MULTILINE)
        with open(os.path.join(parts, os.path.basename(path).replace("sources.list", "main.list") if path.endswith("/sources.list")
                               else os.path.basename(path)), "w") as f:
            f.write(text)
    lists = os.path.join(work, "lists")
    os.makedirs(os.path.join(lists, "partial"))
    return ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={parts}", "-o", f"Dir::State::lists={lists}",
            "-o", "Acquire::Retries=2", "-o", "Debug::NoLocking=1"]


def fetch(major, work):
    """The unpacked source. apt-get checks it against the signed lists. The newest version that the mirror really holds is taken."""
    package, where = f"postgresql-{major}", source_lists(work)
    machine.run_shown("update the lists of sources", ["apt-get", *where, "update"])
    shown = subprocess.run(["apt-cache", *where, "showsrc", "--only-source", package], capture_output=True, text=True).stdout
    versions = re.findall(r"^Version: (\S+)", shown, re.MULTILINE)
    # a.b-c: the numbers decide
    versions.sort(key=lambda v: [int(n) for n in re.findall(r"\d+", v)], reverse=True)
    for version in versions:
        try:
            machine.run_shown(f"bring the source of {package} {version}",
                              ["apt-get", *where, "source", "--download-only", "--only-source", f"{package}={version}"], cwd=work)
        except Failure:
            continue
        archive = glob.glob(os.path.join(work, "*.orig.tar.*"))[0]
        with tarfile.open(archive) as tar:
            tar.extractall(work)
        return next(path for path in glob.glob(os.path.join(work, "postgresql-*")) if os.path.isdir(path))
    raise Failure(f"no mirror of this machine has the source of {package}")


def build(source, prefix):
    """Configures, builds and installs. The binaries find their libraries relative to themselves, so the tree may be moved."""
    env = {**os.environ, "LD_RUN_PATH": "$ORIGIN/../lib", "MAKELEVEL": "0"}
    make = ["make", "-s", f"-j{os.cpu_count() or 1}"]
    machine.run_shown("configure PostgreSQL with assertions", ["./configure", "--prefix=" + prefix, *options()], cwd=source, env=env)
    machine.run_shown("build it", make, cwd=source, env=env)
    for part in (".", "contrib", "src/test/regress", "src/test/isolation"):
        machine.run_shown(f"install {part}", [*make, "-C", part, "install"], cwd=source, env=env)
    shutil.copy(os.path.join(source, "src", "tools", "valgrind.supp"), os.path.join(prefix, SUPPRESSIONS))
