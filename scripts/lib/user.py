"""Who the children of a script run as. PostgreSQL refuses to run as root, so when root calls, every child is the user postgres
(CDC_SINK_USER names another one); the script itself stays root, as its interpreter may lie where nobody else can read."""
import os
import pwd
import shutil
import stat
import subprocess

from say import Failure

_user = None
_home = None


def choose(directory):
    """Settles the user, and gives the temporary directory, which is also its home, to it."""
    global _user, _home
    _home = directory
    if os.geteuid() == 0:
        name = os.environ.get("CDC_SINK_USER", "postgres")
        try:
            _user = pwd.getpwnam(name)
        except KeyError:
            raise Failure(f"no user {name} to run PostgreSQL as: create one, or name another in CDC_SINK_USER")
    own_tree(directory)


def own_tree(directory):
    for path, dirs, files in os.walk(directory):
        for entry in [path] + [os.path.join(path, x) for x in dirs + files]:
            own(entry)


def own(path):
    """Gives a file or directory that the script made to the user."""
    if _user:
        os.lchown(path, _user.pw_uid, _user.pw_gid)


def make_dir(path, mode=0o755):
    if not os.path.isdir(path):
        os.makedirs(path)
        os.chmod(path, mode)
        own(path)
    return path


def write_file(path, text, mode=0o644):
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "w") as f:
        f.write(text)
    own(path)
    return path


def wrap(command, death_signal=None):
    """The command line that runs a command as the user; death_signal is what it gets when the script is killed."""
    options = ["--pdeathsig", death_signal] if death_signal else []
    if _user:
        options += [f"--reuid={_user.pw_uid}", f"--regid={_user.pw_gid}", "--init-groups"]
    return ["setpriv", *options, *command] if options and shutil.which("setpriv") else list(command)


def environment(extra=None):
    """The environment of a child: the user's own home, and nothing that points PostgreSQL's programs elsewhere."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    if _user:
        env.update(HOME=_home, USER=_user.pw_name, LOGNAME=_user.pw_name)
    env.update(extra or {})
    return env


def run(command, env=None, **kw):
    """subprocess.run as the user, in the temporary directory."""
    kw.setdefault("cwd", _home)
    return subprocess.run(wrap(command), env=environment(env), text=True, **kw)


def for_user(path, name):
    """A directory that the user can read: itself, or a copy in the temporary directory when it lies in a closed home."""
    if not _user or _readable_by_others(path):
        return path
    copy = os.path.join(_home, name)
    shutil.copytree(path, copy)
    return copy


def _readable_by_others(path):
    while True:
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)
