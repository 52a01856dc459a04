#!/usr/bin/env python3
"""docs/operations.md from the table of operations and the public headers: `operations_page.py TABLE_PROGRAM ROOT [--write]`.

Without --write it compares the page with what it should be, and fails where they differ.
"""
import re
import subprocess
import sys
from pathlib import Path

# Where PyTorch's name is another one; None: it has none.
TORCH = {
    "add": "torch.add, +", "sub": "torch.sub, -", "mul": "torch.mul, *", "div": "torch.div, /",
    "div_trunc": 'torch.div(rounding_mode="trunc")', "std_dev": "torch.std", "norm": "torch.norm",
    "vector_norm": "torch.linalg.vector_norm", "max": "torch.max(dim)", "min": "torch.min(dim)",
    "index": "x[...]", "index_put": "torch.index_put", "to": "Tensor.to", "gelu_tanh": 'F.gelu(approximate="tanh")',
    "expand": "Tensor.expand, torch.broadcast_to", "repeat": "Tensor.repeat", "unfold": "Tensor.unfold",
    "contiguous": "Tensor.contiguous", "constant_pad": "F.pad", "pad": "F.pad", "addmm": "torch.addmm, torch.baddbmm",
    "matmul": "torch.matmul, mm, bmm, mv, dot", "log_sigmoid": "F.logsigmoid", "lstm": "nn.LSTM", "gru": "nn.GRU",
    "rnn": "nn.RNN", "reshape": "torch.reshape, Tensor.view", "slice": "x[a:b:c]", "scaled_dot_product_attention": "F.scaled_dot_product_attention",
    "split": "torch.split", "diagonal_scatter": "torch.diagonal_scatter",
}
FUNCTIONAL = {
    "softplus", "leaky_relu", "elu", "prelu", "relu", "silu", "gelu", "layer_norm", "normalize", "cosine_similarity",
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "huber_loss", "kl_div", "binary_cross_entropy_with_logits",
    "smooth_l1_loss", "binary_cross_entropy", "soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss",
    "cosine_embedding_loss", "triplet_margin_loss", "poisson_nll_loss", "gaussian_nll_loss",
    "linear", "conv1d", "embedding", "dropout", "one_hot",
}
ONLY_HERE = {
    "slice_scatter", "sum_to", "straight_through", "gradient_reversal", "segment_sum", "rms_norm", "lsh_attention",
    "local_attention", "chunked_attention", "separate", "dropout_at", "checkpoint", "reversible",
}

HEAD = """# Operations

Made by `tests/ops/operations_page.py --write` from the table that drives the tests (`tests/ops/`) and the headers
(`autograd/ops/`), which have the contracts. The last argument of each, `Here`, is the call site and left out. Every
row is checked against finite differences to second order, and where PyTorch has the operation against PyTorch's own
test samples (`./dev run reference_ops`). "made of" means a composition, whose derivatives are those of its parts.

"""
TAIL = """
## Left out

Complex and integer-only operations, sparse tensors, convolutions over two and three axes, pooling but for
`nn::MaxOverTime`, batch, group and instance norm, linear algebra beyond products, sampling from distributions other
than uniform and normal. CTC, multi-margin and multi-label margin losses. Activations that attention models do not use
(SELU, Mish and others) are a few lines over the operations above. `nn::Embedding`'s max_norm, scale_grad_by_freq and
sparse gradients.
"""


def signatures(root):
    """name -> its declarations, without `Here`."""
    found = {}
    for header in sorted((root / "autograd" / "ops").rglob("*.h")):
        text = re.sub(r"//.*", "", header.read_text())
        for match in re.finditer(r"^(?:inline )?(\w+) (\w+)\(((?:[^()]|\([^()]*\))*)\);", text, re.M):
            arguments = re.sub(r",?\s*Here here( = (Here::current\(\)|\{\}))?", "", match[3])
            arguments = re.sub(r"\bstd::int64_t\b", "int64", re.sub(r"\s+", " ", arguments))
            arguments = arguments.replace("const ", "").replace("&", "").replace("std::", "")
            found.setdefault(match[2], []).append((header.name, f"{match[1]} {match[2]}({arguments})"))
    return found


def torch_name(name):
    if name in TORCH:
        return TORCH[name]
    if name in ONLY_HERE or name.endswith(("_grad", "_composed")):
        return ""
    return f"F.{name}" if name in FUNCTIONAL else f"torch.{name}"


def cell(text):
    return text.replace("|", "\\|")


def page(program, root):
    declared = signatures(root)
    table = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    seen = set()
    lines = [HEAD + "| operation | typical shapes | rule | PyTorch |", "|---|---|---|---|"]
    for line in table.splitlines():
        name, shapes, rule = line.split("\t")
        name = name.split(",")[0]  # a row of its own for a variant
        if name in seen:
            continue
        seen.add(name)
        spelled = "<br>".join(f"`{cell(s)}`" for _, s in declared.get(name, [("", name)]))
        lines.append(f"| {spelled} | {shapes} | {cell(rule)} | {cell(torch_name(name))} |")
    return "\n".join(lines) + "\n" + TAIL


def main():
    program, root = sys.argv[1], Path(sys.argv[2])
    target = root / "docs" / "operations.md"
    text = page(program, root)
    if "--write" in sys.argv[3:]:
        target.write_text(text)
    elif not target.exists() or target.read_text() != text:
        print(f"{target} is not what the table says; write it with tests/ops/operations_page.py {program} {root} --write")
        return 1
    return 0


sys.exit(main())
