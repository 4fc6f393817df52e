#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/compare: aims and plots of given figures, a whole run of programs that answer at once."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench" / "lib"))

import models  # noqa: E402
import process  # noqa: E402
import report  # noqa: E402
import verdicts  # noqa: E402

SCRIPT = ROOT / "bench" / "compare"
DUNLIN = """#!/bin/sh
echo "$DUNLIN_CPU $*" >> "$(dirname "$0")/calls"
case "$1 $*" in
inspect*) echo '{"architecture": "llama", "layers": 2, "kv_heads": 1, "head_dim": 4,
	"bytes_per_token": 100, "operations_per_token": 50}' ;;
tokenize*) printf '1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n' ;;
run*) echo Paris; sleep 0.3 ;;
*" -s "*) echo '{"batched": {"tokens_per_second": 90}, "decode": {"tokens_per_second": 15},
	"read_bandwidth_bytes_per_second": 4000, "int8_peak_operations_per_second": 1000}' ;;
*) echo '{"prefill": {"tokens_per_second": 30}, "decode": {"tokens_per_second": 20},
	"read_bandwidth_bytes_per_second": 4000, "int8_peak_operations_per_second": 1000}' ;;
esac
"""
LLAMA = """#!/bin/sh
case "$0 $*" in
*completion*) echo Paris; sleep 0.3 ;;
*"-p 2048 "*) echo "no room for so many" >&2; exit 1 ;;
*) echo '[{"avg_ts": 10.0}]' ;;
esac
"""


def cells(metric, dunlin, **peers):
    return {metric: {"dunlin": dunlin, **{name.replace("_", "."): v for name, v in peers.items()}}}


class Verdicts(unittest.TestCase):
    """The lesser of two aims; the hardest peer."""

    LIMITS = {"read_bandwidth": [1000, 1000, 5000], "int8_peak": [800], "bytes_per_token": 10,
              "operations_per_token": 4}

    def test_twice_the_best_peer(self):
        found = verdicts.verdict("decode", {"decode": {"dunlin": [42, 44], "llama.cpp": [10, 11],
                                                       "ik_llama.cpp": [20, 20]}}, self.LIMITS)
        self.assertEqual(found["peer"], "ik_llama.cpp")
        self.assertAlmostEqual(found["ratio"], 2.15)
        self.assertAlmostEqual(found["share"], 0.43)
        self.assertTrue(found["met"])

    def test_or_the_bound(self):
        found = verdicts.verdict("decode", cells("decode", [86], llama_cpp=[80]), self.LIMITS)
        self.assertTrue(found["met"])
        found = verdicts.verdict("prefill", cells("prefill", [120], llama_cpp=[100]), self.LIMITS)
        self.assertAlmostEqual(found["reached"], 120 / 200 / 0.8)
        self.assertFalse(found["met"])
        self.assertEqual(verdicts.words("prefill", found), "not met: 1.33 times missing")

    def test_pairs_count_and_not_medians(self):
        """A machine that slows down halfway does not change the ratio."""
        found = verdicts.verdict("decode", cells("decode", [40, 20, 4], llama_cpp=[20, 10, 2]), {})
        self.assertEqual(found["ratio"], 2)

    def test_less_is_better(self):
        found = verdicts.verdict("start", cells("start", [25], llama_cpp=[100]), {})
        self.assertTrue(found["met"])
        found = verdicts.verdict("start", cells("start", [50], llama_cpp=[100]), {})
        self.assertEqual(verdicts.words("start", found), "not met: 2.00 times too much")
        memory = {"memory": {"dunlin": [60], "llama.cpp": [100], "ik_llama.cpp": [50]}}
        self.assertTrue(verdicts.verdict("memory", memory, {})["met"])

    def test_context_may_cost_its_bytes(self):
        measured = {"decode": {"dunlin": [100]}, "depth": {"dunlin": [50]}}
        limits = {"bytes_per_token": 10, "cache_bytes": 10}
        self.assertTrue(verdicts.verdict("depth", measured, limits)["met"])
        self.assertFalse(verdicts.verdict("depth", measured, {**limits, "cache_bytes": 5})["met"])

    def test_eight_sequences(self):
        for value, met in ((50, True), (49, False)):
            found = verdicts.verdict("batch", cells("batch", [value]), {"one_sequence": [10]})
            self.assertEqual(found["met"], met)

    def test_cold_start_is_the_disk(self):
        measured = {"start": {"dunlin": [40]}, "cold": {"dunlin": [130]}}
        self.assertTrue(verdicts.verdict("cold", measured, {"disk_ms": [100]})["met"])
        self.assertFalse(verdicts.verdict("cold", measured, {"disk_ms": [80]})["met"])

    def test_nothing_measured_is_no_verdict(self):
        for metric in verdicts.METRICS:
            for given in ({}, cells(metric, []), cells(metric, [1])):
                found = verdicts.verdict(metric, given, {})
                self.assertIsNone(found["met"])
                self.assertEqual(verdicts.words(metric, found), "-")

    def test_windows_hold_a_part_of_the_cache(self):
        about = {"architecture": "llama", "layers": 6, "kv_heads": 2, "head_dim": 8}
        self.assertEqual(models.cache_bytes(about, 1000), 6 * 1000 * 2 * 8 * 4)
        about["architecture"] = "gemma3"
        self.assertEqual(models.cache_bytes(about, 1000), (1000 + 5 * 512) * 2 * 8 * 4)


class Report(unittest.TestCase):
    """What is written from the results."""

    RESULTS = {
        "machine": {"cpu": "A & B <C>"}, "failures": {"m|native|2|decode|openvino": "cannot"},
        "limits": {"m|native|2": {"read_bandwidth": [1000], "bytes_per_token": 10}},
        "cells": {"m|native|2": {"decode": {"dunlin": [40, 41, 42], "llama.cpp": [20, 21, 22]},
                                 "prefill": {"dunlin": [1234.5], "llama.cpp": [500]}},
                  "n|native|2": {"prefill": {"dunlin": [10]}}},
    }

    def test_table(self):
        text = report.markdown(self.RESULTS)
        table = [[cell.strip() for cell in line.strip("|").split("|")]
                 for line in text.splitlines() if line.startswith("|")]
        self.assertEqual({len(row) for row in table}, {9})
        self.assertEqual(table[0][4:6], ["dunlin", "llama.cpp"])
        decode = next(row for row in table if row[0] == "m" and row[3].startswith("decode"))
        self.assertEqual(decode[4], "41.0 (40.0 to 42.0)")
        self.assertEqual(decode[7:], ["41 %", "not met: 1.02 times missing"])
        self.assertIn("openvino: cannot", text)

    def test_plot_is_sound_xml_with_words(self):
        for results in (self.RESULTS, {**self.RESULTS, "cells": {}}):
            tree = xml.etree.ElementTree.fromstring(report.svg(results))
            name = "{http://www.w3.org/2000/svg}"
            self.assertEqual(tree.tag, name + "svg")
            self.assertIn("A & B <C>", tree.find(name + "title").text)
            self.assertIn("prefers-color-scheme: dark", tree.find(name + "style").text)
            for about in tree.get("aria-labelledby").split():
                self.assertTrue([e for e in tree if e.get("id") == about], about)
        tree = xml.etree.ElementTree.fromstring(report.svg(self.RESULTS))
        bars = [bar for bar in tree.iter(name + "rect") if bar.find(name + "title") is not None]
        self.assertEqual(len(bars), 5)
        self.assertIn("m, dunlin: 1234.5", [bar.find(name + "title").text for bar in bars])
        _, _, width, height = map(float, tree.get("viewBox").split())
        for bar in bars:
            self.assertLessEqual(float(bar.get("x")) + float(bar.get("width")), width)
            self.assertLessEqual(float(bar.get("y")) + float(bar.get("height")), height)


class Process(unittest.TestCase):
    """What is seen of a process from outside."""

    def test_peak_has_the_children(self):
        grow = "b = bytearray(60 << 20); import time; time.sleep(0.4)"
        program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grow!r}])"
        alone = process.peak_bytes([sys.executable, "-c", grow])
        nested = process.peak_bytes([sys.executable, "-c", program])
        self.assertGreater(alone, 60 << 20)
        self.assertGreater(nested, 60 << 20)

    def test_what_is_gone_is_not_nothing(self):
        most, process.high_water = process.high_water, lambda pid: 0
        self.addCleanup(setattr, process, "high_water", most)
        with self.assertRaisesRegex(process.BenchError, "before its memory could be seen"):
            process.peak_bytes(["true"])

    def test_clock(self):
        got = process.clock(["sh", "-c", "sleep 0.1; printf x; sleep 0.2"])
        self.assertGreaterEqual(got["first"], 100)
        self.assertGreaterEqual(got["whole"], got["first"] + 150)
        with self.assertRaisesRegex(process.BenchError, "exit code 3"):
            process.clock(["sh", "-c", "exit 3"])


class Compare(unittest.TestCase):
    """The command with programs that answer at once, and stay until their memory is seen."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.results = self.folder / "results.json"
        self.program("dunlin", DUNLIN)
        for name in ("llama-bench", "llama-completion", "llama-quantize"):
            for build in ("build", "build-avx2"):
                self.program(f"peer/{build}/bin/{name}", LLAMA)
        (self.folder / "model.gguf").write_text("GGUF")

    def program(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run_it(self, *options):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--dunlin", str(self.folder / "dunlin"), "--peer-folder",
             str(self.folder / "peer"), "--models", str(self.folder / "model.gguf"), "--peers",
             "llama.cpp", "--results", str(self.results), "-t", "1", *options],
            capture_output=True, text=True, check=False,
            env={k: v for k, v in os.environ.items() if k != "DUNLIN_CPU"})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def calls(self):
        path = self.folder / "calls"
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return [line for line in text.splitlines() if not line.startswith((" inspect", " tokenize"))]

    def test_everything(self):
        done = self.run_it("--pairs", "2", "--json", "--svg", str(self.folder / "plot.svg"))
        got = json.loads(done.stdout)
        self.assertEqual(got, json.loads(self.results.read_text()))
        (found,) = got["cells"].values()
        self.assertEqual(set(found), set(verdicts.METRICS))
        self.assertEqual(found["decode"], {"dunlin": [20, 20], "llama.cpp": [10, 10]})
        self.assertEqual(found["batch"], {"dunlin": [90, 90]})
        self.assertEqual(found["prefill2048"], {"dunlin": [30, 30]})
        (limits,) = got["limits"].values()
        self.assertEqual(limits["one_sequence"], [15, 15])
        self.assertEqual(list(got["failures"].values()), ["no room for so many"])
        xml.etree.ElementTree.parse(self.folder / "plot.svg")
        # Twelve tokens of the fake's are too many: half of the text remains.
        prompts = {line.split("model.gguf ")[1].split(" --raw")[0] for line in self.calls()
                   if line.startswith(" run ")}
        self.assertIn("The capital of ", prompts)

    def test_it_goes_on_where_it_ended(self):
        self.run_it("--metrics", "decode", "--pairs", "1")
        self.assertEqual(len(self.calls()), 1)
        self.run_it("--metrics", "decode,memory", "--pairs", "2")
        self.assertEqual(len(self.calls()), 3)
        done = self.run_it("--report")
        self.assertEqual(self.calls(), [])
        self.assertIn("| 20.0 (20.0 to 20.0) | 10.0 (10.0 to 10.0) | 2.00 (2.00 to 2.00) llama.cpp",
                      done.stdout)

    def test_levels_cap_both(self):
        self.run_it("--metrics", "decode", "--pairs", "1", "--levels", "native,avx2")
        self.assertEqual([line.split()[0] for line in self.calls()], ["bench", "avx2"])
        self.assertEqual(len(json.loads(self.results.read_text())["cells"]), 2)

    def test_unknown_words_are_refused(self):
        for words in (["--metrics", "speed"], ["--levels", "sse"], ["--pairs", "0"], ["--report"]):
            done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words[0], done.stderr)


if __name__ == "__main__":
    unittest.main()
