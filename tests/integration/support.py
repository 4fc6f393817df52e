# SPDX-License-Identifier: MIT
"""What the integration tests share: the program, a model to run, golden data to compare with.

DUNLIN is the program; DUNLIN_SHARED a folder of golden data and DUNLIN_TEST_MODEL a real model,
each of which may be missing: what needs it is skipped."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("DUNLIN", str(ROOT / "build" / "dunlin"))
SHARED = os.environ.get("DUNLIN_SHARED")
REAL_MODEL = os.environ.get("DUNLIN_TEST_MODEL")
TIMEOUT = 240
# Built with a sanitizer: many times slower.
SANITIZED = b"__asan_init" in pathlib.Path(PROGRAM).read_bytes()

OK, FAILED, USAGE, WORKER, INTERRUPTED = 0, 1, 2, 3, 130

needs_shared = unittest.skipUnless(SHARED, "DUNLIN_SHARED is not set: no golden data")
needs_model = unittest.skipUnless(REAL_MODEL, "DUNLIN_TEST_MODEL is not set: no real model")

needs_speed = unittest.skipIf(SANITIZED, "takes many minutes under a sanitizer")
needs_time = unittest.skipUnless(os.environ.get("DUNLIN_LONG"), "scripts/test --long runs this")

_folder = tempfile.TemporaryDirectory(prefix="dunlin-test-")
FOLDER = pathlib.Path(_folder.name)


def environment(**changes):
    """Without what a user's own settings would change."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "DUNLIN_CPU"))}
    env["HOME"] = str(FOLDER)
    env["TERM"] = "xterm"
    # What is freed stays in quarantine: as much as the processes' memory limits leave room for.
    if "ASAN_OPTIONS" in env:
        env["ASAN_OPTIONS"] += ":quarantine_size_mb=8"
    env.update(changes)
    return env


def tiny_model():
    """A small random model with a vocabulary and a chat template."""
    path = FOLDER / "tiny.gguf"
    if not path.exists():
        subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "make-test-model"), "--output", str(path)],
            check=True,
        )
    return str(path)


def dunlin(*arguments, stdin=b"", env=None, **options):
    """Run to the end; what it gave as bytes."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run(
        [PROGRAM, *map(str, arguments)],
        input=stdin,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        env=env or environment(),
        timeout=TIMEOUT,
        **options,
    )


def start(*arguments, env=None, **options):
    """Start and leave running, with pipes."""
    return subprocess.Popen(
        [PROGRAM, *map(str, arguments)],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env or environment(),
        **options,
    )


def children(pid):
    """Process ids of a process's children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


class Case(unittest.TestCase):
    """Assertions about how the program ended."""

    maxDiff = None

    def good(self, done):
        """It succeeded and said nothing on stderr."""
        self.assertEqual(done.returncode, OK, done.stderr.decode(errors="replace"))
        self.assertEqual(done.stderr, b"")
        return done.stdout

    def bad(self, done, code, *words):
        """It failed with a code, and one line that has the words."""
        text = done.stderr.decode()
        self.assertEqual(done.returncode, code, text)
        self.assertRegex(text, r"\A(dunlin|error): ")
        self.assertEqual(text.count("\n"), 1, text)
        for word in words:
            self.assertIn(word, text)


def main():
    """Run the tests of the calling file; meson takes 77 for skipped."""
    program = unittest.main(exit=False, verbosity=1)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.testsRun and len(result.skipped) == result.testsRun else 0)
