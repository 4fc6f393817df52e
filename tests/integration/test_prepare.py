#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dunlin prepare and restore: the same answers from the prepared form, the files given back byte
for byte, and nothing trusted that this device did not write."""

import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import support
from support import FAILED, ROOT, USAGE, WORKER, dunlin, environment

ANSWER = ("-n", "8", "--temperature", "0", "--ignore-eos", "--json")


def small_files_only():
    """What a process cannot write past: a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, 1 << 14))


class Case(support.Case):
    """A home of its own for each test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dunlin-prepare-")
        self.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)
        self.env = environment(HOME=str(self.home))
        self.model = self.home / "tiny.gguf"
        shutil.copy(support.tiny_model(), self.model)

    def larger_model(self):
        """Some megabytes, so that something can happen while they are written."""
        model = self.home / "larger.gguf"
        script = ROOT / "scripts" / "make-test-model"
        subprocess.run([sys.executable, str(script), "--shape", "smollm2-135m", "--layers", "2",
                        "--type", "Q4_0", "--output", str(model)], check=True)
        return model

    def run_verb(self, *words, **options):
        return dunlin(*words, env=self.env, **options)

    def answer(self, model, *words):
        """Tokens of an answer, and what stderr says."""
        done = self.run_verb("run", model, "some words", *ANSWER, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["tokens"], done.stderr.decode()

    def prepare(self, model, *words):
        return json.loads(self.good(self.run_verb("prepare", model, "--json", *words)))

    def files(self):
        """Everything below the home that is no model of the test's."""
        return sorted(str(p.relative_to(self.home)) for p in self.home.rglob("*")
                      if p.is_file() and p.suffix != ".gguf")

    def spoil(self, path, at, bit=1):
        with open(path, "r+b") as file:
            file.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ bit]))


class Cache(Case):
    """Prepared forms that are found by the model's file."""

    def test_same_answer(self):
        plain, _ = self.answer(self.model)
        made = self.prepare(self.model)
        self.assertTrue(made["made"])
        path = pathlib.Path(made["path"])
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(made["bytes"], path.stat().st_size)
        for words in ((), ("--threads", "1"), ("--no-verify",)):
            self.assertEqual(self.answer(self.model, *words), (plain, ""))
        again = self.prepare(self.model)
        self.assertFalse(again["made"])
        self.assertEqual(again["path"], made["path"])

    def test_it_is_used(self):
        """The process maps it, and does not read the model's weights."""
        path = self.prepare(self.model)["path"]
        child = subprocess.Popen(
            [support.PROGRAM, "run", str(self.model), "words", "-n", "100000", "--context", "4096",
             "--ignore-eos"], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            child.stdout.read(1)
            maps = "".join(pathlib.Path(f"/proc/{pid}/maps").read_text()
                           for pid in support.children(child.pid))
        except PermissionError:
            self.skipTest("the worker cannot be looked into: not root")
        finally:
            child.kill()
            child.communicate()
        self.assertIn(path, maps)

    def test_other_verbs(self):
        plain = self.good(self.run_verb("logits", self.model, "--tokens", "1,2,3"))
        self.prepare(self.model)
        self.assertEqual(self.good(self.run_verb("logits", self.model, "--tokens", "1,2,3")), plain)
        self.good(self.run_verb("inspect", self.model))
        self.good(self.run_verb("tokenize", self.model, "words"))

    def test_the_model_changes(self):
        """A file that was written to since is another one, and read itself."""
        self.prepare(self.model)
        before = self.files()
        self.spoil(self.model, -40)
        _, said = self.answer(self.model)
        self.assertEqual(said, "")
        self.assertEqual(self.files(), before)
        # Prepared again, it has a form of its own.
        self.assertTrue(self.prepare(self.model)["made"])
        self.assertEqual(len([f for f in self.files() if f.endswith(".dunlin")]), 2)

    def test_a_copy_shares_it(self):
        made = self.prepare(self.model)
        copy = self.home / "copy.gguf"
        shutil.copy(self.model, copy)
        again = self.prepare(copy)
        self.assertFalse(again["made"])
        self.assertEqual(again["path"], made["path"])

    def test_spoilt_weights(self):
        """One bit of the weights: it says so, and takes the model's own file."""
        plain, _ = self.answer(self.model)
        path = pathlib.Path(self.prepare(self.model)["path"])
        size = path.stat().st_size
        self.spoil(path, size // 2)
        tokens, said = self.answer(self.model)
        self.assertEqual(tokens, plain)
        self.assertIn("is not used: ", said)
        self.assertIn("was changed", said)
        self.assertEqual(said.count("\n"), 1)
        # Made again, as it says.
        self.assertTrue(self.prepare(self.model)["made"])
        self.assertEqual(self.answer(self.model), (plain, ""))

    def test_spoilt_seal(self):
        plain, _ = self.answer(self.model)
        path = self.prepare(self.model)["path"]
        self.spoil(path, -1)
        tokens, said = self.answer(self.model)
        self.assertEqual(tokens, plain)
        self.assertIn("is not used: ", said)

    def test_another_model_under_its_name(self):
        """An honest seal, but of another file."""
        plain, _ = self.answer(self.model)
        other = self.home / "other.gguf"
        script = ROOT / "scripts" / "make-test-model"
        subprocess.run([sys.executable, str(script), "--seed", "9", "--output", str(other)],
                       check=True)
        path = self.prepare(self.model)["path"]
        shutil.copy(self.prepare(other)["path"], path)
        tokens, said = self.answer(self.model)
        self.assertEqual(tokens, plain)
        self.assertIn("made from another model", said)

    def test_a_disk_that_fails(self):
        """Whatever is wrong with the prepared form, the model's own file is there."""
        plain, _ = self.answer(self.model)
        path = pathlib.Path(self.prepare(self.model)["path"])
        path.chmod(0o666)
        tokens, said = self.answer(self.model)
        self.assertEqual(tokens, plain)
        self.assertIn("nobody else can write", said)
        path.unlink()
        path.mkdir()
        tokens, said = self.answer(self.model)
        self.assertEqual(tokens, plain)
        self.assertIn("is not used: ", said)

    def test_no_home(self):
        """Who never prepared a model hears nothing of it."""
        env = environment(HOME="/dev/null", XDG_CACHE_HOME="/dev/null/x")
        self.good(dunlin("run", self.model, "x", "-n", "1", "--raw", env=env))

    def test_another_key(self):
        plain, _ = self.answer(self.model)
        self.prepare(self.model)
        key = self.home / ".local/state/dunlin/device.key"
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        key.write_bytes(bytes(32))
        tokens, said = self.answer(self.model)
        self.assertEqual(tokens, plain)
        self.assertIn("is not used: ", said)
        key.chmod(0o644)
        self.bad(self.run_verb("prepare", self.model), FAILED, "nobody else can read")

    def test_an_adapter_on_top(self):
        adapter = self.home / "adapter.gguf"
        script = ROOT / "scripts" / "make-test-model"
        subprocess.run([sys.executable, str(script), "--lora", "4", "--output", str(adapter)],
                       check=True)
        plain, _ = self.answer(self.model, "--lora", adapter)
        self.prepare(self.model)
        self.assertEqual(self.answer(self.model, "--lora", adapter), (plain, ""))


class Failures(Case):
    """What goes wrong leaves nothing."""

    def test_full_disk(self):
        """The model's bytes do not fit, nor do those of a file that is restored."""
        out = self.home / "x.dunlin"
        self.prepare(self.model, "--output", out)
        before = self.files()
        done = self.run_verb("prepare", self.model, "--output", self.home / "y.dunlin",
                             preexec_fn=small_files_only)
        self.bad(done, FAILED, "File too large")
        done = self.run_verb("restore", out, self.home / "y.gguf", preexec_fn=small_files_only)
        self.bad(done, FAILED, "File too large")
        self.assertEqual(self.files(), before)
        self.assertFalse((self.home / "y.gguf").exists())

    def test_killed(self):
        """In the middle of writing: nothing is left."""
        model = self.larger_model()
        child = support.start("prepare", model, "--output", self.home / "x.dunlin", env=self.env)
        deadline = time.monotonic() + 60
        while self.written(child.pid) < model.stat().st_size // 2:
            self.assertIsNone(child.poll(), "it was faster than this test")
            self.assertLess(time.monotonic(), deadline)
        child.kill()
        child.communicate()
        # The worker ends with its parent.
        time.sleep(0.2)
        self.assertEqual([f for f in self.files() if ".dunlin" in f], [])

    @staticmethod
    def written(pid):
        """Bytes of the file without a name that a process has open."""
        try:
            return max((os.stat(f"/proc/{pid}/fd/{fd}").st_size
                        for fd in os.listdir(f"/proc/{pid}/fd")
                        if "(deleted)" in os.readlink(f"/proc/{pid}/fd/{fd}")), default=0)
        except FileNotFoundError:
            return 0

    def test_the_model_changes_meanwhile(self):
        """What has the digest is not what was read."""
        model = self.larger_model()
        before = self.files()
        child = support.start("prepare", model, env=self.env)
        while self.written(child.pid) < 4096 and child.poll() is None:
            pass
        # The worker goes on; the parent, which looks at the file behind it, waits.
        child.send_signal(signal.SIGSTOP)
        with open(model, "r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(b"changed!")
        child.send_signal(signal.SIGCONT)
        _, said = child.communicate()
        self.assertEqual(child.returncode, FAILED, said)
        self.assertIn(b"changes while it is read", said)
        self.assertEqual([f for f in self.files() if "dunlin/device.key" not in f], before)

    def test_an_output_that_exists(self):
        """Another's file is not replaced; the model's own is, where it is spoilt."""
        out = self.home / "x.dunlin"
        out.write_text("mine")
        self.bad(self.run_verb("prepare", self.model, "-o", out), FAILED, "x.dunlin", "exists")
        self.assertEqual(out.read_text(), "mine")
        out.unlink()
        self.assertTrue(self.prepare(self.model, "-o", out)["made"])
        self.assertFalse(self.prepare(self.model, "-o", out)["made"])
        self.spoil(out, out.stat().st_size // 2)
        self.assertTrue(self.prepare(self.model, "-o", out)["made"])

    def test_refused(self):
        bad = self.home / "bad.gguf"
        bad.write_bytes(b"GGUF")
        self.bad(self.run_verb("prepare", bad), FAILED, "bad.gguf")
        self.bad(self.run_verb("prepare", self.home / "none.gguf"), FAILED, "No such file")
        self.bad(self.run_verb("prepare", self.model, "-o", self.home / "x.bin"), USAGE, ".dunlin")
        self.bad(self.run_verb("prepare", self.model, "-o", "/proc/x/y.dunlin"), FAILED, "/proc/x")
        self.assertEqual([f for f in self.files() if f.endswith(".dunlin")], [])


class Files(Case):
    """A prepared form that stands for the model, and the way back."""

    def setUp(self):
        super().setUp()
        self.prepared = self.home / "tiny.dunlin"
        self.original = self.model.read_bytes()
        self.plain, _ = self.answer(self.model)
        self.prepare(self.model, "--output", self.prepared)
        self.model.unlink()

    def test_it_is_a_model(self):
        self.assertEqual(self.answer(self.prepared), (self.plain, ""))
        self.good(self.run_verb("inspect", self.prepared))
        self.good(self.run_verb("tokenize", self.prepared, "words"))
        models = self.home / ".local/share/dunlin/models"
        models.mkdir(parents=True)
        shutil.move(self.prepared, models / "mine.dunlin")
        self.assertEqual(self.answer("mine"), (self.plain, ""))
        self.bad(self.run_verb("run", "yours", "x"), FAILED, "mine")
        (self.home / ".local/state/dunlin/device.key").unlink()
        self.bad(self.run_verb("run", "mine", "x"), FAILED, "prepared elsewhere")

    @staticmethod
    def umask():
        mask = os.umask(0)
        os.umask(mask)
        return mask

    def test_weights_that_others_changed(self):
        """Those who do not read them need not look at them."""
        self.spoil(self.prepared, self.prepared.stat().st_size // 2)
        self.bad(self.run_verb("run", self.prepared, "x", "-n", "1"), FAILED, "tiny.dunlin",
                 "changed")
        self.bad(self.run_verb("restore", self.prepared, self.model), FAILED, "tiny.dunlin")
        self.assertFalse(self.model.exists())

    def test_restore(self):
        self.good(self.run_verb("restore", self.prepared, self.model))
        self.assertEqual(self.model.read_bytes(), self.original)
        self.assertEqual(self.model.stat().st_mode & 0o777, 0o666 & ~self.umask())
        self.bad(self.run_verb("restore", self.prepared, self.model), FAILED, "exists")
        self.bad(self.run_verb("restore", self.model, self.home / "y.gguf"), FAILED, "not prepared")
        self.bad(self.run_verb("restore", self.prepared, self.home / "y.bin"), USAGE, ".gguf")
        self.bad(self.run_verb("prepare", self.prepared), FAILED, "prepared already")

    def test_size(self):
        """On flash it takes the place of the model: at most 1.1 of its size, for one of size."""
        model = self.larger_model()
        out = self.home / "larger.dunlin"
        self.prepare(model, "--output", out)
        self.assertLess(out.stat().st_size, 1.1 * model.stat().st_size)

    def test_others_could_change_it(self):
        self.prepared.chmod(0o646)
        self.bad(self.run_verb("run", self.prepared, "x"), FAILED, "nobody else can write")

    def test_not_trusted(self):
        """Without the model's file there is nothing to go on with."""
        for at in (0, 300, -200, -1):
            self.spoil(self.prepared, at)
            for verb in (("run", self.prepared, "x", "-n", "1"), ("inspect", self.prepared),
                         ("restore", self.prepared, self.model)):
                self.bad(self.run_verb(*verb), FAILED, "tiny.dunlin")
            self.assertFalse(self.model.exists())
            self.spoil(self.prepared, at)
        self.assertEqual(self.answer(self.prepared), (self.plain, ""))

    def test_cut_short(self):
        whole = self.prepared.read_bytes()
        for size in (0, 8, 4096, len(whole) // 2, len(whole) - 1):
            self.prepared.write_bytes(whole[:size])
            self.bad(self.run_verb("run", self.prepared, "x"), FAILED, "seal")

    def test_another_device(self):
        (self.home / ".local/state/dunlin/device.key").unlink()
        self.bad(self.run_verb("run", self.prepared, "x"), FAILED, "prepared elsewhere")
        other = self.home / "other.gguf"
        shutil.copy(support.tiny_model(), other)
        self.prepare(other)
        self.bad(self.run_verb("run", self.prepared, "x"), FAILED, "not this device's")

    def test_its_name_is_a_model_file_s(self):
        wrong = self.home / "wrong.gguf"
        shutil.copy(self.prepared, wrong)
        self.bad(self.run_verb("inspect", wrong), FAILED, "ends in .dunlin")
        renamed = self.home / "renamed.dunlin"
        renamed.write_bytes(self.original)
        self.bad(self.run_verb("inspect", renamed), FAILED, "no seal")


class Parts(Case):
    """A model in several files."""

    def test_parts(self):
        script = ROOT / "scripts" / "make-test-model"
        subprocess.run([sys.executable, str(script), "--split", "3", "--output",
                        str(self.home / "parts.gguf")], check=True, stdout=subprocess.DEVNULL)
        parts = sorted(self.home.glob("parts-*.gguf"))
        self.assertEqual(len(parts), 3)
        first = parts[0]
        plain, _ = self.answer(first)
        out = self.home / "whole.dunlin"
        self.prepare(first, "--output", out)
        self.assertEqual(self.answer(out), (plain, ""))
        self.prepare(first)
        self.assertEqual(self.answer(first), (plain, ""))
        self.good(self.run_verb("restore", out, self.home / "again.gguf"))
        done = self.run_verb("restore", out, self.home / "again.gguf")
        self.bad(done, FAILED, "exists")
        for part in parts:
            again = self.home / part.name.replace("parts", "again")
            self.assertEqual(again.read_bytes(), part.read_bytes())


class Encoders(Case):
    """Models that embed."""

    def test_same_vector(self):
        for family in ("bert", "nomic-bert"):
            model = self.home / f"{family}.gguf"
            script = ROOT / "scripts" / "make-test-model"
            subprocess.run([sys.executable, str(script), "--arch", family, "--output", str(model)],
                           check=True)
            plain = self.good(self.run_verb("embed", model, "some words"))
            self.prepare(model)
            self.assertEqual(self.good(self.run_verb("embed", model, "some words")), plain)


if __name__ == "__main__":
    support.main()
