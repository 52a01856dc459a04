"""Runs the comparison's programs: results, times, memory, processes. compare.py says what is measured."""
import array
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

TOLERANCE = 1e-4  # of the norm of a loss or gradient, float32
NOISE = 0.10  # a spread of rounds that is noise
PATIENCE = 30  # seconds after which a workload that has two rounds gets no more
# glibc gives every large block that is freed back to the system and takes page faults with the next one, which on a
# virtual machine can cost more than the work. PyTorch's CPU tensors are such blocks. It is timed as it is installed,
# and once more as this side, with a C library that is told to keep what was freed.
KEPT = "PyTorch, memory kept"
KEEP_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.top_pad=67108864"


class Failure(Exception):
    """A program failed, or two sides disagree: nothing is to be timed."""


class Programs:
    """The sides' programs, their threads, and what has been timed so far."""

    def __init__(self, paths, threads):
        self.paths = paths
        self.environment = os.environ | {"OMP_NUM_THREADS": str(threads), "ATTUNE_NUM_THREADS": str(threads)}
        self.contexts = {}
        self.round_trips = []  # ns from core to core and back, of each timed process
        self.times = {}  # (side, workload) -> {variant: [seconds of a step, a round each]}
        self.items = {}  # (side, workload) -> what a step of that program handles
        self.known = {side: self.list_workloads(side) for side in paths}

    def run(self, side, *arguments, **variables):
        command = [self.paths[side], *arguments]
        done = subprocess.run(command, env=self.environment | variables, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"{side} {' '.join(arguments)}: exit status {done.returncode}\n{done.stderr.strip()}")
        return done.stdout

    def list_workloads(self, side):
        """The variants of each workload, by its name."""
        known = {}
        for line in self.run(side, "--benchmark_list_tests").splitlines():
            variant = line.removesuffix("/real_time")
            known.setdefault(variant.partition(":")[0], []).append(variant)
        return known

    def has(self, side, workload):
        return workload in self.known.get(side, {})

    def time(self, side, workload, variants, seconds):
        """One round: a fresh process that runs these variants of a workload."""
        names = "|".join(re.escape(v) for v in variants)
        arguments = [f"--benchmark_filter=^({names})/real_time$", f"--benchmark_min_time={seconds}"]
        variables = {"GLIBC_TUNABLES": KEEP_MEMORY} if side == KEPT else {}
        report = json.loads(self.run(side, *arguments, "--benchmark_format=json", **variables))
        if side != KEPT:
            self.contexts[side] = report["context"]
        self.round_trips.append(float(report["context"].get("round_trip", 0)))
        units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}
        found = self.times.setdefault((side, workload), {})
        for one in report["benchmarks"]:
            variant = one["name"].removesuffix("/real_time")
            found.setdefault(variant, []).append(one["real_time"] * units[one["time_unit"]])
            self.items[side, workload] = one["items"]

    def time_rounds(self, pairs, rounds, seconds):
        """Alternates over (side, workload) pairs, `rounds` times and, if the rounds lie apart, up to twice as often.
        After the first round only the quickest variant goes on."""
        pairs = [p for p in pairs if p not in self.times]
        began = time.monotonic()
        for number in range(2 * rounds):
            if number >= rounds and all(self.seconds(*p)[1] <= NOISE for p in pairs):
                break
            if number >= 2 and time.monotonic() - began > PATIENCE:
                break
            for side, workload in pairs:
                variants = self.known[side][workload] if number == 0 else [self.quickest(side, workload)]
                self.time(side, workload, variants, seconds)

    def quickest(self, side, workload):
        found = self.times[side, workload]
        return min(found, key=lambda v: min(found[v]))

    def seconds(self, side, workload):
        """The median step of the quickest variant, by item, and the spread of its rounds over it."""
        if (side, workload) not in self.times:
            return None, 0
        rounds = self.times[side, workload][self.quickest(side, workload)]
        middle = statistics.median(rounds)
        return middle / self.items[side, workload], (max(rounds) - min(rounds)) / middle

    def memory(self, side, workload):
        """Bytes that a step needs beyond what was resident after the smallest one."""
        found = json.loads(self.run(side, "--memory", workload))
        return found["peak"] - found["before"]

    def start(self, side):
        """Seconds from the start of a process to the line with its first gradient."""
        began = time.perf_counter()
        command = [self.paths[side], "--first-gradient"]
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            return time.perf_counter() - began


# ---- the same results on both sides


def read_results(path):
    """{name: elements} of a file that driver.cpp wrote."""
    header, _, body = Path(path).read_bytes().partition(b"\n")
    words = header.decode().split()
    results, at = {}, 0
    for name, count in zip(words[::2], map(int, words[1::2])):
        values = array.array("f")
        values.frombytes(body[at : at + 4 * count])
        results[name] = values
        at += 4 * count
    return results


def distance(a, b):
    """|a - b| / |b| over at most some 100,000 elements, evenly spread."""
    stride = max(1, len(b) // 100_000) | 1
    a, b = a[::stride], b[::stride]
    difference = sum((x - y) ** 2 for x, y in zip(a, b)) ** 0.5
    norm = sum(y * y for y in b) ** 0.5
    far = difference / norm if norm > 0 else difference
    return far if far == far else float("inf")


def disagreement(ours, theirs):
    """The largest distance over all names. Raises Failure if the names or sizes differ."""
    if ours.keys() != theirs.keys():
        raise Failure(f"results differ in name: {sorted(ours.keys() ^ theirs.keys())}")
    worst = 0, ""
    for name, values in ours.items():
        if len(values) != len(theirs[name]):
            raise Failure(f"{name} has {len(values)} elements and {len(theirs[name])}")
        worst = max(worst, (distance(values, theirs[name]), name))
    return worst


def kept_share(results):
    """Dropout draws its own mask on each side: what can be compared is its share of elements and their scale."""
    y = results["y"]
    return {
        "kept": array.array("f", [1 - y.count(0) / len(y)]),
        "norm": array.array("f", [sum(x * x for x in y) ** 0.5]),
    }


def check(programs, workload):
    """Compares every variant of PyTorch's with Attune's; returns the largest distance."""
    comparable, limit = (kept_share, 1e-3) if workload == "dropout" else (dict, TOLERANCE)
    variants = programs.known["PyTorch"][workload]
    worst = 0
    with tempfile.TemporaryDirectory() as directory:

        def results(name):
            return comparable(read_results(Path(directory, name.replace("/", "-") + ".f32")))

        programs.run("Attune", "--save", directory, workload)
        ours = results(workload)
        programs.run("PyTorch", "--save", directory, *variants)
        for variant in variants:
            far, name = disagreement(ours, results(variant))
            if far > limit:
                raise Failure(f"{variant}: {name} differs by {far:.2g} of its norm, more than {limit:g}")
            worst = max(worst, far)
    return worst
