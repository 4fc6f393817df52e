#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The page at /, as a browser has it: conversations, what answers may not do, who can use it."""

import json
import re

import serving
import support
from browser import Browser, needs_browser, parrot_server
from serving import Server

try:
    from selenium.webdriver.common.keys import Keys
except ImportError:
    Keys = None

FILES = {"/": "text/html", "/page/style.css": "text/css", "/page/main.js": "text/javascript",
         "/page/theme.js": "text/javascript", "/page/markdown.js": "text/javascript",
         "/page/icon.svg": "image/svg+xml"}

MARKDOWN = """# Birds

A *small* wader, **strong** and ***both***; `code <b>` and ~~gone~~, see
[a page](https://example.org/a_(b)) or https://example.org/x. snake_case_name, 2 * 3 * 4.

- one
- two
  1. inner
  2. more

> quoted
> on

| Name | Length |
|:-----|-------:|
| dunlin | 18 cm |

```python
def f(a):
    return a < 1
```

---
The end."""

HOSTILE = """<script>window.bad = 1</script><img src=x onerror="window.bad = 2">
<iframe src="javascript:window.bad = 3"></iframe><style>body { display: none }</style>

[a](javascript:window.bad=4) [b](JaVaScRiPt:window.bad=5) [c](data:text/html,<script>1</script>)
[d](vbscript:x) [e]( javascript:x) [f](//evil.example) [g](/v1/models) [h](file:///etc/passwd)
<https://ok.example/"onmouseover="window.bad=6"> [i](https://ok.example/"onclick="window.bad=7)
![picture](https://evil.example/track.png) ![x](data:image/svg+xml,<svg onload=alert(1)>)

| <script>window.bad = 8</script> | b |
|---|---|
| <img src=x onerror=window.bad=9> | [x](javascript:1) |

# <b onclick=alert(1)>heading</b>

```"><script>window.bad=10</script>
</code></pre><script>window.bad = 11</script>
"""

# What would cost a careless parser minutes, or the stack.
HARD = {
    "quotes": ">" * 20000 + " deep",
    "lists": "\n".join(" " * (2 * i) + "- x" for i in range(500)),
    "stars": "*a " * 5000,
    "nested": "*a **b " * 3000 + "** *" * 3000,
    "underscores": "a" + "_" * 50000,
    "ticks": "".join("`" * (i % 300) + " " for i in range(900)),
    "brackets": "[" * 30000 + "](" * 3000,
    "links": "[a](" * 8000,
    "open fence": "```\n" + "line of code\n" * 20000,
    "no fence": "```" + "a" * 300000 + "`",
    "table": "|" * 4000 + "\n" + "|-" * 900 + "|\n" + ("|a" * 100 + "\n") * 2000,
    "blanks": " " * 200000 + "x",
    "one line": "word " * 200000,
    "lines": "- item\n" * 30000,
    "paragraphs": "text\n\n" * 5000,
    "backslashes": "\\" * 100000,
    "urls": "https://" * 20000,
}

# Within what is looked at as Markdown: a step for each pair of characters would be some 10^8.
LONG_RUNS = {
    "code": "` " + "a" * 19900 + "`",
    "blanks before a letter": "a" + " " * 19900 + "b\nc",
    "backslashes": "a" + " \\\\" * 6600 + "b\nc",
    "ends of addresses": ("https://a" + "." * 1950 + "a ") * 10,
    "no table": ("|-" + " " * 1990 + "x\n") * 29,
}


_browser = []


def tearDownModule():
    for browser in _browser:
        browser.driver.quit()


def the_browser():
    """One for all tests: it takes seconds to start."""
    if not _browser:
        _browser.append(Browser())
    return _browser[0]


class Files(support.Case):
    """What HTTP says of them."""

    @classmethod
    def setUpClass(cls):
        path = support.FOLDER / "page-keys"
        path.write_text("0123456789abcdef-secret\n")
        path.chmod(0o600)
        cls.server = Server("--key-file", path)
        cls.addClassCleanup(cls.server.kill)

    def test_each(self):
        """Without a key, with its type, and with nothing allowed that is not the server's own."""
        for path, kind in FILES.items():
            with self.subTest(path):
                answer = self.server.get(path)
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer.headers["Content-Type"].partition(";")[0], kind)
                self.assertEqual(int(answer.headers["Content-Length"]), len(answer.body))
                self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
                self.assertEqual(answer.headers["Referrer-Policy"], "no-referrer")
                self.assertEqual(answer.headers["Cache-Control"], "no-cache")
                policy = answer.headers["Content-Security-Policy"]
                for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'",
                             "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
                             "form-action 'none'"):
                    self.assertIn(part, policy)
                self.assertNotIn("unsafe", policy)
                self.assertIsNone(answer.headers["Access-Control-Allow-Origin"])

    def test_head(self):
        whole = self.server.get("/page/main.js")
        head = self.server.request("HEAD", "/page/main.js")
        self.assertEqual(head.status, 200)
        self.assertEqual(head.body, b"")
        self.assertEqual(head.headers["Content-Length"], str(len(whole.body)))
        self.assertEqual(head.headers["ETag"], whole.headers["ETag"])

    def test_not_modified(self):
        etag = self.server.get("/").headers["ETag"]
        self.assertRegex(etag, r'\A"[0-9a-f]{32}"\Z')
        for value in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = self.server.get("/", headers={"If-None-Match": value})
            self.assertEqual((answer.status, answer.body), (304, b""))
            self.assertEqual(answer.headers["ETag"], etag)
        self.assertEqual(self.server.get("/", headers={"If-None-Match": '"other"'}).status, 200)

    def test_nothing_from_elsewhere(self):
        """No file names another place to load from."""
        for path in FILES:
            text = self.server.get(path).body.decode()
            for address in re.findall(r"""https?://[^\s"'<>)]*""", text):
                self.assertIn(address.split("/")[2], ("www.w3.org", ""), address)

    def test_who_may_ask(self):
        """Its own requests pass; those of other pages do not, and not without a key."""
        ours = {"Origin": self.server.url, "Host": self.server.where}
        key = {"Authorization": "Bearer 0123456789abcdef-secret"}
        self.assertEqual(self.server.get("/v1/models", headers={**ours, **key}).status, 200)
        self.assertEqual(self.server.get("/v1/models", headers=ours).status, 401)
        self.assertEqual(self.server.get("/", headers={"Origin": "http://evil.example"}).status,
                         403)
        self.assertEqual(self.server.get("/", headers={"Host": "evil.example"}).status, 403)

    def test_watching_does_not_fill_the_log(self):
        key = {"Authorization": "Bearer 0123456789abcdef-secret"}
        self.assertEqual(self.server.get("/props", headers=key).status, 200)
        self.server.get("/v1/models", headers=key)
        serving.wait_for(lambda: self.server.events("request", "/v1/models"), "the log")
        self.assertEqual(self.server.events("request", "/props"), [])


@needs_browser
class Page(support.Case):
    """A browser with a page whose answers are known."""

    words = ()
    names = ("polly",)
    template = ""

    @classmethod
    def setUpClass(cls):
        cls.server = parrot_server(*cls.words, names=cls.names, template=cls.template)
        cls.addClassCleanup(cls.server.kill)
        cls.browser = the_browser()

    def setUp(self):
        self.browser.logs()
        self.browser.requests()
        self.browser.size(1280, 800)
        self.browser.scheme("light")
        self.browser.open(self.server)
        self.browser.wait("document.getElementById('model').dataset.known !== undefined")

    def tearDown(self):
        self.assertEqual(self.browser.faults(), [])
        self.assertEqual(self.browser.logs(), [])
        for request in self.browser.requests():
            self.assertTrue(request["url"].startswith((self.server.url, "data:", "chrome:")),
                            request["url"])


class Conversations(Page):
    """What a user does."""

    def test_ask(self):
        b = self.browser
        self.assertTrue(b.shown("#empty"))
        b.ask("Hello, is anybody there?")
        self.assertEqual(b.answers(), ["Hello, is anybody there?"])
        self.assertFalse(b.shown("#empty"))
        self.assertEqual(b.texts("#title"), ["Hello, is anybody there?"])
        self.assertEqual(b.texts("#list .open"), ["Hello, is anybody there?"])
        self.assertIn("24 tokens", b.texts(".message.answer .figures")[0])
        self.assertRegex(b.texts(".message.answer .figures")[0], r"first token [\d.]+\sm?s")
        self.assertEqual(b.find("#ask-text").get_property("value"), "")

    def test_before_the_models_are_known(self):
        """What is asked at once is for the only model, not for the list's first word."""
        b = self.browser
        b.command("Network.enable")
        b.command("Network.setBlockedURLs", urls=["*/v1/models"])
        try:
            b.open(self.server)
            b.ask("one")
        finally:
            b.command("Network.setBlockedURLs", urls=[])
        self.assertEqual(b.answers(), ["one"])
        self.assertTrue(all("/v1/models" in line for line in b.logs()))

    def test_lines(self):
        """Enter sends, and Shift and Enter do not."""
        b = self.browser
        b.keys("one", Keys.SHIFT + Keys.ENTER, at="#ask-text")
        b.keys(Keys.NULL, "two", at="#ask-text")
        self.assertEqual(b.all(".message"), [])
        b.click("#send")
        b.wait("document.querySelector('.message.answer')")
        b.idle()
        self.assertEqual(b.texts(".message.user .body"), ["one\ntwo"])

    def test_stream_and_stop(self):
        """Text shows as it comes; what came stays when it is stopped, and the server stops too."""
        b = self.browser
        b.ask("slowly 30 " + "word " * 2000, end=False)
        b.wait("/slowly 30 word/.test(document.querySelector('.message.answer .text').textContent)")
        self.assertEqual(b.run("return document.body.dataset.state"), "answering")
        b.wait("/tokens\\/s · first token/.test(document.getElementById('live').textContent)")
        self.assertFalse(b.shown("#send"))
        b.click("#stop")
        b.idle()
        self.server.idle()
        text = b.answers()[0]
        self.assertTrue(text.startswith("slowly 30 word") and len(text) < 10000)
        self.assertIn("stopped", b.texts(".message.answer .figures")[0])
        b.ask("on")
        self.assertEqual(b.answers()[1], "on")

    def test_escape_stops(self):
        b = self.browser
        b.ask("slowly 30 " + "word " * 2000, end=False)
        b.keys(Keys.ESCAPE, at="#ask-text")
        b.idle()
        self.server.idle()

    def test_answer_again(self):
        b = self.browser
        b.ask("first")
        b.ask("second")
        b.run("document.querySelectorAll('.message.answer')[1].dataset.old = '1'")
        b.click(".message.answer:last-child button[aria-label='Answer again']")
        b.wait("!document.querySelector('[data-old]')")
        b.idle()
        self.assertEqual(b.answers(), ["first", "second"])
        b.keys(Keys.ALT, "r")
        b.idle()
        self.assertEqual(b.answers(), ["first", "second"])

    def test_edit(self):
        """A changed message is asked anew, and what came behind it is gone."""
        b = self.browser
        b.ask("first")
        b.ask("second")
        b.run("document.querySelector(\".message.user button[aria-label^='Edit']\").click()")
        box = b.find(".editing textarea")
        self.assertEqual(box.get_property("value"), "first")
        box.send_keys(" changed")
        b.click(".editing .main")
        b.wait("document.querySelectorAll('.message').length === 2")
        b.idle()
        self.assertEqual(b.texts(".message.user .body"), ["first changed"])
        self.assertEqual(b.answers(), ["first changed"])

    def test_edit_is_left(self):
        b = self.browser
        b.ask("first")
        b.keys(Keys.ALT, "e")
        b.wait("document.activeElement.closest('.editing')")
        b.keys("x", Keys.ESCAPE, at=".editing textarea")
        b.wait("!document.querySelector('.editing')")
        self.assertEqual(b.texts(".message.user .body"), ["first"])

    def test_reload(self):
        """Conversations are there again, the one that was open is open."""
        b = self.browser
        b.ask("one")
        b.click("#new")
        b.ask("two")
        b.driver.refresh()
        b.wait("document.querySelectorAll('#list .open').length === 2")
        self.assertEqual(b.texts("#list .open"), ["two", "one"])
        self.assertEqual(b.answers(), ["two"])
        b.run("document.querySelectorAll('#list .open')[1].click()")
        self.assertEqual(b.answers(), ["one"])

    def test_reload_in_the_midst(self):
        b = self.browser
        b.ask("slowly 20 " + "word " * 2000, end=False)
        b.wait("document.querySelector('.message.answer .text').textContent.length > 20")
        b.driver.refresh()
        b.wait("document.querySelector('.message.answer .figures')")
        self.assertTrue(b.answers()[0].startswith("slowly 20 word"))
        self.assertIn("stopped", b.texts(".message.answer .figures")[0])
        self.server.idle()

    def test_others_while_one_answers(self):
        """An answer goes on while another conversation is looked at."""
        b = self.browser
        b.ask("slowly 10 " + "word " * 30, end=False)
        b.click("#new")
        self.assertEqual(b.answers(), [])
        b.run("document.querySelector('#list .open').click()")
        b.idle()
        self.assertEqual(b.answers(), [("slowly 10 " + "word " * 30).strip()])

    def test_delete_and_undo(self):
        b = self.browser
        b.ask("one")
        b.click("#new")
        b.ask("two")
        b.run("document.querySelector('#list .drop').click()")
        b.wait("document.querySelectorAll('#list .open').length === 1")
        self.assertEqual(b.answers(), [])
        b.click("#toast-act")
        b.wait("document.querySelectorAll('#list .open').length === 2")
        self.assertEqual(b.texts("#list .open"), ["two", "one"])
        self.assertEqual(b.answers(), ["two"])

    def test_settings(self):
        """System prompt and sampling go with the request, of this conversation alone."""
        b = self.browser
        b.click("#settings-open")
        b.keys("Be short.", at="#set-system")
        b.keys("0.25", at="#set-temperature")
        b.keys("7", at="#set-seed")
        b.click("#set-save")
        b.wait("!document.querySelector('dialog[open]')")
        b.requests()
        b.ask("messages")
        self.assertEqual(json.loads(b.answers()[0]),
                         [{"role": "system", "content": "Be short."},
                          {"role": "user", "content": "messages"}])
        body = json.loads([one["postData"] for one in b.requests() if "postData" in one][0])
        self.assertEqual((body["temperature"], body["seed"], body["top_k"]), (0.25, 7, 40))
        self.assertNotIn("max_tokens", body)
        b.click("#new")
        b.ask("messages")
        self.assertEqual(json.loads(b.answers()[0]), [{"role": "user", "content": "messages"}])

    def test_wrong_settings_stay_open(self):
        b = self.browser
        b.click("#settings-open")
        b.keys("9", at="#set-temperature")
        b.click("#set-save")
        self.assertTrue(b.shown("dialog[open]"))
        b.keys(Keys.ESCAPE, at="#set-temperature")
        b.wait("!document.querySelector('dialog[open]')")

    def test_keys(self):
        b = self.browser
        b.ask("one")
        b.run("document.getElementById('talk').focus()")
        b.keys("?", at="#talk")
        b.wait("document.getElementById('help').open")
        b.keys(Keys.ESCAPE)
        b.wait("!document.getElementById('help').open")
        b.run("document.getElementById('talk').focus()")
        b.keys("/", at="#talk")
        b.wait("document.activeElement.id === 'ask-text'")
        self.assertEqual(b.find("#ask-text").get_property("value"), "")
        b.keys(Keys.ALT, "n")
        b.wait("document.querySelectorAll('.message').length === 0")
        b.ask("two")
        b.keys(Keys.ALT, Keys.ARROW_DOWN)
        b.wait("document.querySelector('.message.answer .text').textContent === 'one'")
        b.keys(Keys.ALT, "l")
        b.wait("!document.getElementById('load').hidden")
        b.keys(Keys.ALT, "s")
        b.wait("document.getElementById('settings').open")

    def test_theme(self):
        """Chosen by hand it is kept, and goes before the system's."""
        b = self.browser
        ground = "return getComputedStyle(document.body).backgroundColor"
        b.scheme("light")
        light = b.run(ground)
        b.scheme("dark")
        dark = b.run(ground)
        self.assertNotEqual(light, dark)
        b.click("#theme")
        self.assertEqual((b.texts("#theme-name"), b.run(ground)), (["Theme: light"], light))
        b.driver.refresh()
        self.assertEqual(b.run(ground), light)
        b.scheme("light")
        b.click("#theme")
        self.assertEqual(b.run(ground), dark)
        b.click("#theme")
        self.assertEqual((b.texts("#theme-name"), b.run(ground)), (["Theme: system"], light))

    def test_copy(self):
        b = self.browser
        b.ask("```c\nint x = 1 < 2;\n```")
        b.run("window.copied = []; Object.defineProperty(navigator, 'clipboard', {value: "
              "{writeText: async text => { window.copied.push(text) }}})")
        b.click(".code-head button")
        b.wait("window.copied.length === 1")
        b.click(".message.answer .tools button[aria-label='Copy']")
        b.wait("window.copied.length === 2")
        self.assertEqual(b.run("return window.copied"),
                         ["int x = 1 < 2;", "```c\nint x = 1 < 2;\n```"])

    def test_load(self):
        """What the server does is shown as it changes, and asked for only while it is."""
        b = self.browser
        b.requests()
        b.click("#load-open")
        b.wait("/tokens\\/s/.test(document.getElementById('load-body').textContent)")
        text = b.texts("#load-body")[0]
        for word in ("First token", "Between tokens", "0 of ", "Memory", "no budget", "polly"):
            self.assertIn(word, text)
        b.ask("slowly 40 " + "word " * 2000, end=False)
        b.wait("/Active1 of/.test(document.getElementById('load-body').textContent)")
        b.click("#stop")
        b.click("#load-close")
        b.wait("document.getElementById('load').hidden")
        asked = [one["url"] for one in b.requests() if one["url"].endswith("/metrics")]
        self.assertGreater(len(asked), 0)

    def test_full_storage(self):
        """It says so, and goes on."""
        b = self.browser
        b.run("Storage.prototype.setItem = () => { throw new DOMException('', "
              "'QuotaExceededError') }")
        b.ask("one")
        self.assertEqual(b.answers(), ["one"])
        self.assertIn("storage is full", b.texts("#toast-text")[0])


class Refusals(Page):
    """Errors are said where they happen, with a way on."""

    words = ("--max-body", "20K")

    def test_too_large(self):
        b = self.browser
        b.ask("x" * 30000)
        self.assertIn("larger than this server takes", b.texts(".fault span")[0])
        self.assertTrue(b.shown(".fault button"))
        # The browser itself logs the status.
        self.assertTrue(all("413" in line for line in b.logs()))

    def test_server_that_is_gone(self):
        with parrot_server() as other:
            self.browser.open(other)
            self.browser.ask("one")
            other.kill()
            self.browser.ask("two")
            self.assertIn("does not answer", self.browser.texts(".fault span")[0])
        self.browser.logs()
        self.browser.requests()
        self.browser.open(self.server)


class Text(Page):
    """Markdown, and what is none."""

    def test_markdown(self):
        b = self.browser
        b.ask(MARKDOWN)
        count = "return document.querySelectorAll('.message.answer .text ' + arguments[0]).length"
        for selector, wanted in (("h3", 1), ("em", 2), ("strong", 2), ("del", 1), ("p code", 1),
                                 ("a", 2), ("ul > li", 2), ("ol > li", 2), ("blockquote", 1),
                                 ("table", 1), ("td.right", 1), (".code", 1), ("hr", 1)):
            self.assertEqual(b.run(count, selector), wanted, selector)
        self.assertEqual(b.texts(".code code"), ["def f(a):\n    return a < 1"])
        self.assertEqual(b.run("return [...document.querySelectorAll('.text a')].map(a => "
                               "[a.getAttribute('href'), a.target, a.rel])"),
                         [["https://example.org/a_(b)", "_blank", "noopener noreferrer"],
                          ["https://example.org/x", "_blank", "noopener noreferrer"]])
        self.assertIn("snake_case_name, 2 * 3 * 4.", b.answers()[0])

    def test_pieces_make_the_same(self):
        """However an answer is cut, it ends as the same elements."""
        shown = self.browser.promise("""
            const { Markdown } = await import("/page/markdown.js");
            const text = given[0];
            const made = size => {
                const parent = document.createElement("div");
                const markdown = new Markdown(parent);
                for (let at = size; at < text.length + size; at += size)
                    markdown.update(text.slice(0, at));
                return parent.innerHTML;
            };
            return [1, 2, 3, 7, 50, text.length].map(made);""",
                                     MARKDOWN + "\n```\nopen `x` fence\n")
        self.assertEqual(set(shown), {shown[-1]})
        self.assertIn("open `x` fence", shown[-1])

    def test_hostile(self):
        """No tag, no script, no address but of the web, and nothing is loaded."""
        b = self.browser
        b.ask(HOSTILE)
        self.assertIsNone(b.run("return window.bad ?? null"))
        self.assertEqual(b.run("return document.querySelectorAll('.messages :is(script, img, "
                               "iframe, style, svg:not(.tools svg), object, [onclick], [onerror], "
                               "[style])').length"), 0)
        links = b.run("return [...document.querySelectorAll('.text a')].map(a => a.href)")
        self.assertTrue(links)
        for link in links:
            self.assertTrue(link.startswith("https://"), link)
        self.assertIn("<script>window.bad = 1</script>", b.answers()[0])
        b.driver.refresh()
        b.wait("document.querySelector('.message.answer .text').textContent.length > 100")
        self.assertIsNone(b.run("return window.bad ?? null"))

    def test_hard(self):
        """In bounded time and depth, at once and in pieces; every letter is still there."""
        for name, text in HARD.items():
            with self.subTest(name):
                depth, length = self.browser.promise("""
                    const { Markdown } = await import("/page/markdown.js");
                    const depth = one =>
                        1 + Math.max(0, ...[...one.children].slice(0, 50).map(depth));
                    const [text] = given;
                    const parent = document.createElement("div");
                    const markdown = new Markdown(parent);
                    for (let i = 1; i <= 8; i++)
                        markdown.update(text.slice(0, Math.ceil(text.length * i / 8)));
                    return [depth(parent), parent.textContent.length];""", text)
                self.assertLess(depth, 80)
                self.assertGreater(length, 0)

    def test_linear(self):
        """Long runs take no longer than as many words, but for a factor."""
        took = self.browser.promise("""
            const { Markdown } = await import("/page/markdown.js");
            const once = text => {
                const begin = performance.now();
                new Markdown(document.createElement("div")).update(text);
                return performance.now() - begin;
            };
            return given[0].map(text => Math.min(...[1, 2, 3, 4, 5].map(() => once(text))));""",
                                    ["word " * 3990, *LONG_RUNS.values()])
        for name, one in zip(LONG_RUNS, took[1:]):
            with self.subTest(name):
                self.assertLess(one, 15 * took[0])

    def test_megabyte(self):
        """An answer of a megabyte arrives whole, and the page still does what it is asked."""
        b = self.browser
        text = (MARKDOWN + "\n\n") * 3000
        self.assertGreater(len(text), 900000)
        self.browser.promise("""
            const { Markdown } = await import("/page/markdown.js");
            const parent = document.createElement("div");
            parent.className = "text long";
            document.querySelector("#messages").replaceChildren(parent);
            document.querySelector("#empty").hidden = true;
            document.querySelector("#messages").hidden = false;
            const markdown = new Markdown(parent);
            for (let i = 1; i <= 8; i++) {
                markdown.update(given[0].slice(0, Math.ceil(given[0].length * i / 8)));
                await new Promise(requestAnimationFrame);
            }""", text)
        self.assertEqual(b.run("return document.querySelectorAll('#messages table').length"), 3000)
        b.click("#new")
        b.ask("still here")
        self.assertEqual(b.answers(), ["still here"])


class Everybody(Page):
    """Keyboard, screen reader, light and dark, phone and desktop."""

    names = ("polly", "the other one")

    def check(self, *what):
        with self.subTest(what):
            self.assertEqual(self.browser.axe(), [])

    def test_accessible(self):
        b = self.browser
        for scheme, width, height, mobile in (("light", 1440, 900, False),
                                              ("dark", 360, 740, True)):
            b.scheme(scheme)
            b.size(width, height, mobile)
            b.open(self.server)
            b.wait("document.getElementById('model').options.length === 2")
            self.check(scheme, width, "empty")
            b.ask(MARKDOWN)
            self.check(scheme, width, "answer")
            self.assertEqual(b.run("return document.documentElement.scrollWidth"), width)
            b.run("document.getElementById('settings-open').click()")
            self.check(scheme, width, "settings")
            b.run("document.getElementById('settings').close()")
            b.run("document.getElementById('load').hidden && "
                  "document.getElementById('load-open').click()")
            b.wait("/polly/.test(document.getElementById('load-body').textContent)")
            self.check(scheme, width, "load")
        b.scheme("light")
        self.check("light", 360, "load")

    def test_phone(self):
        """The list lies over the conversation, and goes when it was used."""
        b = self.browser
        b.size(360, 740, True)
        b.open(self.server)
        self.assertFalse(b.shown("#side"))
        b.click("#side-open")
        b.wait("document.getElementById('side').checkVisibility({visibilityProperty: true})")
        self.assertTrue(b.run("return document.querySelector('.centre').inert"))
        b.keys(Keys.ESCAPE, at="#new")
        b.wait("!document.querySelector('.centre').inert")
        b.ask("one")
        for selector in ("#send", "#side-open", "#settings-open", "#load-open"):
            box = b.find(selector).rect
            self.assertGreaterEqual(min(box["width"], box["height"]), 36, selector)
            self.assertLessEqual(box["x"] + box["width"], 360, selector)

    def test_screen_reader(self):
        """Hears that an answer began, and the answer when it is whole, once."""
        b = self.browser
        b.run("window.heard = []; new MutationObserver(() => window.heard.push(document"
              ".getElementById('say').textContent)).observe(document.getElementById('say'), "
              "{childList: true, characterData: true, subtree: true})")
        b.ask("slowly 10 the whole answer")
        b.wait("window.heard.length >= 2")
        self.assertEqual(b.run("return window.heard"),
                         ["Answering.", "slowly 10 the whole answer"])
        self.assertEqual(b.run("return document.querySelector('[aria-busy]')"), None)

    def test_models(self):
        """The one that was chosen is asked, and chosen again after a reload."""
        b = self.browser
        b.run("const one = document.getElementById('model'); one.value = 'the other one';"
              "one.dispatchEvent(new Event('change'))")
        b.driver.refresh()
        b.wait("document.getElementById('model').value === 'the other one'")
        b.requests()
        b.ask("hello")
        body = [one["postData"] for one in b.requests() if "postData" in one][0]
        self.assertEqual(json.loads(body)["model"], "the other one")


class Thoughts(Page):
    """A model that thinks before it speaks: what is seen of it, and counted."""

    template = "<think>"

    def figures(self):
        return self.browser.texts(".message.answer .figures")[-1]

    def test_thoughts_are_no_text(self):
        b = self.browser
        b.ask("<think>Nobody sees this.</think>Seen.")
        self.assertEqual(b.answers(), ["Seen."])
        self.assertNotIn("thinking", self.figures())
        self.assertNotIn("thoughts", self.figures())

    def test_while_it_thinks(self):
        b = self.browser
        b.ask("<think>slowly 30 " + "word " * 2000, end=False)
        b.wait("/^Thinking… · [0-9]+ tokens/.test("
               "document.getElementById('live-text').textContent)")
        b.click("#stop")
        b.idle()
        self.server.idle()
        self.assertEqual(b.answers(), [""])
        self.assertRegex(self.figures(), r"\A\d+ tokens? .* stopped while thinking\Z")

    def test_cut(self):
        """A limit that is used up by thoughts is no empty answer without a reason."""
        b = self.browser
        b.click("#settings-open")
        b.keys("40", at="#set-max_tokens")
        b.click("#set-save")
        b.ask("<think>" + "word " * 20)
        self.assertIn("cut at the longest length while thinking", self.figures())
        b.ask("<think>one</think>" + "word " * 20)
        self.assertTrue(self.figures().endswith("cut at the longest length"))
        b.driver.refresh()
        b.wait("document.querySelectorAll('.message.answer .figures').length === 2")
        self.assertIn("while thinking", b.texts(".message.answer .figures")[0])


@needs_browser
class Key(support.Case):
    """A server that wants one."""

    SECRET = "0123456789abcdef-secret"

    def test_key(self):
        path = support.FOLDER / "browser-keys"
        path.write_text(self.SECRET + "\n")
        path.chmod(0o600)
        with parrot_server("--key-file", path) as server:
            b = the_browser()
            b.open(server)
            b.wait("document.getElementById('key').open")
            b.keys("wrong-wrong-wrong", Keys.ENTER, at="#key-text")
            b.wait("document.getElementById('key').open && "
                   "!document.getElementById('key-wrong').hidden")
            b.keys(self.SECRET, Keys.ENTER, at="#key-text")
            b.wait("!document.querySelector('dialog[open]')")
            b.ask("let me in")
            self.assertEqual(b.answers(), ["let me in"])
            kept = b.run("return JSON.stringify(localStorage)")
            self.assertNotIn(self.SECRET, kept)
            self.assertNotIn(self.SECRET, b.run("return document.documentElement.outerHTML"))
            b.driver.refresh()
            b.wait("document.getElementById('model').dataset.known !== undefined")
            self.assertFalse(b.shown("dialog[open]"))
            self.assertEqual(b.faults(), [])


@needs_browser
class Model(support.Case):
    """A model that computes: the real one, where there is one."""

    def test_answer(self):
        model = support.REAL_MODEL or support.tiny_model()
        with Server("--memory", "1G", models=[model], threads=2) as server:
            b = the_browser()
            b.logs()
            b.size(1280, 800)
            b.open(server)
            b.click("#settings-open")
            b.keys("24", at="#set-max_tokens")
            b.click("#set-save")
            b.ask("Name a bird.")
            figures = b.texts(".message.answer .figures")[0]
            self.assertRegex(figures, r"tokens?\b")
            self.assertRegex(figures, r"first token [\d.]+\sm?s")
            b.click("#load-open")
            b.wait("document.querySelector('[role=meter]')")
            self.assertRegex(b.find("[role=meter]").get_attribute("aria-valuetext"),
                             r"\A\d+ MiB of 1.0 GiB\Z")
            self.assertEqual(b.faults() + b.logs(), [])


if __name__ == "__main__":
    support.main()
