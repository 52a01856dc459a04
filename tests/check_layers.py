#!/usr/bin/env python3
"""Checks that the rooms of the library include downwards only: `check_layers.py [ROOT]`.

Prints a line for each include that breaks a rule, and fails where there is one.
"""
import re
import sys
from pathlib import Path

# Lowest first. A file includes its own room and the lower ones.
ROOMS = [
    ("runtime", r"autograd/runtime/.*"),
    ("kernels", r"autograd/kernels/.*"),
    ("tensor", r"autograd/tensor(_impl)?\.h"),
    ("tape", r"autograd/(tensor\.cpp|(tape|tape_internal|thread_state|sweep|node_table|gradient_memory|op|replay|checkpoint)\.(h|cpp))"),
    ("ops", r"autograd/ops/.*"),
    ("functional", r"autograd/functional\.(h|cpp)"),
    ("io", r"autograd/io/.*"),
    ("trace", r"autograd/trace/.*"),
    ("autograd.h", r"autograd/autograd\.h"),
    ("optim", r"optim/.*"),
    ("nn", r"nn/.*"),
    ("programs", r"(examples|bench|tests)/.*"),
]
RANK = {name: rank for rank, (name, _) in enumerate(ROOMS)}

# Pairs that may not meet although they lie in order.
APART = {
    ("nn", "optim"): "modules and optimisers know parameters, not each other",
    ("autograd.h", "trace"): "nothing in the library includes trace/",
    ("optim", "trace"): "nothing in the library includes trace/",
    ("nn", "trace"): "nothing in the library includes trace/",
}

# Headers of other libraries: the rooms whose files may include them, sources and headers apart.
OUTSIDE = [
    (r"(cblas|lapacke?)\.h|hwy/.*", {"kernels"}, {"kernels"}),
    (r"omp\.h", {"runtime", "kernels"}, set()),
    (r"fmt/.*|nlohmann/.*", set(RANK), set()),
    (r"CLI/.*|doctest/.*|benchmark/.*", set(), set()),
]

INCLUDE = re.compile(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def room_of(path):
    for name, pattern in ROOMS:
        if re.fullmatch(pattern, path):
            return name
    return None


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
    if (room, other) in APART:
        return APART[room, other]
    return f"{room} lies below {other}" if RANK[other] > RANK[room] else None


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    rooms = ("autograd", "nn", "optim")
    files = sorted(p for room in rooms for p in (root / room).rglob("*") if p.suffix in (".h", ".cpp"))
    faults = 0
    for file in files:
        source = file.relative_to(root).as_posix()
        if room_of(source) is None:
            print(f"{source}: in no room that this check knows")
            faults += 1
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if found := INCLUDE.match(line):
                included = found[1] or found[2]
                if why := fault(source, included, root):
                    print(f"{source}:{number}: {included}: {why}")
                    faults += 1
    print(f"{len(files)} files, {faults} faults")
    return 1 if faults or not files else 0


sys.exit(main())
