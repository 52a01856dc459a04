#!/usr/bin/env python3
"""Runs the main example as its users do: the same bits at any thread count and after an interruption, and clear words for wrong options.

usage: test_training_runs.py REFORMER_COPY
"""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1]
SMALL = ["--length", "32", "--chunk", "4", "--d-model", "32", "--d-ff", "32", "--batch", "8", "--hashes", "2", "--layers", "2",
         "--dropout", "0.1", "--steps", "30"]
failures = []


def check(what, ok, detail=""):
    print(f"{'ok    ' if ok else 'FAILED'} {what}{'' if ok else ': ' + detail}", flush=True)
    if not ok:
        failures.append(what)


def run(*args, **environment):
    return subprocess.run([PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def weights(directory):
    return hashlib.sha256((directory / "checkpoint.safetensors").read_bytes()).hexdigest()


def main():
    root = pathlib.Path(tempfile.mkdtemp())

    for core in ("Haswell", "SkylakeX"):
        seen = set()
        for threads in ("1", "2", "4"):
            out = root / f"{core}{threads}"
            result = run(*SMALL, "--threads", threads, "--out", str(out), OPENBLAS_CORETYPE=core)
            check(f"training with {core} kernels on {threads} threads", result.returncode == 0, result.stderr)
            seen.add(weights(out))
        check(f"the same bits at 1, 2 and 4 threads with {core} kernels", len(seen) == 1)

    whole, broken = root / "whole", root / "broken"
    long = [*SMALL, "--steps", "400"]
    run(*long, "--out", str(whole))
    process = subprocess.Popen([PROGRAM, *long, "--out", str(broken)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("1/400"):
            process.send_signal(signal.SIGINT)
            break
    out, _ = process.communicate()
    check("Ctrl-C saves and says so", process.returncode == 130 and "--resume continues" in out, out)
    result = run(*long, "--out", str(broken), "--resume")
    check("--resume goes on", result.returncode == 0 and "Resuming after step" in result.stdout, result.stderr)
    check("an interrupted run ends with the same bits as a whole one", weights(whole) == weights(broken))

    result = run(*SMALL, "--lr", "0.5", "--out", str(broken), "--resume")
    check("a checkpoint of another course is refused", result.returncode == 1 and "was written under other options" in result.stderr, result.stderr)
    for args, words in [(["--length", "31"], "--length 31 must be even"), (["--heads", "3"], "--heads 3 does not divide"),
                        (["--lr", "fast"], "--lr"), (["--wrong"], "--wrong"), (["--variant", "trax"], "--variant"), (["--hashes", "0"], "--hashes")]:
        result = run(*args)
        check(f"{' '.join(args)} is refused in one line with exit code 2",
              result.returncode == 2 and words in result.stderr and result.stderr.count("\n") == 1, f"{result.returncode} {result.stderr}")
    result = run("--steps", "1", "--out", "/dev/null/here")
    check("a directory that cannot be written is said before training", result.returncode == 1 and "/dev/null/here" in result.stderr and
          "tokens/s" not in result.stdout, result.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
