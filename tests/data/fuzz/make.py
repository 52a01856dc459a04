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
values = [
    {"shape": [2], "dtype": "float32", "min": 1, "max": 2, "mean": 1.5, "std": 0.5, "norm": "nan"}
    | {"zeros": 0, "nans": 0, "infinities": 0, "slices": ["[0]"]},
    {"shape": [], "dtype": "float64"},
    {"shape": [40, 9], "dtype": "int64", "whole": False, "min": 0, "max": 0, "mean": 0, "std": 0, "norm": 0}
    | {"zeros": 360, "nans": 0, "infinities": 0, "histogram": {"low": 0, "high": 0, "counts": [360]}}
    | {"picture": {"rows": 1, "columns": 2, "cells": [0, 1]}},
]
nodes = [
    {"sequence": 1, "operation": "leaf", "label": "x", "leaf": True, "outputs": [0]},
    {
        "sequence": 2,
        "operation": "sum",
        "module": "m",
        "site": "a.cpp:1",
        "rule": "dx = dy",
        "arguments": [["axes", "[]"]],
    }
    | {"stack": [{"module": "m", "name": "sum", "site": "a.cpp:1"}], "saved": [["x", 0]], "outputs": [1], "parts": 0}
    | {"inputs": [{"name": "x", "node": 0, "value": 0, "differentiable": True, "rule": "dx = dy", "words": "a\nb"}]},
]
steps = [
    {"node": 1, "received": [1], "returned": [0], "sent": [0], "arrivals": [{"value": 1}]},
    {"node": 0, "arrivals": [{"from": 1, "value": 0, "k": 1, "n": 2}], "grads": [{"before": -1, "after": 0}]},
]
a_pass = {"number": 1, "site": "a.cpp:2", "root": 1, "loss": 3, "error": "", "nodes": nodes, "steps": steps}
a_pass["updates"] = [{"node": 0, "before": 0, "after": 0, "change": 0, "ratio": 0.1}]
progress = {"number": 1, "loss": 3, "gradient_norms": {"x": 1}, "update_ratios": {"x": 0.1}}
trace = {"format": "attune-trace", "version": 1, "program": "p", "summarised": 1, "sources": {"a.cpp": {"1": "x"}}}
trace |= {"values": values, "passes": [a_pass], "parts": [a_pass], "progress": [progress]}
text = json.dumps(trace, separators=(",", ":"))
tensors = {"v0": ("F32", [2], bytes(8)), "v0[0]": ("F32", [], bytes(4)), "v1": ("F64", [], bytes(8))}
put("trace", "json", text)
put("trace", "file", safetensors(tensors, {"attune.trace": text}))
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
    "bert.json",
    json.dumps(
        {
            "model_type": "bert",
            "architectures": ["BertForTokenClassification"],
            "id2label": {"0": "a", "1": "b"},
            "vocab_size": 32,
            "pad_token_id": None,
            "hidden_size": 4,
            "num_labels": 2,
            "position_embedding_type": "relative_key",
            "problem_type": "regression",
        }
    ),
)
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

# The first byte: which file.
words = json.dumps({"type": "words", "special": 1, "tokens": ["<unk>", "the", ","]})
put("tokenizer", "characters", b"\x00" + words.replace("words", "characters").encode() + b"\x00a, \xc3\xa9")
put("tokenizer", "words", b"\x01" + words.encode() + b"\x00the, \xe4\xb8\xad")
put("tokenizer", "word_piece", b"\x02[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##re\n\x00there [MASK] \xff")
put("tokenizer", "merges", b"\x03#version: 0.2\nh e\nhe l\n\x00hello")
put("tokenizer", "text", b"\x04hello  it's \xe4\xb8\xad<|endoftext|>\xed\xa0\x80")


def sentence_piece(pieces):
    model = b""
    for text, score, kind in pieces:
        spelled = text.encode()
        piece = b"\x0a" + bytes([len(spelled)]) + spelled + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind])
        model += b"\x0a" + bytes([len(piece)]) + piece
    return model


model = sentence_piece([("<unk>", 0, 2), ("</s>", 0, 3), ("\u2581", -1, 1), ("\u2581a", -2, 1), ("b", -3, 1)])
put("sentence_piece", "tiny", struct.pack(">H", len(model)) + model + b"a b<extra_id_0> ab")
