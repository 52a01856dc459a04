"""Runs every test of a build directory and counts: doctest cases one by one, every other test program as one.

usage: run_all.py BUILD_DIRECTORY

The last line is "N passed, N failed"; the exit status is 1 if anything failed. A program that crashes or reports no cases has failed.
"""

import json
import os
import re
import subprocess
import sys
import time

DOCTEST = re.compile(r"test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed")


def main():
    build = sys.argv[1]
    tests = json.loads(subprocess.check_output(["meson", "introspect", "--tests", build]))
    passed = failed = 0
    for test in tests:
        start = time.time()
        try:
            run = subprocess.run(test["cmd"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                 timeout=test["timeout"] * 4, env={**os.environ, **test["env"]}, cwd=test["workdir"] or build)
            output, status = run.stdout, run.returncode
        except subprocess.TimeoutExpired as e:
            output, status = (e.stdout or b"").decode(errors="replace") + "\ntimed out", -1
        counts = DOCTEST.search(output)
        good, bad = (int(counts[2]), int(counts[3])) if counts else (int(status == 0), int(status != 0))
        if status != 0 and bad == 0:
            bad = 1
        passed += good
        failed += bad
        print(f"{test['name']:24} {good:5} passed {bad:4} failed {time.time() - start:7.1f} s", flush=True)
        if bad:
            print(output[-8000:])
    if passed + failed == 0:
        print("no test was found")
        failed = 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
