"""The machine under the scripts: packages, the unprivileged user, the temporary directory, and a private copy of the
PostgreSQL installation that the checkout is built for and installed into.

Why a private copy: runs beside each other never replace each other's library, nothing needs root but the packages, and the
server installation of the machine stays as it was. PostgreSQL finds its directories relative to its binaries, so the copy
works wherever it lies; binaries are copied, the rest are links.
"""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import user
from say import Failure, Step, say

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# what a Debian release calls its PostgreSQL; PG_MAJOR or PG_CONFIG choose another one
DEBIAN_PG_MAJOR = {"12": "15", "13": "17"}
BUILD_PACKAGES = ["gcc", "g++", "make", "pkg-config", "librdkafka-dev", "libsimdjson-dev"]
KAFKA_PACKAGES = ["kcat", "maven", "default-jre-headless"]
TEST_PACKAGES = ["clang", "git", "perl", "libipc-run-perl", "python3-confluent-kafka", "openssl"]


def os_release():
    try:
        with open("/etc/os-release") as f:
            pairs = (line.rstrip("\n").split("=", 1) for line in f if "=" in line)
            return {k: v.strip('"') for k, v in pairs}
    except OSError:
        return {}


def find_pg_config():
    """PG_CONFIG, else the installation of PG_MAJOR or of the newest version that has server headers; None when there is none."""
    if os.environ.get("PG_CONFIG"):
        return os.environ["PG_CONFIG"]
    major = os.environ.get("PG_MAJOR", "*")
    found = [p for p in glob.glob(f"/usr/lib/postgresql/{major}/bin/pg_config")
             if os.path.exists(os.path.join(pg_dir(p, "--includedir-server"), "postgres.h"))
             and os.path.exists(os.path.join(os.path.dirname(p), "postgres"))]
    found.sort(key=lambda p: int(p.split("/")[4]) if p.split("/")[4].isdigit() else 0)
    return found[-1] if found else None


def pg_dir(pg_config, what):
    return subprocess.run([pg_config, what], check=True, text=True, capture_output=True).stdout.strip()


def missing_packages(names):
    """Those of names that dpkg does not hold installed. A JRE or Maven that came another way is as good as the package."""
    have = {"default-jre-headless": "java", "maven": "mvn", "gcc": "gcc", "g++": "g++", "make": "make", "git": "git",
            "clang": "clang", "perl": "perl", "openssl": "openssl", "kcat": "kcat", "pkg-config": "pkg-config"}
    query = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
                           text=True, capture_output=True).stdout
    installed = {line.split()[0] for line in query.splitlines() if line.endswith(" installed")}
    return [n for n in names if n not in installed and not (n in have and shutil.which(have[n]))]


def known_packages(names):
    """Those of names that the package lists offer."""
    return [n for n in names if subprocess.run(["apt-cache", "show", n], capture_output=True).returncode == 0]


def install_packages(for_tests=False, kafka=True):
    """Installs with apt-get what is missing; as root, or through sudo. Without apt-get the reader is told what is needed."""
    names = BUILD_PACKAGES + (KAFKA_PACKAGES if kafka else []) + (TEST_PACKAGES if for_tests else [])
    pg = find_pg_config()
    major = os.environ.get("PG_MAJOR") or DEBIAN_PG_MAJOR.get(os_release().get("VERSION_ID", ""))
    if pg is None:
        if major is None:
            raise Failure("no PostgreSQL with server headers found: install one (15 to 18) and set PG_CONFIG")
        names += [f"postgresql-{major}", f"postgresql-server-dev-{major}"]
    elif for_tests and pg.startswith("/usr/lib/postgresql/"):
        major = pg.split("/")[4]
    wanted = []
    if for_tests and major:
        names += [f"postgresql-{major}-pgtap", f"postgresql-server-dev-{major}"]
        # types that some format cases are about; not every release has packages of them
        wanted = [f"postgresql-{major}-postgis-3", f"postgresql-{major}-pgvector"]
    if not shutil.which("apt-get"):
        say("no apt-get here; needed: " + " ".join(names))
        return
    missing = missing_packages(names)
    wanted = missing_packages(wanted)
    if missing or known_packages(wanted):
        apt_install(missing, wanted)


def bring_packages(names):
    """Installs what is missing for a rung that can be left out; False when that cannot be."""
    missing = missing_packages(names)
    try:
        if missing:
            apt_install(missing, [])
    except (Failure, OSError, subprocess.CalledProcessError):
        return False
    return True


def apt_install(missing, wanted):
    """Installs packages, and of those wanted the ones that are known."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    if sudo and not shutil.which("sudo"):
        raise Failure("as root, install: apt-get install " + " ".join(missing))
    say("packages to install: " + " ".join(missing + wanted))
    if sudo:
        # ask for the password before the progress line takes the terminal
        subprocess.run(["sudo", "-v"], check=True)
    env = ["env", "DEBIAN_FRONTEND=noninteractive"]
    apt = [*sudo, *env, "apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    run_shown("update the package lists", [*apt, "update"])
    run_shown("install packages", [*apt, "install", "--no-install-recommends", *missing, *known_packages(wanted)])


def run_shown(title, command, **kw):
    """Runs a command under a progress line that shows what it last printed; its output only when it fails."""
    with Step(title) as step:
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             text=True, errors="replace", **kw)
        lines = []
        for line in p.stdout:
            lines.append(line)
            step.note(line.strip()[:60])
        if p.wait() != 0:
            raise Failure(f"{' '.join(command)} failed:\n" + "".join(lines[-40:]))


def work_dir(prefix):
    """A new temporary directory that the unprivileged user can enter. Short: socket paths end at 107 bytes."""
    base = os.environ.get("TMPDIR", "/var/tmp")
    path = tempfile.mkdtemp(prefix=prefix, dir=base if len(base) < 40 else "/var/tmp")
    os.chmod(path, 0o755)
    return path


def copy_tree(into):
    """The checkout without what git ignores (objects of another compiler, results of another run)."""
    listed = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard"],
                            capture_output=True)
    if listed.returncode == 0:
        for name in filter(None, listed.stdout.decode().split("\0")):
            source, target = os.path.join(ROOT, name), os.path.join(into, name)
            if os.path.isfile(source):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy2(source, target)
    else:
        shutil.copytree(ROOT, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git", "*.o", "*.so", "tmp_check*"))


def private_postgres(directory):
    """Makes the private copy of the PostgreSQL installation; returns its pg_config."""
    source = find_pg_config()
    if source is None:
        raise Failure("no PostgreSQL with server headers found: set PG_CONFIG")
    prefix = os.path.join(directory, "pg")
    bindir = pg_dir(source, "--bindir")

    def mirror(path, link):
        target = prefix + path
        if not os.path.lexists(target) and os.path.isdir(path):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copytree(path, target, copy_function=os.symlink if link else shutil.copy2)

    mirror(bindir, link=False)
    for what in ("--pkglibdir", "--sharedir"):
        mirror(pg_dir(source, what), link=True)
    for what in ("--includedir", "--pkgincludedir", "--includedir-server", "--libdir", "--localedir"):
        path = pg_dir(source, what)
        if not os.path.lexists(prefix + path) and os.path.isdir(path):
            os.makedirs(os.path.dirname(prefix + path), exist_ok=True)
            os.symlink(path, prefix + path)
    user.own_tree(prefix)
    return os.path.join(prefix + bindir, "pg_config")


def build_and_install(source, pg_config, *make_args):
    """Builds a copy of the checkout and installs it into the private PostgreSQL."""
    make = ["make", "-s", "-C", source, f"-j{os.cpu_count() or 1}", f"PG_CONFIG={pg_config}", *make_args]
    run_shown("build cdc_sink", user.wrap(make), env=user.environment())
    run_shown("install it into a private copy of PostgreSQL", user.wrap([*make, "install"]), env=user.environment())


def remove_tree(path):
    """Removes a temporary directory."""
    shutil.rmtree(path, ignore_errors=True)


def stop_on_signals():
    """TERM and HUP end a script as Ctrl-C does: through its clean-up."""
    def handler(number, frame):
        raise KeyboardInterrupt
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def ignore_signals():
    """During the clean-up: a second Ctrl-C must not leave servers behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def main(run):
    """Runs a script's main function; failures are printed without a traceback."""
    try:
        sys.exit(run())
    except Failure as e:
        say(f"{os.path.basename(sys.argv[0])}: {e}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
