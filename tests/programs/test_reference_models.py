#!/usr/bin/env python3
"""`test_reference_models.py PROGRAM MODELS`: which tensor diverges first is said, and nothing is passed over.

MODELS is the folder of the cases; each check works on a copy of one of them in which something was changed."""
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM, MODELS = sys.argv[1], Path(sys.argv[2])
CHANGED = 0.25


def read(path):
    """Header, its place of each tensor's bytes, and the bytes."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])


def write(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


def add(path, name, amount):
    """Adds to each number of a float32 tensor, to each another one: norms take a constant away."""
    header, data = read(path)
    begin, end = header[name]["data_offsets"]
    count = (end - begin) // 4
    values = struct.unpack_from(f"<{count}f", data, begin)
    changed = [v + amount * (i * 7919 % 13 - 5) / 6 for i, v in enumerate(values)]
    struct.pack_into(f"<{count}f", data, begin, *changed)
    write(path, header, data)


def run(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout


def check(what, condition, output=""):
    if not condition:
        sys.exit(f"FAILED: {what}\n{output}")


def diverges(model, file, tensor, first):
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder, model)
        shutil.copytree(MODELS / model, case)
        add(case / file, tensor, CHANGED)
        code, output = run(case)
        check(f"{tensor} of {file} changed: exit code {code}", code == 1, output)
        check(f"{tensor} of {file} changed: {first} first", f"first to diverge: {first} (" in output, output)


def main():
    code, output = run(MODELS)
    check("all cases pass", code == 0 and " 0 failed" in output, output)
    code, output = run(MODELS / "bert_tiny")
    check("a case's own folder", code == 0 and "1 passed, 0 failed" in output, output)

    weights, case = "model.safetensors", "case.safetensors"
    diverges("bert_tiny", weights, "bert.embeddings.LayerNorm.bias", "output.hidden_states.0")
    diverges("bert_tiny", weights, "bert.encoder.layer.1.output.dense.weight", "output.hidden_states.2")
    diverges("bert_tiny", weights, "cls.predictions.transform.dense.weight", "output.prediction_logits")
    diverges("bert_tiny", weights, "cls.seq_relationship.weight", "output.seq_relationship_logits")
    diverges("bert_tiny", case, "output.loss", "output.loss")
    diverges("bert_tiny", case, "grad.bert.encoder.layer.2.output.dense.weight",
             "grad.bert.encoder.layer.2.output.dense.weight")  # fmt: skip
    diverges("gpt2_tiny", weights, "transformer.wpe.weight", "output.hidden_states.0")
    diverges("gpt2_tiny", weights, "transformer.h.2.mlp.c_proj.weight", "output.hidden_states.3")
    diverges("gpt2_tiny", case, "output.logits", "output.logits")
    diverges("reformer_lsh_tiny", weights, "lm_head.decoder.weight", "reversible: output.logits")

    with tempfile.TemporaryDirectory() as folder:
        code, output = run(folder)
        check("no case", code == 1 and "no case" in output, output)
        code, output = run(Path(folder, "nowhere"))
        check("no folder", code == 1 and "no case" in output, output)
        other = Path(folder, "other")
        shutil.copytree(MODELS / "gpt2_tiny", other)
        config = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps(config | {"model_type": "quantum"}))
        code, output = run(folder)
        check("an unknown type", code == 1 and "there is no model of type quantum" in output, output)
        (other / "config.json").write_text(json.dumps(config))
        header, data = read(other / case)
        header["input.head_mask"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
        write(other / case, header, data + bytes(4))
        code, output = run(folder)
        check("an input that is not understood", code == 1 and "input.head_mask of the case is not" in output, output)
        (other / case).unlink()
        code, output = run(folder)
        check("no reference", code == 1 and "FAILED" in output, output)
    print("reference_models names what diverges first")


main()
