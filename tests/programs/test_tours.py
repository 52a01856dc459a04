#!/usr/bin/env python3
"""`test_tours.py ROOT PROGRAM... [--write]`: the transcripts in docs/tours/ are what the programs say.

Each program, tour_NAME, runs with its script of commands, examples/tours/NAME.steps. The blocks of docs/tours/NAME.md
that begin with ```transcript, one after the other, must be its whole output: text exactly, numbers to a tolerance,
whatever the spaces. --write makes the blocks anew; how many commands are in each stays as it is.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^```transcript\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^(?:[a-z_]+ )*\d+/\d+> |^> ", re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.%])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
# Which of the two an operation is, the processor says.
AS_ITS_PARTS = re.compile(r"bit for bit the same|apart by \S+ of the norm:\s+rounding in\s+another\s+order")
COLUMNS, RELATIVE, ABSOLUTE, LONGEST_PROGRAM = "96", 2e-3, 2e-6, 60


def run(program, root, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ATTUNE_") and k != "LINES"}
    environment.update(COLUMNS=COLUMNS, NO_COLOR="1", **variables)
    return subprocess.run([program], cwd=root, env=environment, capture_output=True, text=True, check=False)


def same_number(a, b):
    return abs(a - b) <= ABSOLUTE + RELATIVE * max(abs(a), abs(b))


def differing(said, shown):
    """What differs first, or None."""
    said, shown = (AS_ITS_PARTS.sub("as its parts", t) for t in (said, shown))
    said_numbers, shown_numbers = NUMBER.findall(said), NUMBER.findall(shown)
    said_text, shown_text = (NUMBER.sub("0", t).split() for t in (said, shown))
    for a, b in zip(said_text + ["(end)"], shown_text + ["(end)"]):
        if a != b:
            return f'"{b}" is shown, "{a}" is said'
    for a, b in zip(said_numbers, shown_numbers):
        if not same_number(float(a), float(b)):
            return f"{b} is shown, {a} is said"
    return None


def pieces(output, counts):
    """The output cut before prompts, so that the pieces have these many commands."""
    starts = [m.start() for m in PROMPT.finditer(output)]
    cuts, seen = [], 0
    for count in counts[:-1]:
        seen += count
        cuts.append(starts[seen])
    return [output[a:b] for a, b in zip([0, *cuts], [*cuts, len(output)])]


def tour(root, program, write):
    name = pathlib.Path(program).name.removeprefix("tour_")
    page, script = root / "docs" / "tours" / f"{name}.md", root / "examples" / "tours" / f"{name}.steps"
    lines = (root / "examples" / "tours" / f"{name}.cpp").read_text().count("\n")
    if lines > LONGEST_PROGRAM:
        return f"{name}.cpp has {lines} lines; a tour's program has at most {LONGEST_PROGRAM}"
    done = run(program, root, ATTUNE_STEP="1", ATTUNE_STEP_COMMANDS=str(script.relative_to(root)))
    if done.returncode or done.stderr:
        return f"{name} ended with {done.returncode}: {done.stderr}"
    text = page.read_text()
    blocks = BLOCK.findall(text)
    counts = [len(PROMPT.findall(b)) for b in blocks]
    prompts = len(PROMPT.findall(done.stdout))
    if sum(counts) != prompts:
        return f"{page}: {sum(counts)} commands are shown, {prompts} are run"
    said = pieces(done.stdout, counts)
    if write:
        remaining = iter(said)
        page.write_text(BLOCK.sub(lambda _: f"```transcript\n{next(remaining)}```", text))
        return None
    for number, (is_said, is_shown) in enumerate(zip(said, blocks), 1):
        difference = differing(is_said, is_shown)
        if difference:
            return f"{page}, transcript {number}: {difference}"
    return None


def alone_and_as_page(root, program):
    """Without a watcher the tour says what it says to itself; with ATTUNE_TRACE there is a page."""
    alone = run(program, root)
    if alone.returncode or alone.stderr or PROMPT.search(alone.stdout):
        return f"{program} alone: {alone}"
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "tour.html"
        traced = run(program, root, ATTUNE_TRACE=str(path), ATTUNE_TRACE_STEPS="1-")
        if traced.returncode or traced.stderr or traced.stdout != alone.stdout or not path.exists():
            return f"{program} with ATTUNE_TRACE: {traced}"
    return None


def main():
    root, programs = pathlib.Path(sys.argv[1]).resolve(), [a for a in sys.argv[2:] if a != "--write"]
    write = "--write" in sys.argv[2:]
    faults = []
    for program in map(os.path.abspath, programs):
        faults += [f for f in (tour(root, program, write), alone_and_as_page(root, program)) if f]
    # The comparison itself: a number and a word that differ are seen, another last digit is not.
    cases = (("a 1.00001", "a  1", True), ("a 1.1", "a 1", False), ("a 1", "b 1", False), ("a", "", False))
    for said, shown, same in cases:
        if (differing(said, shown) is None) != same:
            faults.append(f'"{said}" and "{shown}" are compared wrongly')
    print("\n".join(faults) or f"{len(programs)} tours say what their pages show")
    sys.exit(bool(faults))


main()
