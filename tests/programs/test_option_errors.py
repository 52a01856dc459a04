#!/usr/bin/env python3
"""`test_option_errors.py SOURCE_ROOT`: a wrong option is named by the first line of the compiler's complaint."""
import subprocess
import sys

PROGRAM = """#include "nn/nn.h"
#include "optim/optim.h"
using namespace attune;
void f() {
  nn::Linear m(2, 2);
  std::vector<Tensor> tensors = m.parameters();
  std::vector<optim::Group> groups(1);
  CALL;
}
"""

# What has to compile: each form of the first argument, with options and without.
RIGHT = [
    f"optim::{call}"
    for call in (
        "AdamW a(m.parameters()), b(m.named_parameters(), {.lr = 1}), c(tensors, {}), d{tensors, {.lr = 0.1}}",
        "AdamW a(groups, {.beta2 = 0.9, .amsgrad = true}), b({m.weight}), c({m.weight, m.weight}, {.lr = 1})",
        "SGD a({{.parameters = {m.weight}, .lr = 1}, {.parameters = tensors}}, {.momentum = 0.5})",
        'SGD a({{"w", m.weight}, {"b", m.weight}}, {.momentum = 0.5}), b({{"w", m.weight}})',
        "AdamWOptions o{.lr = 1}; optim::AdamW a(tensors, o), b(tensors, {1e-3})",
        "SGDOptions o{.lr = 1}; auto a = std::make_unique<optim::SGD>(tensors, o)",
    )
]

# What must not, and what the first line has to name.
WRONG = [
    (f"optim::{optimiser} opt{open_}{parameters}, {{{option} = {value}}}{close}", option.strip("."))
    for optimiser in ("SGD", "Adam", "AdamW", "Adadelta", "Adafactor", "RMSprop", "Adagrad")
    for open_, close, parameters, option, value in (
        ("(", ")", "m.parameters()", ".learning_rate", "0.1"),
        ("{", "}", "m.named_parameters()", ".lr", '"0.1"'),
        ("(", ")", "groups", ".weight_decays", "0.1"),
    )
]
WRONG += [
    ("optim::ReduceLROnPlateau p(*static_cast<optim::Optimizer*>(nullptr), {.patients = 3})", "patients"),
    ('optim::AdamW opt({m.weight}, {.schedule = "cosine"})', "schedule"),
]


def errors(root, call):
    run = subprocess.run(
        ["g++", "-std=c++20", "-fsyntax-only", "-I", root, "-x", "c++", "-"],
        input=PROGRAM.replace("CALL", call),
        capture_output=True,
        text=True,
        check=False,
    )
    return [line for line in run.stderr.splitlines() if "error:" in line]


def main():
    root = sys.argv[1]
    failures = 0
    every = errors(root, "; ".join("{ " + call + "; }" for call in RIGHT))
    if every:
        failures += 1
        print("refused though right:", *every, sep="\n  ")
    # The wrong ones together, since reading the headers takes most of the time: each on a line of its own.
    lines = PROGRAM.split("\n")
    first = next(i for i, line in enumerate(lines) if "CALL" in line) + 1
    found = errors(root, "\n".join("{ " + call + "; }" for call, _ in WRONG))
    for i, (call, option) in enumerate(WRONG):
        own = [line for line in found if line.startswith(f"<stdin>:{first + i}:")]
        line = own[0] if own else "compiles"
        if f"‘{option}’" not in line and f"'{option}'" not in line:
            failures += 1
            print(f"{call}\n  does not name {option}: {line}")
    print(f"{len(WRONG) + len(RIGHT) - failures} right, {failures} wrong")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
