"""Counting tests: what each program of the ladder said (TAP, pg_regress, exit codes) as passed, failed and skipped."""
import re
import threading

from say import say

RESULT = re.compile(r"^(not )?ok \d+\b\s*(?:- )?([^#]*?)\s*(?:#\s*(SKIP|TODO)\S*\s*(.*))?$", re.IGNORECASE)
PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*SKIP\S*\s*(.*))?$", re.IGNORECASE)


class Tally:
    """Totals of the ladder. Several rungs may report at once."""

    def __init__(self):
        self.passed = 0
        self.failures, self.skips = [], []
        self._lock = threading.Lock()

    def ok(self, count=1):
        with self._lock:
            self.passed += count

    def fail(self, name, detail=""):
        with self._lock:
            self.failures.append(name)
            say(f"  FAILED {name}" + ("\n" + indent(detail) if detail else ""))

    def skip(self, name, reason):
        with self._lock:
            self.skips.append((name, reason))
            say(f"  skipped {name}: {reason}")

    def check(self, name, good, detail=""):
        self.ok() if good else self.fail(name, detail)

    def tap(self, name, text, code, planned=True):
        """Counts the lines of a TAP stream. A wrong plan, no plan, or a bad exit without a failed test is a failure itself.
        planned false: several streams that prove ran and whose plans it checked."""
        ran = failed = skipped = 0
        plan = None
        for line in text.splitlines():
            found, plan_line = RESULT.match(line), PLAN.match(line)
            if plan_line:
                plan = int(plan_line.group(1))
                if plan == 0:
                    self.skip(name, plan_line.group(2) or "no reason given")
            elif found:
                ran += 1
                title, directive = f"{name}: {found.group(2)}", (found.group(3) or "").upper()
                if directive == "SKIP":
                    skipped += 1
                    self.skip(title, found.group(4) or "no reason given")
                elif found.group(1) and directive != "TODO":
                    failed += 1
                    self.fail(title)
                else:
                    self.ok()
        if not planned:
            if code != 0 and not failed or not ran:
                self.fail(name, f"ended with code {code}\n" + last_lines(text))
        elif plan is None:
            self.fail(name, "no plan: it ended early\n" + last_lines(text))
        elif plan and plan != ran:
            self.fail(name, f"planned {plan} tests, ran {ran}\n" + last_lines(text))
        elif code != 0 and not failed:
            self.fail(name, f"ended with code {code}\n" + last_lines(text))
        if failed:
            say(indent(failed_lines(text)))
        return f"{ran - failed - skipped} passed" + (f", {failed} failed" if failed else "") + (f", {skipped} skipped" if skipped else "")

    def regress(self, name, text, code):
        """Counts pg_regress: 'test x ... ok' up to 15, TAP from 16 on."""
        if PLAN.search(text) or re.search(r"^1\.\.\d+", text, re.MULTILINE):
            return self.tap(name, text, code)
        results = re.findall(r"^(?:test|    ) ?\s*(\S+)\s+\.\.\. (\w+)", text, re.MULTILINE)
        failed = [test for test, result in results if result != "ok"]
        self.ok(len(results) - len(failed))
        for test in failed:
            self.fail(f"{name}: {test}")
        if not results or (code != 0 and not failed):
            self.fail(name, f"ended with code {code}\n" + last_lines(text))
        return f"{len(results) - len(failed)} passed" + (f", {len(failed)} failed" if failed else "")

    def closing_line(self):
        return f"{self.passed} passed, {len(self.failures)} failed, {len(self.skips)} skipped"


class Part(Tally):
    """What part of a ladder counts, for the whole, with a prefix before its names."""

    def __init__(self, whole, prefix):
        super().__init__()
        self._whole, self._prefix = whole, prefix

    def ok(self, count=1):
        self._whole.ok(count)

    def fail(self, name, detail=""):
        self._whole.fail(self._prefix + name, detail)

    def skip(self, name, reason):
        self._whole.skip(self._prefix + name, reason)


def failed_lines(text):
    """Of a TAP stream, the failed tests with the comments around them."""
    return "\n".join(line for line in text.splitlines() if line.startswith(("not ok", "#")))


def last_lines(text, count=30):
    return "\n".join(text.rstrip("\n").splitlines()[-count:])


def indent(text):
    return "\n".join("    " + line for line in text.splitlines())
