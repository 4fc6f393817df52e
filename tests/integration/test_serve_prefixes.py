# SPDX-License-Identifier: MIT
"""dunlin serve --cache-dir: prefixes that were used again are there after a restart."""

import os
import signal
import tempfile

import support
from serving import Server, wait_for

PREFIX = list(range(5, 25)) * 15  # 300 ids, more than the least that is kept


class Kept(support.Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def server(self, *more):
        return Server("--cache-dir", self.folder, "--context", "1024", *more)

    def ask(self, server, *ids):
        """(text, tokens that were in the cache)"""
        answer = server.complete([*PREFIX, *ids], ignore_eos=True).json()
        return (answer["choices"][0]["text"],
                answer["usage"]["prompt_tokens_details"]["cached_tokens"])

    def files(self):
        return [name for name in os.listdir(self.folder) if name.endswith(".prefix")]

    def keep_one(self):
        """Three that begin alike: the prefix was used again twice. What each answers."""
        with self.server() as server:
            got = [self.ask(server, last) for last in (30, 31, 32)]
            wait_for(self.files, "a kept prefix")
            self.assertEqual(server.terminate(), support.OK)
        self.assertEqual(got[0][1], 0)
        for text, cached in got[1:]:
            self.assertGreaterEqual(cached, len(PREFIX))
        return [text for text, _ in got]

    def test_restart(self):
        before = self.keep_one()
        names = self.files()
        self.assertEqual(len(names), 1)
        self.assertEqual(os.stat(os.path.join(self.folder, names[0])).st_mode & 0o777, 0o600)
        with self.server() as server:
            text, cached = self.ask(server, 30)
            self.assertEqual(text, before[0])
            self.assertGreaterEqual(cached, len(PREFIX) - 32)

    def test_changed(self):
        """A file that was changed is not used, and goes."""
        before = self.keep_one()
        path = os.path.join(self.folder, self.files()[0])
        with open(path, "r+b") as file:
            file.seek(2000)
            byte = file.read(1)
            file.seek(2000)
            file.write(bytes([byte[0] ^ 1]))
        with self.server() as server:
            self.assertEqual(self.ask(server, 30), (before[0], 0))
            self.assertEqual(self.files(), [])

    def test_killed_on_the_way(self):
        """Workers that end while they load and take prefixes back: the model is not given up."""
        before = self.keep_one()
        with self.server() as server:
            for _ in range(4):
                (worker,) = wait_for(server.workers, "a worker")
                os.kill(worker, signal.SIGKILL)
                wait_for(lambda: worker not in server.workers(), "its end")
                (worker,) = wait_for(server.workers, "the next one")
                os.kill(worker, signal.SIGKILL)
                wait_for(lambda: worker not in server.workers(), "its end")
            server.ready()
            self.assertEqual(self.ask(server, 30)[0], before[0])
            self.assertEqual(server.events("model", "state=failed"), [])


if __name__ == "__main__":
    support.main()
