#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/arm-kernels: what it makes of the plugin's lines, of a disassembly and of an estimate."""

import importlib.machinery
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench" / "arm-kernels"
LOADER = importlib.machinery.SourceFileLoader("arm_kernels", str(SCRIPT))
arm_kernels = importlib.util.module_from_spec(importlib.util.spec_from_loader("arm_kernels", LOADER))
LOADER.exec_module(arm_kernels)


def row(ours, theirs, **more):
    return {"level": "neon", "type": "Q4_0", "n": 1, "dunlin": {"instructions": ours, **more},
            "llama.cpp": {"instructions": theirs, **more}}


class ArmKernels(unittest.TestCase):
    def test_pieces(self):
        text = "repack: a tensor of type q4_0\n5500001880 6 10\n400a0 2 5\n400a0 2 7\nbe ad go\n"
        pieces = arm_kernels.parse_pieces(text)
        self.assertEqual(pieces, {(0x1880, 6): 10, (0x400a0, 2): 12})
        self.assertEqual(arm_kernels.instructions(pieces), 84)

    def test_blocks(self):
        self.assertEqual(arm_kernels.blocks("Q4_0", 2), 1536 * 18 * 2)
        self.assertEqual(arm_kernels.blocks("IQ4_XS", 1), 1536 * 16)
        self.assertEqual(arm_kernels.blocks("IQ4_NL", 1), 1536 * 18)

    def test_branches_lose_their_targets(self):
        for text, wanted in (("b.ne 4990 <main+0x8>", "b.ne #0"),
                             ("cbz x1, 4990 <f>", "cbz x1, #0"), ("bl a0 <f>", "bl #0"),
                             ("tbnz w0, #3, 4990 <f>", "tbnz w0, #3, #0"),
                             ("adrp x3, 55000 <f>", "adrp x3, #0"), ("add x0, x0, #0x10", "add x0, x0, #0x10")):
            self.assertEqual(arm_kernels.TARGET.sub(r"\1#0", text), wanted)

    def test_table(self):
        lines = arm_kernels.table([row(9, 18, **{"cortex-a53": 4.0}), row(20, 10)])
        self.assertEqual(lines[2], "| neon | Q4_0 | 1 | 9.00 | 18.00 | 0.50 | 4.00 | 4.00 | 1.00 "
                                   "| - | - | - |")
        self.assertEqual({line.count("|") for line in lines[:4]}, {13})
        self.assertEqual(lines[-1], "More instructions than llama.cpp: Q4_0 n=1 at neon.")

    def test_estimate(self):
        estimates = arm_kernels.Estimates()
        if not estimates.tool:
            self.skipTest("no llvm-mca")
        code = {0x100: "add x0, x0, x1", 0x104: "add x0, x0, x2", 0x108: "b.ne #0"}
        if estimates.product({(0x100, 1): 1}, code, "cortex-a53") is None:
            self.skipTest("this llvm-mca knows no Arm")
        # Each waits for the one before it; what ran once in a thousand times is left out.
        cycles = estimates.product({(0x100, 2): 1000, (0x100, 3): 1}, code, "cortex-a53")
        self.assertAlmostEqual(cycles, 2000, delta=200)
        self.assertIsNone(estimates.product({(0x200, 2): 1}, code, "cortex-a53"))

    def test_counts_are_of_the_product_alone(self):
        """A program that does twice as much for two: the difference is exact."""
        with tempfile.TemporaryDirectory() as folder:
            fake = pathlib.Path(folder, "qemu")
            fake.write_text("#!/bin/sh\n[ $5 = 9 ] && exit 3\n"
                            "echo \"1000 4 $((100 + 7 * $8))\" >&2; echo 2000 5 50 >&2\n")
            fake.chmod(0o755)
            arm_kernels.QEMU, saved = [str(fake)], arm_kernels.QEMU
            try:
                found = arm_kernels.count("plugin", "program", ["0", "Q4_0", "1"])
                self.assertEqual(found, {(0x1000, 4): 7})
                self.assertIsNone(arm_kernels.count("plugin", "program", ["9", "Q4_0", "1"]))
            finally:
                arm_kernels.QEMU = saved

    def test_plugin_compiles(self):
        if not shutil.which("cc"):
            self.skipTest("no compiler")
        with tempfile.TemporaryDirectory() as folder:
            plugin = arm_kernels.build_plugin(pathlib.Path(folder))
            self.assertTrue(plugin.is_file())

    def test_unknown_words_are_refused(self):
        for words in (["--levels", "sve"], ["--types", "Q9"]):
            done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(words[1], done.stderr)


if __name__ == "__main__":
    unittest.main()
