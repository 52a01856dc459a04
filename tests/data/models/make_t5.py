#!/usr/bin/env python3
"""Writes the cases t5_gated, t5_far and t5_buckets with PyTorch 1.13 (Debian's python3-torch): `make_t5.py [FOLDER]`.

A T5 of plain operations on random weights under their published names. Run with the folder of a case with the argument
--check, it compares itself with that case: t5_tiny, which is of a published implementation, agrees to 2e-6.
"""
import json
import math
import struct
import sys
from pathlib import Path

import numpy
import torch
from torch.nn import functional

TYPES = {"F32": numpy.float32, "I64": numpy.int64}


def load(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + at for at in entry["data_offsets"])
        array = numpy.frombuffer(data[begin:end], dtype=TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.tensor(array.copy())
    return tensors


def save(path, tensors):
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in tensors.items():
        blob = tensor.detach().contiguous().numpy().tobytes()
        kind = "F32" if tensor.dtype == torch.float32 else "I64"
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def bucket(relative, both, buckets, most):
    first = torch.zeros_like(relative)
    if both:
        buckets //= 2
        first, distance = (relative > 0).long() * buckets, relative.abs()
    else:
        distance = (-relative).clamp(min=0)
    exact = buckets // 2
    far = exact + (torch.log(distance.float() / exact) / math.log(most / exact) * (buckets - exact)).long()
    return first + torch.where(distance < exact, distance, far.clamp(max=buckets - 1))


ACTIVATIONS = {
    "relu": torch.relu,
    "silu": functional.silu,
    "gelu": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def logits_of(c, w, case, tokens):
    """c: the configuration; w: weights by name."""
    heads, size = c["num_heads"], c["d_kv"]

    def linear(x, name):
        return x @ w[name + ".weight"].T

    def norm(x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + c["layer_norm_epsilon"]) * w[name + ".weight"]

    def attention(x, memory, name, bias):
        q, k, v = (
            linear(y, f"{name}.{part}").view(len(x), -1, heads, size).transpose(1, 2)
            for y, part in ((x, "q"), (memory, "k"), (memory, "v"))
        )
        y = torch.softmax(q @ k.transpose(-1, -2) + bias, -1) @ v
        return linear(y.transpose(1, 2).reshape(len(x), -1, heads * size), name + ".o")

    def feed_forward(x, name):
        kind = c["feed_forward_proj"]
        if not kind.startswith("gated-"):
            return linear(ACTIVATIONS[kind](linear(x, name + ".wi")), name + ".wo")
        return linear(ACTIVATIONS[kind[6:]](linear(x, name + ".wi_0")) * linear(x, name + ".wi_1"), name + ".wo")

    def positions(stack, n):
        table = w[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        relative = torch.arange(n)[None] - torch.arange(n)[:, None]
        buckets, most = c["relative_attention_num_buckets"], c["relative_attention_max_distance"]
        return table[bucket(relative, stack == "encoder", buckets, most)].permute(2, 0, 1)[None]

    def hiding(seen):
        return (1 - seen.float()) * torch.finfo(torch.float32).min

    def blocks(stack, count, x, bias, memory=None, memory_bias=None):
        for i in range(count):
            name = f"{stack}.block.{i}.layer."
            y = norm(x, name + "0.layer_norm")
            x = x + attention(y, y, name + "0.SelfAttention", bias)
            if memory is not None:
                y = norm(x, name + "1.layer_norm")
                x = x + attention(y, memory, name + "1.EncDecAttention", memory_bias)
            last = name + ("1" if memory is None else "2")
            x = x + feed_forward(norm(x, last + ".layer_norm"), last + ".DenseReluDense")
        return norm(x, stack + ".final_layer_norm")

    source = case["input.input_ids"]
    hidden = hiding(case.get("input.attention_mask", torch.ones_like(source)))[:, None, None, :]
    embedding = w["shared.weight"]
    memory = blocks("encoder", c["num_layers"], embedding[source], positions("encoder", source.shape[1]) + hidden)
    n = tokens.shape[1]
    seen = torch.tril(torch.ones(n, n))
    seen = seen * case.get("input.decoder_attention_mask", torch.ones_like(tokens))[:, None, None, :]
    bias = positions("decoder", n) + hiding(seen)
    x = blocks("decoder", c["num_decoder_layers"], embedding[tokens], bias, memory, hidden)
    return x * c["d_model"] ** -0.5 @ embedding.T if c["tie_word_embeddings"] else linear(x, "lm_head")


def run(c, w, case):
    for weight in w.values():
        weight.requires_grad_()
    labels = case["input.labels"]
    tokens = torch.cat([torch.full_like(labels[:, :1], c["decoder_start_token_id"]), labels[:, :-1]], 1)
    logits = logits_of(c, w, case, tokens.masked_fill(tokens == -100, c["pad_token_id"]))
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    loss.backward()
    return loss.detach(), logits.detach()


def random_weights(c):
    d, inner, hidden, vocabulary = c["d_model"], c["num_heads"] * c["d_kv"], c["d_ff"], c["vocab_size"]
    w = {"shared.weight": torch.randn(vocabulary, d)}

    def matrix(name, rows, columns, scale=1.0):
        w[name + ".weight"] = scale * columns**-0.5 * torch.randn(rows, columns)

    def attention(name):
        matrix(name + ".q", inner, d, c["d_kv"] ** -0.5)
        matrix(name + ".k", inner, d)
        matrix(name + ".v", inner, d)
        matrix(name + ".o", d, inner)

    def norm(name):
        w[name + ".weight"] = 1 + 0.1 * torch.randn(d)

    for stack, count in (("encoder", c["num_layers"]), ("decoder", c["num_decoder_layers"])):
        for i in range(count):
            name = f"{stack}.block.{i}.layer."
            sublayers = ["SelfAttention", "EncDecAttention"] if stack == "decoder" else ["SelfAttention"]
            for j, kind in enumerate(sublayers):
                attention(f"{name}{j}.{kind}")
                norm(f"{name}{j}.layer_norm")
            if i == 0:
                table = torch.randn(c["relative_attention_num_buckets"], c["num_heads"])
                w[f"{name}0.SelfAttention.relative_attention_bias.weight"] = 0.7 * table
            last = f"{name}{len(sublayers)}"
            for part in ("wi_0", "wi_1") if c["feed_forward_proj"].startswith("gated-") else ("wi",):
                matrix(f"{last}.DenseReluDense.{part}", hidden, d)
            matrix(f"{last}.DenseReluDense.wo", d, hidden)
            norm(last + ".layer_norm")
        norm(stack + ".final_layer_norm")
    if not c["tie_word_embeddings"]:
        matrix("lm_head", vocabulary, d)
    return w


def write(folder, c, shape, source=None, target=None, left=False):
    """shape: batch, source and target length; source, target: how many tokens of each row are no padding."""
    torch.manual_seed(len(folder.name))
    b, s, t = shape
    c = {"model_type": "t5", "is_encoder_decoder": True, "dropout_rate": 0.0, "layer_norm_epsilon": 1e-6, **c}
    w = random_weights(c)
    case = {"input.input_ids": torch.randint(4, c["vocab_size"], (b, s))}
    case["input.labels"] = torch.randint(4, c["vocab_size"], (b, t))
    if source:
        places = torch.arange(s).flip(0) if left else torch.arange(s)
        case["input.attention_mask"] = (places < torch.tensor(source)[:, None]).long()
    if target:
        case["input.decoder_attention_mask"] = (torch.arange(t) < torch.tensor(target)[:, None]).long()
        case["input.labels"][case["input.decoder_attention_mask"] == 0] = -100
    case["output.loss"], case["output.logits"] = run(c, w, case)
    case.update({"grad." + name: weight.grad for name, weight in w.items() if weight.grad is not None})
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(c, indent=1) + "\n")
    save(folder / "model.safetensors", w)
    save(folder / "case.safetensors", case)


def sizes(vocab_size, d_model, d_kv, d_ff, num_heads, num_layers, num_decoder_layers, buckets=32, most=128):
    c = {k: v for k, v in locals().items() if k not in ("buckets", "most")}
    return {**c, "relative_attention_num_buckets": buckets, "relative_attention_max_distance": most}


def main():
    if sys.argv[1:2] == ["--check"]:
        folder = Path(sys.argv[2])
        case = load(folder / "case.safetensors")
        loss, logits = run(json.loads((folder / "config.json").read_text()), load(folder / "model.safetensors"), case)
        print((loss - case["output.loss"]).abs().item(), (logits - case["output.logits"]).abs().max().item())
        return
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    usual = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    v1_0 = {**usual, "feed_forward_proj": "relu", "tie_word_embeddings": True}
    v1_1 = {**usual, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    other = {"pad_token_id": 2, "eos_token_id": 1, "decoder_start_token_id": 3}
    write(folder / "t5_gated", {**v1_1, **sizes(41, 20, 6, 28, 3, 2, 3)}, (2, 19, 9), [19, 12], [9, 5])
    write(folder / "t5_far", {**v1_0, **sizes(37, 16, 10, 24, 2, 3, 1)}, (2, 151, 143), [151, 77], left=True)
    silu = {**other, "feed_forward_proj": "gated-silu", "tie_word_embeddings": True}
    write(folder / "t5_buckets", {**silu, **sizes(29, 18, 5, 7, 5, 1, 2, 10, 17)}, (3, 65, 31), None, [31, 1, 8])


if __name__ == "__main__":
    main()
