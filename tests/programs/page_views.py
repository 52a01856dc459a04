"""What rows and views show of runs that are not plain: a part of `test_page.py`."""
from page_browser import check
from selenium.webdriver.common.keys import Keys

ROW = "return document.querySelector('.row[aria-selected=true]').innerText"
# The counts of a heatmap of meetings, as a reader meets them: query by query, how many keys each sees.
MET = """const all = [...document.querySelectorAll('.view figure')].find((f) => f.innerText.startsWith('who meets'));
const canvas = all.querySelector('canvas');
canvas.focus();
// A window in the background sends no focus event: the cursor comes by keys.
for (const key of ['ArrowRight', 'ArrowLeft']) canvas.dispatchEvent(new KeyboardEvent('keydown', { key }));
const seen = [];
for (let i = 0; i < 16; ++i) {
  const keys = [];
  for (let j = 0; j < 16; ++j) {
    const text = all.querySelector('.readout').textContent;
    if (text.endsWith('= 1')) keys.push(j);
    if (j < 15) canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));
  }
  seen.push(keys);
  for (let j = 0; j < 15; ++j) canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft' }));
  canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown' }));
}
return seen;"""


def find(browser, name):
    browser.js("attune.findNext(arguments[0])", name)
    browser.frame()


def test_lsh(browser, folder):
    browser.open(folder / "padded.html")
    find(browser, "chunked_attention")
    browser.js("document.querySelector('[aria-label=\"round 1\"]').click()")
    names = browser.js("return [...document.querySelectorAll('.strip .bucket-name')].map((e) => e.textContent)")
    check("lsh: buckets are the run's numbers", names == ["11"] * 32, names)
    grey = browser.js(
        "return [...document.querySelectorAll('.strip')].map((e) => e.querySelectorAll('.padding').length)"
    )
    check("lsh: padding is grey", grey == [3, 3], grey)
    browser.js("document.querySelector('[aria-label=\"round 0\"]').click()")
    seen = browser.js(MET)
    # Chunks of 4 and one before, which for the first is the last round's last; nothing later; padding sees itself.
    wanted = []
    for query in range(16):
        keys = [key for key in range(max(0, 4 * (query // 4) - 4), query + 1) if key < 13 or key == query]
        wanted.append(keys)
    check("lsh: queries meet no padding", seen == wanted, seen)


def test_not_plain(browser, folder):
    browser.open(folder / "parted.html")
    find(browser, "split")
    row = browser.js(ROW)
    check("several outputs: the row shows the slot that is used", ".1" in row and ".0" not in row, row)
    check("several outputs: and not finite is its user's alone", "nan" not in row, row)
    label = row.split("\n")[0].strip()
    find(browser, "log")
    row = browser.js(ROW)
    check("several outputs: who takes a slot says so", label in row.replace("\n", ""), (label, row))
    check("several outputs: the inspector too", label in browser.text("#panel-node"), browser.text("#panel-node"))
    marks = browser.js(
        "return [...document.querySelectorAll('.row[aria-selected=true] .not-finite')].map((e) => e.textContent)"
    )
    check("rows: what is not finite says so", marks[:1] == ["nan inf"], (marks, row))
    for name in ("dropped", "tight", "scarce"):
        browser.open(folder / f"{name}.html")
        find(browser, "scaled_dot")
        text = browser.text(".view")
        wanted = "summarised" if name == "scarce" else "weighted sum"
        others = browser.js("return attune.recording.table.at.some((at) => at < 0)")
        check(f"{name}: other values are summarised if bytes are few", others == (name != "dropped"), others)
        check(f"{name}: attention has its view", wanted in text, text or browser.text("#panel-node"))


def test_focus(browser, folder):
    """Steps and choices leave the focus on what was pressed, or on its like of the next node."""
    browser.open(folder / "mlp.html")
    browser.js("document.querySelector('#panel-node .when .link').focus()")
    browser.keys(Keys.ENTER)
    browser.frame()
    kept = browser.focused("data-key")
    check("focus: a link keeps it", kept == "to its forward step", kept)
    for _ in range(3):
        browser.keys("b")
        kept = browser.focused("data-key")
        check("focus: a link keeps it at a step", kept == "to its forward step", kept)
    browser.js("document.querySelector('#panel-node .part.rule > summary').focus()")
    browser.keys("n", "n")
    inside = browser.js(
        "const e = document.activeElement; return e.closest('#panel-node') !== null && (e.tagName + e.innerText)"
    )
    check("focus: a heading keeps it at a step", inside, browser.js("return document.activeElement.outerHTML"))


def test_narrow(browser, folder):
    browser.open(folder / "transformer.html", 360, 740)
    cut = browser.js(
        "return ['#passes', '#find'].map((s) => document.querySelector(s)).filter((e) => e.offsetWidth < 110).length"
    )
    check("narrow: the choice of passes and the search have room", cut == 0, cut)
    browser.keys("3")
    browser.frame()
    size = browser.js(
        "const t = document.querySelector('.chart');"
        "return 11 * t.getBoundingClientRect().width / t.viewBox.baseVal.width"
    )
    check("narrow: a chart's labels can be read", size >= 10, size)
    over = browser.js("const e = document.querySelector('.table-scroll'); return e.scrollWidth - e.clientWidth")
    check("narrow: the table's columns are all there", over <= 0, over)
    browser.open(folder / "transformer.html")
    rows = browser.js("return [...document.querySelectorAll('.row .call b')].map((e) => e.textContent)")
    first = (
        "return attune.state.pass.size > 40 && attune.tape.model.rows.some((r) => r.node >= 0 && "
        "attune.state.pass.operation(r.node).includes('attention'))"
    )
    check("transformer: the first attention is unfolded", browser.js(first), rows)
    browser.js("const e = document.getElementById('views'); e.selectedIndex = 2; e.dispatchEvent(new Event('change'))")
    browser.frame()
    check("transformer: the list of views goes to one", "weighted sum" in browser.text(".view"), browser.text(".view"))
    browser.open(folder / "mlp.html")
    find(browser, "linear")
    bars = browser.js(
        "return [...document.querySelectorAll('.local')]"
        ".filter((e) => getComputedStyle(e).overflowY !== 'hidden').length"
    )
    check("rules of gradients have no bar at the side", bars == 0, bars)
