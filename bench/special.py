"""The comparison's rows that are not a step's time: memory, processes, the quality of approximate attention."""
import math
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from measure import Failure

MEGABYTE = 1e6


def output_of(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{command[0]}: exit status {done.returncode}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def gpt_memory(programs, options):
    """MB a training step needs over the parameters, gradients and states that are there after a step of one token."""
    sides = [side for side in ("Attune", "PyTorch") if programs.has(side, "gpt_step")]
    found = {side: programs.memory(side, "gpt_step") / MEGABYTE for side in sides}
    return found | ratio_of(found)


def prompt_pass(programs, options):
    """The time of a prompt's pass into the cache over that of the model's forward pass, which has no cache."""
    pairs = [("Attune", "prompt"), ("Attune", "forward")]
    programs.time_rounds(pairs, options.rounds, options.seconds)
    into_cache, forward = (programs.seconds(*pair)[0] for pair in pairs)
    return {"Attune": into_cache / forward}


def exponent(programs, side, name, short, long):
    """The power of n with which the memory of the step `name`/n grows."""
    less, more = (programs.memory(side, f"{name}/{n}") for n in (short, long))
    return math.log(more / less) / math.log(long / short)


def exact_memory(programs, options):
    found = {"Attune": exponent(programs, "Attune", "exact_attention", 2048, 8192)}
    if programs.has("PyTorch", "exact_attention/1024"):
        found["PyTorch"] = exponent(programs, "PyTorch", "exact_attention", 1024, 4096)
    return found


def linear_memory(programs, options):
    found = {"Attune": exponent(programs, "Attune", "linear_attention", 16384, 65536)}
    if programs.has("PyTorch", "linear_attention/1024"):
        found["PyTorch"] = exponent(programs, "PyTorch", "linear_attention", 1024, 4096)
    return found


def reversible_memory(programs, options):
    """Per cent that the activations of a Reformer with 24 layers need over those of one with 2, at n = 16384."""
    part = "--part depth --depths 2,24 --depth-length 16384 --kind reversible".split()
    text = output_of([options.build / "bench" / "scaling", *part, "--out", ""])
    megabytes = [float(line.split()[5]) for line in text.splitlines() if " reversible " in line]
    return {"Attune": 100 * (megabytes[1] / megabytes[0] - 1)}


def start(programs, options):
    """ms from the start of a process to its first gradient; the sides take turns."""
    sides = [s for s in ("Attune", "PyTorch") if s in programs.paths]
    rounds = {side: [] for side in sides}
    for _ in range(11):
        for side in sides:
            rounds[side].append(programs.start(side))
    found = {side: 1e3 * statistics.median(rounds[side]) for side in sides}
    return found | ratio_of(found)


def script(programs, options):
    """Seconds to compile and link a training script of some 30 lines, -O2."""
    root = Path(__file__).resolve().parent
    minimal, torch = root.parent / "examples" / "minimal.cpp", "/usr/include/torch/csrc/api/include"
    commands = {
        "Attune": ["-std=c++20", f"-I{root.parent}", minimal, f"-L{options.build}", "-lattune"],
        "PyTorch": ["-std=c++17", f"-I{torch}", root / "torch" / "script.cpp", "-ltorch", "-ltorch_cpu", "-lc10"],
    }
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        for side in (s for s in commands if s in programs.paths):
            rounds = []
            for _ in range(3 if side == "Attune" else 1):
                began = time.perf_counter()
                output_of(["g++", "-O2", *commands[side], "-o", Path(directory, "script")])
                rounds.append(time.perf_counter() - began)
            found[side] = statistics.median(rounds)
    return found | ratio_of(found)


def ratio_of(found):
    return {"ratio": found["PyTorch"] / found["Attune"]} if len(found) == 2 else {}


def lsh_quality(options):
    """[kind of input, hashes, share of probability, cosine of gradients]."""
    lines = [line.split() for line in output_of([options.build / "bench" / "lsh_quality"]).splitlines()]
    return [[kind, int(hashes), float(share), float(cosine)] for kind, hashes, share, cosine in lines]
