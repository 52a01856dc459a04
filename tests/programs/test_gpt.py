#!/usr/bin/env python3
"""Runs the example gpt as its users do: `test_gpt.py GPT`. The same bits after an interruption, text from a checkpoint
and from the weights that it publishes, and clear words for what cannot work."""
import json
import sys

from training import check, interrupted, main, run

TEXT = "".join(
    f"Line {i} of a text: the cat sees the dog, and the dog runs away from {i % 7} cats.\n" for i in range(400)
)
SMALL = "--width 32 --heads 2 --layers 2 --context 16 --batch 4 --dropout 0.1 --tokens 30 --save-every 50".split()


def training(folder):
    data = folder / "text.txt"
    data.write_text(TEXT)
    common = ["--data", data, *SMALL, "--steps", 300]
    whole = run(*common, "--out", folder / "whole")
    check("a run trains and writes", whole.code == 0 and whole.says("Validation loss", "\nLine "), whole)
    stopped = interrupted([*common, "--out", folder / "stopped"], "1/300")
    check("Ctrl-C saves", stopped.code == 130 and stopped.says("--resume continues"), stopped)
    fresh = run(*common, "--out", folder / "stopped")
    check("an unfinished run is not written over", fresh.code == 2 and fresh.complains("resume"), fresh)
    other = run(*common, "--lr", 0.1, "--resume", "--out", folder / "stopped")
    check("a run resumes only under its own options", other.code == 2 and other.complains("--lr"), other)
    resumed = run(*common, "--resume", "--out", folder / "stopped")
    weights = [(folder / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    check("a resumed run ends with the same bits", resumed.code == 0 and weights[0] == weights[1], resumed)


def sampling(folder):
    out, sample = folder / "whole", ["--sample", "the cat", "--tokens", 40, "--seed", 3]
    first, again = run(*sample, "--out", out), run(*sample, "--out", out)
    check("a checkpoint writes", first.code == 0 and first.out.startswith("the cat"), first)
    check("the same seed writes the same", first.out == again.out, again)
    published = run(*sample, "--weights", out)
    check("its published weights write the same", published.out == first.out, published)
    config = json.loads((out / "config.json").read_text())
    check("the configuration is as published", config["model_type"] == "gpt2" and config["n_embd"] == 32, config)
    options = ["--tokenizer", "bpe", "--vocabulary", 300, "--banded", 4, *SMALL, "--steps", 20]
    bpe = run("--data", folder / "text.txt", *options, "--out", folder / "bpe")
    check("byte-pair encoding and bands", bpe.code == 0 and (folder / "bpe" / "merges.txt").exists(), bpe)


def in_context(folder):
    done = run("--in-context", *SMALL, "--steps", 20, "--out", folder / "shots")
    check("keys and values are trained and drawn", done.code == 0 and (folder / "shots" / "shots.png").exists(), done)


def refusals(folder):
    (folder / "short").write_text("short")
    (folder / "empty").write_text("")
    (folder / "bad").write_bytes(b"text \xff" * 100)
    for what, words in [("none", "cannot be opened"), ("empty", "is empty"), ("short", "no window"), ("bad", "UTF-8")]:
        done = run("--data", folder / what, "--out", folder / "refused")
        refused = done.code == 2 and done.complains(words) and not (folder / "refused").exists()
        check(f"a text that is {what} is refused", refused, done)
    for args, words in [
        (["--heads", 5], "heads"),
        (["--sample", "x", "--out", folder / "nowhere"], "cannot be opened"),
        (["--sample", "", "--out", folder / "whole"], "no text"),
        (["--sample", "Ω", "--out", folder / "whole"], "not in the vocabulary"),
        (["--tokenizer", "words"], "words"),
    ]:
        done = run("--data", folder / "text.txt", "--out", folder / "refused", *args)
        check(f"{args[0]} {args[1]!r} is refused", done.code != 0 and words in done.err, done)


if __name__ == "__main__":
    sys.exit(main([training, sampling, in_context, refusals]))
