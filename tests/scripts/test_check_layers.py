#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/check-layers on trees that are right and trees that are wrong."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "check-layers"


def check(files):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True,
                              check=False)
    return done.returncode, done.stdout.splitlines()


class CheckLayers(unittest.TestCase):
    def test_right_tree(self):
        code, lines = check({
            "include/dunlin/error.h": "#include <stddef.h>\n",
            "include/dunlin/engine.h": "#include <dunlin/error.h>\n",
            "src/base/base.h": "#include <dunlin/error.h>\n#include <errno.h>\n",
            "src/engine/arch/llama.c":
                '#include "base/base.h"\n#include "engine/arch/arch.h"\n#include "kernels/types.h"\n',
            "src/cli/main.c": '#include "engine/gguf/gguf.h"\n#include "device/cpu.h"\n',
            "src/worker/jail.c": '#include "sandbox/jail.h"\n',
        })
        self.assertEqual((code, lines), (0, []))

    def test_names_file_line_and_arrow(self):
        code, lines = check({"src/engine/x.c": '#include "base/base.h"\n\n#include "cli/cli.h"\n'})
        self.assertEqual((code, lines), (1, ["src/engine/x.c:3: engine may not use cli"]))

    def test_each_wrong_arrow(self):
        for user, used in [("base", "kernels"), ("kernels", "engine"), ("engine", "worker"),
                           ("worker", "server"), ("server", "worker"), ("device", "engine"),
                           ("sandbox", "store"), ("fleet", "server"), ("store", "sandbox")]:
            with self.subTest(user=user, used=used):
                code, lines = check({f"src/{user}/a.c": f'  #  include "{used}/b.h"\n'})
                self.assertEqual((code, lines), (1, [f"src/{user}/a.c:1: {user} may not use {used}"]))

    def test_hidden_arrows(self):
        for line in ('#include <cli/cli.h>', '#include "../cli/cli.h"', '#include "cli.h"',
                     '#include "nowhere/x.h"'):
            with self.subTest(line=line):
                code, lines = check({"src/base/a.c": line + "\n", "src/cli/cli.h": ""})
                self.assertEqual(code, 1)
                self.assertEqual(len(lines), 1)
                self.assertTrue(lines[0].startswith("src/base/a.c:1: "), lines)

    def test_public_header_uses_private(self):
        for line in ('#include "base/base.h"', '#include <base/base.h>', '#include <dunlin/no.h>'):
            with self.subTest(line=line):
                code, lines = check({"include/dunlin/a.h": line + "\n", "src/base/base.h": ""})
                self.assertEqual(code, 1)
                self.assertTrue(lines[0].startswith("include/dunlin/a.h:1: "), lines)

    def test_file_outside_layers(self):
        code, lines = check({"src/misc/a.c": "", "src/base/b.c": ""})
        self.assertEqual(code, 1)
        self.assertIn("src/misc/a.c: no layer", lines[0])

    def test_empty_tree_is_an_error(self):
        self.assertEqual(check({"src/readme": ""})[0], 2)


if __name__ == "__main__":
    unittest.main()
