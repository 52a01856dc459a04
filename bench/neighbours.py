"""`compare.py neighbours`: training steps on a machine that others use too.

Busy processes (none, one, two) run beside a step on one thread and on two. The second thread is to cost nothing that
counts: a loop that waits for a thread which the system has set aside turns milliseconds into seconds.
"""
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

import report

WORKLOADS = {"gpt_step": "GPT step: 4 layers, d 256", "small_gpt_step": "GPT step: 4 layers, d 64"}
COUNTS = (0, 1, 2)
THREADS = (1, 2)
MOST = 1.2  # two threads' time over one's, under the same load
HEAD = ["workload", "neighbours", "library", "1 thread", "2 threads", "2 over 1", "target"]


@contextlib.contextmanager
def busy(count):
    """So many processes that do nothing but compute."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        if spinners:
            time.sleep(0.5)  # until they turn
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def step_time(programs, side, workload, threads, seconds):
    """ms a step, of a fresh process."""
    count = {name: str(threads) for name in ("ATTUNE_NUM_THREADS", "OMP_NUM_THREADS")}
    arguments = [f"--benchmark_filter=^{workload}/real_time$", f"--benchmark_min_time={seconds}"]
    found = json.loads(programs.run(side, *arguments, "--benchmark_format=json", **count))
    programs.contexts[side] = found["context"]
    one = found["benchmarks"][0]
    return one["real_time"] * {"ns": 1e-6, "us": 1e-3, "ms": 1, "s": 1e3}[one["time_unit"]]


def measure(programs, workload, count, options):
    """{side: {threads: ms}}, medians of processes that take turns."""
    sides = [side for side in ("Attune", "PyTorch") if programs.has(side, workload)]
    rounds = {side: {threads: [] for threads in THREADS} for side in sides}
    with busy(count):
        for _ in range(options.rounds):
            for threads in THREADS:
                for side in sides:
                    rounds[side][threads].append(step_time(programs, side, workload, threads, options.seconds))
    return {side: {t: statistics.median(times) for t, times in of.items()} for side, of in rounds.items()}


def lines_of(text, count, found):
    for side, times in found.items():
        ratio = times[2] / times[1]
        met = ("ok" if ratio <= MOST else "MISSED") if side == "Attune" else ""
        cells = [text, str(count), side, *(f"{report.number(times[t])} ms" for t in THREADS), f"{ratio:.2f}x"]
        yield [*cells, f"<= {MOST}x {met}" if met else "-"]


def run(programs, options):
    stamp = report.machine(max(THREADS))
    rows, results = [], []
    for workload, text in WORKLOADS.items():
        for count in COUNTS:
            print(f"{text}, {count} busy neighbours", file=sys.stderr, flush=True)
            found = measure(programs, workload, count, options)
            rows.extend(lines_of(text, count, found))
            results.append({"workload": workload, "neighbours": count, "ms": found})
    load = os.getloadavg()[0]
    report.finish(stamp, programs, [])
    doubts = [d for d in stamp["doubts"] if not d.startswith("other programs")]  # the neighbours are among them
    widths = [max(map(len, column)) for column in zip(HEAD, *rows)]
    print("\n".join(report.describe(stamp)) + f"; {load:.1f} after\n")
    for line in [HEAD, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    for doubt in doubts:
        print(f"noisy: {doubt}")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "neighbours.json"
    path.write_text(json.dumps({"machine": stamp, "rows": results}, indent=1) + "\n")
    print(f"{path}")
