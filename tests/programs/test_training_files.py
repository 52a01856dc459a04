#!/usr/bin/env python3
"""The files of a training run: damaged, on a full disk, and as others read them.

`test_training_files.py REFORMER_COPY`
"""
import csv
import resource
import signal
import struct
import subprocess
import sys
import time

from training import PROGRAM, SMALL, Ended, check, interrupted, main, refused, run, start

LONG = [*SMALL, "--steps", "400", "--save-every", "5"]


def bytes_of(directory, name="checkpoint.safetensors"):
    return (directory / name).read_bytes()


# ---- checkpoints


def damage(root):
    """A flipped bit is found, and the checkpoint before, by its name, goes on to the same bits."""
    run(*LONG, "--out", root / "whole")
    out = root / "damaged"
    process = start(*LONG, "--out", out)
    while not list(out.glob("checkpoint-step*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    done = Ended(process)
    check("a run that will be damaged", done.code == 130, done)
    checkpoint = out / "checkpoint.safetensors"
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 4
    checkpoint.write_bytes(data)
    before = sorted(out.glob("checkpoint-step*.safetensors"))
    check("the checkpoint before is there", len(before) == 1, before)
    one_before = f"the one before, {before[0]}, is"
    refused("a damaged checkpoint", [*LONG, "--out", out, "--resume"], str(checkpoint), one_before)
    refused("and not trained over", [*LONG, "--out", out], str(checkpoint))
    checkpoint.rename(root / "moved")
    done = run(*LONG, "--out", out, "--resume")
    check("with it moved away the run goes on", done.code == 0 and done.says(f"from {before[0]}"), done)
    check("and ends with the bits of a whole one", bytes_of(out) == bytes_of(root / "whole"))


def full_disk(root):
    """After damage(). A checkpoint that does not fit leaves the one before whole, and nothing of itself."""
    out = root / "full"
    interrupted([*LONG, "--out", out], "1/400")
    before = bytes_of(out)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, resource.RLIM_INFINITY))

    arguments = [PROGRAM, *map(str, [*LONG, "--out", out, "--resume"])]
    done = Ended(subprocess.Popen(arguments, preexec_fn=limit, stdout=-1, stderr=-1, text=True))
    told = done.code == 1 and "checkpoint.safetensors: cannot be written: File too large" in done.err
    check("a full disk is told", told, done)
    names = {path.name for path in out.iterdir()}
    left = [name for name in names if ".tmp" in name]
    check("and leaves the checkpoint before, and no part of another", bytes_of(out) == before and not left, names)
    done = run(*LONG, "--out", out, "--resume")
    same = done.code == 0 and bytes_of(out) == bytes_of(root / "whole")
    check("from which the run goes on to the same bits", same, done)


def second_signal(root):
    """The first asks for a checkpoint after the step under way, any second one does not wait for it."""
    for second in (signal.SIGINT, signal.SIGTERM):
        out = root / f"second_{second.name}"
        # A step takes seconds.
        process = start(*SMALL, "--length", "4096", "--batch", "128", "--layers", "8", "--steps", "2", "--out", out)
        process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(second)
        done = Ended(process)
        check(f"{second.name} after Ctrl-C ends at once", done.code == -second, done)


# ---- TensorBoard


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    """Of a TFRecord file, with both checksums compared."""
    at = 0
    while at < len(data):
        length, checksum = struct.unpack_from("<QI", data, at)
        assert checksum == masked(data[at : at + 8]), f"the length's checksum at {at}"
        payload = data[at + 12 : at + 12 + length]
        assert len(payload) == length, f"a torn record at {at}"
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(payload), f"a record's checksum at {at}"
        yield payload
        at += 16 + length


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def fields(message):
    """Of a protocol buffer: (number, value)."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(message, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", message, at)[0], at + 8
        elif kind == 5:
            value, at = struct.unpack_from("<f", message, at)[0], at + 4
        else:
            assert kind == 2, f"wire type {kind}"
            length, at = varint(message, at)
            value, at = message[at : at + length], at + length
        yield key >> 3, value


def scalars(path):
    """[(step, {name: value})] of an event file."""
    events = [list(fields(record)) for record in records(path.read_bytes())]
    assert dict(events[0])[3] == b"brain.Event:2", events[0]
    times = [dict(event)[1] for event in events]
    assert times == sorted(times) and times[0] > 1.7e9, times
    found = []
    for event in events[1:]:
        values = [dict(fields(value)) for number, value in fields(dict(event)[5]) if number == 1]
        found.append((dict(event)[2], {value[1].decode(): value[2] for value in values}))
    return found


def tensorboard(root):
    """After damage(), whose runs were interrupted, resumed from an earlier step, and whole."""
    assert crc32c(b"123456789") == 0xE3069283
    seen = {}
    for name in ("whole", "damaged", "full"):
        seen[name] = scalars(root / name / "events.out.tfevents.attune")
        with open(root / name / "metrics.csv") as file:
            rows = list(csv.DictReader(file))
        same = len(rows) == len(seen[name]) == 400 and all(
            int(row["step"]) == step == number
            and struct.unpack("<f", struct.pack("<f", float(row["loss"])))[0] == values["loss"]
            and abs(float(row["accuracy"]) - values["accuracy"]) < 1e-6
            for number, (row, (step, values)) in enumerate(zip(rows, seen[name]), 1)
        )
        check(f"the {name} run's events are its CSV file's lines, one a step", same, (rows[:2], seen[name][:2]))
    check("and the same after interruptions", seen["whole"] == seen["damaged"] == seen["full"])
    try:  # TensorBoard's own reader, where it is installed
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    except ImportError:
        return
    steps = [event.step for event in EventFileLoader(str(root / "whole" / "events.out.tfevents.attune")).Load()]
    check("TensorBoard reads them", steps == [0, *range(1, 401)], steps)


if __name__ == "__main__":
    sys.exit(main([damage, full_disk, second_signal, tensorboard]))
