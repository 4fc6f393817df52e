#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/make-unicode-tables: what is committed is what the script makes."""

import pathlib
import re
import subprocess
import sys
import unicodedata
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = ROOT / "src" / "engine" / "tokenizer" / "unicode-tables.inc.h"


def rows(text, name):
    body = re.search(rf" {name}\[\](?:\[4\])? = {{(.*?)\n}};", text, re.DOTALL).group(1)
    return [[int(n, 0) for n in re.findall(r"0x[0-9a-f]+|\d+", row)]
            for row in re.findall(r"{([^}]*)}", body)]


def expand(runs):
    return {first + i * (2 if step == 2 else 1): target + i * step
            for first, length, target, step in runs for i in range(length)}


class Tables(unittest.TestCase):
    def setUp(self):
        self.text = TABLES.read_text()

    def test_is_what_the_script_makes(self):
        version = re.search(r"Unicode (\S+):", self.text).group(1)
        if version != unicodedata.unidata_version:
            self.skipTest(f"this Python has Unicode {unicodedata.unidata_version}, not {version}")
        done = subprocess.run([sys.executable, ROOT / "scripts" / "make-unicode-tables",
                               "--output", "-"], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, self.text)

    def test_samples(self):
        """Known by heart, whatever the version."""
        strip = expand(rows(self.text, "strip_runs"))
        lower = expand(rows(self.text, "lower_runs"))
        self.assertEqual({chr(strip[ord(c)]) for c in "ÀÅẤ"}, {"A"})
        self.assertEqual(chr(strip[0x212B]), "A")
        self.assertEqual(chr(strip[0xF900]), "\u8c48")
        self.assertNotIn(ord("ø"), strip)
        for upper, letter in ["Aa", "Zz", "Àà", "Ωω", "Āā", "Ÿÿ", "Ꭰꭰ", "ẞß", "𐐀𐐨"]:
            self.assertEqual(chr(lower[ord(upper)]), letter)
        self.assertNotIn(ord("a"), lower)
        self.assertNotIn(0x130, lower)
        self.assertIn([0x9CB, 0x9C7, 0x9BE], rows(self.text, "strip_several"))


if __name__ == "__main__":
    unittest.main()
