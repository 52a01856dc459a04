#!/usr/bin/env python3
"""Runs the main example as its users do: the same bits at any thread count and after an interruption, and clear words for wrong options.

usage: test_training_runs.py REFORMER_COPY
"""

import hashlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

PROGRAM = sys.argv[1]
SMALL = ["--length", "32", "--chunk", "4", "--d-model", "32", "--d-ff", "32", "--batch", "8", "--hashes", "2", "--layers", "2",
         "--dropout", "0.1", "--steps", "30"]
# Weights, and the factors that take them to where the first of these is not finite. (A large factor and its inverse leave the loss as it is.)
LARGE = [("the loss", {"reformer.encoder.layer_norm.weight": 1e38}),
         ("the gradient's norm", {"lm_head.decoder.weight": 1e20, "reformer.encoder.layers.0.attention.output.dense.weight": 1e25,
                                  "reformer.encoder.layers.0.attention.self_attention.value.weight": 1e-25})]
failures = []


def check(what, ok, detail=""):
    print(f"{'ok    ' if ok else 'FAILED'} {what}{'' if ok else ': ' + detail}", flush=True)
    if not ok:
        failures.append(what)


def run(*args, **environment):
    return subprocess.run([PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def weights(directory, name="checkpoint.safetensors"):
    return hashlib.sha256((directory / name).read_bytes()).hexdigest()


def interrupted(args, line_start, by=signal.SIGINT):
    """Runs, presses Ctrl-C (or sends another signal) at the first line that starts so, and returns (exit code, all of stdout)."""
    process = subprocess.Popen([PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith(line_start):
            process.send_signal(by)
            break
    rest, _ = process.communicate()
    return process.returncode, seen + rest


def change_checkpoint(path, change):
    """Writes a safetensors file again after change(header, data), which returns new data."""
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + n])
    data = change(header, raw[8 + n:])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def drop_history(header, data):
    begin, end = header.pop("history")["data_offsets"]
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [at - (end - begin) for at in entry["data_offsets"]]
    return data[:begin] + data[end:]


def set_metadata(name, value):
    def change(header, data):
        header["__metadata__"][name] = value
        return data
    return change


def scaled(factors):
    """float32 tensors times something."""
    def change(header, data):
        for tensor, factor in factors.items():
            begin, end = header[f"model.{tensor}"]["data_offsets"]
            count = (end - begin) // 4
            values = [v * factor for v in struct.unpack(f"<{count}f", data[begin:end])]
            data = data[:begin] + struct.pack(f"<{count}f", *values) + data[end:]
        return data
    return change


def refused(what, args, *words):
    result = run(*args)
    check(f"{what} is refused in one line with exit code 2", result.returncode == 2 and all(w in result.stderr for w in words) and
          result.stderr.count("\n") == 1 and "tokens/s" not in result.stdout, f"{result.returncode} {result.stderr}")


def refusals(root):
    absurd = [("--length", ["31", "-4", "2", "9223372036854775806", "9223372036854775808", "1000000000", "1e3"]), ("--heads", ["3", "0"]),
              ("--lr", ["fast", "nan", "inf", "-1", "0"]), ("--wrong", ["1"]), ("--variant", ["trax"]), ("--hashes", ["0", "2000000000"]),
              ("--layers", ["1099511627776", "2000000000", "-1"]), ("--d-model", ["1", "1048576"]), ("--batch", ["0", "2000000000"]),
              ("--dropout", ["nan", "1"]), ("--axial-rows", ["1", "1000"]), ("--threads", ["-1", "100000"]), ("--seed", ["-1", "18446744073709551616"]),
              ("--steps", ["0", "-5"]), ("--out", [""])]
    for name, values in absurd:
        for value in values:
            refused(f"{name} {value or 'nothing'}", [name, value])
    refused("an unknown option", ["--lenght", "12"], "reformer_copy: --lenght is no option (--help lists the options)\n")
    refused("a word", ["fast"], "reformer_copy: fast is no option; options begin with --\n")
    refused("--table with --full", ["--table", "--full"], "--full does not go with --table")
    refused("a directory that cannot be written", ["--steps", "1", "--out", "/dev/null/here"], "/dev/null/here")
    missing = root / "missing"
    refused("--resume without a checkpoint", ["--resume", "--out", str(missing)], "checkpoint.safetensors: cannot be opened")
    check("and makes no directory", not missing.exists())

    short = [*SMALL, "--steps", "2", "--out", str(root / "short")]
    run(*short)
    checkpoint = root / "short" / "checkpoint.safetensors"
    good = checkpoint.read_bytes()
    refused("a checkpoint of another course", [*short, "--lr", "0.5", "--hashes", "4", "--resume"],
            "was written under other options: --hashes 2 there and 4 here, --lr 0.001 there and 0.5 here")
    for what, change, words in [("without a history", drop_history, 'no "history"'),
                                ("with a malformed random state", set_metadata("random", "1 x"), "malformed random state"),
                                ("of another program", lambda header, data: (header.pop("__metadata__"), data)[1], 'no "course"')]:
        checkpoint.write_bytes(good)
        change_checkpoint(checkpoint, change)
        refused(f"a checkpoint {what}", [*short, "--resume"], "checkpoint.safetensors: is no checkpoint of this program", words)
    checkpoint.write_bytes(good[:100])
    refused("half a checkpoint", [*short, "--resume"], "checkpoint.safetensors")
    checkpoint.write_bytes(good)
    result = run(*short, "--resume")
    check("a finished run resumes with its evaluation", result.returncode == 0 and "evaluated with full" in result.stdout, result.stderr)


def tables(root):
    """A table that is interrupted in its second row continues with the same bits."""
    args = [*SMALL, "--steps", "60", "--table", "--out"]
    whole, broken = root / "table", root / "broken_table"
    result = run(*args, str(whole))
    check("--table prints the paper's numbers beside ours", result.returncode == 0 and "(77.9)" in result.stdout, result.stderr)
    code, out = interrupted([*args, str(broken)], "2 of 4")
    refused("a table over an unfinished one", [*args, str(broken)], "LSH-4.safetensors: is of an unfinished run (step ", "--resume continues it")
    (broken / "LSH-4.safetensors").rename(root / "kept")
    refused("and over one whose next row has not begun", [*args, str(broken)], "broken_table: has an unfinished table (1 of 4 rows)")
    refused("with a way that works", [*args, str(broken), "--lr", "0.5"], "(1 of 4 rows) under other options (--lr ", "; another --out leaves it alone")
    (root / "kept").rename(broken / "LSH-4.safetensors")
    check("an interrupted table says where it stopped", code == 130 and "Interrupted in row 2 of 4, trained with LSH-4, after step" in out and
          "LSH-4.safetensors. The same command with --resume continues." in out, out)
    resumed = run(*args, str(broken), "--resume")
    check("a table goes on", resumed.returncode == 0 and "1 of 4: training with full, from step 60 on" in resumed.stdout, resumed.stderr)
    last = lambda text: text.splitlines()[-6:]
    again = run(*args, str(whole), "--hashes", "2")
    check("a finished table is kept", again.returncode == 0 and again.stdout.count("is of a finished run; kept as") == 4 and
          last(again.stdout) == last(result.stdout), again.stdout + again.stderr)
    check("and ends with the same numbers and bits", last(result.stdout) == last(resumed.stdout) and
          all(weights(whole, f"{row}.safetensors") == weights(broken, f"{row}.safetensors") for row in ("full", "LSH-4", "LSH-2", "LSH-1")),
          resumed.stdout)


def others(root):
    """What is there already is not trained over."""
    args = [*SMALL, "--steps", "400", "--out", str(root / "signals")]
    checkpoint = root / "signals" / "checkpoint.safetensors"
    for by, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        checkpoint.unlink(missing_ok=True)
        got, out = interrupted(args, "1/400", by)
        check(f"{by.name} saves and says so", got == code and f"Interrupted by {by.name} after step" in out and checkpoint.exists(), f"{got} {out}")
    default = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    got, out = interrupted([*SMALL, "--out", str(root / "nohup")], "1/30", signal.SIGHUP)
    signal.signal(signal.SIGHUP, default)
    check("under nohup a run goes on when the terminal closes", got == 0 and "Interrupted" not in out, f"{got} {out}")
    before = checkpoint.read_bytes()
    refused("a run over an unfinished one", args, "signals/checkpoint.safetensors: is of an unfinished run (step ", " of 400); --resume continues it")
    refused("one of other options, too", [*args, "--lr", "0.5"], "is of an unfinished run", " under other options (--lr ",
            "here); another --out leaves it alone")
    check("and the unfinished one is still there", checkpoint.read_bytes() == before)
    result = run(*args, "--resume")
    check("until it is resumed", result.returncode == 0, result.stderr)
    finished = checkpoint.read_bytes()
    result = run(*args, "--steps", "2")
    kept = root / "signals" / "checkpoint-1.safetensors"
    check("a finished run is kept", result.returncode == 0 and f"is of a finished run; kept as {kept}" in result.stdout and
          kept.read_bytes() == finished, result.stdout)
    finished = checkpoint.read_bytes()
    result = run(*args, "--steps", "2")
    check("and one under the same options, which are the same again", result.returncode == 0 and
          (root / "signals" / "checkpoint-2.safetensors").read_bytes() == finished == checkpoint.read_bytes(), result.stdout)
    checkpoint.write_bytes(b"notes")
    refused("a run over a file of something else", args, "checkpoint.safetensors")
    check("and leaves it", checkpoint.read_bytes() == b"notes")


def no_longer_finite(root):
    """The loss is infinite, or it is not but its gradient is: the run stops and the last good checkpoint stays."""
    args = [*SMALL, "--steps", "400", "--save-every", "1000", "--out", str(root / "infinite")]
    checkpoint = root / "infinite" / "checkpoint.safetensors"
    interrupted(args, "1/400")
    good = checkpoint.read_bytes()
    for what, factors in LARGE:
        checkpoint.write_bytes(good)
        change_checkpoint(checkpoint, scaled(factors))
        before = checkpoint.read_bytes()
        result = run(*args, "--resume")
        check(f"a run stops where {what} is not finite", result.returncode == 1 and f"reformer_copy: {what} is " in result.stderr and
              "; a smaller --lr may help" in result.stderr and result.stderr.count("\n") == 1 and checkpoint.read_bytes() == before,
              f"{result.returncode} {result.stderr}")


def main():
    root = pathlib.Path(tempfile.mkdtemp())
    # A test started by nohup, or in the background of a script, would hand these to the program as ignored.
    for each in (signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)

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
    code, out = interrupted([*long, "--out", str(broken)], "1/400")
    check("Ctrl-C saves and says so", code == 130 and "--resume continues" in out, out)
    result = run(*long, "--out", str(broken), "--resume")
    check("--resume goes on", result.returncode == 0 and "Resuming after step" in result.stdout, result.stderr)
    check("an interrupted run ends with the same bits as a whole one", weights(whole) == weights(broken))

    # In the middle of a step of many batches.
    slow = [*SMALL, "--accumulate", "2000", "--steps", "2", "--out", str(root / "slow")]
    process = subprocess.Popen([PROGRAM, *slow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    check("Ctrl-C does not wait for a long step", process.returncode == 130 and "Interrupted after step 0 of 2" in out, out)

    tables(root)
    refusals(root)
    others(root)
    no_longer_finite(root)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
