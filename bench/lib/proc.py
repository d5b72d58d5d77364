"""CPU time and memory of processes, from /proc."""
import os
import threading

TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    """User and system seconds of a process with its threads; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    except (OSError, IndexError):
        return 0.0


def rss_anon_mb(pid):
    """Anonymous memory, without the shared buffers a backend has touched."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


class PeakMemory:
    """Largest RssAnon of any of a set of processes, looked at ten times a second."""

    def __init__(self, pids):
        self.pids, self.peak, self._end = pids, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._end.wait(0.1):
            for pid in list(self.pids):
                self.peak = max(self.peak, rss_anon_mb(pid))

    def stop(self):
        self._end.set()
        self._thread.join()
        return self.peak
