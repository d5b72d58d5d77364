"""The order of the measurements, their progress, and the estimate of the time left.

Repetitions are interleaved: within a cell every method runs once before any runs again. While the time would not suffice for all
that is to come, the last repetitions of what comes next are left out; the report says how many there were.
"""
import time
from dataclasses import dataclass
from typing import Callable


@dataclass
class Step:
    group: str                  # cell or measurement, also where the result goes
    label: str
    repetition: int             # -1: set-up or clean-up of the group
    seconds: float
    run: Callable
    keep: bool = True           # whether the result is one


class Plan:
    def __init__(self, limit, say):
        self.limit, self.say = limit, say
        self.steps, self.results, self.failures = [], {}, []
        self.planned_done, self.begin = 0.0, time.monotonic()
        self.dropped = 0

    def add(self, *args, **kw):
        self.steps.append(Step(*args, **kw))

    def elapsed(self):
        return time.monotonic() - self.begin

    def left(self, highest=None):
        """Seconds of what is to come, without repetitions above highest, in the measure of how the plan has fared so far."""
        planned = sum(s.seconds for s in self.steps if highest is None or s.repetition <= highest)
        # the first guesses are weighed in, so that one odd step does not upset the estimate
        return planned * (self.measuring() + 60) / (self.planned_done + 60)

    def measuring(self):
        return time.monotonic() - self.first if self.planned_done else 0.0

    def affordable(self):
        """The highest repetition with which the rest fits into the limit; the first always stays."""
        highest = max(s.repetition for s in self.steps)
        while highest > 0 and self.elapsed() + self.left(highest) > self.limit:
            highest -= 1
        return highest

    def run(self):
        total = len(self.steps)
        self.first = time.monotonic()
        while self.steps:
            affordable = self.affordable()
            step = self.steps.pop(0)
            if step.repetition > affordable:
                self.dropped += 1
                continue
            text = self.perform(step)
            self.planned_done += step.seconds
            name = f"{step.group} {step.label}" + (f" #{step.repetition + 1}" if step.repetition >= 0 else "")
            self.say(f"[{total - len(self.steps)}/{total}] {name}: {text} | {clock(self.elapsed())} gone, "
                     f"about {clock(self.left(affordable))} left")

    def perform(self, step):
        """Runs a step; one that fails is reported and does not end the run."""
        begin = time.monotonic()
        try:
            result = step.run()
        except (Exception) as e:  # whatever went wrong belongs into the report, the other measurements go on
            self.failures.append({"group": step.group, "label": step.label, "repetition": step.repetition + 1,
                                  "error": f"{type(e).__name__}: {e}"[:1000]})
            return f"FAILED: {e}"[:300]
        if not step.keep:
            return f"{time.monotonic() - begin:.0f} s"
        self.results.setdefault(step.group, {}).setdefault(step.label, []).append({**result, "repetition": step.repetition})
        return short(result)


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def short(result):
    if "p50" in result:
        return f"p50 {result['p50']:.1f} ms, p99 {result['p99']:.1f} ms"
    if "core_share" in result:
        return f"{result['core_share'] * 100:.2f} % of a core"
    text = f"{result['rate']:,.0f}/s".replace(",", " ") if "rate" in result else ""
    return text + (f", {result['rss_mb']:.0f} MB" if result.get("rss_mb") else "")
