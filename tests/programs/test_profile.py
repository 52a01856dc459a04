#!/usr/bin/env python3
"""`test_profile.py PROFILED`: the timeline that ATTUNE_PROFILE=FILE.json writes, however the program ends."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

PROGRAM = os.path.abspath(sys.argv[1])
faults = []


def check(what, true, seen=""):
    if not true:
        faults.append(f"{what}: {seen}")


def run(setting, *args, cwd=None):
    environment = {**os.environ, "ATTUNE_PROFILE": setting}
    return subprocess.run([PROGRAM, *args], env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def events(path, phase="X"):
    return [e for e in json.loads(path.read_text())["traceEvents"] if e["ph"] == phase]


def named(all_events, name, category):
    return [e for e in all_events if e["name"] == name and e["cat"] == category]


def inside(inner, outer):
    begins = inner["ts"] >= outer["ts"]
    return begins and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"] and inner["tid"] == outer["tid"]


def timeline(root):
    path = root / "trace.json"
    done = run("trace.json", cwd=root)
    check("a run", done.returncode == 0 and done.stderr == "", done)
    all_events = events(path)
    check("calls forward", len(named(all_events, "linear", "forward")) == 6, all_events)
    check("steps back", len(named(all_events, "linear", "backward")) >= 6, all_events)
    check("updates", len(named(all_events, "SGD", "optimiser")) == 3, all_events)
    nets = named(all_events, "Net", "module")
    layers = [e for e in named(all_events, "Linear", "module")]
    check("modules", len(nets) == 3 and len(layers) == 6, all_events)
    paths = sorted({e["args"]["module"] for e in layers})
    check("paths of modules", paths == ["down", "up"], paths)
    for layer in layers:
        check("a layer lies in its net", any(inside(layer, net) for net in nets), layer)
    for call in named(all_events, "linear", "forward"):
        check("a call lies in its layer", any(inside(call, layer) for layer in layers), call)
        check("a call has its work", call["args"]["flops"] > 0 and call["args"]["bytes"] > 0, call)
        check("and its module", call["args"]["module"] in ("up", "down"), call)
    check("lines", any(e["args"].get("line", "").startswith("profiled.cpp:") for e in nets), nets)
    # Each thread's frames are nested or apart.
    ordered = sorted(all_events, key=lambda e: (e["tid"], e["ts"], -e["dur"]))
    open_events = []
    for e in ordered:
        while open_events and (
            open_events[-1]["tid"] != e["tid"] or open_events[-1]["ts"] + open_events[-1]["dur"] <= e["ts"]
        ):
            open_events.pop()
        check("nesting", not open_events or inside(e, open_events[-1]), e)
        open_events.append(e)
    memory = events(path, "C")
    check("memory", memory and all(e["args"]["live bytes"] > 0 for e in memory), memory[:3])
    threads = [e["args"]["name"] for e in events(path, "M") if e["name"] == "thread_name"]
    check("names of threads", threads == ["main"], threads)


def endings(root):
    for how, code in (("exit", 3), ("throw", -6), ("thread", 0), ("fork", 0)):
        path = root / f"{how}.json"
        done = run(str(path), how)
        check(f"{how}: its own code", done.returncode == code, done)
        all_events = events(path)
        check(f"{how}: a whole timeline", len(named(all_events, "SGD", "optimiser")) == 3, all_events)
        if how == "throw":
            cut = [e["name"] for e in all_events if e["args"].get("unfinished")]
            check("what ran when it ended", "matmul" not in cut or cut == ["matmul"], cut)
            check("the error is told", "matmul: inner sizes differ" in done.stderr, done.stderr)
        if how == "thread":
            check("threads have lanes of their own", {e["tid"] for e in all_events} == {1, 2}, all_events)
        if how == "fork":
            check("the child writes nothing", named(all_events, "neg", "forward"), all_events)
    path = root / "many.json"
    done = run(str(path), "many")
    data = json.loads(path.read_text())
    check("a limit", len(events(path)) == 400_000 == data["otherData"]["events"], data["otherData"])
    left_out = data["otherData"]["left out"]
    said = f"the first 400000 of {400_000 + left_out} calls; the rest is left out"
    check("what is left out is told", left_out > 50_000 and said in done.stderr, done.stderr)


def refusals(root):
    (root / "folder.json").mkdir()
    (root / "old.json").write_text("old")
    for setting, why in (
        ("/nonexistent/t.json", "ATTUNE_PROFILE: /nonexistent/t.json: cannot be written: No such file or directory"),
        (f"{root}/folder.json", f"ATTUNE_PROFILE: {root}/folder.json: is not a regular file"),
        ("yes", "ATTUNE_PROFILE=yes: expected 1, for a table, or a file's name that ends in .json"),
        (".json", "ATTUNE_PROFILE=.json: expected 1, for a table, or a file's name that ends in .json"),
    ):
        done = run(setting)
        check(setting, done.returncode == 2 and done.stderr == why + "\n" and done.stdout == "", done)
    for setting in ("", "0"):
        done = run(setting)
        check(f"off: {setting!r}", done.returncode == 0 and done.stderr == "", done)
    check("a table", "outside of operations" in run("1").stderr)
    run(f"{root}/old.json")
    check("an old file is replaced", len(events(root / "old.json")) > 10)
    check("nothing else is left", not list(root.glob("*.tmp")), list(root.iterdir()))


def main():
    with tempfile.TemporaryDirectory() as place:
        root = pathlib.Path(place)
        timeline(root)
        endings(root)
        refusals(root)
    print("\n".join(f"FAILED {fault}"[:600] for fault in faults) or "passed")
    return 1 if faults else 0


sys.exit(main())
