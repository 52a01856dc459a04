#!/usr/bin/env python3
"""Runs the main example as its users do: `test_training_runs.py REFORMER_COPY`.

The same bits at any number of threads and after an interruption, nothing trained over what is there, and clear words
for wrong options.
"""
import hashlib
import json
import signal
import struct
import sys
import time
from pathlib import Path

from training import SMALL, Ended, check, interrupted, main, refused, run, start

# Weights, and the factors that take them to where the first of these is not finite. (A large factor and its inverse
# leave the loss as it is.)
LARGE = {
    "the loss": {"reformer.encoder.layer_norm.weight": 1e38},
    "the gradient's norm": {
        "lm_head.decoder.weight": 1e20,
        "reformer.encoder.layers.0.attention.output.dense.weight": 1e25,
        "reformer.encoder.layers.0.attention.self_attention.value.weight": 1e-25,
    },
}
# Options that cannot work.
ABSURD = {
    "--length": "31 -4 2 9223372036854775806 9223372036854775808 1000000000 1e3",
    "--heads": "3 0",
    "--lr": "fast nan inf -1 0",
    "--wrong": "1",
    "--variant": "trax",
    "--hashes": "0 2000000000",
    "--layers": "1099511627776 2000000000 -1",
    "--d-model": "1 1048576",
    "--batch": "0 2000000000",
    "--dropout": "nan 1",
    "--axial-rows": "1 1000",
    "--threads": "-1 100000",
    "--seed": "-1 18446744073709551616",
    "--steps": "0 -5",
}
# Families of OpenBLAS's kernels, and what a processor needs for them.
KERNELS = {"Haswell": "avx2", "SkylakeX": "avx512vl"}
# ---- checkpoints


def weights(directory, name="checkpoint.safetensors"):
    return hashlib.sha256((directory / name).read_bytes()).hexdigest()


def change_checkpoint(path, change):
    """Writes a safetensors file again after change(header, data), which returns new data; without checksums."""
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + n])
    data = change(header, raw[8 + n :])
    for key in ("attune.crc32", "attune.crc32.metadata"):
        header.get("__metadata__", {}).pop(key, None)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def drop(name):
    def change(header, data):
        begin, end = header.pop(name)["data_offsets"]
        for entry in header.values():
            if "data_offsets" in entry and entry["data_offsets"][0] >= end:
                entry["data_offsets"] = [at - (end - begin) for at in entry["data_offsets"]]
        return data[:begin] + data[end:]

    return change


def drop_metadata(header, data):
    del header["__metadata__"]
    return data


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


# ---- the same bits


def threads(root):
    processor = Path("/proc/cpuinfo").read_text().split()
    for core in (core for core, needed in KERNELS.items() if needed in processor):
        seen = set()
        for count in (1, 2, 4):
            out = root / f"{core}{count}"
            done = run(*SMALL, "--threads", count, "--out", out, OPENBLAS_CORETYPE=core)
            check(f"training with {core} kernels on {count} threads", done.code == 0, done)
            seen.add(weights(out))
        check(f"the same bits at 1, 2 and 4 threads with {core} kernels", len(seen) == 1)


def interruptions(root):
    whole, broken = root / "whole", root / "broken"
    long = [*SMALL, "--steps", "400"]
    run(*long, "--out", whole)
    done = interrupted([*long, "--out", broken], "1/400")
    check("Ctrl-C saves and says so", done.code == 130 and done.says("--resume continues"), done)
    done = run(*long, "--out", broken, "--resume")
    check("--resume goes on", done.code == 0 and done.says("Resuming after step"), done)
    check("an interrupted run ends with the same bits as a whole one", weights(whole) == weights(broken))


def kills(root):
    """kill -9 at any moment loses the steps since the last checkpoint, and nothing else."""
    long = [*SMALL, "--steps", "400", "--save-every", "7", "--out", root / "killed"]
    for pause in (0.2, 0.35, 0.5):
        process = start(*long, *(["--resume"] if (root / "killed").exists() else []))
        while not (root / "killed" / "checkpoint.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)  # a busy machine takes its time
        time.sleep(pause)
        process.kill()
        process.communicate()
    done = run(*long, "--resume")
    check("a run that was killed goes on", done.code == 0, done)
    check("and ends with the same bits", weights(root / "whole") == weights(root / "killed"))
    lines = (root / "killed" / "metrics.csv").read_text().splitlines()
    steps = [int(line.split(",")[0]) for line in lines[1:]]
    check("with one line a step", steps == list(range(1, 401)), steps)


def long_steps(root):
    """Ctrl-C in the middle of a step of many batches."""
    process = start(*SMALL, "--accumulate", "2000", "--steps", "2", "--out", root / "slow")
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    done = Ended(process)
    stopped = done.code == 130 and done.says("Interrupted after step 0 of 2")
    check("Ctrl-C does not wait for a long step", stopped, done)


def tables(root):
    """A table that is interrupted in its second row continues with the same bits."""
    args = [*SMALL, "--steps", "60", "--table", "--out"]
    whole, broken = root / "table", root / "broken_table"
    first = run(*args, whole)
    check("--table prints the paper's numbers beside ours", first.code == 0 and first.says("(77.9)"), first)

    stopped = interrupted([*args, broken], "2 of 4")
    unfinished = "LSH-4.safetensors: is of an unfinished run (step "
    refused("a table over an unfinished one", [*args, broken], unfinished, "--resume continues it")
    (broken / "LSH-4.safetensors").rename(root / "kept")
    unfinished = "broken_table: has an unfinished table (1 of 4 rows)"
    refused("and over one whose next row has not begun", [*args, broken], unfinished)
    other_options = ["(1 of 4 rows) under other options (--lr ", "; another --out leaves it alone"]
    refused("with a way that works", [*args, broken, "--lr", "0.5"], *other_options)
    (root / "kept").rename(broken / "LSH-4.safetensors")
    where = "Interrupted in row 2 of 4, trained with LSH-4, after step"
    how = "LSH-4.safetensors. The same command with --resume continues."
    check("an interrupted table says where it stopped", stopped.code == 130 and stopped.says(where, how), stopped)

    resumed = run(*args, broken, "--resume")
    goes_on = resumed.code == 0 and resumed.says("1 of 4: training with full, from step 60 on")
    check("a table goes on", goes_on, resumed)
    again = run(*args, whole, "--hashes", "2")
    first_rows, resumed_rows, again_rows = (done.out.splitlines()[-6:] for done in (first, resumed, again))
    kept = again.code == 0 and again.out.count("is of a finished run; kept as") == 4 and again_rows == first_rows
    check("a finished table is kept", kept, again)
    files = [f"{row}.safetensors" for row in ("full", "LSH-4", "LSH-2", "LSH-1")]
    same_bits = all(weights(whole, name) == weights(broken, name) for name in files)
    check("and ends with the same numbers and bits", first_rows == resumed_rows and same_bits, resumed)


# ---- what is refused


def wrong_options(root):
    for name, values in ABSURD.items():
        for value in values.split():
            refused(f"{name} {value}", [name, value])
    refused("--out nothing", ["--out", ""])
    misspelt = "reformer_copy: --lenght is no option (--help lists the options)\n"
    refused("an unknown option", ["--lenght", "12"], misspelt)
    refused("a word", ["fast"], "reformer_copy: fast is no option; options begin with --\n")
    refused("--table with --full", ["--table", "--full"], "--full does not go with --table")
    refused("a directory that cannot be written", ["--steps", "1", "--out", "/dev/null/here"], "/dev/null/here")
    resume = ["--resume", "--out", root / "missing"]
    refused("--resume without a checkpoint", resume, "checkpoint.safetensors: cannot be opened")
    check("and makes no directory", not (root / "missing").exists())


def wrong_checkpoints(root):
    short = [*SMALL, "--steps", "2", "--out", root / "short"]
    run(*short)
    checkpoint = root / "short" / "checkpoint.safetensors"
    good = checkpoint.read_bytes()
    other = "was written under other options: --hashes 2 there and 4 here, --lr 0.001 there and 0.5 here"
    refused("a checkpoint of another course", [*short, "--lr", "0.5", "--hashes", "4", "--resume"], other)
    not_ours = "is no checkpoint of a training run"
    for what, change, words in [
        ("without a random state", drop("random.key"), 'its "random" does not fit'),
        ("without the data's state", drop("data.key"), 'its "data" does not fit'),
        ("with half a model", drop("model.lm_head.bias"), 'its "model" does not fit'),
        ("with malformed steps", set_metadata("checkpoint", '{"step": "x"}'), not_ours),
        ("of another program", drop_metadata, not_ours),
    ]:
        checkpoint.write_bytes(good)
        change_checkpoint(checkpoint, change)
        refused(f"a checkpoint {what}", [*short, "--resume"], "checkpoint.safetensors: ", words)
    checkpoint.write_bytes(good[:100])
    refused("half a checkpoint", [*short, "--resume"], "checkpoint.safetensors")
    checkpoint.write_bytes(good)
    done = run(*short, "--resume")
    evaluated = done.code == 0 and done.says("evaluated with full")
    check("a finished run resumes with its evaluation", evaluated, done)


# ---- what is there already is not trained over


def signals(root):
    checkpoint = root / "signals" / "checkpoint.safetensors"
    for by, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        checkpoint.unlink(missing_ok=True)
        done = interrupted([*SMALL, "--steps", "400", "--out", root / "signals"], "1/400", by)
        saved = done.code == code and done.says(f"Interrupted by {by.name} after step") and checkpoint.exists()
        check(f"{by.name} saves and says so", saved, done)
    default = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    done = interrupted([*SMALL, "--out", root / "nohup"], "1/30", signal.SIGHUP)
    signal.signal(signal.SIGHUP, default)
    goes_on = done.code == 0 and not done.says("Interrupted")
    check("under nohup a run goes on when the terminal closes", goes_on, done)


def unfinished_runs(root):
    """After signals(), which leaves one."""
    args = [*SMALL, "--steps", "400", "--out", root / "signals"]
    checkpoint = root / "signals" / "checkpoint.safetensors"
    before = checkpoint.read_bytes()
    unfinished = ["signals/checkpoint.safetensors: is of an unfinished run (step ", " of 400); --resume continues it"]
    refused("a run over an unfinished one", args, *unfinished)
    others = ["is of an unfinished run", " under other options (--lr ", "here); another --out leaves it alone"]
    refused("one of other options, too", [*args, "--lr", "0.5"], *others)
    check("and the unfinished one is still there", checkpoint.read_bytes() == before)
    done = run(*args, "--resume")
    check("until it is resumed", done.code == 0, done)


def finished_runs(root):
    """After unfinished_runs(), which finishes one."""
    args = [*SMALL, "--steps", "400", "--out", root / "signals"]
    checkpoint, first, second = (root / "signals" / f"checkpoint{n}.safetensors" for n in ("", "-1", "-2"))
    finished = checkpoint.read_bytes()
    done = run(*args, "--steps", "2")
    kept = done.code == 0 and done.says(f"is of a finished run; kept as {first}") and first.read_bytes() == finished
    check("a finished run is kept", kept, done)
    finished = checkpoint.read_bytes()
    done = run(*args, "--steps", "2")
    same = done.code == 0 and second.read_bytes() == finished == checkpoint.read_bytes()
    check("and one under the same options, which are the same again", same, done)
    checkpoint.write_bytes(b"notes")
    refused("a run over a file of something else", args, "checkpoint.safetensors")
    check("and leaves it", checkpoint.read_bytes() == b"notes")


def no_longer_finite(root):
    """The loss is infinite, or it is not but its gradient is: the run stops and the last good checkpoint stays."""
    args = [*SMALL, "--steps", "400", "--save-every", "1000", "--out", root / "infinite"]
    checkpoint = root / "infinite" / "checkpoint.safetensors"
    interrupted(args, "1/400")
    good = checkpoint.read_bytes()
    for what, factors in LARGE.items():
        checkpoint.write_bytes(good)
        change_checkpoint(checkpoint, scaled(factors))
        before = checkpoint.read_bytes()
        done = run(*args, "--resume")
        said = done.code == 1 and done.complains(f"reformer_copy: {what} is ", "; a smaller --lr may help")
        check(f"a run stops where {what} is not finite", said and checkpoint.read_bytes() == before, done)


PARTS = [
    threads,
    interruptions,
    kills,
    long_steps,
    tables,
    wrong_options,
    wrong_checkpoints,
    signals,
    unfinished_runs,
    finished_runs,
    no_longer_finite,
]


if __name__ == "__main__":
    sys.exit(main(PARTS))
