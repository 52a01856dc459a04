"""Runs of the main example, and what a test says of them: `test_NAME.py REFORMER_COPY`."""
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = os.path.abspath(sys.argv[1])
SMALL = "--length 32 --chunk 4 --d-model 32 --d-ff 32 --batch 8 --hashes 2 --layers 2 --dropout 0.1 --steps 30".split()
failures = []


def check(what, ok, detail=""):
    print(f"{'ok    ' if ok else 'FAILED'} {what}{'' if ok else f': {detail}'}", flush=True)
    if not ok:
        failures.append(what)


# ---- runs


def start(*args, stdout=subprocess.PIPE, cwd=None, **environment):
    pipes = {"stdout": stdout, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([PROGRAM, *map(str, args)], env=os.environ | environment, cwd=cwd, **pipes)


class Ended:
    """A run that has ended: its exit code and what it printed."""

    def __init__(self, process, seen=""):
        out, self.err = process.communicate()
        self.code, self.out = process.returncode, seen + (out or "")

    def __str__(self):
        return f"{self.code} {self.out}{self.err}"

    def says(self, *words):
        return all(word in self.out for word in words)

    def complains(self, *words):
        """In one line that has all the words."""
        return self.err.count("\n") == 1 and all(word in self.err for word in words)


def run(*args, **environment):
    return Ended(start(*args, **environment))


def interrupted(args, line_start, by=signal.SIGINT):
    """Runs, and presses Ctrl-C (or sends another signal) at the first line that starts so."""
    process = start(*args)
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith(line_start):
            process.send_signal(by)
            break
    return Ended(process, seen)


def refused(what, args, *words):
    done = run(*args)
    refusal = done.code == 2 and done.complains(*words) and not done.says("tokens/s")
    check(f"{what} is refused in one line with exit code 2", refusal, done)


def main(parts):
    """Each part gets the same empty directory."""
    # A test started by nohup, or in the background of a script, would hand these to the program as ignored.
    for each in (signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    with tempfile.TemporaryDirectory() as name:
        for part in parts:
            part(Path(name))
    return 1 if failures else 0
