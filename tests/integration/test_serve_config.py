#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`dunlin serve --config`, `--check`, and credentials of systemd's."""

import re

import certificates
import support
from serving import Server, ask
from support import FAILED, FOLDER, USAGE, dunlin

KEY = "sk-of-alice-0123456789"


def write(name, text, mode=0o600):
    path = FOLDER / name
    path.write_text(text)
    path.chmod(mode)
    return path


class Config(support.Case):
    """A file of options."""

    def test_a_whole_server(self):
        keys = write("keys", f"alice {KEY}\n")
        tiny = support.tiny_model()
        path = write("whole.conf", f"# ours\nmodel = one={tiny}\nmodel = two={tiny}\n"
                                   f"listen = 127.0.0.1:0\nkey-file = \"{keys}\"\nthreads = 1\n"
                                   f"max-body = 4K\n")
        # No model but the file's.
        done = dunlin("serve", "--config", path, "--check")
        self.assertEqual(self.good(done).decode(), "model: one\nmodel: two\nlisten: 127.0.0.1:0\n"
                                                   "keys: 1\n")
        with Server("--config", path, models=[f"three={tiny}"]) as server:
            listed = ask(server.where, "/v1/models", key=KEY)[1]["data"]
            # Those of the command line go before the file's.
            self.assertEqual([m["id"] for m in listed], ["three"])
            self.assertEqual(ask(server.where, "/v1/models")[0], 401)
            self.assertEqual(ask(server.where, "/tokenize", {"content": "x" * 8000}, KEY)[0], 413)
        with Server("--config", path, "--max-body", "1M", models=[f"three={tiny}"]) as server:
            self.assertEqual(ask(server.where, "/tokenize", {"content": "x" * 8000}, KEY)[0], 200)

    def test_mistakes(self):
        for text, words in (("treads = 1\n", (":1:", "--treads", "--threads")),
                            ("\n\nthreads = many\n", (":3:", "whole number")),
                            ("threads\n", (":1:", "NAME = VALUE")),
                            ("no-sandbox = yes\n", (":1:", "true or false")),
                            ("threads =\n", (":1:", "no value")),
                            ("config = other.conf\n", (":1:", "command line alone")),
                            ("check = true\n", (":1:", "command line alone"))):
            with self.subTest(text):
                path = write("mistake.conf", text)
                for more in [], ["--check"]:
                    self.bad(dunlin("serve", "--config", path, support.tiny_model(), *more),
                             USAGE, str(path), *words)
        self.bad(dunlin("serve", "--config", FOLDER / "none.conf"), FAILED, "No such file")

    def test_hosts(self):
        """Names that no request can be for are told at once, not by a 403 to each."""
        for name in ("https://example.org", "example.org:8080", "*", "*.example.org", "[::1]",
                     "example.org/x", "a b", "x" * 64, ""):
            with self.subTest(name):
                self.bad(dunlin("serve", "--check", support.tiny_model(), "--host", name), USAGE,
                         "--host", name[:80], "takes a name alone")
        self.bad(dunlin("serve", "--check", "--config", write("host.conf", "host = *\n"),
                        support.tiny_model()), USAGE, "--host '*'")
        good = ("Example-1.org", "dunlin", "my_host.local", "x" * 63, "10.0.0.1", "::1")
        self.good(dunlin("serve", "--check", support.tiny_model(),
                         *(word for name in good for word in ("--host", name))))

    def test_least_body(self):
        """A server that takes no body can answer no request."""
        for size in "0", "1023":
            self.bad(dunlin("serve", "--check", support.tiny_model(), "--max-body", size), USAGE,
                     "--max-body", "at least 1024 bytes")
        self.good(dunlin("serve", "--check", support.tiny_model(), "--max-body", "1K"))

    def test_no_model(self):
        self.bad(dunlin("serve"), USAGE, "missing argument")
        self.bad(dunlin("serve", "--config", write("bare.conf", "threads = 1\n")), USAGE,
                 "missing argument")

    def test_example(self):
        """What is shipped has no mistake in it, with all that it proposes."""
        text = (support.ROOT / "packaging" / "dunlin.conf").read_text()
        self.assertTrue(re.findall(r"(?m)^#[a-z-]+ = .+$", text))
        every = re.sub(r"(?m)^#([a-z-]+ = )", r"\1", text)
        every = re.sub(r"(?m)^(model|key-file|tls-.*|lora|cache-dir|worker) = .*\n", "", every)
        path = write("example.conf", every)
        done = dunlin("serve", "--config", path, "--check", "--listen", "127.0.0.1:0",
                      support.tiny_model())
        self.assertIn(b"model: tiny\n", self.good(done))


class Check(support.Case):
    """--check: everything is read, and nothing begun."""

    def check(self, *words):
        return dunlin("serve", "--check", support.tiny_model(), *words)

    def test_what_it_says(self):
        self.assertEqual(self.good(self.check()).decode(),
                         "model: tiny\nlisten: 127.0.0.1:8080, or what systemd hands over\n"
                         "keys: none, everybody who can connect may ask\n")
        path = FOLDER / "to-be-made"
        self.assertIn(b"keys: one will be made\n",
                      self.good(self.check("--key-file", path, "--make-key")))
        self.assertFalse(path.exists())

    def test_what_is_wrong(self):
        self.bad(self.check("--key-file", write("bad-keys", "short\n")), FAILED, "line 1")
        self.bad(self.check("--listen", "0.0.0.0:0"), FAILED, "--insecure-listen")
        self.bad(self.check("--tls-cert", write("c", "x")), FAILED, "--tls-key")
        self.bad(self.check(FOLDER / "none.gguf"), FAILED, "No such file")

    def test_beside_a_server(self):
        """A port that is in use is no mistake: it is the server that is to be restarted."""
        with Server() as server:
            self.good(self.check("--listen", server.where))

    @certificates.needs_openssl
    def test_certificate(self):
        pair = certificates.Authority(FOLDER / "authority").issue("server")
        text = self.good(self.check(*pair.server())).decode()
        self.assertRegex(text, r"(?m)^certificate: server, until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


class Credentials(support.Case):
    """Files of LoadCredential= go before those of options."""

    @certificates.needs_openssl
    def test_all(self):
        folder = FOLDER / "credentials"
        folder.mkdir()
        pair = certificates.Authority(FOLDER / "for-credentials").issue("server")
        tiny = support.tiny_model()
        for name, text in (("dunlin.keys", f"alice {KEY}\n"),
                           ("dunlin.conf", f"model = mine={tiny}\nkey-file = /nowhere\n"),
                           ("dunlin.crt", pair.certificate.read_text()),
                           ("dunlin.key", pair.key.read_text())):
            (folder / name).write_text(text)
            (folder / name).chmod(0o440)
        env = support.environment(CREDENTIALS_DIRECTORY=str(folder))
        text = self.good(dunlin("serve", "--check", env=env)).decode()
        self.assertIn("model: mine\n", text)
        self.assertIn("keys: 1\n", text)
        self.assertIn("certificate: server", text)


if __name__ == "__main__":
    support.main()
