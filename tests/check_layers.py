"""Checks the arrows between the project's rooms: what may include what (docs/design.md).

usage: check_layers.py SOURCE_DIRECTORY
"""

import pathlib
import re
import sys

# A file may include its own room and these. The longest matching prefix names a file's room.
RUNTIME = ["autograd/runtime"]
KERNELS = RUNTIME + ["autograd/kernels"]
TENSOR = RUNTIME + ["autograd/kernels", "autograd/"]
ALLOWED = {
    "autograd/runtime": RUNTIME,
    "autograd/kernels": KERNELS,
    "autograd/": TENSOR,                                  # tensor, tape, sweep, op: never ops/
    "autograd/ops": TENSOR + ["autograd/ops"],
    "autograd/io": TENSOR + ["autograd/ops", "autograd/io"],
    "autograd/trace": TENSOR + ["autograd/ops", "autograd/io", "autograd/trace"],
    "nn": TENSOR + ["autograd/ops", "autograd/io", "nn"],
    "optim": TENSOR + ["autograd/ops", "autograd/io", "optim"],
}
# Above the tape, though they lie beside it.
ABOVE_OPS = {"autograd/autograd.h", "autograd/functional.cpp"}
ONLY_KERNELS = re.compile(r'#include [<"](hwy/|cblas)')
INCLUDE = re.compile(r'#include "((?:autograd|nn|optim|examples|bench|tests)/[^"]+)"')


def room_of(path):
    rooms = [r for r in ALLOWED if path.startswith(r if r.endswith("/") else r + "/")]
    return max(rooms, key=len) if rooms else path.split("/")[0]


def main():
    root = pathlib.Path(sys.argv[1])
    wrong = []
    for top in ("autograd", "nn", "optim"):
        for file in sorted(list((root / top).rglob("*.h")) + list((root / top).rglob("*.cpp"))):
            path = file.relative_to(root).as_posix()
            room = room_of(path)
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if ONLY_KERNELS.match(line) and room != "autograd/kernels":
                    wrong.append(f"{path}:{number}: only autograd/kernels may know Highway and BLAS")
                match = INCLUDE.match(line)
                if not match or path in ABOVE_OPS:
                    continue
                target = room_of(match[1])
                if target not in ALLOWED[room]:
                    wrong.append(f"{path}:{number}: {room} must not include {match[1]}")
    print("\n".join(wrong) if wrong else "the arrows point down")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
