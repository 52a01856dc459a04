#!/usr/bin/python3
"""`test_page.py PAGE_SAMPLES [TEST...]`: pages of recordings in headless Chromium.

By keyboard alone where a person could be. Run by Debian's Python, which has Debian's selenium.
ATTUNE_PAGE_SHOTS=FOLDER also leaves pictures of the pages there.
"""
import os
import struct
import sys
import tempfile
from pathlib import Path

from page_browser import Browser, check, failures, passed, samples
from page_hands import test_keyboard, test_tabbing, test_timeline
from page_views import test_focus, test_lsh, test_narrow, test_not_plain
from selenium.webdriver.common.keys import Keys

FORMATS = {"float32": "<f", "float64": "<d", "int64": "<q", "int32": "<i", "bool": "<?"}


# ---- nothing leaves a page, nothing in it runs but its own script


def test_seclusion(browser, folder):
    for page in sorted(folder.glob("*.html")):
        browser.complaints(), browser.requests()
        browser.open(page)
        for tab in "231":
            browser.keys(tab)
        complaints, requests = browser.complaints(), browser.requests()
        check(f"{page.stem}: no complaint in the console", not complaints, complaints)
        check(f"{page.stem}: asks for nothing but itself", requests == [page.as_uri()], requests)
        check(f"{page.stem}: loads nothing", browser.js("return performance.getEntriesByType('resource').length") == 0)
    browser.js(
        "const s = document.createElement('script'); s.textContent = 'globalThis.owned = 1'; document.body.append(s)"
    )
    blocked = browser.js("return new Promise((d) => fetch('https://example.com/').then(() => d(false), () => d(true)))")
    check("the policy stops other scripts", browser.js("return globalThis.owned === undefined"))
    check(
        "the policy stops requests",
        blocked and not [r for r in browser.requests() if r.startswith("http") and not blocked],
    )
    browser.complaints()


def test_hostile(browser, folder):
    browser.open(folder / "hostile.html")
    rows = browser.js("return attune.state.pass.size")
    seen = ""
    for node in range(rows):
        browser.js("attune.state.select(arguments[0]); attune.tape.reveal()", node)
        browser.frame()
        seen += browser.text()
    browser.keys("3")
    seen += browser.text() + browser.text("#passes")
    for text in (
        "</script><script>globalThis.owned=1</script>",
        "<img src=x onerror=globalThis.owned=1>",
        "&lt;b&gt;&amp;\\u003c",
        "<!--<script>",
        "javascript:globalThis.owned=1",
        "__proto__",
        "\U0001f408",
    ):
        check(f"hostile text is shown as it is: {text}", text in seen)
    check("no hostile text ran", browser.js("return globalThis.owned === undefined"))
    counts = browser.js(
        "return ['script', 'img', 'svg[onload]', 'iframe'].map((s) => document.querySelectorAll(s).length)"
    )
    check("no hostile text became an element", counts == [5, 0, 0, 0], counts)


# ---- numbers


def bits(path):
    for line in path.read_text().splitlines():
        number, dtype, text = (line.split(" ") + [""])[:3]
        yield int(number), dtype, bytes.fromhex(text)


HEX = """
const out = {};
for (const i of arguments[0]) {
  const { data } = attune.recording.value(i);
  if (data) out[i] = [...new Uint8Array(data.buffer)].map((b) => b.toString(16).padStart(2, "0")).join("");
}
return out;
"""


def test_bits(browser, folder):
    for page in sorted(folder.glob("*.bits")):
        browser.open(page.with_suffix(".html"))
        wanted = {number: value.hex() for number, _, value in bits(page)}
        got = browser.js(HEX, list(wanted))
        wrong = [number for number, text in got.items() if wanted[int(number)] != text]
        check(
            f"{page.stem}: {len(got)} of {len(wanted)} values are whole, bit for bit",
            not wrong and (got or not wanted),
            wrong[:9],
        )


def number_bits(text, dtype):
    text = text.replace("\u2212", "-")
    if dtype == "bool":
        return struct.pack("<?", text == "true")
    return struct.pack(FORMATS[dtype], float(text) if dtype.startswith("float") else int(text))


def same_bits(text, dtype, raw):
    shown = number_bits(text, dtype)
    nan = dtype.startswith("float") and text == "nan"  # one text for all of them
    return shown == raw or (nan and struct.unpack(FORMATS[dtype], raw)[0] != struct.unpack(FORMATS[dtype], raw)[0])


def test_shown_numbers(browser, folder):
    """What a reader meets at each element, by the arrow keys, reads back to the run's bits."""
    browser.open(folder / "odd.html")
    values = {number: (dtype, raw) for number, dtype, raw in bits(folder / "odd.bits")}
    shown = 0
    for node in range(9):
        dtype, raw = values[node]
        size = struct.calcsize(FORMATS[dtype])
        browser.js("attune.state.select(arguments[0])", node)
        browser.frame()
        scalar = browser.texts(".part.forward > .value:last-child .scalar")
        if scalar:
            check(f"odd: the number of node {node}", same_bits(scalar[-1], dtype, raw), scalar)
            continue
        if not browser.js(
            "const c = [...document.querySelectorAll('.part.forward .value')].pop().querySelector('.heatmap-canvas');"
            "c?.focus(); return Boolean(c)"
        ):
            continue
        columns = int(browser.focused("aria-label").split(" by ")[1].split(";")[0])
        readings = []
        for _ in range(columns):
            readings.append(
                browser.js("return document.activeElement.closest('.heatmap').querySelector('.readout').textContent")
            )
            browser.keys(Keys.ARROW_RIGHT)
        for i, reading in enumerate(readings):
            text = reading.split(" = ")[1]
            ok = same_bits(text, dtype, raw[i * size : (i + 1) * size])
            shown += 1
            check(f"odd: node {node} {reading}", ok, raw[i * size : (i + 1) * size].hex())
    check("odd: elements were read", shown > 20, shown)


def test_chain(browser, folder):
    """Numbers that anybody can work out: d = (a + a) b, a = -4, b = 0.1f."""
    browser.open(folder / "chain.html")
    find = "return [...Array(attune.state.pass.size).keys()].find((i) => attune.state.pass.label(i) === arguments[0])"
    a = browser.js(find, "a")
    browser.js("attune.state.select(arguments[0])", a)
    browser.frame()
    text = browser.text("#panel-node")
    check("chain: both contributions to a are there", "1 of 2" in text and "2 of 2" in text, text)
    check("chain: da = 2 b", "0.2" in browser.texts("#panel-node .exact"), text)
    product = browser.js(
        "return [...Array(attune.state.pass.size).keys()].find((i) => attune.state.pass.operation(i) === 'mul')"
    )
    browser.js("attune.state.select(arguments[0])", product)
    browser.frame()
    formulas = [
        " ".join(text.split())
        for text in browser.js("return [...document.querySelectorAll('.formula.numbers')].map((e) => e.textContent)")
    ]
    check(
        "chain: the rule with its numbers",
        any("=0.1·1" in f.replace(" ", "") and f.endswith("=0.1") for f in formulas),
        formulas,
    )


# ---- what is not there


def test_missing(browser, folder, program):
    browser.open(folder / "empty.html")
    check(
        "empty: says so",
        "Nothing was recorded" in browser.text() and "no backward pass" in browser.text(),
        browser.text(),
    )
    browser.keys(
        "n", "b", " ", "s", "f", "2", "3", "1", "/", Keys.ENTER, Keys.ESCAPE, "t", "F", "U", Keys.ARROW_DOWN, "]", "m"
    )
    check("empty: every key is harmless", not browser.complaints())
    browser.open(folder / "odd.html")
    check(
        "odd: the pass's error is shown",
        "ended early" in browser.text("#panel-node") and "NaN in the gradient" in browser.text(),
    )
    check("odd: what is summarised says so", "Summarised" in browser.text("#panel-node"), browser.text("#panel-node"))
    check(
        "odd: with a picture and a histogram", browser.js("return document.querySelectorAll('.histogram').length") > 0
    )
    check("odd: and the slice that was asked for", "[0, :4]" in browser.text("#panel-node"))
    browser.open(folder / "without_sources.html")
    check("without sources: says so", "not in the recording" in browser.text("#panel-node"))
    bare = folder / "bare"
    bare.mkdir()
    samples(program, bare, "mlp", PATH="/nonexistent")
    browser.open(bare / "mlp.html")
    browser.keys("2")
    check("without Graphviz: says so", "Graphviz" in browser.text("#panel-graph"), browser.text("#panel-graph"))
    cut = folder / "cut.html"
    whole = (folder / "mlp.html").read_bytes()
    for share in (0.3, 0.6, 0.9):
        cut.write_bytes(whole[: int(share * len(whole))])
        browser.open(cut)
        check(f"cut off at {share}: says so", "not whole" in browser.text(), browser.text())
    cut.unlink()


# ---- sizes and times


STEPS = """
const done = arguments[0], times = [];
attune.timeline.go(attune.state.pass.size);
let left = 40;
const step = () => {
  const begin = performance.now();
  attune.timeline.step(left > 20 ? 1 : -1);
  requestAnimationFrame(() => setTimeout(() => {
    times.push(performance.now() - begin);
    --left ? step() : done(times.sort((a, b) => a - b));
  }));
};
step();
"""


def test_size(_, folder):
    size = (folder / "transformer.html").stat().st_size
    check(f"a Transformer's page has {size / 2**20:.2f} MB, at most 8", size <= 8 * 2**20)


def measure_speed(browser, folder):
    """No test: prints what opening a page and a step take, by the clock and in processor time."""
    for name in ("transformer", "large"):
        clock, busy = [], []
        for _ in range(3):
            browser.open(folder / "empty.html")
            before = browser.busy()
            browser.open(folder / f"{name}.html")
            clock.append(browser.js("return attune.usable") / 1000)
            busy.append((browser.busy() - before) / 1000)
        print(f"{name}: usable after {min(clock):.2f} s ({min(busy):.2f} s busy)")
        clock, busy = [], []
        for _ in range(3):
            before = browser.busy()
            clock.append(browser.driver.execute_async_script(STEPS)[20])
            busy.append((browser.busy() - before) / 40)
        print(f"{name}: a step in {min(clock):.1f} ms ({min(busy):.1f} ms busy)")


# ---- looks


# Of each weight its number and its bar's width, emptied of what the weight gives it.
BARS = """return [...document.querySelectorAll(".weights li")].map((row) => {
    const bar = row.querySelector(".bar"), width = bar.getBoundingClientRect().width;
    bar.style.width = "0";
    return [Number(row.lastChild.textContent), width, bar.getBoundingClientRect().width];
})"""


def test_looks(browser, folder):
    shots = os.environ.get("ATTUNE_PAGE_SHOTS")
    wanted = {
        "mlp": "linear",
        "transformer": "scaled_dot",
        "reformer": "chunked",
        "lstm": "lstm",
        "additive": "softmax",
    }
    for name, operation in wanted.items():
        for width, height in ((360, 740), (1280, 800), (1920, 1080)):
            for dark in (False, True):
                browser.open(folder / f"{name}.html", width, height, dark)
                browser.js("attune.findNext(arguments[0])", operation)
                browser.frame()
                theme = browser.js("return document.documentElement.dataset.theme")
                wide = browser.js("return document.documentElement.scrollWidth")
                label = f"{name} at {width}, {theme}"
                check(f"{label}: nothing sticks out", wide <= width and theme == ("dark" if dark else "light"), wide)
                if shots:
                    browser.driver.save_screenshot(f"{shots}/{name}-{width}-{theme}.png")
    views = {"transformer": "weighted sum", "reformer": "Hashing", "lstm": "forget gate", "additive": "Alignment"}
    for name, text in views.items():
        browser.open(folder / f"{name}.html")
        browser.js("attune.findNext(arguments[0])", wanted[name])
        browser.frame()
        check(f"{name}: has a view of its own", text in browser.text("#panel-node"), browser.texts(".view"))
    bars = browser.js(BARS)
    most, longest, _ = bars[0] if bars else (1, 0, 0)
    true_length = all(abs(width * most - longest * x) <= 2 * most and least <= 1 for x, width, least in bars)
    check("additive: the bars of weights are as long as these are large", len(bars) > 2 and true_length, bars)


def main():
    program, wanted = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples(program, folder)
        browser = Browser()
        try:
            for test in (
                test_seclusion,
                test_hostile,
                test_bits,
                test_shown_numbers,
                test_chain,
                test_timeline,
                test_keyboard,
                test_tabbing,
                test_lsh,
                test_not_plain,
                test_focus,
                test_narrow,
                test_size,
                test_looks,
                measure_speed,
            ):
                if test.__name__ in wanted or (not wanted and test is not measure_speed):
                    test(browser, folder)
            if not wanted or "test_missing" in wanted:
                test_missing(browser, folder, program)
        finally:
            browser.driver.quit()
    print(f"{len(passed)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
