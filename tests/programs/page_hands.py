"""Pages by the timeline's controls and by keyboard alone: a part of `test_page.py`."""
import time

from page_browser import check
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

# ---- the timeline

SHOWN = "return [...document.querySelectorAll('.row')].map((r) => r.className + r.innerText).join('\\n')"


def test_timeline(browser, folder):
    browser.open(folder / "mlp.html", height=1400)
    browser.shift("u")
    browser.shift("b")
    check(
        "timeline: at the beginning", browser.position() == 0 and "before the first" in browser.text("#timeline-text")
    )
    length = browser.js("return attune.state.length")
    there, back = [], []
    for _ in range(length + 1):
        there.append((browser.position(), browser.js(SHOWN), browser.text("#panel-node")))
        browser.keys("n")
    check(
        "timeline: n goes on to the end",
        [at for at, _, _ in there] == list(range(length + 1)),
        [at for at, _, _ in there],
    )
    for _ in range(length + 1):
        back.append((browser.position(), browser.js(SHOWN), browser.text("#panel-node")))
        browser.keys("b")
    same = [i for i, (a, b) in enumerate(zip(there[1:], back[::-1][1:])) if a != b]
    check(
        "timeline: back again, everything is as it was",
        not same,
        same and (there[same[0] + 1], back[::-1][same[0] + 1]),
    )
    check("timeline: forwards and backwards differ", len({text for _, text, _ in there}) == length + 1)
    browser.js("document.getElementById('timeline-slider').focus()")
    browser.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    check("timeline: the slider's keys", browser.position() == 2, browser.position())
    browser.keys(Keys.END)
    check("timeline: the slider's end", browser.position() == length)
    browser.js("document.getElementById('timeline-back').click()")
    check("timeline: the button back", browser.position() == length - 1)
    browser.keys(Keys.ESCAPE)
    browser.keys("B", " ")
    time.sleep(1.3)
    playing = browser.position()
    browser.keys(" ")
    stopped = browser.position()
    time.sleep(0.8)
    check(
        "timeline: space plays and pauses",
        playing >= 1 and browser.position() == stopped,
        (playing, stopped, browser.position()),
    )
    browser.keys("N", "r")
    time.sleep(1.3)
    check("timeline: r rewinds", browser.position() < length)
    browser.keys("r", "m")
    check("timeline: m goes to the turn", browser.position() == browser.js("return attune.state.pass.size"))


# ---- by keyboard alone


def test_keyboard(browser, folder):
    browser.open(folder / "transformer.html")
    check("keys: the tape has the focus at first", browser.focused() == "tape")
    before = browser.js("return document.querySelectorAll('.row').length")
    browser.shift("f")
    check("keys: F folds", browser.js("return document.querySelectorAll('.row').length") < before)
    browser.keys(Keys.HOME, Keys.ARROW_RIGHT)
    group = "return document.querySelector('.row[aria-selected=true]')?.getAttribute('aria-expanded')"
    check("keys: right unfolds", browser.js(group) == "true")
    browser.keys(Keys.ARROW_LEFT)
    check("keys: left folds", browser.js(group) == "false")
    browser.keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    check("keys: down chooses a node", browser.js("return attune.state.selected") == 0)
    browser.keys("/")
    check("keys: / finds", browser.focused() == "find")
    browser.keys("scaled_dot", Keys.ENTER)
    operation = "return attune.state.pass.operation(attune.state.selected)"
    check(
        "keys: Enter goes to what was found",
        browser.js(operation) == "scaled_dot_product_attention",
        browser.js(operation),
    )
    check("keys: attention has its view", "softmax" in browser.text(".view").lower(), browser.text(".view"))
    browser.keys(Keys.ESCAPE)
    check("keys: Esc goes to the tape", browser.focused() == "tape")
    browser.keys("s")
    check(
        "keys: s steps in", browser.js("return attune.state.trail.length") == 2 and "composed" in browser.text(".trail")
    )
    browser.keys("f")
    check("keys: f finishes", browser.js("return attune.state.trail.length") == 1)
    for key, panel in (("2", "panel-graph"), ("3", "panel-training"), ("1", "panel-node")):
        browser.keys(key)
        shown = browser.js("return !document.getElementById(arguments[0]).hidden", panel)
        check(f"keys: {key} opens {panel}", shown and browser.focused() == panel, browser.focused())
    passes = "return attune.state.passIndex"
    browser.keys("]")
    check("keys: ] opens the next pass", browser.js(passes) == 1)
    browser.keys("[")
    check("keys: [ opens the one before", browser.js(passes) == 0)
    browser.keys("d")
    check("keys: d is dark", browser.js("return document.documentElement.dataset.theme") == "dark")
    browser.keys("d", "?")
    check("keys: ? lists the keys", "the next step" in browser.text(".help"))
    browser.keys(Keys.ESCAPE)
    check("keys: Esc closes the list", not browser.js("return document.querySelector('.help').open"))


def test_tabbing(browser, folder):
    """Tab reaches every control; matrices and graphs are read by arrows."""
    browser.open(folder / "mlp.html")
    browser.js("attune.state.select(attune.state.pass.size - 4)")
    browser.frame()
    wanted = browser.js(
        """return [...document.querySelectorAll('button, select, input, [tabindex="0"], summary')]
      .filter((e) => e.checkVisibility() && !e.closest('[hidden], dialog') && e.tabIndex >= 0 && !e.disabled).length"""
    )
    seen = set()
    for _ in range(wanted + 20):
        browser.js("const e = document.activeElement; e.dataset.reached ??= String(Math.random())")
        seen.add(browser.focused("data-reached"))
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
    check("tab: every control is reached", len(seen) >= wanted, (len(seen), wanted))
    nameless = browser.js(
        """return [...document.querySelectorAll(
          'button, select, input, canvas, [role=button], [role=img], [role=tree]')]
        .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML.slice(0, 80))"""
    )
    check("tab: every control has a name", not nameless, nameless)
    browser.js("document.querySelector('.part.gradient .heatmap-canvas').focus()")
    browser.keys(Keys.ARROW_DOWN, Keys.ENTER)
    check(
        "matrix: Enter chooses an element for the formula",
        browser.js("return attune.state.element?.length") is not None,
    )
    check("matrix: and keeps the focus", browser.focused("role") == "img", browser.focused("class"))
    browser.keys("2", Keys.TAB)
    while browser.focused("data-box") == "" and browser.focused() != "timeline-start":
        browser.keys(Keys.TAB)
    first = browser.focused("data-box")
    browser.keys(Keys.ARROW_DOWN)
    second = browser.focused("data-box")
    check("graph: arrows go along", first != "" and second not in ("", first), (first, second))
    browser.keys(Keys.ENTER)
    check("graph: Enter chooses or opens", browser.js("return attune.state.selected >= 0"))
