#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Model files that are none, that are cut, damaged or in parts, or that change while they are
read: a clear error, soon, and no crash. Files that lie: test_hostile_models.py."""

import json
import os
import random
import shutil
import time

import ggufs
import hostile
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


class Damage(hostile.Case):
    """Bytes changed at random: an error or an answer, never a dead worker."""

    COUNT = 400

    @staticmethod
    def damaged(dice, data):
        """The file with some bytes changed, cut or put elsewhere."""
        bad = bytearray(data)
        # Most of the damage where the structure is; a fifth anywhere.
        header = bad.index(b"blk.0.") + 2048
        for _ in range(dice.choice([1, 1, 2, 8, 64])):
            at = dice.randrange(header if dice.random() < 0.8 else len(bad))
            way = dice.randrange(4)
            if way == 0:
                bad[at] ^= 1 << dice.randrange(8)
            elif way == 1:
                bad[at] = dice.choice([0, 1, 127, 128, 255])
            elif way == 2:
                length = dice.choice([1, 4, 8])
                start = dice.randrange(header)
                bad[at : at + length] = bad[start : start + length]
            else:
                number = dice.choice([0, 1, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1])
                bad[at : at + 8] = number.to_bytes(8, "little")
        if dice.random() < 0.1:
            del bad[dice.randrange(len(bad)) :]
        return bytes(bad)

    def test_damage(self):
        dice = random.Random(20)
        data = hostile.good().bytes()
        verbs = (hostile.RUN, ("inspect", "{}", "--all"))
        self.try_all(
            hostile.Lie(f"damage {number}", self.damaged(dice, data), False, verbs=verbs)
            for number in range(self.COUNT)
        )


class Parts(support.Case):
    """Models in several files."""

    def setUp(self):
        self.folder = support.FOLDER / self.id()
        self.folder.mkdir()
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, parts, name="model"):
        """The parts under the names that belong to them; the first's path."""
        paths = [
            self.folder / f"{name}-{number + 1:05}-of-{len(parts):05}.gguf"
            for number in range(len(parts))
        ]
        for part, path in zip(parts, paths):
            path.write_bytes(part.bytes())
        return paths

    def three(self):
        """The tiny model in three files."""
        file = hostile.good()
        return file.split([2, 10, len(file.tensors) - 12])

    def each_verb(self, path, *words):
        for verb in (["inspect", path], ["tokenize", path, "x"], ["run", path, "x", "-n", "1"]):
            with self.subTest(verb):
                self.bad(dunlin(*verb), FAILED, *words)

    def test_the_same_answers(self):
        tail = ["in the", "-n", "8", "--temperature", "0"]
        want = self.good(dunlin("run", support.tiny_model(), *tail))
        file = hostile.good()
        count = len(file.tensors)
        mixed = file.split([1, count - 1])
        mixed[1].alignment = 64
        mixed[1].set("general.alignment", ggufs.U32, 64)
        for name, parts in {
            "three": self.three(),
            "weightless": file.split([0, count - 3, 3]),
            "many": file.split([1] * count),
            "one": file.split([count]),
            "mixed": mixed,
        }.items():
            with self.subTest(name):
                first = self.write(parts, name)[0]
                self.assertEqual(self.good(dunlin("run", first, *tail)), want)
                about = json.loads(self.good(dunlin("inspect", first, "--json", "--all")))
                self.assertEqual(about["files"], len(parts))
                self.assertEqual(about["tensors_count"], count)
                self.assertEqual(about["tensors"][-1]["file"], len(parts))

    def test_by_name(self):
        models = self.folder / "dunlin" / "models"
        models.mkdir(parents=True)
        for path in self.write(self.three()):
            path.rename(models / path.name)
        env = support.environment(XDG_DATA_HOME=str(self.folder))
        self.good(dunlin("inspect", "model-00001-of-00003", env=env))
        (models / "model-00003-of-00003.gguf").unlink()
        done = dunlin("inspect", "model-00001-of-00003", env=env)
        self.bad(done, FAILED, "'model-00003-of-00003.gguf' is not beside it")

    def test_another_part_is_given(self):
        _, second, third = self.write(self.three())
        self.each_verb(second, "part 2 of a model", "'model-00001-of-00003.gguf'")
        self.each_verb(third, "part 3 of a model", "give the first")

    def test_a_part_is_missing(self):
        first, second, third = self.write(self.three())
        third.unlink()
        self.each_verb(first, "in 3 files", "'model-00003-of-00003.gguf' is not beside it")
        second.unlink()
        self.each_verb(first, "'model-00002-of-00003.gguf' is not beside it")

    def test_a_part_is_no_file(self):
        first, second, _ = self.write(self.three())
        second.unlink()
        second.mkdir()
        self.each_verb(first, "model-00002-of-00003.gguf' is a directory")

    def test_parts_under_other_names(self):
        first, second, third = self.write(self.three())
        alone = self.folder / "alone.gguf"
        shutil.copy(first, alone)
        self.each_verb(alone, "part 1 of 3", "-00002-of-00003.gguf")
        shutil.copy(second, alone)
        self.each_verb(alone, "part 2 of 3", "give the first part")
        shutil.copy(first, second)
        self.each_verb(first, "file 2 of 3", "it says that it is part 1")
        shutil.copy(support.tiny_model(), first)
        self.each_verb(first, "file 1 of 3", "no part of a model")
        shutil.copy(third, second)
        self.write([hostile.good()] * 2, "whole")
        self.each_verb(self.folder / "whole-00001-of-00002.gguf", "file 1 of 2", "no part")

    def test_parts_of_two_models(self):
        first, second, _ = self.write(self.three())
        file = hostile.good()
        other = self.write(file.split([3, len(file.tensors) - 3]), "other")
        shutil.copy(other[1], second)
        self.each_verb(first, "file 2 of 3", "a model in 2 files")
        file.tensors.pop()
        self.write(file.split([1, 1, len(file.tensors) - 2]), "other")
        shutil.copy(self.folder / "other-00002-of-00003.gguf", second)
        self.each_verb(first, "file 2 of 3", "a model of 19 tensors", "of 20")
        parts = self.three()
        parts[1].tensors[0] = parts[0].tensors[0]
        self.write(parts)
        self.each_verb(first, "file 2 of 3", "is in file 1 too")

    def test_numbers_lie(self):
        for key, kind, value, words in (
            ("split.no", ggufs.U16, 7, "'split.no' is 7"),
            ("split.no", ggufs.STRING, "1", "expected is an integer"),
            ("split.count", ggufs.U16, 65535, "a model in 65535 files"),
            ("split.count", ggufs.I32, -3, "out of range"),
            ("split.tensors.count", ggufs.I32, -1, "out of range"),
            ("split.tensors.count", ggufs.U32, 1 << 31, "a model of 2147483648 tensors"),
        ):
            with self.subTest(key=key, value=value):
                parts = self.three()
                parts[1].set(key, kind, value)
                self.each_verb(self.write(parts)[0], "file 2 of 3", words)

    def test_damage_names_the_file(self):
        first, _, third = self.write(self.three())
        data = third.read_bytes()
        third.write_bytes(data[:-1])
        self.each_verb(first, "file 3 of 3", "leaves the file")
        third.write_bytes(b"")
        self.each_verb(first, "file 3 of 3", "the file is empty")


if __name__ == "__main__":
    support.main()
