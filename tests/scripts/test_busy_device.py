#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/busy-device with programs that answer at once: shares, verdicts, and the switch put back."""

import contextlib
import importlib.machinery
import io
import json
import os
import pathlib
import sys
import tempfile
import types
import unittest
import unittest.mock

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench" / "busy-device"
# Beside stressors it gives @PER_CPU tokens a CPU-second, and @RATE a second; alone 100 and 100.
DUNLIN = """#!/bin/sh
rate=100 cpu=0.01 tail=15.0
test ! -e busy || { rate=RATE cpu=CPU; }
case "$*" in *--realtime*)
        test -z "REFUSED" || { echo "dunlin: bench: real-time scheduling is refused: x" >&2; exit 1; }
        rate=90 cpu=0.01 tail=TAIL ;;
esac
cat <<END
{"cpu_seconds_per_token": $cpu, "decode": {"tokens_per_second": $rate},
 "decode_page_faults": {"minor": 0, "major": 0},
 "latency": {"p50_ms": 10.0, "p99_ms": 11.0, "p99_9_ms": $tail, "max_ms": 30.0}}
END
"""
STRESS = """#!/bin/sh
touch busy
trap 'rm busy; exit 0' TERM
while :; do sleep 0.05; done
"""


def load():
    """The script as a module of its own; nothing is left beside it."""
    loader = importlib.machinery.SourceFileLoader("busy_device", str(SCRIPT))
    module = types.ModuleType(loader.name)
    module.__file__ = str(SCRIPT)
    with unittest.mock.patch.object(sys, "dont_write_bytecode", True):
        loader.exec_module(module)
    module.machine_seconds = lambda: (0, 0)  # whatever else this machine does meanwhile
    return module


class BusyDevice(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def run_script(self, cpu="0.01", rate="80", tail="15.0", refused="", autogroup="1\n"):
        text = DUNLIN
        for name, value in (("CPU", cpu), ("RATE", rate), ("TAIL", tail), ("REFUSED", refused)):
            text = text.replace(f"={name}", f"={value}").replace(f'"{name}"', f'"{value}"')
        for name, program in (("dunlin", text), ("stress-ng", STRESS)):
            path = self.folder / name
            path.write_text(program)
            path.chmod(0o755)
        module = load()
        module.AUTOGROUP = self.folder / "autogroup"
        module.AUTOGROUP.write_text(autogroup)
        out = io.StringIO()
        words = ["busy-device", "m", "--dunlin", str(self.folder / "dunlin"), "--pairs", "1"]
        path = f"{self.folder}:{os.environ['PATH']}"
        with unittest.mock.patch.object(sys, "argv", [*words, "--json"]), \
                unittest.mock.patch.dict(os.environ, PATH=path), contextlib.redirect_stdout(out):
            code = module.main()
        self.assertEqual(module.AUTOGROUP.read_text(), autogroup)
        self.assertFalse((self.folder / "busy").exists())
        return code, json.loads(out.getvalue())

    def verdicts(self, found):
        return {one["criterion"]: one["met"] for one in found["verdicts"]}

    def test_all_is_met(self):
        code, found = self.run_script()
        self.assertEqual(code, 0, found["verdicts"])
        self.assertEqual(len(found["verdicts"]), 6)
        self.assertEqual(set(found["pairs"]), {"a group of its own (autogroup)", "one group",
                                               "control: one thread"})

    def test_what_is_missed(self):
        code, found = self.run_script(cpu="0.02", rate="1", tail="21.0")
        self.assertEqual(code, 1)
        met = self.verdicts(found)
        self.assertFalse(met["one group, tokens a CPU-second, of those alone"])
        self.assertFalse(met["one group, tokens a second, of a fair share"])
        self.assertTrue(met["--realtime, tokens a second, of those alone"])
        self.assertFalse(met["--realtime, 99.9th percentile between tokens, of the median"])

    def test_refused_and_without_autogroup(self):
        code, found = self.run_script(refused="yes", autogroup="0\n")
        self.assertEqual(code, 0)
        self.assertIsNone(found["realtime"])
        self.assertEqual(set(found["pairs"]), {"one group", "control: one thread"})
        self.assertIn("real-time scheduling is refused here: --realtime not measured",
                      found["notes"])

    def test_fair_share(self):
        module = load()
        options = types.SimpleNamespace(stressors=4)
        cores = {"left_cpus": 2.0}
        self.assertAlmostEqual(module.fair_part(options, 2, cores, cores, False), 1 / 3)
        self.assertAlmostEqual(module.fair_part(options, 2, cores, cores, True), 1 / 2)
        self.assertAlmostEqual(module.fair_part(options, 1, cores, cores, False), 2 / 5)
        # What others took meanwhile is nobody's share; more cores than threads are no use.
        self.assertAlmostEqual(module.fair_part(options, 2, cores, {"left_cpus": 1.5}, False), 1 / 4)
        many = {"left_cpus": 64.0}
        self.assertAlmostEqual(module.fair_part(options, 2, many, many, False), 1)


if __name__ == "__main__":
    unittest.main()
