#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Model files that are none, that lie, or that change: a clear error, soon, and no crash."""

import json
import os
import random
import time

import support
from support import FAILED, OK, dunlin


class Files(support.Case):
    """Each verb that takes a model meets the same files."""

    def each_verb(self, path, *words):
        path = str(path)
        for verb in (
            ["inspect", path],
            ["tokenize", path, "x"],
            ["template", path],
            ["logits", path, "--tokens", "1"],
            ["run", path, "x", "-n", "1"],
            ["bench", path, "-r", "1"],
        ):
            with self.subTest(verb):
                self.bad(dunlin(*verb, stdin="{}"), FAILED, *words)

    def write(self, name, data):
        path = support.FOLDER / name
        path.write_bytes(data)
        return path

    def test_no_file(self):
        self.each_verb(support.FOLDER / "absent.gguf", "absent.gguf", "No such file")

    def test_empty(self):
        self.each_verb(self.write("empty.gguf", b""), "empty.gguf")

    def test_directory(self):
        folder = support.FOLDER / "folder.gguf"
        folder.mkdir()
        self.each_verb(folder, "is a directory")

    def test_fifo(self):
        fifo = support.FOLDER / "fifo.gguf"
        os.mkfifo(fifo)
        self.each_verb(fifo, "not a regular file")

    def test_device(self):
        self.each_verb("/dev/zero", "not a regular file")

    def test_unreadable(self):
        path = self.write("secret.gguf", b"GGUF")
        path.chmod(0)
        if os.access(path, os.R_OK):
            self.skipTest("root reads everything")
        self.each_verb(path, "Permission denied")

    def test_text(self):
        self.each_verb(self.write("text.gguf", b"Dear reader, this is no model.\n" * 100))

    def test_truncated(self):
        with open(support.tiny_model(), "rb") as file:
            data = file.read()
        for size in [3, 4, 8, 20, 24, 100, 1000, len(data) // 2, len(data) - 1]:
            self.each_verb(self.write("cut.gguf", data[:size]), "cut.gguf")

    def test_spoiled(self):
        """Bytes changed at random: an error or an answer, never a dead worker."""
        dice = random.Random(1)
        with open(support.tiny_model(), "rb") as file:
            data = bytearray(file.read())
        header = data.index(b"blk.0.") - 4096 if b"blk.0." in data else 4096
        for _ in range(40):
            spoiled = bytearray(data)
            for _ in range(dice.choice([1, 1, 3, 20])):
                spoiled[dice.randrange(max(header, 4096))] = dice.choice([0, 1, 255, 128])
            path = self.write("spoiled.gguf", spoiled)
            for verb in (["inspect", path, "--all"], ["run", path, "x", "-n", "2"]):
                done = dunlin(*verb)
                self.assertIn(done.returncode, (OK, FAILED), done.stderr)

    def test_cut_while_it_is_read(self):
        """A file that shrinks under the worker is an error, not a crash."""
        with open(support.tiny_model(), "rb") as file:
            data = file.read()
        path = self.write("shrinks.gguf", data)
        for delay in (0, 0.002, 0.005, 0.01, 0.02):
            path.write_bytes(data)
            process = support.start("run", path, "x", "-n", "2")
            time.sleep(delay)
            os.truncate(path, len(data) // 2)
            _, error = process.communicate(timeout=support.TIMEOUT)
            self.assertIn(process.returncode, (OK, FAILED), error)

    def test_growing(self):
        with open(support.tiny_model(), "rb") as file:
            data = file.read()
        path = self.write("grows.gguf", data + bytes(4096))
        self.assertIn(dunlin("inspect", path).returncode, (OK, FAILED))

    def test_names_cannot_write_to_the_terminal(self):
        with open(support.tiny_model(), "rb") as file:
            data = file.read()
        spoiled = data.replace(b"general.architecture", b"general.\x1b[31mchitectur", 1)
        done = dunlin("inspect", self.write("escape.gguf", spoiled), "--all")
        self.assertNotIn(b"\x1b", done.stdout + done.stderr)


if __name__ == "__main__":
    support.main()
