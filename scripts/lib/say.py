"""Output of the scripts: what is being done, how long it takes, and what failed."""
import os
import sys
import threading
import time


class Failure(Exception):
    """Something the reader can act on: printed without a traceback."""


def say(text=""):
    print(text, flush=True)


class Step:
    """A named piece of work. While it lasts the elapsed time and the last note are shown: in place on a terminal, every ten
    seconds elsewhere (a log that stands still looks like a hang)."""

    def __init__(self, text):
        self.text, self.note_text = text, ""
        self._end = threading.Event()

    def note(self, text):
        self.note_text = text

    def __enter__(self):
        self.start = time.monotonic()
        self.tty = sys.stdout.isatty()
        if not self.tty:
            say(f"{self.text} ...")
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()
        return self

    def _show(self):
        while not self._end.wait(0.5 if self.tty else 10):
            line = f"{self.text} ... {time.monotonic() - self.start:.0f} s {self.note_text}"
            if self.tty:
                width = os.get_terminal_size().columns if sys.stdout.isatty() else 80
                print("\r\033[K" + line[: width - 1], end="", flush=True)
            else:
                say("  " + line)

    def __exit__(self, kind, value, trace):
        self._end.set()
        self._thread.join()
        word = "done" if kind is None else "FAILED"
        print(("\r\033[K" if self.tty else "") + f"{self.text}: {word} in {time.monotonic() - self.start:.0f} s", flush=True)


def tail(path, lines=20):
    """The last lines of a log, for a failure's report."""
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError as e:
        return str(e)
