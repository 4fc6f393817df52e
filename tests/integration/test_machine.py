#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inspect, bench and doctor: the keys that programs read, and figures that can be true."""

import json
import os
import subprocess
import sys

import support
from support import FAILED, USAGE, dunlin


class Inspect(support.Case):
    """What a file is."""

    def test_text(self):
        text = self.good(dunlin("inspect", support.tiny_model())).decode()
        for word in ("architecture    llama", "runs            yes", "total", "trained context"):
            self.assertIn(word, text)

    def test_parts(self):
        path = support.FOLDER / "parts.gguf"
        subprocess.run([sys.executable, str(support.ROOT / "scripts" / "make-test-model"),
                        "--split", "3", "--output", str(path)], check=True)
        text = self.good(dunlin("inspect", support.FOLDER / "parts-00001-of-00003.gguf")).decode()
        self.assertIn("3 files         GGUF version", text)

    def test_json(self):
        about = json.loads(self.good(dunlin("inspect", support.tiny_model(), "--json")))
        self.assertEqual(about["architecture"], "llama")
        self.assertTrue(about["runs"])
        self.assertIsNone(about["reason"])
        self.assertEqual(about["file_bytes"], os.path.getsize(support.tiny_model()))
        memory = about["memory"]
        parts = ["weights", "cache", "workspace", "tables", "process"]
        self.assertEqual(memory["total_bytes"], sum(memory[f"{p}_bytes"] for p in parts))
        self.assertNotIn("tensors", about)

    def test_all(self):
        about = json.loads(self.good(dunlin("inspect", support.tiny_model(), "--json", "--all")))
        self.assertEqual(len(about["tensors"]), about["tensors_count"])
        self.assertEqual(len(about["metadata"]), about["metadata_count"])
        self.assertEqual(about["metadata"]["general.architecture"], "llama")
        tokens = about["metadata"]["tokenizer.ggml.tokens"]
        self.assertEqual(tokens["count"], about["vocabulary"])
        self.assertEqual(sum(t["bytes"] for t in about["tensors"]), about["weight_bytes"])
        text = self.good(dunlin("inspect", support.tiny_model(), "--all")).decode()
        for tensor in about["tensors"]:
            self.assertIn(tensor["name"], text)

    def test_memory_follows_the_options(self):
        def plan(*words):
            done = dunlin("inspect", support.tiny_model(), "--json", *words)
            return json.loads(self.good(done))["memory"]

        small, large = plan("--context", "128"), plan("--context", "256")
        self.assertEqual(small["context"], 128)
        self.assertAlmostEqual(large["cache_bytes"] / small["cache_bytes"], 2, delta=0.4)
        wide = plan("--context", "256", "--kv", "f32")
        self.assertAlmostEqual(wide["cache_bytes"] / large["cache_bytes"], 2, delta=0.2)
        self.assertEqual(wide["kv"], "f32")

    def test_budget_that_is_too_small(self):
        done = dunlin("inspect", support.tiny_model(), "--json", "--memory", "100K")
        about = json.loads(self.good(done))
        self.assertFalse(about["runs"])
        self.assertRegex(about["reason"], r"\d+.*\d+")
        self.bad(dunlin("run", support.tiny_model(), "x", "--memory", "100K"), FAILED)


class Bench(support.Case):
    """Figures with the right keys."""

    def test_json(self):
        done = dunlin("bench", support.tiny_model(), "-p", "32", "-n", "8", "-r", "3", "--json",
                      "--threads", "1")
        result = json.loads(self.good(done))
        for part, tokens in (("prefill", 32), ("decode", 8)):
            spread = result[part]
            self.assertEqual(spread["tokens"], tokens)
            self.assertEqual(spread.get("depth", 32), 32)
            self.assertLessEqual(spread["min"], spread["tokens_per_second"])
            self.assertLessEqual(spread["tokens_per_second"], spread["max"])
            self.assertGreater(spread["min"], 0)
        self.assertGreater(result["cpu_seconds_per_token"], 0)
        self.assertGreater(result["read_bandwidth_bytes_per_second"], 1e8)
        self.assertGreater(result["int8_peak_operations_per_second"], 1e8)
        self.assertGreater(result["product_operations_per_second"], 1e8)
        self.assertGreater(result["peak_rss_bytes"], 1 << 20)
        self.assertEqual(result["threads"], 1)
        self.assertEqual(result["repetitions"], 3)

    def test_prefill_alone(self):
        done = dunlin("bench", support.tiny_model(), "-p", "16", "-n", "0", "-r", "2", "--json")
        result = json.loads(self.good(done))
        self.assertEqual(result["prefill"]["tokens"], 16)
        self.assertGreater(result["prefill"]["min"], 0)
        self.assertGreater(result["first_token_ms"], 0)
        self.assertFalse({"decode", "cpu_seconds_per_token"} & set(result))
        self.bad(dunlin("bench", support.tiny_model(), "-n", "1"), USAGE, "--generate 1")

    def test_depth(self):
        """The answer comes after as many tokens as were asked for, whatever the prompt has."""
        for depth in (1, 60):
            done = dunlin("bench", support.tiny_model(), "-p", "16", "-n", "8", "-r", "2", "--depth",
                          str(depth), "--json")
            result = json.loads(self.good(done))
            self.assertEqual(result["prefill"]["tokens"], 16)
            self.assertEqual((result["decode"]["tokens"], result["decode"]["depth"]), (8, depth))
            self.assertGreater(result["decode"]["min"], 0)
            self.assertNotIn("batched", result)
        text = self.good(dunlin("bench", support.tiny_model(), "-n", "4", "-r", "1", "-d", "9"))
        self.assertIn("after 9", text.decode())
        self.bad(dunlin("bench", support.tiny_model(), "-n", "0", "-d", "9"), USAGE, "--depth")

    def test_sequences(self):
        """Together they make more tokens in a second than one of them would in a quarter."""
        words = ["bench", support.tiny_model(), "-p", "8", "-n", "48", "-r", "3", "-s", "4"]
        result = json.loads(self.good(dunlin(*words, "--json")))
        self.assertEqual(result["batched"]["sequences"], 4)
        self.assertLessEqual(result["batched"]["min"], result["batched"]["tokens_per_second"])
        self.assertGreater(result["batched"]["tokens_per_second"],
                           result["decode"]["tokens_per_second"] / 4)
        self.assertIn("4 at once", self.good(dunlin(*words)).decode())
        self.bad(dunlin("bench", support.tiny_model(), "-n", "0", "-s", "4"), USAGE, "--sequences")

    def test_encoders(self):
        """They embed: a prefill, and nothing that could be called a decode."""
        for options in (["--arch", "bert"], ["--arch", "bert", "--pooling", "rank"],
                        ["--arch", "nomic-bert", "--tokenizer", "none"]):
            path = support.FOLDER / "encoder.gguf"
            subprocess.run([sys.executable, str(support.ROOT / "scripts" / "make-test-model"),
                            "--output", str(path), *options], check=True)
            for words in (["-n", "0"], []):
                done = dunlin("bench", path, "-p", "24", "-r", "2", "--json", *words)
                result = json.loads(self.good(done))
                self.assertEqual(result["prefill"]["tokens"], 24)
                self.assertGreater(result["prefill"]["min"], 0)
                self.assertFalse({"decode", "cpu_seconds_per_token", "first_token_ms"}
                                 & set(result))
        text = self.good(dunlin("bench", path, "-p", "24", "-r", "1")).decode()
        self.assertIn("prefill 24", text)
        self.assertNotIn("decode", text)

    def test_text(self):
        done = dunlin("bench", support.tiny_model(), "-p", "8", "-n", "4", "-r", "1")
        text = self.good(done).decode()
        for word in ("prefill 8", "decode 4", "tokens/s", "GB/s"):
            self.assertIn(word, text)


class Doctor(support.Case):
    """The device, and the jail that a worker has here."""

    def test_json(self):
        about = json.loads(self.good(dunlin("doctor", "--json")))
        self.assertGreaterEqual(about["cpu"]["threads"], 1)
        self.assertLessEqual(about["cpu"]["threads"], 16)
        self.assertGreater(about["memory"]["total_bytes"], 0)
        self.assertIsNone(about["worker_error"])
        self.assertEqual(about["sandbox"]["no_new_privs"]["state"], "held")
        for measure in about["sandbox"].values():
            self.assertIn(measure["state"], ("held", "absent", "not asked"))

    def test_level(self):
        env = support.environment(DUNLIN_CPU="scalar")
        about = json.loads(self.good(dunlin("doctor", "--json", env=env)))
        self.assertEqual(about["cpu"]["level"], "scalar")
        self.assertTrue(any("DUNLIN_CPU" in words for words in about["advice"]))

    def test_text(self):
        text = self.good(dunlin("doctor")).decode()
        for word in ("CPU", "kernels", "memory", "huge pages", "sandbox", "seccomp"):
            self.assertIn(word, text)


if __name__ == "__main__":
    support.main()
