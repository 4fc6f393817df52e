#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A worker that is another program, in another language: what the server makes of what it says."""

import os
import pathlib
import signal
import sys

import serving
import support
from serving import Server, wait_for
from support import FAILED, FOLDER

MODEL = FOLDER / "polly.model"


def program(name, source):
    """A worker has no PATH, and so no /usr/bin/env."""
    path = FOLDER / name
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)
    return path


def parrot():
    return (pathlib.Path(__file__).parent / "parrot.py").read_text()


class Parrot(support.Case):
    """tests/integration/parrot.py"""

    @classmethod
    def setUpClass(cls):
        MODEL.write_bytes(b"PARROT")
        cls.server = Server("--worker", program("parrot", parrot()), models=[f"polly={MODEL}"])
        cls.addClassCleanup(cls.server.kill)

    def test_completions(self):
        answer = self.server.complete("Pieces of eight", max_tokens=6).json()
        self.assertEqual(answer["choices"][0]["text"], "Pieces")
        self.assertEqual(answer["usage"]["prompt_tokens"], 15)
        self.assertEqual(answer["model"], "polly")
        stream, events = self.server.stream("Hello", max_tokens=5)
        self.assertEqual(serving.text_of(events), "Hello")
        stream.close()

    def test_chats(self):
        answer = self.server.post("/v1/chat/completions", max_tokens=5,
                                  messages=[{"role": "user", "content": "Hello"}]).json()
        self.assertEqual(answer["choices"][0]["message"]["content"], "Hello")

    def test_logprobs_by_its_vocabulary(self):
        answer = self.server.complete("ab", max_tokens=2, logprobs=0).json()
        rows = answer["choices"][0]["logprobs"]
        self.assertEqual(rows["tokens"], ["a", "b"])
        self.assertEqual(rows["token_logprobs"], [-0.5, -0.5])

    def test_what_it_cannot_do(self):
        self.assertEqual(self.server.post("/tokenize", content="ab").json()["tokens"], [97, 98])
        answer = self.server.post("/detokenize", tokens=[97])
        self.assertEqual(answer.status, 400)
        self.assertIn("a parrot cannot do that", answer.error()["message"])

    def test_it_comes_back(self):
        def workers():
            return [pid for pid in support.children(self.server.process.pid)
                    if pid not in self.server.fronts() and not serving.is_gone(pid)]
        [before] = workers()
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: workers() not in ([], [before]), "another parrot")
        self.server.ready()
        self.assertEqual(self.server.complete("Hi").json()["choices"][0]["text"], "Hi")


class Others(support.Case):
    """What is no worker, or none for this model."""

    def fails(self, worker, *words, model=b"PARROT"):
        MODEL.write_bytes(model)
        with Server("--worker", worker, models=[MODEL], ready=False) as server:
            [line] = wait_for(lambda: server.events("model", "state=failed"), "its end")
            for word in words:
                self.assertIn(word, line)
            # The server lives, and says so to who asks.
            answer = server.complete("Hi")
            self.assertEqual(answer.status, 503)
            self.assertIn(words[0], answer.error()["message"])

    def test_another_model(self):
        self.fails(program("parrot", parrot()), "this is no parrot", model=b"GGUF")

    def test_another_version(self):
        source = parrot().replace('<III32s", VERSION', '<III32s", 2')
        self.fails(program("old", source), "version")

    def test_nonsense(self):
        self.fails(program("nonsense", "import os\nos.write(3, b'x' * 1024)\n"), "version")

    def test_no_worker(self):
        self.fails("/bin/true", "ended")

    def test_not_there(self):
        MODEL.write_bytes(b"PARROT")
        for path, words in (("/none", ["/none", "No such file"]),
                            (MODEL, [str(MODEL), "Permission denied"])):
            done = support.dunlin("serve", "--listen", "127.0.0.1:0", "--worker", path, MODEL)
            self.bad(done, FAILED, *words)


if __name__ == "__main__":
    support.main()
