#!/usr/bin/env python3
"""Runs the example translate as its users do: `test_translate.py TRANSLATE`. Models that are trained a little, compared
and asked; files of one's own, by words and byte pairs; the same bits after an interruption; clear words for what cannot
work."""
import random
import sys

from training import check, interrupted, main, run

SMALL = "--width 16 --embedding 8 --dropout 0.1 --batch-tokens 300 --positions 40 --beam 2 --evaluate 30".split()
NUMBERS = "null eins zwei drei vier fünf sechs sieben acht neun".split()


def write_texts(folder):
    """Numbers, to be said backwards in figures."""
    folder.mkdir()
    draw = random.Random(1)
    for name, lines in [("train", 400), ("val", 60), ("test_1", 60), ("test_2", 30)]:
        rows = [[draw.randrange(10) for _ in range(draw.randint(1, 12))] for _ in range(lines)]
        (folder / f"{name}.de").write_text("".join(" ".join(NUMBERS[i] for i in row) + "\n" for row in rows))
        (folder / f"{name}.en").write_text("".join(" ".join(map(str, row[::-1])) + "\n" for row in rows))
    return folder


def models(folder):
    data, out = write_texts(folder / "texts"), folder / "out"
    common = ["--data", data, *SMALL, "--steps", 30, "--out", out]
    for name, options in {
        "vanilla": [],
        "vanilla_reversed": ["--reverse-source"],
        "additive": [],
        "transformer": ["--heads", 2, "--layers", 1],
    }.items():
        done = run(*common, "--model", name.split("_")[0], *options)
        scored = done.says(f"{name}, test_1: BLEU", f"{name}, test_2: BLEU", "of 60 lines")
        check(f"{name} trains and is scored on all tests", done.code == 0 and scored, done)
        check(f"{name} stands in the table", done.says(f"\n{name} "), done)
        drawn = [path.name for path in (out / name).iterdir() if path.name.startswith("alignment1")]
        expected = {"additive": 2, "transformer": 4}.get(name, 0)  # two heads; PNG and SVG, or text without gnuplot
        check(f"{name}: {expected} pictures of alignments", len(drawn) == expected, drawn)
    check("all are in one picture", "4 of them in one picture" in done.out or "lengths.png.txt" in done.err, done)


def asking(folder):
    out = folder / "out"
    asked = ["--translate", "drei vier", "--out", out, "--model"]
    first, again = run(*asked, "additive"), run(*asked, "additive")
    check("a checkpoint translates, by its own options", first.code == 0 and first.says("drei vier", "<-"), first)
    check("and says the same again", first.out == again.out, again)
    other = run("--translate", "drei", "--model", "vanilla", "--reverse-source", "--out", out)
    check("so does one that looks at nothing", other.code == 0 and not other.says("<-"), other)
    unknown = run("--translate", "drei Katzen", "--model", "transformer", "--out", out)
    named = unknown.code == 0 and '"Katzen"' in unknown.err
    check("words that it does not know are named", named, unknown)
    for what, text, words in [("no text", " ", "no text"), ("too long a text", "drei " * 60, "40 positions")]:
        done = run("--translate", text, "--model", "transformer", "--out", out)
        check(f"{what} is refused", done.code == 2 and done.complains(words), done)
    done = run("--translate", "drei", "--out", folder / "nowhere")
    check("without a run there is nothing to ask", done.code == 2 and done.complains("nowhere"), done)


def runs(folder):
    common = ["--data", folder / "texts", *SMALL, "--tokenizer", "bpe", "--vocabulary", 300, "--steps", 200]
    whole = run(*common, "--out", folder / "whole")
    check("byte-pair encoding", whole.code == 0 and (folder / "whole/additive/source_merges.txt").exists(), whole)
    stopped = interrupted([*common, "--out", folder / "stopped"], "1/200")
    check("Ctrl-C saves", stopped.code == 130 and stopped.says("--resume continues"), stopped)
    resumed = run(*common, "--resume", "--out", folder / "stopped")
    bits = [(folder / name / "additive/checkpoint.safetensors").read_bytes() for name in ("whole", "stopped")]
    check("a resumed run ends with the same bits", resumed.code == 0 and bits[0] == bits[1], resumed)
    asked = run("--translate", "drei vier", "--out", folder / "whole")
    check("it translates", asked.code == 0, asked)


def refusals(folder):
    for name, change, words in [
        ("lines", lambda d: (d / "val.en").write_text("1\n"), ["val.de", "60 lines", "val.en", "has 1"]),
        ("empty", lambda d: (d / "train.de").write_text("eins\n\n" + "drei\n" * 398), ["train.de: line 2 is empty"]),
        ("bytes", lambda d: (d / "train.de").write_bytes(b"eins\n\xff\n" + b"drei\n" * 398), ["train.de: line 2"]),
        ("missing", lambda d: (d / "val.de").unlink(), ["val.de", "cannot be opened"]),
        ("untested", lambda d: [(d / f"test_{i}.de").unlink() for i in (1, 2)], ["has no test*.de"]),
        ("long", lambda d: (d / "test_1.de").write_text("eins\n" * 59 + "zwei " * 50), ["line 60", "51 tokens"]),
    ]:
        data = write_texts(folder / name)
        change(data)
        done = run("--data", data, *SMALL, "--steps", 3, "--out", folder / "refused")
        refused = done.code == 2 and done.complains(*words) and not (folder / "refused").exists()
        check(f"texts: {name}: refused", refused, done)
    for args, words in [
        (["--model", "rnn"], "rnn"),
        (["--heads", 5, "--model", "transformer"], "heads"),
        (["--dates", 2], "--data"),
    ]:
        done = run("--data", folder / "texts", *SMALL, "--out", folder / "refused", *args)
        check(f"{args[0]} {args[1]} is refused", done.code == 2 and words in done.err, done)


if __name__ == "__main__":
    sys.exit(main([models, asking, runs, refusals]))
