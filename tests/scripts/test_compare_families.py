#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/compare-families with programs that answer at once: the table, and what cannot be run."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench" / "compare-families"
DUNLIN = """#!/bin/sh
case "$2" in
*qwen3*) echo "dunlin: bench: no such family" >&2; exit 1 ;;
esac
echo '{"prefill": {"tokens_per_second": 30.0}, "decode": {"tokens_per_second": 5.0}}'
"""
LLAMA = """#!/bin/sh
echo '[{"n_prompt": 8, "n_gen": 0, "avg_ts": 20.0}, {"n_prompt": 0, "n_gen": 2, "avg_ts": 10.0}]'
"""
MODELS = ["gemma-3-270m:Q8_0:1:512", "qwen3-0.6b:Q4_K_M:1:512"]


class CompareFamilies(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.program("dunlin", DUNLIN)
        for name in ("llama-bench", "llama-completion", "llama-quantize"):
            self.program(f"peer/build/bin/{name}", LLAMA)

    def program(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run_it(self, *options):
        return subprocess.run(
            [sys.executable, str(SCRIPT), "--dunlin", str(self.folder / "dunlin"), "--peer-folder",
             str(self.folder / "peer"), "--models-folder", str(self.folder / "models"), *options],
            capture_output=True, text=True, check=False)

    def test_ratios_and_what_cannot_be_run(self):
        done = self.run_it(*MODELS, "-t", "1", "-t", "3", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        got = json.loads(done.stdout)
        rows = [(row["architecture"], row["threads"], row["prefill"].get("ratio", {}).get("median"),
                 row["decode"].get("ratio", {}).get("median")) for row in got["rows"]]
        self.assertEqual(rows, [("gemma3", 1, 1.5, 0.5), ("gemma3", 3, 1.5, 0.5),
                                ("qwen3", 1, None, None), ("qwen3", 3, None, None)])
        self.assertEqual(got["rows"][2]["decode"]["llama.cpp"]["median"], 10)
        self.assertEqual(got["failures"], {f"{MODELS[1]} dunlin": "dunlin: bench: no such family"})

    def test_tables(self):
        done = self.run_it(*MODELS, "-t", "2", "--markdown")
        cells = [[cell.strip() for cell in line.strip("|").split("|")]
                 for line in done.stdout.splitlines() if line.startswith("|")]
        self.assertEqual(len(cells), 4)
        self.assertEqual(cells[2][4:], ["2", "30.0", "20.0", "1.50", "5.0", "10.0", "0.50"])
        self.assertEqual(cells[3][4:], ["2", "-", "20.0", "-", "-", "10.0", "-"])
        done = self.run_it(*MODELS, "-t", "2")
        self.assertIn("no such family", done.stdout)
        self.assertEqual(len({len(line) for line in done.stdout.splitlines()[:4]}), 1)

    def test_models_are_kept_until_asked(self):
        self.run_it(MODELS[0], "-t", "1")
        (model,) = (self.folder / "models").iterdir()
        written = model.stat().st_mtime_ns
        again = self.run_it(MODELS[0], "-t", "1")
        self.assertNotIn("Making", again.stderr)
        self.assertEqual(model.stat().st_mtime_ns, written)
        self.assertEqual(self.run_it("--remove").returncode, 0)
        self.assertFalse(model.exists())

    def test_unknown_models_are_refused(self):
        for text in ("qwen3-0.6b", "nothing:Q8_0", "qwen3-0.6b:Q9", "qwen3-0.6b:Q8_0:some"):
            done = self.run_it(text)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"'{text}'", done.stderr)


if __name__ == "__main__":
    unittest.main()
