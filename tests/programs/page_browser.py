"""The browser of the tests of pages: `test_page.py`."""
import json
import os
import subprocess
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

passed, failures = [], []


def check(what, ok, detail=""):
    (passed if ok else failures).append(what)
    print(f"{'ok    ' if ok else 'FAILED'} {what}{'' if ok else f': {detail}'}", flush=True)


# ---- the browser


class Browser:
    """A headless Chromium that only reads files, and notes what pages ask for and complain of."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for switch in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"):
            options.add_argument(f"--{switch}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.service = Service("/usr/bin/chromedriver")
        self.driver = webdriver.Chrome(service=self.service, options=options)

    def open(self, path, width=1280, height=800, dark=False):
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(Path(path).as_uri())
        self.frame()

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def frame(self):
        """Waits until everything asked for is drawn."""
        self.driver.execute_async_script(
            "const d = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(d))"
        )

    def keys(self, *keys):
        """Types into whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()
        self.frame()

    def shift(self, key):
        ActionChains(self.driver).key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()
        self.frame()

    def text(self, selector="body"):
        return self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector)

    def focused(self, what="id"):
        return self.js("return document.activeElement?.getAttribute(arguments[0]) ?? ''", what)

    def position(self):
        return self.js("return attune.state.position")

    def busy(self):
        """Milliseconds of processor time that the processes which draw pages have had."""
        parents, times = {}, {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
                renders = b"--type=renderer" in (entry.parent / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            number = int(entry.parent.name)
            parents[number] = int(fields[1])
            if renders:
                times[number] = int(fields[11]) + int(fields[12])
        ours = 0
        for number, ticks in times.items():
            at = number
            while at in parents and at != self.service.process.pid:
                at = parents[at]
            ours += ticks if at == self.service.process.pid else 0
        return 1000 * ours / os.sysconf("SC_CLK_TCK")

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        """Addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = (m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent")
        return [url for url in sent if not url.startswith(("data:", "about:"))]


def samples(program, folder, *names, **environment):
    subprocess.run([program, str(folder), *names], env=os.environ | environment, check=True, timeout=300)
