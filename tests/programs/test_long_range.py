#!/usr/bin/env python3
"""Runs the example long_range as its users do: `test_long_range.py LONG_RANGE`. The same accuracies after an
interruption, pictures of every mechanism, and clear words for what cannot work."""
import re
import sys

from training import check, interrupted, main, refused, run

SMALL = "--lengths 32,64 --longest 64 --width 8 --heads 2 --tokens 128 --save-every 10".split()


def accuracies(done):
    """The lines of the first table: times differ from run to run."""
    return re.findall(r"^(?:exact|linear|linformer) .*\d\.\d(?: .*)?$", done.out.split("us, MiB")[0], re.M)


def comparison(folder):
    every = run(*SMALL, "--steps", 2, "--out", folder / "every")
    names = ["exact", "window", "local", "lsh", "linear", "performer", "linformer"]
    pictures = ["long_range", *(f"pattern_{name}" for name in names)]
    check("every mechanism is run", every.code == 0 and every.says("\nlinformer", "not causal"), every)
    check("and drawn", all((folder / "every" / f"{name}.png").exists() for name in pictures), every)


def resumption(folder):
    common = [*SMALL, "--only", "exact,linear", "--steps", 60]
    whole = run(*common, "--out", folder / "whole")
    check("two mechanisms are compared", whole.code == 0 and len(accuracies(whole)) == 2, whole)
    stopped = interrupted([*common, "--out", folder / "stopped"], "linear on duplication")
    check("Ctrl-C saves", stopped.code == 130 and stopped.says("--resume continues"), stopped)
    fresh = run(*common, "--out", folder / "stopped")
    check("an unfinished comparison is not written over", fresh.code == 2 and fresh.complains("resume"), fresh)
    resumed = run(*common, "--resume", "--out", folder / "stopped")
    check("a resumed one ends with the same accuracies", accuracies(resumed) == accuracies(whole), resumed)


def refusals(folder):
    out = ["--out", folder / "refused"]
    refused("an unknown mechanism", ["--only", "exact,magic", *out], "magic", "linformer")
    refused("an unknown task", ["--tasks", "chess", *out], "chess", "listops")
    refused("lengths that do not grow", ["--lengths", "64,64", *out], "--lengths")
    refused("an odd length", ["--lengths", "33", *out], "--lengths")
    refused("a length that is left out", ["--lengths", "32,,64", *out], "--lengths")
    refused("heads that do not divide the width", ["--width", 10, "--heads", 4, *out], "--heads")


if __name__ == "__main__":
    sys.exit(main([comparison, resumption, refusals]))
