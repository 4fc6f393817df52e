#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/make-model-cases: the golden files in the checkout are what it makes; and the forward
passes that made them have the properties that the formulas promise."""

import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "make-model-cases"
GOLDEN = ROOT / "tests" / "golden"

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts" / "lib"))

import reference_model as reference  # noqa: E402


class MakeModelCases(unittest.TestCase):
    def same(self, made, kept, where):
        """Equal, but for the last digits of numbers, which are the C library's."""
        if isinstance(kept, dict):
            self.assertEqual(list(made), list(kept), where)
            for key in kept:
                self.same(made[key], kept[key], f"{where}.{key}")
        elif isinstance(kept, list):
            self.assertEqual(len(made), len(kept), where)
            for i, pair in enumerate(zip(made, kept)):
                self.same(*pair, f"{where}[{i}]")
        elif isinstance(kept, float):
            self.assertAlmostEqual(made, kept, delta=1e-7 * max(1, abs(kept)), msg=where)
        else:
            self.assertEqual(made, kept, where)

    def test_golden_files_are_current(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, str(SCRIPT), "--folder", folder], check=True)
            for name in ("embedding-cases.json", "logits-cases.json"):
                made = json.loads(pathlib.Path(folder, name).read_text(encoding="utf-8"))
                kept = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
                self.same(made, kept, name)

    def test_adapter_moves_logits_by_its_scale(self):
        cases = json.loads((GOLDEN / "logits-cases.json").read_text(encoding="utf-8"))["cases"]
        base = next(c for c in cases if "adapter" not in c and "llama" in c["model"]["options"])
        moved = {c["adapter"]["scale"]: math.dist(c["logits"][0], base["logits"][0])
                 for c in cases if "adapter" in c}
        self.assertGreater(moved[0.5], 0.1)
        self.assertGreater(moved[1.0], 1.5 * moved[0.5])


class Formulas(unittest.TestCase):
    def setUp(self):
        rng = random.Random(7)
        self.sequence = [[rng.gauss(0, 1) for _ in range(8)] for _ in range(5)]

    def test_rotation_keeps_length_and_depends_on_the_distance(self):
        query, key = self.sequence[:2]
        for halves in (False, True):
            turned = reference.rotate(query, 9, 100.0, halves)
            self.assertAlmostEqual(math.hypot(*turned), math.hypot(*query))
            near = reference.dot(turned, reference.rotate(key, 4, 100.0, halves))
            far = reference.dot(reference.rotate(query, 105, 100.0, halves),
                                reference.rotate(key, 100, 100.0, halves))
            self.assertAlmostEqual(near, far)
        self.assertNotEqual(reference.rotate(query, 9, 100.0, True),
                            reference.rotate(query, 9, 100.0, False))

    def test_norms(self):
        x = self.sequence[0]
        normed = reference.layer_norm(x, [1] * 8, [0.5] * 8, 0)
        self.assertAlmostEqual(sum(normed) / 8, 0.5)
        self.assertAlmostEqual(math.dist(normed, [0.5] * 8), math.sqrt(8))
        self.assertAlmostEqual(math.hypot(*reference.rms_norm(x, [2] * 8, 0)), 2 * math.sqrt(8))

    def test_attention_sees_the_past_alone(self):
        changed = [*self.sequence[:4], [100.0] * 8]
        seen = [reference.attend(s, s, s, 0.3, True) for s in (self.sequence, changed)]
        self.assertEqual(seen[0][:4], seen[1][:4])
        self.assertEqual(seen[0][0], self.sequence[0])
        seen = [reference.attend(s, s, s, 0.3, False) for s in (self.sequence, changed)]
        self.assertNotEqual(seen[0][0], seen[1][0])


if __name__ == "__main__":
    unittest.main()
