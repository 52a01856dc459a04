#!/usr/bin/env python3
"""Attune beside PyTorch's C++ library on the same workloads: `compare.py [OPTIONS] [NAME...]`.

A NAME selects the rows whose name begins with it; none selects all. Before a workload is timed, both sides' losses and
gradients must agree. Timed runs alternate between the sides, a fresh process each; medians count. Prints a table, and
writes compare.json, compare.md and compare.png. README.md beside this file says how to read them. `neighbours` alone
is a table of its own: training steps beside busy processes.
"""
import argparse
import os
import sys
from pathlib import Path

import neighbours
import report
import special
from measure import KEPT, Failure, Programs, check

ROOT = Path(__file__).resolve().parent.parent


class Row:
    """A line of the table.

    `targets` bounds what was measured: "ratio" (PyTorch's time over Attune's, at least), "roofline" (the machine's
    limit over Attune's time, at least) and "value" (in the row's unit, at most). `tokens` of a step are also shown by
    the second.
    """

    def __init__(self, name, text, unit, targets, against=None, special=None, tokens=None):
        self.name, self.text, self.unit, self.targets = name, text, unit, targets
        self.against = against or name  # PyTorch's workload
        self.special = special  # measures it, if it is not the time of a step
        self.tokens = tokens


def rows():
    times = {"ratio": 1.5, "roofline": 0.7}
    exact = [
        Row(f"exact_attention/{n}", f"exact causal attention, d 256, 4 heads, n {n}", "us/token", targets)
        for n, targets in ((1024, {}), (8192, {"ratio": 6}))
    ]
    lsh = [
        Row(
            f"lsh_attention/{n}",
            f"LSH attention, 4 hashes, chunk 64, n {n} (PyTorch: exact)",
            "us/token",
            {"value": 30} if n == 8192 else {},
            against=f"exact_attention/{n}" if n in (1024, 8192) else "none",
        )
        for n in (1024, 2048, 8192, 16384, 65536)
    ]
    linear = [
        Row(
            f"linear_attention/{n}",
            f"causal Linear Transformer, n {n} (PyTorch: prefix sums)",
            "us/token",
            {"ratio": 5} if n == 16384 else {},
            against=f"linear_attention/{n}" if n <= 16384 else "none",
        )
        for n in (1024, 4096, 16384, 65536)
    ]
    sentences = "batch 64, 14 + 14 tokens, d 256, vocabulary 6000"
    translation = [
        Row(name, f"{model}: {sentences}", "ms", {"ratio": 1.5}, tokens=64 * 14)
        for name, model in (
            ("additive_step", "additive-attention translation step"),
            ("translation_step", "3 + 3-layer Transformer translation step"),
        )
    ]
    gpt_memory = "memory of the GPT step over parameters, gradients and states"
    exact_memory = "power of n in the memory of exact attention"
    linear_memory = "power of n in the memory of the causal Linear Transformer"
    reversible = "activations of a reversible Reformer, n 16384: 24 layers over 2"
    return [
        Row("gpt_step", "GPT step: 4 layers, d 256, T 256, batch 8", "ms", {"ratio": 1.5, "roofline": 1 / 1.15}),
        Row("small_gpt_step", "GPT step: 4 layers, d 64, T 64, batch 4", "ms", {"ratio": 4}),
        Row("bert_step", "BERT step: 4 layers, d 256, T 128, batch 8", "ms", {}),
        Row("t5_step", "T5 step: 4 + 4 layers, d 256, T 128 + 128, batch 8", "ms", {}),
        *translation,
        Row("generation", "GPT-2 124M, a token at batch 1, cached", "ms/token", {"ratio": 1.5, "roofline": 0.7}),
        Row("prompt", "GPT-2 124M, a prompt of 512 tokens", "ms", {}),
        Row("prompt_pass", "the prompt's pass over a forward pass", "", {"value": 1.1}, special=special.prompt_pass),
        *exact,
        *lsh,
        *linear,
        Row("lstm", "LSTM, T 64, batch 32, d 256", "ms", {"ratio": 2.5}),
        Row("gru", "GRU, T 64, batch 32, d 256", "ms", {"ratio": 2.5}),
        Row("softmax", "softmax, 2048 x 1024", "ms", times),
        Row("layer_norm", "layer norm, 2048 x 1024", "ms", times),
        Row("gelu", "GELU, 2048 x 1024", "ms", times),
        Row("dropout", "dropout, 2048 x 1024", "ms", times),
        Row("cross_entropy", "cross-entropy, 2048 x 1024", "ms", times),
        Row("adamw", "AdamW, 10 M parameters", "ms", {"roofline": 0.7}),
        Row("scalar_op", "a recorded scalar operation", "us/op", {"value": 0.25}),
        Row("memory_gpt", gpt_memory, "MB", {"ratio": 2}, special=special.gpt_memory),
        Row("memory_exact", exact_memory, "", {"value": 1.1}, special=special.exact_memory),
        Row("memory_linear", linear_memory, "", {"value": 1.1}, special=special.linear_memory),
        Row("memory_reversible", reversible, "% more", {"value": 5}, special=special.reversible_memory),
        Row("start", "process start to first gradient", "ms", {"value": 30}, special=special.start),
        Row("script", "compiling and linking a training script", "s", {"value": 2}, special=special.script),
    ]


UNITS = {"ms": 1e3, "ms/token": 1e3, "us/token": 1e6, "us/op": 1e6}


def time_row(row, programs, options):
    """Both sides' times in the row's unit, and the machine's limit."""
    pairs = [(side, row.against if side in ("PyTorch", KEPT) else row.name) for side in programs.paths]
    pairs.append(("limit", row.name + "/cached"))
    pairs = [(side, name) for side, name in pairs if programs.has(side, name)]
    found = {}
    if programs.has("PyTorch", row.name):
        found["disagreement"] = check(programs, row.name)
    programs.time_rounds(pairs, options.rounds, options.seconds)
    for side, name in pairs:
        middle, spread = programs.seconds(side, name)
        key = "cached limit" if name.endswith("/cached") else side
        found[key] = middle * UNITS[row.unit]
        found[key + " spread"] = spread
    ours = found["Attune"]
    shares = {"PyTorch": "ratio", KEPT: "ratio kept", "limit": "roofline", "cached limit": "roofline cached"}
    return found | {share: found[key] / ours for key, share in shares.items() if key in found}


def measure(row, programs, options):
    """What the table shows of a row."""
    found = row.special(programs, options) if row.special else time_row(row, programs, options)
    measured = found | {"value": found["Attune"]}
    met = {kind: report.is_met(kind, measured[kind], bound) for kind, bound in row.targets.items() if kind in measured}
    shown = {"name": row.name, "text": row.text, "unit": row.unit, "targets": row.targets, "met": met}
    return shown | ({"tokens": row.tokens} if row.tokens else {}) | found


def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--list", action="store_true", help="print the rows' names and end")
    p.add_argument("--build", type=Path, default=ROOT / "build", help="where Attune was built")
    p.add_argument("--torch", type=Path, default=ROOT / "build-bench", help="where PyTorch's side was built")
    p.add_argument("--out", type=Path, default=ROOT / "build-bench", help="where the results go")
    p.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    p.add_argument("--rounds", type=int, default=3, help="processes a side")
    p.add_argument("--seconds", type=float, default=0.25, help="at least so long a workload and process")
    return p


def programs_of(options):
    paths = {
        "Attune": options.build / "bench" / "attune_compare",
        "PyTorch": options.torch / "torch_compare",
        KEPT: options.torch / "torch_compare",
        "limit": options.build / "bench" / "roofline",
    }
    return Programs({side: path for side, path in paths.items() if path.exists()}, options.threads)


def compare(selected, options):
    """Measures the selected rows, prints and writes what was found until all was or something failed."""
    stamp = report.machine(options.threads)
    results, quality, failed = [], [], False
    try:
        programs = programs_of(options)
        for number, row in enumerate(selected, 1):
            print(f"[{number}/{len(selected)}] {row.text}", file=sys.stderr, flush=True)
            results.append(measure(row, programs, options))
        if not options.names or "lsh_quality" in options.names:
            quality = special.lsh_quality(options)
    except Failure as failure:
        print(f"compare.py: {failure}", file=sys.stderr)
        failed = True
    if results or quality:
        report.finish(stamp, programs, results)
        print(report.table(stamp, results, quality))
        report.write(options.out, stamp, results, quality)
    return 1 if failed else 0


def beside_neighbours(options):
    try:
        neighbours.run(programs_of(options), options)
    except Failure as failure:
        print(f"compare.py: {failure}", file=sys.stderr)
        return 1
    return 0


def main():
    command = parser()
    options = command.parse_args()
    if options.list:
        for row in rows():
            print(f"{row.name:24} {row.text}")
        print(f"{'lsh_quality':24} what hashing keeps of exact attention")
        print(f"{'neighbours':24} training steps beside 0, 1 and 2 busy processes, on 1 and 2 threads")
        return 0
    if options.names == ["neighbours"]:
        return beside_neighbours(options)
    selected = [r for r in rows() if not options.names or any(r.name.startswith(n) for n in options.names)]
    if not selected and "lsh_quality" not in options.names:
        command.error(f"no row begins with {' or '.join(options.names)}; --list shows them")
    return compare(selected, options)


if __name__ == "__main__":
    sys.exit(main())
