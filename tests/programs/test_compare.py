#!/usr/bin/env python3
"""Runs bench/compare.py on stand-ins for its programs: what it refuses, counts, and says."""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

COMPARE = Path(__file__).resolve().parents[2] / "bench" / "compare.py"

# A side of the comparison that takes SECONDS a step and computes VALUES.
STAND_IN = """#!{python}
import json, os, struct, sys
if "--benchmark_list_tests" in sys.argv:
    print("gelu/real_time")
elif sys.argv[1] == "--save":
    values = {values}
    with open(sys.argv[2] + "/gelu.f32", "wb") as file:
        file.write(f"y {{len(values)}} \\n".encode() + struct.pack(f"{{len(values)}}f", *values))
else:
    seconds = {seconds} / (2 if "GLIBC_TUNABLES" in os.environ else 1)
    print(json.dumps({{
        "context": {{"library": "{name}", "blas": "{blas}", "threads": "1", "round_trip": "{trip}"}},
        "benchmarks": [{{"name": "gelu/real_time", "real_time": seconds, "time_unit": "s", "items": 1}}]
    }}))
"""


def stand_in(path, name, seconds, values="[1, 2]", blas="OpenBLAS", trip=100):
    parts = {"python": sys.executable, "name": name, "seconds": seconds, "values": values, "blas": blas, "trip": trip}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STAND_IN.format(**parts))
    path.chmod(0o755)


def compare(directory, *names):
    places = ["--build", directory, "--torch", directory / "torch", "--out", directory / "out"]
    command = [sys.executable, COMPARE, *places, "--threads", "1", *names]
    return subprocess.run(command, capture_output=True, text=True)


def expect(what, condition, done):
    if not condition:
        sys.exit(f"{what}:\n{done.stdout}{done.stderr}")
    print(f"{what}: yes")


def good_run(directory):
    done = compare(directory, "gelu")
    expect("a run succeeds", done.returncode == 0, done)
    line = next((x for x in done.stdout.splitlines() if x.startswith("GELU")), "")
    for cell in ("2 ms", "6 ms", "3.00x", "3 ms, 1.50x", "50 %", ">= 1.5x ok", ">= 70 % of roofline MISSED"):
        expect(f"its table says {cell}", cell in line, done)
    row = json.loads((directory / "out" / "compare.json").read_text())["rows"][0]
    met = {"ratio": True, "roofline": False}
    expect("its JSON says the same", row["ratio"] == 3 and row["met"] == met, done)
    markdown = (directory / "out" / "compare.md").read_text()
    expect("its Markdown has the row", "| GELU, 2048 x 1024 | 2 ms |" in markdown, done)
    near = "core and back: 100 to 100 ns" in done.stdout and "apart for" not in done.stdout
    expect("how far apart the cores lay is said", near, done)


def noisy_runs(directory, torch):
    stand_in(torch, "PyTorch", 0.006, trip=400)
    done = compare(directory, "gelu")
    moved = "noisy: the host moved the cores apart for 6 of 12 processes"
    far = "up to 400 ns, not 100"
    expect("cores that moved apart are called out", moved in done.stdout and far in done.stdout, done)

    stand_in(torch, "PyTorch", 0.006, blas="another")
    done = compare(directory, "gelu")
    differ = "noisy: the sides differ in blas: OpenBLAS, another"
    expect("another BLAS is called out", differ in done.stdout, done)


def refusals(directory, torch):
    for what, values, words in [
        ("other results are refused", "[1, 2.01]", "gelu: y differs by 0.0045"),
        ("NaN is refused", "[float('nan'), 2]", "gelu: y differs by inf"),
        ("other sizes are refused", "[1, 2, 3]", "y has 2 elements and 3"),
    ]:
        stand_in(torch, "PyTorch", 0.006, values=values)
        done = compare(directory, "gelu")
        expect(what, done.returncode == 1 and words in done.stderr, done)
    done = compare(directory, "gelo")
    expect("an unknown row is refused", done.returncode == 2 and "no row begins with gelo" in done.stderr, done)


# A library whose second thread makes a step three times as long beside a neighbour, and half as long alone.
STEPS = """#!{python}
import json, os, sys
from pathlib import Path
if "--benchmark_list_tests" in sys.argv:
    print("gpt_step/real_time\\nsmall_gpt_step/real_time")
else:
    children = Path(f"/proc/{{os.getppid()}}/task/{{os.getppid()}}/children").read_text().split()
    beside = sum(b"while True: pass" in Path(f"/proc/{{c}}/cmdline").read_bytes() for c in children)
    two = os.environ["ATTUNE_NUM_THREADS"] == "2" and os.environ["OMP_NUM_THREADS"] == "2"
    seconds = 0.001 * (beside + 1) * ((3 if beside else 0.5) if two else 1)
    name = next(a for a in sys.argv if "filter" in a).split("^")[1].strip("$")
    print(json.dumps({{
        "context": {{"library": "L", "blas": "B", "threads": "1"}},
        "benchmarks": [{{"name": name, "real_time": seconds, "time_unit": "s", "items": 1}}]
    }}))
"""


def beside_neighbours(directory):
    path = directory / "bench" / "attune_compare"
    path.write_text(STEPS.format(python=sys.executable))
    path.chmod(0o755)
    done = compare(directory, "--rounds", "1", "neighbours")
    expect("steps beside neighbours are timed", done.returncode == 0, done)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("GPT step")]
    alone = ["0", "Attune", "1", "ms", "0.5", "ms", "0.50x", "<=", "1.2x", "ok"]
    two = ["2", "Attune", "3", "ms", "9", "ms", "3.00x", "<=", "1.2x", "MISSED"]
    expect("three lines a workload", len(lines) == 6, done)
    expect("a quiet machine's meets the target", lines[0][-10:] == alone, done)
    expect("one beside two processes misses it", lines[2][-10:] == two, done)
    rows = json.loads((directory / "out" / "neighbours.json").read_text())["rows"]
    expect("the JSON says the same", rows[5]["neighbours"] == 2 and rows[5]["ms"]["Attune"]["2"] > 8.9, done)


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        torch = directory / "torch" / "torch_compare"
        stand_in(directory / "bench" / "attune_compare", "Attune", 0.002)
        stand_in(torch, "PyTorch", 0.006)
        stand_in(directory / "bench" / "roofline", "limits", 0.001)
        good_run(directory)
        noisy_runs(directory, torch)
        refusals(directory, torch)
        torch.unlink()
        beside_neighbours(directory)


if __name__ == "__main__":
    main()
