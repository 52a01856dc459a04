#!/usr/bin/env python3
"""docs/operations.md from the table of operations and the headers: `operations_page.py TABLE_PROGRAM ROOT [--write]`.

Without --write it compares the page with what it should be, and fails if they differ. It also fails if the row of an
operation does not stand in the file of tests/ops/ that is named after the header which declares the operation.
"""
import re
import subprocess
import sys
from pathlib import Path

# If PyTorch's name is another one.
TORCH = {
    "add": "torch.add, +",
    "sub": "torch.sub, -",
    "mul": "torch.mul, *",
    "div": "torch.div, /",
    "div_trunc": 'torch.div(rounding_mode="trunc")',
    "std_dev": "torch.std",
    "norm": "torch.norm",
    "vector_norm": "torch.linalg.vector_norm",
    "max": "torch.max(dim)",
    "min": "torch.min(dim)",
    "index": "x[...]",
    "index_put": "torch.index_put",
    "to": "Tensor.to",
    "gelu_tanh": 'F.gelu(approximate="tanh")',
    "expand": "Tensor.expand, torch.broadcast_to",
    "repeat": "Tensor.repeat",
    "unfold": "Tensor.unfold",
    "contiguous": "Tensor.contiguous",
    "constant_pad": "F.pad",
    "pad": "F.pad",
    "addmm": "torch.addmm, torch.baddbmm",
    "matmul": "torch.matmul, mm, bmm, mv, dot",
    "log_sigmoid": "F.logsigmoid",
    "lstm": "nn.LSTM",
    "gru": "nn.GRU",
    "rnn": "nn.RNN",
    "reshape": "torch.reshape, Tensor.view",
    "slice": "x[a:b:c]",
    "scaled_dot_product_attention": "F.scaled_dot_product_attention",
    "split": "torch.split",
    "diagonal_scatter": "torch.diagonal_scatter",
}
FUNCTIONAL = set(
    """
    softplus leaky_relu elu prelu relu silu gelu layer_norm normalize cosine_similarity cross_entropy nll_loss
    mse_loss l1_loss huber_loss kl_div binary_cross_entropy_with_logits smooth_l1_loss binary_cross_entropy
    soft_margin_loss hinge_embedding_loss margin_ranking_loss cosine_embedding_loss triplet_margin_loss
    poisson_nll_loss gaussian_nll_loss linear conv1d embedding dropout one_hot
    """.split()
)
ONLY_HERE = set(
    """
    slice_scatter sum_to straight_through gradient_reversal segment_sum rms_norm lsh_attention local_attention
    chunked_attention causal_product separate dropout_at checkpoint reversible
    """.split()
)

HEAD = """# Operations

Made by `tests/ops/operations_page.py --write` from the table that drives the tests (`tests/ops/`)
and the headers (`autograd/ops/`), which have the contracts. The last argument of each, `Here`, is
the call site and left out. Every row is checked against finite differences to second order and, if
PyTorch has the operation, against PyTorch's own test samples (`./dev run reference_ops`). "made of"
means a composition, whose derivatives are those of its parts.
"""
TAIL = """
## Left out

Complex and integer-only operations, sparse tensors, convolutions over two and three axes, pooling
but for `nn::MaxOverTime`, batch, group and instance norm, linear algebra beyond products, sampling
from distributions other than uniform and normal. CTC, multi-margin and multi-label margin losses.
Activations that attention models do not use (SELU, Mish and others) are a few lines over the
operations above. `nn::Embedding`'s max_norm, scale_grad_by_freq and sparse gradients.
"""

DECLARATION = re.compile(r"^(?:inline )?(\w+) (\w+)\(((?:[^()]|\([^()]*\))*)\);", re.M)
HERE = re.compile(r",?\s*Here here( = (Here::current\(\)|\{\}))?")


def declarations(root):
    """{operation: [(header without autograd/, declaration without `Here`)]}."""
    library = root / "autograd"
    found = {}
    for header in [*sorted((library / "ops").rglob("*.h")), library / "tape" / "checkpoint.h"]:
        text = re.sub(r"//.*", "", header.read_text())
        for result, name, arguments in DECLARATION.findall(text):
            arguments = re.sub(r"\s+", " ", HERE.sub("", arguments))
            arguments = re.sub(r"\bstd::int64_t\b", "int64", arguments)
            arguments = arguments.replace("const ", "").replace("&", "").replace("std::", "")
            path = header.relative_to(library).as_posix()
            found.setdefault(name, []).append((path, f"{result} {name}({arguments})"))
    return found


def family_of(header):
    """Where the rows of a header's operations stand: "attention/chunked_attention" of ops/attention/internal/..."""
    return header.removeprefix("ops/").removeprefix("tape/").replace("internal/", "").removesuffix(".h")


def misplaced(rows, declared):
    """A line for each row that does not stand in the file of the header that declares its operation."""
    for family, name, _, _ in rows:
        families = {family_of(header) for header, _ in declared.get(name, [])}
        if family not in families:
            places = " or ".join(f"tests/ops/{f}.h" for f in sorted(families)) or "no file: no header declares it"
            yield f"tests/ops/{family}.h: the row of {name} belongs in {places}"


def torch_name(name):
    if name in TORCH:
        return TORCH[name]
    if name in ONLY_HERE or name.endswith(("_grad", "_composed")):
        return ""
    return f"F.{name}" if name in FUNCTIONAL else f"torch.{name}"


def cell(text):
    return text.replace("|", "\\|")


def table_of(program):
    """(family, operation, shapes, rule) of each row."""
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    for family, name, shapes, rule in (line.split("\t") for line in lines):
        yield family, name.split(",")[0], shapes, rule  # what follows a comma is the variant


def page(rows, declared):
    parts, last, seen = [HEAD], None, set()
    for family, name, shapes, rule in rows:
        if name in seen:
            continue
        seen.add(name)
        headers, spelled = zip(*declared.get(name, [("", name)]))
        if family != last:
            parts.append(f"\n## `{headers[0]}`\n\n| operation | typical shapes | rule | PyTorch |\n|---|---|---|---|\n")
            last = family
        spelled = "<br>".join(f"`{cell(s)}`" for s in spelled)
        parts.append(f"| {spelled} | {shapes} | {cell(rule)} | {cell(torch_name(name))} |\n")
    return "".join([*parts, TAIL])


def main():
    program, root = sys.argv[1], Path(sys.argv[2])
    rows, declared = list(table_of(program)), declarations(root)
    faults = list(misplaced(rows, declared))
    target = root / "docs" / "operations.md"
    text = page(rows, declared)
    if "--write" in sys.argv[3:]:
        target.write_text(text)
    elif not target.exists() or target.read_text() != text:
        again = f"tests/ops/operations_page.py {program} {root} --write"
        faults.append(f"{target} is not what the table says; write it with {again}")
    print("".join(f"{fault}\n" for fault in faults), end="")
    return 1 if faults else 0


sys.exit(main())
