#!/usr/bin/env python3
"""The names of operations' parameters, from the public headers, as the C++ table that parameters.h reads.

`make_parameters.py SOURCE_ROOT OUTPUT`. Run by the build.
"""

import json
import pathlib
import re
import sys

# Operations whose node is recorded with other arguments than their function is called with, as the node has them.
RECORDED = """
void sort(const Tensor& x, int64 axis, const Tensor& indices)
void dropout(const Tensor& x, double p, RandomKey key)
void cross_entropy(const Tensor& logits, const Tensor& target, int64 ignore_index = -100, double label_smoothing = 0)
void scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
  const Tensor& bias, const Settings& settings)
void chunked_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
  const Tensor& key_padding_mask, const Settings& settings)
void lstm(const Tensor& x, const Tensor& h0, const Tensor& c0, const Tensor& w_hh, const Tensor& b_hh,
  const Tensor& w_hr, const Tensor& lengths, const Spec& spec)
void gru(const Tensor& x, const Tensor& h0, const Tensor& c0, const Tensor& w_hh, const Tensor& b_hh,
  const Tensor& w_hr, const Tensor& lengths, const Spec& spec)
void rnn(const Tensor& x, const Tensor& h0, const Tensor& c0, const Tensor& w_hh, const Tensor& b_hh,
  const Tensor& w_hr, const Tensor& lengths, const Spec& spec)
"""


def split(parameters):
    """At the commas outside of all brackets."""
    parts, part, depth = [], "", 0
    for c in parameters:
        depth += {"(": 1, "{": 1, "<": 1, "[": 1, ")": -1, "}": -1, ">": -1, "]": -1}.get(c, 0)
        if c == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += c
    return [p.strip() for p in [*parts, part] if p.strip()]


def row_of(signature):
    """(name, [(kind, parameter, default)]) of a function; None for anything else."""
    found = re.fullmatch(r"(?:[\w:<>]+[&*]? )(\w+) ?\((.*)\)(?: = 0)?", " ".join(signature.split()))
    if not found or found[1].startswith("operator"):
        return None
    parameters = []
    for text in split(found[2]):
        declared, _, default = text.partition(" = ")
        parts = re.fullmatch(r"(?:const )?(.*?)[&* ]+(\w+)", declared)
        if not parts or parts[1] == "Here":
            continue
        kind = {"Tensor": "tensor", "Operand": "tensor", "Tensors": "list"}.get(parts[1], "argument")
        parameters.append((kind, parts[2], default))
    return found[1], parameters


def rows(root):
    sys.path.insert(0, str(root / "docs"))
    import read_headers

    signatures = [s + ")" for s in " ".join(RECORDED.split()).split(")") if s.strip()]

    def collect(items):
        for kind, item in items:
            if kind == "declaration" and item["members"] is None:
                signatures.append(item["signature"])

    for path, text in read_headers.public_headers(root):
        if path.startswith("autograd/ops/"):
            collect(read_headers.parse(read_headers.Reader(path, text)))
    for signature in signatures:
        row = row_of(signature)
        if row and any(kind != "argument" for kind, _, _ in row[1]):
            yield row


def main():
    root, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    lines = []
    for name, parameters in sorted(rows(root), key=lambda row: row[0]):  # those as recorded come first
        fields = ", ".join(f"{{Kind::{k}, {json.dumps(p)}, {json.dumps(d)}}}" for k, p, d in parameters)
        lines.append(f"    {{{json.dumps(name)}, {{{fields}}}}},\n")
    output.write_text(
        '#include "autograd/trace/internal/parameters.h"\n\nnamespace attune::detail {\n\n'
        "const std::vector<Signature>& signatures() {\n  using Kind = Parameter::Kind;\n"
        "  static const auto* const all = new std::vector<Signature>{\n"
        + "".join(lines)
        + "  };\n  return *all;\n}\n\n}  // namespace attune::detail\n"
    )


if __name__ == "__main__":
    main()
