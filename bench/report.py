"""What compare.py found, as text, Markdown, JSON and a picture."""
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from measure import KEPT, NOISE


def is_met(kind, measured, bound):
    return measured <= bound if kind == "value" else measured >= bound


# ---- the machine


def cpu_times():
    """Seconds since some moment, over all cores: stolen by the host, busy, busy with this run, and all."""
    fields = [int(x) / os.sysconf("SC_CLK_TCK") for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, idle, wait, irq, softirq, stolen = fields[:8]
    own = os.times()
    return {"stolen": stolen, "busy": user + nice + system + irq + softirq, "own": sum(own[:4]), "all": sum(fields[:8])}


def machine(threads):
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "kernel": platform.release(),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "load before": os.getloadavg()[0],
        "times": cpu_times(),
    }


def finish(stamp, programs, results):
    """Adds the libraries that ran, how far apart the cores lay, and what makes the run doubtful."""
    before, after = stamp.pop("times"), cpu_times()
    spent = {k: after[k] - before[k] for k in before}
    stamp["stolen"] = spent["stolen"] / spent["all"]
    stamp["others"] = max(0, spent["busy"] - spent["own"]) / spent["all"]
    stamp["libraries"] = {
        side: {k: c.get(k, "unknown") for k in ("library", "blas", "threads")} for side, c in programs.contexts.items()
    }
    trips = [t for t in programs.round_trips if t > 0]
    stamp["round trip"] = [min(trips), max(trips)] if trips else None
    stamp["doubts"] = [*doubts_about_machine(stamp, trips), *doubts_about_rows(results)]


def doubts_about_machine(stamp, trips):
    if stamp["others"] > 0.02:
        yield f"other programs took {100 * stamp['others']:.0f} % of the cores' time"
    if stamp["threads"] > (stamp["cores"] or 1):
        yield f"{stamp['threads']} threads on {stamp['cores']} cores"
    if stamp["stolen"] > 0.01:
        yield f"the host took {100 * stamp['stolen']:.1f} % of the time for other machines"
    if trips and max(trips) > 2 * min(trips):
        far = sum(t > 2 * min(trips) for t in trips)
        yield (
            f"the host moved the cores apart for {far} of {len(trips)} processes: between them a cache line's way "
            f"and back took up to {max(trips):.0f} ns, not {min(trips):.0f}"
        )
    sides = stamp["libraries"].values()
    for what in ("blas", "threads"):
        if len({side[what] for side in sides}) > 1:
            yield f"the sides differ in {what}: " + ", ".join(sorted({side[what] for side in sides}))


def doubts_about_rows(results):
    sides = ("Attune", "PyTorch", KEPT, "limit", "cached limit")
    for r in results:
        spreads = [(side, r.get(side + " spread", 0)) for side in sides]
        wide = [f"{side} {100 * spread:.0f} %" for side, spread in spreads if spread > NOISE]
        if wide:
            yield f"{r['name']}: rounds lie apart by {', '.join(wide)}"


def describe(stamp):
    """The stamp as lines."""
    lines = [
        f"{stamp['date']}, {stamp['cpu']}, {stamp['cores']} cores, {stamp['threads']} threads, "
        f"load {stamp['load before']:.1f} before"
    ]
    if stamp["round trip"]:
        lines.append(
            "a cache line to the other core and back: " + " to ".join(f"{t:.0f}" for t in stamp["round trip"]) + " ns"
        )
    for side, c in stamp["libraries"].items():
        lines.append(f"{c['library']}: {c['blas']}, {c['threads']} threads")
    return lines


# ---- the table


def number(x):
    if x is None:
        return "-"
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"


def target(result):
    words = []
    for kind, bound in result["targets"].items():
        text = {
            "ratio": f">= {bound:g}x",
            "roofline": f">= {100 * bound:.0f} % of roofline",
            "value": f"<= {bound:g} {result['unit']}".strip(),
        }[kind]
        met = result["met"].get(kind)
        words.append(text + (" ?" if met is None else " ok" if met else " MISSED"))
    return ", ".join(words)


def roofline(result):
    if "roofline" not in result:
        return "-"
    cached = f" ({100 * result['roofline cached']:.0f} %)" if "roofline cached" in result else ""
    return f"{100 * result['roofline']:.0f} %{cached}"


def cells(result):
    unit = result["unit"]

    def side(name):
        if name not in result:
            return "-"
        text = f"{number(result[name])} {unit}".strip()
        return text + (f", {1e3 * result['tokens'] / result[name]:.0f} tokens/s" if "tokens" in result else "")

    return [
        result["text"],
        side("Attune"),
        side("PyTorch"),
        f"{result['ratio']:.2f}x" if "ratio" in result else "-",
        f"{side(KEPT)}, {result['ratio kept']:.2f}x" if KEPT in result else "-",
        roofline(result),
        target(result),
    ]


HEAD = ["workload", "Attune", "PyTorch", "ratio", "with memory kept", "of roofline", "target"]
QUALITY_HEAD = ["LSH attention, n 1024, d 256, input", "hashes", "share of exact probability", "cosine of gradients"]


def quality_cells(row):
    kind, hashes, share, cosine = row
    return [kind, str(hashes), f"{100 * share:.1f} %", f"{cosine:.3f}"]


def grids(results, quality):
    """The tables as lists of lines of cells, a head first."""
    if results:
        yield [HEAD, *map(cells, results)]
    if quality:
        yield [QUALITY_HEAD, *map(quality_cells, quality)]


def table(stamp, results, quality):
    parts = ["\n".join(describe(stamp))]
    for grid in grids(results, quality):
        widths = [max(map(len, column)) for column in zip(*grid)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in grid]
        parts.append("\n".join([lines[0], "-" * len(lines[0]), *lines[1:]]))
    parts.append("\n".join(f"noisy: {d}" for d in stamp["doubts"]))
    return "\n\n".join(p for p in parts if p)


def markdown(stamp, results, quality):
    parts = []
    for head, *lines in grids(results, quality):
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines]))
    parts.append("; ".join(describe(stamp)) + ".")
    return "\n\n".join(parts + [f"Noisy: {d}." for d in stamp["doubts"]]) + "\n"


# ---- files


def picture(path, results):
    """Bars of how many times quicker Attune is, with the targets as marks."""
    shown = [r for r in results if "ratio" in r][::-1]
    if not shown:
        return
    bars = [
        f"{i} {r['ratio']:.4g} {r['targets'].get('ratio', 'nan')} \"{r['text'].split(' (')[0]}\""
        for i, r in enumerate(shown)
    ]
    script = f"""
set terminal pngcairo size 900,{90 + 26 * len(shown)} font 'DejaVu Sans,10'
set output '{str(path).replace("'", "''")}'
$bars << EOD
{chr(10).join(bars)}
EOD
set title 'PyTorch over Attune: time, or memory (marks: targets)'
set logscale x
set xrange [0.5:*]
set yrange [-0.6:{len(shown) - 0.4}]
set xtics (0.5, 1, 2, 4, 8, 16, 32, 64)
set grid xtics
set style fill solid 0.8 noborder
unset key
set arrow 1 from 1, graph 0 to 1, graph 1 nohead lc rgb '#444444'
plot $bars using 2:1:(0.5):2:($1-0.35):($1+0.35):ytic(4) with boxxyerror lc rgb '#3b78b5', \\
     $bars using 3:1 with points pt 9 ps 1.4 lc rgb '#d1495b'
"""
    try:
        done = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True)
        fault = done.stderr.strip() if done.returncode != 0 else ""
    except FileNotFoundError:
        fault = "is not installed"
    if fault:
        print(f"no picture: gnuplot {fault}", file=sys.stderr)


def write(directory, stamp, results, quality):
    directory.mkdir(parents=True, exist_ok=True)
    found = {"machine": stamp, "rows": results, "quality": quality}
    (directory / "compare.json").write_text(json.dumps(found, indent=1) + "\n")
    (directory / "compare.md").write_text(markdown(stamp, results, quality))
    picture(directory / "compare.png", results)
    print(f"\n{directory}/compare.json, compare.md and compare.png")
