# SPDX-License-Identifier: MIT
"""A headless Chromium, driven by selenium, with the page of a server in it; and a worker for such
tests that says what it is told, fast or slowly, so that answers are known beforehand."""

import json
import pathlib
import shutil
import sys
import unittest

import serving
import support
from serving import wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
try:
    import selenium.webdriver as webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    import axe_playwright_python
except ImportError:
    webdriver = None

needs_browser = unittest.skipUnless(
    webdriver and CHROMIUM and DRIVER,
    "no browser: packages chromium and chromium-driver, and 'selenium' of scripts/fetch-clients")

# A page that breaks its own policy says so in an event.
WATCH = ("addEventListener('securitypolicyviolation', event => (window.violations ??= [])"
         ".push(event.violatedDirective + ' ' + event.blockedURI));"
         "addEventListener('error', event => (window.faults ??= []).push(String(event.message)));"
         "addEventListener('unhandledrejection', event => (window.faults ??= [])"
         ".push(String(event.reason)));")

MODEL = support.FOLDER / "polly.parrot"


def parrot():
    """parrot.py with room for long texts; of "slowly N …" it says a byte each N ms, until told to
    stop, also as a thought, and of "messages" all that it was given."""
    source = (pathlib.Path(__file__).parent / "parrot.py").read_text()
    for old, new in (
            ("CHAT, CONTEXT = 0xFFFFFFFF, 0, 2, 22, 2, 4096", "CHAT, CONTEXT = 0xFFFFFFFF, 0, 2, 22, "
             "2, 1000000"),
            ("import mmap\n", "import mmap\nimport select\nimport time\n"),
            ('variables["messages"][-1]["content"]', 'said_to(variables["messages"])'),
            ("    for character in said:\n", "    pause = int(said.split()[1]) / 1000 if "
             "said.startswith((\"slowly \", \"<think>slowly \")) else 0\n    for character in said:\n        if pause and "
             "select.select([parent], [], [], pause)[0]:\n            break\n"),
            ("def answer(", "def said_to(messages):\n    last = messages[-1][\"content\"]\n"
             "    return json.dumps(messages) if last == \"messages\" else last\n\n\n"
             "def answer(")):
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    path = support.FOLDER / "page-parrot"
    path.write_text(f"#!{sys.executable}\n" + source)
    path.chmod(0o755)
    return path


def parrot_server(*words, names=("polly",), template=""):
    program = parrot()
    MODEL.write_text("PARROT" + template)
    return serving.Server("--worker", program, "--max-body", "8M", *words,
                          models=[f"{name}={MODEL}" for name in names])


def axe_source():
    found = list(pathlib.Path(axe_playwright_python.__file__).parent.rglob("axe.min.js"))
    return found[0].read_text(encoding="utf-8")


class Browser:
    """One window; `with` closes it."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
                     "--disable-component-update", "--disable-extensions", "--mute-audio",
                     f"--user-data-dir={support.FOLDER}/chromium-{id(self)}"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options,
                                       service=webdriver.ChromeService(executable_path=DRIVER))
        self.driver.set_page_load_timeout(serving.PATIENCE)
        self.driver.set_script_timeout(serving.PATIENCE)
        self.command("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.size(1280, 800)
        self.scheme("light")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def command(self, name, **parameters):
        return self.driver.execute_cdp_cmd(name, parameters)

    def size(self, width, height, mobile=False, scale=1):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height,
                     deviceScaleFactor=scale, mobile=mobile)

    def scheme(self, name):
        """Of colours; and nothing moves, so that nobody has to wait for it."""
        self.command("Emulation.setEmulatedMedia",
                     features=[{"name": "prefers-color-scheme", "value": name},
                               {"name": "prefers-reduced-motion", "value": "reduce"}])

    def open(self, server):
        """The page, as on the first visit."""
        self.driver.get("about:blank")
        self.command("Storage.clearDataForOrigin", origin=server.url, storageTypes="all")
        self.driver.get(server.url + "/")
        self.run("sessionStorage.clear()")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def promise(self, script, *arguments):
        """What a promise gives; an error of it is one here."""
        kind, value = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1]; const given = [...arguments];"
            f"(async () => {{ {script} }})().then(value => done(['value', value]),"
            " error => done(['error', String(error)]));", *arguments)
        assert kind == "value", value
        return value

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])]"
                        ".map(one => one.textContent)", selector)

    def shown(self, selector):
        return self.run("const one = document.querySelector(arguments[0]);"
                        "return Boolean(one) && one.checkVisibility({visibilityProperty: true})",
                        selector)

    def wait(self, script, *arguments, what=None):
        return wait_for(lambda: self.run(f"return {script}", *arguments), what or script,
                        interval=0.02)

    def click(self, selector):
        """As a user: when it is there to be clicked."""
        self.wait("(() => { const one = document.querySelector(arguments[0]);"
                  " return one && one.checkVisibility() && !one.disabled })()", selector,
                  what=f"{selector} to click")
        self.find(selector).click()

    def keys(self, *words, at="body"):
        self.find(at).send_keys(*words)

    def paste(self, text):
        """Long texts, at once, as a paste does."""
        self.run("const box = document.getElementById('ask-text'); box.focus();"
                 "box.value = arguments[0];"
                 "box.dispatchEvent(new InputEvent('input', {bubbles: true}));", text)

    def ask(self, text, end=True):
        """Sends a message, and waits for the whole answer."""
        before = len(self.all(".message.answer"))
        self.paste(text)
        self.keys(Keys.ENTER, at="#ask-text")
        self.wait("document.querySelectorAll('.message.answer').length > arguments[0]", before)
        if end:
            self.idle()

    def idle(self):
        self.wait("document.body.dataset.state === 'idle'")

    def answers(self):
        return self.texts(".message.answer .text")

    def logs(self, level="SEVERE"):
        return [entry["message"] for entry in self.driver.get_log("browser")
                if entry["level"] == level]

    def requests(self):
        """What the page asked for since the last call: [{url, method, postData}]."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"])
        return found

    def faults(self):
        """Errors that nobody caught, and what the policy had to stop."""
        return self.run("return [...(window.violations ?? []), ...(window.faults ?? [])]")

    def axe(self):
        """What is not accessible: rule and elements."""
        if not self.run("return Boolean(window.axe)"):
            self.run(axe_source())
        found = self.promise("return (await axe.run(document, {resultTypes: ['violations']}))"
                             ".violations")
        return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]
