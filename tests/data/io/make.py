#!/usr/bin/env python3
"""Writes the files of this folder with numpy 1.24 and PyTorch 1.13 (Debian's python3-torch): `make.py [FOLDER]`."""
import collections
import sys
from pathlib import Path

import numpy
import torch

folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)

base = torch.arange(20, dtype=torch.float32)
w = torch.arange(12, dtype=torch.float32).reshape(3, 4)
state = collections.OrderedDict(
    weight=w,
    transposed=w.t(),
    bias=torch.tensor([1.5, -2.0]),
    half=torch.tensor([1.0, 0.5], dtype=torch.float16),
    bfloat=torch.tensor([1.0, -3.0], dtype=torch.bfloat16),
    double=torch.tensor(3.25, dtype=torch.float64),
    long=torch.tensor([-1, 2]),
    int=torch.tensor([7], dtype=torch.int32),
    short=torch.tensor([-7], dtype=torch.int16),
    char=torch.tensor([-8], dtype=torch.int8),
    byte=torch.tensor([200], dtype=torch.uint8),
    bool=torch.tensor([True, False]),
    tail=base[5:15:2],
    expanded=torch.tensor([[4.0]]).expand(3, 5),
    empty=torch.zeros(0, 3),
    complex=torch.zeros(2, dtype=torch.complex64),
    parameter=torch.nn.Parameter(torch.ones(2)),
)
torch.save(state, folder / "state.pt")
torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
torch.save(torch.ones(2, 2), folder / "lone.pt")

torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
model(torch.randn(4, 3)).sum().backward()
optimizer.step()
checkpoint = {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "note": "hello"}
checkpoint.update(best=0.1, none=None, parts=(1, [2, torch.ones(1)]))
torch.save(checkpoint, folder / "nested.pth")
torch.save(model, folder / "module.pt")
torch.jit.save(torch.jit.script(model), folder / "script.pt")

arrays = {
    "w": numpy.arange(6, dtype="<f4").reshape(2, 3),
    "big": numpy.arange(3, dtype=">i4"),
    "fortran": numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
    "text": numpy.array(["a", "bc"]),
    "object": numpy.array([{}], dtype=object),
    "complex": numpy.zeros(2, numpy.complex64),
    "record": numpy.zeros(2, [("a", "<f4"), ("b", "<i2", (2,))]),
    "scalar": numpy.float64(2.5),
    "bool": numpy.array([True, False]),
    "unsigned": numpy.array([3], "<u8"),
}
numpy.savez(folder / "stored.npz", **arrays)
numpy.savez_compressed(folder / "deflated.npz", **arrays)
