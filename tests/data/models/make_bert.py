#!/usr/bin/env python3
"""Makes the cases bert_causal, bert_labels and bert_tokens beside it, with PyTorch: BERT written out from its formulas,
in the form of the other cases. They have what bert_tiny has not: relative positions, a causal encoder, the other heads,
an untied head, padding on the left, no token types."""
import json
import math
import struct
from pathlib import Path

import torch
from torch.nn import functional as F

BASE = {
    "attention_probs_dropout_prob": 0, "hidden_act": "gelu", "hidden_dropout_prob": 0, "hidden_size": 24,
    "initializer_range": 0.02, "intermediate_size": 40, "layer_norm_eps": 1e-12, "max_position_embeddings": 16,
    "model_type": "bert", "num_attention_heads": 3, "num_hidden_layers": 2, "pad_token_id": 0, "type_vocab_size": 2,
    "vocab_size": 37,
}  # fmt: skip


def weights(c, head):
    d, inner, words = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    shapes = {
        "bert.embeddings.word_embeddings.weight": (words, d),
        "bert.embeddings.position_embeddings.weight": (c["max_position_embeddings"], d),
        "bert.embeddings.token_type_embeddings.weight": (c["type_vocab_size"], d),
    }

    def linear(name, rows, columns):
        shapes[name + ".weight"], shapes[name + ".bias"] = (rows, columns), (rows,)

    def norm(name):
        shapes[name + ".weight"], shapes[name + ".bias"] = (d,), (d,)

    norm("bert.embeddings.LayerNorm")
    for i in range(c["num_hidden_layers"]):
        p = f"bert.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            linear(p + "attention.self." + part, d, d)
        if c.get("position_embedding_type", "absolute") != "absolute":
            rows = 2 * c["max_position_embeddings"] - 1
            shapes[p + "attention.self.distance_embedding.weight"] = (rows, d // c["num_attention_heads"])
        linear(p + "attention.output.dense", d, d)
        norm(p + "attention.output.LayerNorm")
        linear(p + "intermediate.dense", inner, d)
        linear(p + "output.dense", d, inner)
        norm(p + "output.LayerNorm")
    if head == "sequence":
        linear("bert.pooler.dense", d, d)
    if head in ("sequence", "tokens"):
        linear("classifier", len(c["id2label"]), d)
    else:
        shapes["cls.predictions.bias"] = (words,)
        linear("cls.predictions.transform.dense", d, d)
        norm("cls.predictions.transform.LayerNorm")
        if not c.get("tie_word_embeddings", True):
            shapes["cls.predictions.decoder.weight"] = (words, d)
    result = {}
    for name, shape in shapes.items():
        w = torch.randn(shape) * 0.15
        if name.endswith("LayerNorm.weight"):
            w += 1
        result[name] = w.requires_grad_()
    return result


def run(c, w, tokens, mask=None, types=None):
    """The hidden states, embeddings first."""
    n, heads, eps = tokens.shape[1], c["num_attention_heads"], c["layer_norm_eps"]
    kind = c.get("position_embedding_type", "absolute")
    size = c["hidden_size"] // heads
    act = {"gelu": F.gelu, "relu": F.relu, "gelu_new": lambda x: F.gelu(x, approximate="tanh")}[c["hidden_act"]]

    def linear(name, x):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], eps)

    e = "bert.embeddings."
    x = F.embedding(tokens, w[e + "word_embeddings.weight"], padding_idx=c["pad_token_id"])
    x = x + w[e + "token_type_embeddings.weight"][torch.zeros_like(tokens) if types is None else types]
    if kind == "absolute":
        x = x + w[e + "position_embeddings.weight"][:n]
    x = norm(e + "LayerNorm", x)
    states = [x]
    hidden = torch.zeros(tokens.shape[0], 1, n, n, dtype=torch.bool)
    if mask is not None:
        hidden |= (mask == 0)[:, None, None, :]
    if c.get("is_decoder"):
        hidden |= torch.ones(n, n, dtype=torch.bool).triu(1)
    for i in range(c["num_hidden_layers"]):
        p = f"bert.encoder.layer.{i}."
        q, k, v = (
            linear(p + "attention.self." + part, x).unflatten(-1, (heads, size)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(-1, -2)
        if kind != "absolute":
            table = w[p + "attention.self.distance_embedding.weight"]
            for a in range(n):  # query
                for b in range(n):  # key
                    row = table[a - b + c["max_position_embeddings"] - 1]
                    extra = q[:, :, a] @ row
                    if kind == "relative_key_query":
                        extra = extra + k[:, :, b] @ row
                    place = torch.zeros(n, n)
                    place[a, b] = 1
                    scores = scores + extra[:, :, None, None] * place
        scores = (scores / math.sqrt(size)).masked_fill(hidden, -10000.0)
        y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = norm(p + "attention.output.LayerNorm", x + linear(p + "attention.output.dense", y))
        y = linear(p + "output.dense", act(linear(p + "intermediate.dense", x)))
        x = norm(p + "output.LayerNorm", x + y)
        states.append(x)
    return states


def words_of(c, w, x):
    act = {"gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh")}[c["hidden_act"]]
    t = "cls.predictions.transform."
    x = act(x @ w[t + "dense.weight"].T + w[t + "dense.bias"])
    x = F.layer_norm(x, x.shape[-1:], w[t + "LayerNorm.weight"], w[t + "LayerNorm.bias"], c["layer_norm_eps"])
    decoder = w.get("cls.predictions.decoder.weight", w["bert.embeddings.word_embeddings.weight"])
    return x @ decoder.T + w["cls.predictions.bias"]


def save(path, tensors):
    header, offset, data = {"__metadata__": {"format": "pt"}}, 0, b""
    for name, value in tensors.items():
        raw = value.detach().contiguous().numpy().tobytes()
        kind = {torch.float32: "F32", torch.int64: "I64"}[value.dtype]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def finish(name, c, w, inputs, states, logits, loss):
    loss.backward()
    folder = Path(__file__).resolve().parent / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(c, indent=2, sort_keys=True) + "\n")
    save(folder / "model.safetensors", w)
    case = {"input." + k: v for k, v in inputs.items()} | {"output.loss": loss, "output.logits": logits}
    case |= {f"output.hidden_states.{i}": x for i, x in enumerate(states)}
    case |= {"grad." + k: v.grad for k, v in w.items() if v.grad is not None}
    save(folder / "case.safetensors", case)


def causal():
    """Padding on the left hides places that no loss counts; the next word of each place is its label."""
    c = BASE | {"architectures": ["BertLMHeadModel"], "is_decoder": True, "hidden_act": "gelu_new",
                "position_embedding_type": "relative_key_query", "tie_word_embeddings": False}  # fmt: skip
    w = weights(c, "words")
    tokens = torch.randint(1, 37, (3, 12))
    mask = torch.ones(3, 12, dtype=torch.int64)
    mask[1, :4] = 0
    labels = tokens.clone()
    labels[1, :5] = -100
    states = run(c, w, tokens, mask)
    logits = words_of(c, w, states[-1])
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    finish("bert_causal", c, w, {"input_ids": tokens, "attention_mask": mask, "labels": labels}, states, logits, loss)


def labels():
    c = BASE | {"architectures": ["BertForSequenceClassification"], "position_embedding_type": "relative_key",
                "problem_type": "multi_label_classification", "hidden_act": "relu",
                "id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}  # fmt: skip
    w = weights(c, "sequence")
    tokens, types = torch.randint(0, 37, (4, 16)), torch.randint(0, 2, (4, 16))
    target = torch.randint(0, 2, (4, 3)).float()
    states = run(c, w, tokens, types=types)
    pooled = torch.tanh(states[-1][:, 0] @ w["bert.pooler.dense.weight"].T + w["bert.pooler.dense.bias"])
    logits = pooled @ w["classifier.weight"].T + w["classifier.bias"]
    loss = F.binary_cross_entropy_with_logits(logits, target)
    finish("bert_labels", c, w, {"input_ids": tokens, "token_type_ids": types, "labels": target}, states, logits, loss)


def tokens():
    c = BASE | {"architectures": ["BertForTokenClassification"], "pad_token_id": None, "num_labels": 5,
                "id2label": {str(i): f"LABEL_{i}" for i in range(5)}}  # fmt: skip
    w = weights(c, "tokens")
    words = torch.randint(0, 37, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[0, 6:] = 0
    target = torch.randint(0, 5, (2, 9)).masked_fill(mask == 0, -100)
    states = run(c, w, words, mask)
    logits = states[-1] @ w["classifier.weight"].T + w["classifier.bias"]
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    finish("bert_tokens", c, w, {"input_ids": words, "attention_mask": mask, "labels": target}, states, logits, loss)


torch.manual_seed(5)
causal()
labels()
tokens()
