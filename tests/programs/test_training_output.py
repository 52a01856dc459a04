#!/usr/bin/env python3
"""What the main example shows at its end, and what it does where it cannot: `test_training_output.py REFORMER_COPY`."""
import os
import subprocess
import sys

from training import PROGRAM, SMALL, Ended, check, main, refused, run, start


def tool(folder, name, script):
    """A program of that name, found before the real one: the environment for it."""
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def pictures(root):
    """What stands in --out is a path and nothing else; a picture is named if it is there."""
    tiny = [*SMALL, "--steps", "2", "--out"]
    for name in ("|touch PWNED;cat>", "a' . system('touch PWNED') . '", "$(touch PWNED)", "--out"):
        out = root / "work" / name
        done = run(*tiny, out, cwd=root)
        there = all((out / each).read_bytes().startswith(b"\x89PNG") for each in ("curve.png", "attention.png"))
        named = done.says(f"Loss and accuracy:     {out}/curve.png", f"Attention and buckets: {out}/attention.png")
        check(f"pictures are drawn into {name}", done.code == 0 and there and named, done)
    check("and nothing was run", not list(root.rglob("PWNED")))
    for name in ("a\nb", "a\x1b[2Jb", "a\x7fb"):
        refused(f"--out {name!r}", [*tiny, root / name], "--out has a control character in it")

    for what, script, why in [
        ("hung", "sleep 600", "gnuplot has not ended within 30 s"),
        ("failing", "cat >/dev/null; echo no font >&2; exit 3", "gnuplot failed: no font"),
        ("silent", "exit 0", "gnuplot drew nothing"),
    ]:
        out = root / f"pictures_{what}"
        done = run(*tiny, out, **tool(root / f"tools_{what}", "gnuplot", script))
        told = done.err.count(f".png: this picture could not be drawn: {why}") == 2
        absent = not done.says("curve.png") and not list(out.glob("*.png"))
        check(f"a {what} gnuplot leaves a finished run", done.code == 0 and told and absent, done)


def output(root):
    """Nobody need listen, but what is lost is told."""
    args = [*SMALL, "--steps", "2", "--out"]
    with open("/dev/full", "w") as full:
        done = Ended(start(*args, root / "full", stdout=full))
    check(
        "a full device",
        done.code == 1 and done.complains("standard output could not be written"),
        done,
    )
    there = all((root / "full" / name).exists() for name in ("curve.png", "checkpoint.safetensors"))
    check("does not end the training", there)
    closed = f'"{PROGRAM}" {" ".join(args)} "{root}/closed" >&-'
    done = subprocess.run(["sh", "-c", closed], capture_output=True, text=True)
    clean = done.returncode == 0 and done.stderr == "" and (root / "closed" / "curve.png").exists()
    check("closed output", clean, f"{done.returncode} {done.stderr}")
    done = run(*args, root / "closed", "--resume")
    check("puts nothing into the checkpoint", done.code == 0, done)


def directories(root):
    """A run is alone in its directory, and changes nothing there that is not its own."""
    args = [*SMALL, "--steps", "2", "--out", root / "shared"]
    (root / "shared").mkdir()
    precious = root / "precious"
    precious.write_text("my notes")
    for name in (".writable", ".attune-probe"):
        (root / "shared" / name).symlink_to(precious)
    first = start(*args, "--steps", "4000")
    first.stdout.readline()
    second = run(*args)
    refusal = second.code == 2 and second.complains(str(root / "shared"), str(first.pid))
    check("a second run in a directory is refused, with the process that is there", refusal, second)
    resumed = run(*args, "--resume")
    check("so is one that resumes", resumed.code == 2 and resumed.complains(str(first.pid)), resumed)
    first.kill()
    first.communicate()
    done = run(*args)
    check("a run that was killed keeps nobody out", done.code == 0, done)
    left = sorted(path.name for path in (root / "shared").iterdir() if not path.is_symlink())
    results = ["attention.png", "checkpoint.safetensors", "curve.png", "events.out.tfevents.attune", "metrics.csv"]
    check("only results are left", left == results, left)
    check("what a link leads to is as it was", precious.read_text() == "my notes")


if __name__ == "__main__":
    sys.exit(main([pictures, output, directories]))
