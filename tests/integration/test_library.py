#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libdunlin as others use it: what it exports, and a program built against an installed copy."""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

import support

BUILD = pathlib.Path(os.environ.get("DUNLIN", support.PROGRAM)).parent
LIBRARY = BUILD / "include" / "dunlin" / "libdunlin.so"
COMPILER = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")


def output(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True,
                          timeout=support.TIMEOUT, **more).stdout


def symbols(*options):
    names = (line.split()[-1] for line in output("nm", "-D", *options, LIBRARY).splitlines())
    return {name.split("@")[0] for name in names}


def sanitized():
    return any(re.match("__(asan|tsan|ubsan)_", name) for name in symbols("--undefined-only"))


class Library(unittest.TestCase):
    def test_it_exports_what_the_headers_declare(self):
        declared = set()
        for header in (support.ROOT / "include" / "dunlin").glob("*.h"):
            text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
            for statement in re.findall(r"^DN_API\b[^;{]*;", text, flags=re.M):
                declared.add(re.search(r"\b(dn_\w+)\(", statement)[1])
        exported = {name for name in symbols("--defined-only") if not name.startswith("DUNLIN_")}
        self.assertGreater(len(declared), 30)
        self.assertEqual(exported, declared)

    def test_its_name_has_the_version_of_its_interface(self):
        self.assertRegex(output("readelf", "-d", LIBRARY), r"SONAME.*\[libdunlin\.so\.0\]")

    @unittest.skipUnless(COMPILER and shutil.which("meson") and shutil.which("pkg-config"),
                         "a compiler, meson or pkg-config is missing")
    def test_a_program_embeds_an_installed_copy(self):
        if sanitized():
            self.skipTest("the library is built with a sanitizer")
        root = support.FOLDER / "installed"
        output("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root, "--tags",
               "devel,runtime")
        file = next(root.rglob("libdunlin.pc"))
        prefix = re.search(r"(?m)^prefix=(.*)$", file.read_text())[1]
        flags = output("pkg-config", f"--define-variable=prefix={root}{prefix}", "--cflags",
                       "--libs", file).split()
        program = support.FOLDER / "embed"
        output(COMPILER, "-Wall", "-Wextra", "-Werror", "-o", program,
               pathlib.Path(__file__).with_name("embed.c"), *flags)
        library = next(root.rglob("libdunlin.so.0"))
        env = {**support.environment(), "LD_LIBRARY_PATH": str(library.parent)}
        for model in filter(None, [support.tiny_model(), support.REAL_MODEL]):
            with self.subTest(model):
                prompt = "The capital of France is"
                text = output(program, model, prompt, 8, env=env)
                # As the program itself, which is linked statically, continues it.
                run = support.dunlin("run", model, "--raw", "-n", 8, "--temperature", 0, prompt)
                self.assertEqual(run.returncode, 0, run.stderr)
                self.assertEqual(text.strip(), run.stdout.decode().strip())
                if model == support.REAL_MODEL:
                    self.assertIn("Paris", text)
        shown = output("readelf", "-d", support.PROGRAM)
        self.assertNotIn("libdunlin", shown)


if __name__ == "__main__":
    support.main()
