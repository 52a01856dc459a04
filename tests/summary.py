#!/usr/bin/env python3
"""Counts the results of `meson test`: `summary.py BUILD_ROOT`.

A doctest program counts as its test cases, any other test as one. A program that crashed, timed out or could not start
counts as a failure, whatever it printed before. The last line is "N passed, N failed"; the exit status is 0 if
something passed and nothing failed.
"""
import json
import re
import sys
from pathlib import Path

CASES = re.compile(r"\[doctest\] test cases: *\d+ \| *(\d+) passed \| *(\d+) failed")


def count(test):
    """Passed and failed cases of one entry of meson's log."""
    if test["result"] == "SKIP":
        return 0, 0
    good = test["result"] == "OK"
    found = CASES.findall(re.sub(r"\x1b\[[\d;]*m", "", test.get("stdout", "")))
    if not found:
        return (1, 0) if good else (0, 1)
    passed, failed = (sum(int(n) for n in column) for column in zip(*found))
    return passed, failed if good else max(failed, 1)


def main():
    log = Path(sys.argv[1]) / "meson-logs" / "testlog.json"
    tests = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    total_passed = total_failed = 0
    for test in tests:
        passed, failed = count(test)
        total_passed += passed
        total_failed += failed
        name = test["name"].split(" / ")[-1]
        if failed:
            print(f"---- {name}: {test['result']}, exit status {test['returncode']}")
            print("\n".join((test.get("stdout", "") + test.get("stderr", "")).splitlines()[-60:]))
        notes = (f" {failed:5} FAILED" if failed else "") + ("  (skipped)" if test["result"] == "SKIP" else "")
        print(f"  {name:24} {passed:5} passed{notes} {test['duration']:8.1f} s")
    print(f"{total_passed} passed, {total_failed} failed")
    return 0 if total_passed and not total_failed else 1


sys.exit(main())
