#!/usr/bin/env python3
"""Checks what the files of the library include: `check_layers.py [ROOT]`.

A room is a folder. Its files include their own room and those below it; headers in a folder `internal/` serve the room
around it alone. Prints a line for each include that breaks a rule, and fails if there is one.
"""
import re
import sys
from pathlib import Path

# Lowest first.
ROOMS = [
    "autograd/runtime",
    "autograd/kernels",
    "autograd/tensor",
    "autograd/tape",
    "autograd/ops",
    "autograd/derivatives",
    "autograd/io",
    "autograd/trace",
    "autograd",  # autograd.h alone
    "optim",
    "nn",
    "nn/layers",
    "nn/recurrent",
    "nn/attention",
    "nn/models",
    "nn/text",
    "nn/metrics",
    "nn/data",
    "nn/decode",
    "nn/training",
]
LIBRARY = ("autograd", "nn", "optim")

NN = ("module", "parameter", "hooks", "init", "loss", "gradcheck", "weight_norm", "weight_average")
# Files that stand in a folder which has rooms of its own: no others may.
LOOSE = {
    "autograd": {"autograd.h"},
    "nn": {"nn.h", "state.cpp", "print.cpp"}  # the latter two of module.h
    | {f"{name}.{kind}" for name in NN for kind in ("h", "cpp")},
}
# The umbrella headers see every room of theirs.
UMBRELLAS = {"autograd/autograd.h": "autograd/", "nn/nn.h": "", "optim/optim.h": "optim/"}

# Pairs that may not meet although they lie in order: (from, to, why).
APART = [
    ("nn", "optim", "modules and optimisers know parameters, not each other"),
    ("", "autograd/trace", "trace/ watches the others; nothing includes it"),
]
# Internal files that another room may include, too.
DOORS = [
    ("autograd/io/internal/checksum.h", "nn/data/"),
    ("autograd/tensor/internal/", "autograd/tape/"),  # a tensor's handle points into the tape
    ("nn/text/internal/unicode.h", "nn/metrics/words.cpp"),
    # The sweep's sums, where they are recorded.
    ("autograd/tape/internal/gradient_ops.h", "autograd/ops/gradient_ops.cpp"),
]

# Headers of other libraries: the rooms whose sources and whose headers may include them.
EVERY = set(ROOMS)
OUTSIDE = [
    (r"(cblas|lapacke?)\.h|hwy/.*", {"autograd/kernels"}, {"autograd/kernels"}),
    (r"omp\.h", set(), set()),
    (r"fmt/.*|nlohmann/.*|utf8proc\.h", EVERY, set()),
    (r"CLI/.*|doctest/.*|benchmark/.*", set(), set()),
]

INCLUDE = re.compile(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def room_of(path):
    """The room that a path of the library lies in: the deepest that holds it."""
    folders = [room for room in ROOMS if path.startswith(room + "/")]
    return max(folders, key=len, default=None)


def misplaced(path):
    """Why a file may not stand where it does, or None."""
    room = room_of(path)
    if room is None:
        return "in no room that this check knows"
    folder, _, name = path.rpartition("/")
    if folder in LOOSE and name not in LOOSE[folder]:
        return f"{folder}/ has rooms; no other files stand in it"
    return None


def inside(path, room):
    return path.startswith(room + "/") if room else True


def fault(source, included, root):
    """Why `source` may not include `included`, or None."""
    room = room_of(source)
    for pattern, sources, headers in OUTSIDE:
        if re.fullmatch(pattern, included):
            allowed = headers if source.endswith(".h") else sources
            return None if room in allowed else "not a header for this room"
    if not re.match(r"(autograd|nn|optim|examples|bench|tests)/", included):
        here = (root / source).parent / included
        return "written from the repository's root, please" if here.is_file() else None
    other = room_of(included)
    if other is None:
        return f"{included} is in no room that this check knows"
    owner = included.partition("/internal/")[0] if "/internal/" in included else ""
    if owner and not source.startswith(owner + "/"):
        if not any(included.startswith(what) and source.startswith(by) for what, by in DOORS):
            return f"internal to {owner}/"
    for one, two, why in APART:
        if inside(source, one) and not inside(source, two) and inside(included, two):
            return why
    if source in UMBRELLAS:
        return None if inside(included, UMBRELLAS[source].rstrip("/")) else "not this umbrella's"
    if ROOMS.index(other) > ROOMS.index(room):
        return f"{room}/ lies below {other}/"
    return None


# What each umbrella must include: of autograd/ what scripts call, the operations. Headers that others bring along need
# not be named.
COMPLETE = {"nn/nn.h": "nn/", "optim/optim.h": "optim/", "autograd/autograd.h": "autograd/ops/"}
PARTS = {"autograd/ops/operand.h", "optim/optimizer.h"}


def missing_from_umbrellas(files):
    """(umbrella, public header that it leaves out)."""
    for umbrella, folder in COMPLETE.items():
        text = files[umbrella]
        for path in files:
            public = path.endswith(".h") and "/internal/" not in path and path not in UMBRELLAS
            if public and path.startswith(folder) and f'"{path}"' not in text and path not in PARTS:
                yield umbrella, path


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    paths = sorted(p for room in LIBRARY for p in (root / room).rglob("*") if p.suffix in (".h", ".cpp"))
    files = {p.relative_to(root).as_posix(): p.read_text() for p in paths}
    faults = []
    for source, text in files.items():
        if why := misplaced(source):
            faults.append(f"{source}: {why}")
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if found := INCLUDE.match(line):
                included = found[1] or found[2]
                if why := fault(source, included, root):
                    faults.append(f"{source}:{number}: {included}: {why}")
    faults += [f"{umbrella}: leaves {path} out" for umbrella, path in missing_from_umbrellas(files)]
    for line in faults:
        print(line)
    print(f"{len(files)} files, {len(faults)} faults")
    return 1 if faults or not files else 0


sys.exit(main())
