#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/compare-kernels with programs that answer at once: whose time counts, and what is slower."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench" / "compare-kernels"
OWN = {"kernels": [
    *({"task": task, "level": level, "seconds": seconds * factor}
      for level, factor in (("avx2", 1), ("avxvnni", 0.5))
      for task, seconds in (("Q4_0 n=1", 10e-6), ("Q2_K n=24", 90e-6), ("Q4_0 n=1 of 98 MiB", 1),
                            ("quantise", 32e-6), ("attention F16 rows=1", 1)))]}
PEER = {"kernels": [{"task": "Q4_0 n=1", "seconds": 24e-6, "memory": "CPU_REPACK"},
                    {"task": "Q2_K n=24", "seconds": 66e-6, "memory": "CPU"},
                    {"task": "IQ9 n=1", "seconds": 1, "memory": "CPU"}]}


class CompareKernels(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.program("bench-kernels", f"echo '{json.dumps(OWN)}'")
        for build in ("build", "build-avx2"):
            for name in ("libggml.a", "libggml-cpu.a", "libggml-base.a"):
                self.program(f"{build}/ggml/src/{name}", "")
            for name in ("llama-bench", "llama-completion", "llama-quantize", "peer-kernels"):
                self.program(f"{build}/bin/{name}", f"echo '{json.dumps(PEER)}'")

    def program(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run_it(self, *options):
        return subprocess.run(
            [sys.executable, str(SCRIPT), "--kernels", str(self.folder / "bench-kernels"),
             "--peer-folder", str(self.folder), "--rounds", "2", *options],
            capture_output=True, text=True, check=False)

    def test_table(self):
        done = self.run_it("--levels", "avx2,native")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [[cell.strip() for cell in line.strip("|").split("|")]
                for line in done.stdout.splitlines() if line.startswith("|")]
        # 576 and 24 * 512 of the 9,216 values that are quantised in 32 µs; native is the best level.
        self.assertEqual(rows[2:], [["Q4_0 n=1", "12.0", "24.0", "2.00", "6.0", "24.0", "4.00"],
                                    ["Q2_K n=24", "132.7", "66.0", "0.50", "66.3", "66.0", "0.99"]])
        self.assertIn("Slower than llama.cpp: Q2_K n=24 at avx2, Q2_K n=24 at native.", done.stdout)

    def test_json_and_errors(self):
        best = json.loads(self.run_it("--levels", "avx2", "--json").stdout)
        self.assertEqual(best["avx2"]["llama.cpp"]["Q4_0 n=1"], 24e-6)
        self.assertNotIn("quantise", best["avx2"]["dunlin"])
        for words, text in ((["--levels", "sse"], "sse"), (["--rounds", "0"], "--rounds")):
            done = self.run_it(*words)
            self.assertEqual(done.returncode, 2)
            self.assertIn(text, done.stderr)
        (self.folder / "bench-kernels").unlink()
        self.assertIn("ninja", self.run_it("--levels", "avx2").stderr)


if __name__ == "__main__":
    unittest.main()
