#!/usr/bin/env python3
"""Writes what the fuzzers start from, a folder a fuzzer: `make.py [FOLDER]`. Needs PyTorch for the pickle alone."""
import io
import json
import struct
import sys
import zipfile
from pathlib import Path

folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)


def put(lane, name, data):
    path = folder / lane / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, elements) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(elements)]}
        data += elements
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def npy(descr, shape, data, fortran=False, version=1):
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


put("safetensors", "plain", safetensors({"a": ("F32", [2], bytes(8)), "b": ("BOOL", [1, 2], b"\0\1")}, {"k": "v"}))
put("safetensors", "types", safetensors({t: (t, [1], bytes(8)[:n]) for t, n in [("F16", 2), ("U64", 8), ("C64", 8)]}))
put("safetensors", "none", safetensors({}))
put("npy", "plain", npy("<f4", "(2, 3)", bytes(24)))
put("npy", "fortran", npy(">i2", "(2, 3)", bytes(12), True, 2))
put("npy", "scalar", npy("|b1", "()", b"\1", False, 3))
put("npz", "stored", b"\0" + npy("<f8", "(1,)", bytes(8)))
put("npz", "deflated", b"\x01" + npy("<u8", "(3,)", bytes(24)))

for name, method in [("stored.zip", zipfile.ZIP_STORED), ("deflated.zip", zipfile.ZIP_DEFLATED)]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as z:
        z.writestr("a.npy", npy("<f4", "(2,)", bytes(8)))
        with z.open("b.npy", "w", force_zip64=True) as member:
            member.write(npy("|u1", "(20,)", bytes(20)))
    put("zip", name, archive.getvalue())

state = {"up.weight": ("F32", [3, 2], bytes(24)), "up.bias": ("F32", [3], bytes(12))}
state |= {"norm.weight": ("F32", [3], bytes(12)), "norm.bias": ("F32", [3], bytes(12))}
put("checkpoint", "module", safetensors(state))
put(
    "config",
    "gpt2.json",
    json.dumps(
        {
            "model_type": "gpt2",
            "vocab_size": 99,
            "n_positions": 8,
            "n_embd": 4,
            "n_head": 2,
            "n_layer": 1,
            "n_inner": None,
            "activation_function": "gelu_new",
            "attn_pdrop": 0.1,
            "layer_norm_epsilon": 1e-5,
        }
    ),
)
put(
    "config",
    "reformer.json",
    json.dumps(
        {
            "model_type": "reformer",
            "attn_layers": ["local", "lsh"],
            "vocab_size": 32,
            "axial_pos_shape": [4, 4],
            "axial_pos_embds_dim": [2, 2],
            "hidden_act": "relu",
            "hidden_size": 4,
            "num_hashes": 2,
            "num_buckets": [2, 2],
            "lsh_attn_chunk_length": 4,
            "is_decoder": True,
        }
    ),
)
for i, expression in enumerate([b"\x02\x02\x03\x02\0\x08\x01\x07\x08\x10\x08", b"\x03\1\2\3\x03\2\x03\x04\0\1\2\0\0"]):
    put("index", str(i), expression)
for i, text in enumerate(
    ["2 3|3 4|ij,jk->ik", "2 2|ii", "2 3 4|4|...a,a", "2|3|i,j->ji", "1 3|4 3|...i,...i->...", "|->"]
):
    put("einsum", str(i), text)
commands = [
    "next 2\nback\nprint w [0, 1:]\nwhy x\nwhy nan\nformula\ncheck all\nquit\n",
    "break op=linear\nc\nstep %4\nnext\nfinish\nlist\ntree\npath x loss\n",
    "set x[0, 1] = 2\nreplay\nnext\nset w = -1\nreplay\nundo\nundo\nb 5\nheat w\n",
]
for i, text in enumerate(commands):
    put("stepper_commands", str(i), "\0" + text)

try:
    import torch
except ImportError:
    print("no PyTorch: the pickle stays as it is")
else:
    tensors = {"w": torch.zeros(2, 2).t(), "n": torch.zeros(1, dtype=torch.int64), "h": torch.zeros(2).half()}
    tensors |= {"b": torch.nn.Parameter(torch.zeros(1) > 0, requires_grad=False), "step": 3, "x": [1.5, ("a", None)]}
    archive = io.BytesIO()
    torch.save(tensors, archive)
    z = zipfile.ZipFile(archive)
    put("pytorch", "state", z.read(next(n for n in z.namelist() if n.endswith("data.pkl"))))
    print({n: z.getinfo(n).file_size for n in z.namelist()})
