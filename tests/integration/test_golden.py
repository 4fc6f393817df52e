#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The whole program against golden data: logits, token ids, templates, perplexity."""

import array
import json
import math
import os
import pathlib
import unittest

import support
import wordpiece
from support import FAILED, SHARED, dunlin, needs_model, needs_shared, needs_speed

GOLDEN = pathlib.Path(SHARED or ".") / "golden"
GEMMA = os.environ.get("DUNLIN_TEST_GEMMA")
needs_gemma = unittest.skipUnless(GEMMA, "DUNLIN_TEST_GEMMA is not set: no such model")
ARCHITECTURES = ["gemma2", "gemma3", "gemma4", "granite", "lfm2", "llama-f16", "llama-ropefreqs",
                 "llama-tied", "phi3", "qwen2", "qwen3", "qwen35", "qwen3moe", "smollm3"]


def log_softmax(row):
    most = max(row)
    total = math.log(math.fsum(math.exp(value - most) for value in row)) + most
    return [value - total for value in row]


def rows(data, columns):
    values = array.array("f")
    values.frombytes(data)
    return [values[i : i + columns] for i in range(0, len(values), columns)]


def mean_divergence(truth, data, columns):
    sums = []
    for p, q in zip(rows(truth, columns), rows(data, columns)):
        p, q = log_softmax(p), log_softmax(q)
        sums.append(math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q)))
    return math.fsum(sums) / len(sums)


@needs_shared
class Logits(support.Case):
    """Near the float32 truth: the limits of the golden data's README."""

    def logits(self, name, *words, env=None):
        folder = GOLDEN / "architectures"
        about = json.loads((folder / f"{name}.json").read_text())
        tokens = ",".join(map(str, about["tokens"]))
        done = dunlin("logits", folder / about["model"], "--tokens", tokens, *words, env=env)
        data = self.good(done)
        count, columns = about["shape"]
        self.assertEqual(len(data), count * columns * 4)
        return about, data, mean_divergence((folder / about["logits"]).read_bytes(), data, columns)

    def test_quantised_products(self):
        ratios = []
        for name in ARCHITECTURES:
            about, _, divergence = self.logits(name)
            theirs = max(about["llama_cpp_kl_mean"], 1e-6)
            with self.subTest(name):
                self.assertLessEqual(divergence, max(1.5 * theirs, 1e-6))
            ratios.append(divergence / theirs)
        self.assertLessEqual(sum(ratios) / len(ratios), 1.1)

    def test_reference(self):
        for name in ARCHITECTURES:
            env = support.environment(DUNLIN_CPU="ref")
            with self.subTest(name):
                self.assertLess(self.logits(name, "--kv", "f32", env=env)[2], 1e-6)

    def test_same_bits_with_any_threads(self):
        one = self.logits("llama-tied", "--threads", "1")[1]
        three = self.logits("llama-tied", "--threads", "3")[1]
        self.assertEqual(one, three)

    def test_output_file(self):
        path = support.FOLDER / "logits.f32"
        model = GOLDEN / "architectures" / "llama-tied.gguf"
        self.assertEqual(
            self.good(dunlin("logits", model, "--tokens", "1,2", "--output", path)), b"")
        piped = self.good(dunlin("logits", model, "--tokens", "1,2"))
        self.assertEqual(path.read_bytes(), piped)
        self.bad(dunlin("logits", model, "--tokens", "1,2", "-o", "/dev/full"), FAILED, "space")
        self.bad(dunlin("logits", model, "--tokens", "1,99999", "-o", path), FAILED, "99999")
        # What was there stays, and nothing is left beside it.
        self.assertEqual(path.read_bytes(), piped)
        self.assertEqual([p.name for p in path.parent.glob("logits*")], ["logits.f32"])


class Tokens(support.Case):
    """Token ids, and the text given back."""

    def compare(self, name, model):
        cases = (GOLDEN / "tokenizers" / f"{name}.jsonl").read_bytes()
        lines = self.good(dunlin("tokenize", model, "--jsonl", stdin=cases)).splitlines()
        wanted = [json.loads(line) for line in cases.splitlines()]
        self.assertEqual(len(lines), len(wanted))
        for line, want in zip(lines, wanted):
            got = json.loads(line)
            self.assertEqual(got["tokens"], want["tokens"], want["text"])
            if "detok" in want:
                self.assertEqual(got["text"], want["detok"])

    @needs_shared
    def test_llama_bpe(self):
        self.compare("llama-bpe", GOLDEN / "tokenizers" / "llama-bpe.gguf")

    @needs_shared
    def test_qwen2(self):
        self.compare("qwen2", GOLDEN / "tokenizers" / "qwen2.gguf")

    @needs_shared
    def test_llama_spm(self):
        self.compare("llama-spm", GOLDEN / "tokenizers" / "llama-spm.gguf")

    @needs_shared
    def test_phi3(self):
        self.compare("phi-3", GOLDEN / "tokenizers" / "phi-3.gguf")

    @needs_shared
    @needs_gemma
    def test_gemma3(self):
        self.compare("gemma-3-270m", GEMMA)

    @needs_shared
    @needs_model
    def test_smollm2(self):
        self.compare("smollm2-135m", support.REAL_MODEL)

    def test_wordpiece(self):
        for lowercase in (True, False):
            path = support.FOLDER / "wordpiece.gguf"
            cases = wordpiece.cases(path, lowercase)
            lines = "\n".join(json.dumps({"text": text}) for text, _ in cases)
            got = self.good(dunlin("tokenize", path, "--jsonl", stdin=lines)).splitlines()
            self.assertEqual(len(got), len(cases))
            for line, (text, tokens) in zip(got, cases):
                self.assertEqual(json.loads(line)["tokens"], tokens, ascii(text))

    def test_bad_lines(self):
        for line, word in [("{", "line 1"), ("[]", "line 1"), ('{"text":5}', "line 1"),
                           ('{"text":"a","parse_special":1}', "parse_special"),
                           ('{"text":"a"}\n\n{}', "line 3")]:
            done = dunlin("tokenize", support.tiny_model(), "--jsonl", stdin=line)
            self.bad(done, FAILED, word)


class Templates(support.Case):
    """Rendered as their models ship them."""

    def compare(self, name, *where):
        failures = []
        for case in json.loads((GOLDEN / "chat-templates" / f"{name}.json").read_text()):
            done = dunlin("template", *where, "--now", "2026-07-05 12:00",
                          stdin=json.dumps(case["input"]))
            if "error" in case:
                same = done.returncode == FAILED and done.stderr.startswith(b"error: ")
            else:
                same = done.returncode == 0 and done.stdout.decode() == case["output"]
            if not same:
                failures.append(f"{name}, {case['case']}: {done.stdout} {done.stderr}")
        return failures

    @needs_shared
    def test_files(self):
        for path in sorted((GOLDEN / "chat-templates").glob("*.jinja")):
            with self.subTest(path.stem):
                self.assertEqual(self.compare(path.stem, "--file", path), [])

    @needs_shared
    @needs_model
    def test_of_a_model(self):
        self.assertEqual(self.compare("SmolLM2-135M-Instruct", support.REAL_MODEL), [])

    def test_raised_error(self):
        path = support.FOLDER / "raises.jinja"
        path.write_text("{{ raise_exception('not like this: ' + name) }}")
        done = dunlin("template", "--file", path, stdin='{"name": "x\\u001b[2J"}')
        self.assertEqual(done.returncode, FAILED)
        self.assertTrue(done.stderr.startswith(b"error: not like this: x"), done.stderr)
        self.assertNotIn(b"\033", done.stderr)
        self.assertEqual(done.stdout, b"")

    def test_bad_input(self):
        path = support.FOLDER / "bad.jinja"
        path.write_text("{% if %}")
        self.bad(dunlin("template", "--file", path, stdin="{}"), FAILED, "bad.jinja", "line 1")
        path.write_text("{{ a }}")
        self.bad(dunlin("template", "--file", path, stdin="{"), FAILED, "variables")
        self.bad(dunlin("template", "--file", path, stdin="[]"), FAILED, "object")
        self.bad(dunlin("template", "--file", path), FAILED, "empty")
        self.assertEqual(self.good(dunlin("template", "--file", path, stdin='{"a": "\xe4"}')),
                         "\xe4".encode())


class Perplexity(support.Case):
    """Nearer to the float32 figure than llama.cpp's."""

    def near(self, model, truth, theirs):
        done = dunlin("perplexity", model, GOLDEN / "perplexity" / "policy.txt", "--json")
        result = json.loads(self.good(done))
        self.assertEqual(result["scored_tokens"], 16 * 255)
        self.assertLess(abs(result["perplexity"] - truth), abs(theirs - truth))

    @needs_shared
    @needs_model
    @needs_speed
    @unittest.skipUnless("Q4_1" in (support.REAL_MODEL or "") or "smollm2" in
                         (support.REAL_MODEL or "").lower(), "the figure is of another model")
    def test_smollm2(self):
        self.near(support.REAL_MODEL, 18.7698, 18.8710)

    @needs_shared
    @needs_gemma
    @needs_speed
    def test_gemma3(self):
        self.near(GEMMA, 16.9288, 17.0111)

    def test_impossible_text(self):
        about = json.loads(self.good(dunlin("inspect", support.tiny_model(), "--all", "--json")))
        norm = next(t for t in about["tensors"] if t["name"] == "output_norm.weight")
        data = bytearray(pathlib.Path(support.tiny_model()).read_bytes())
        data[norm["offset"] : norm["offset"] + norm["bytes"]] = array.array(
            "f", [1e30] * (norm["bytes"] // 4)).tobytes()
        path = support.FOLDER / "sure.gguf"
        path.write_bytes(data)
        text = support.FOLDER / "text.txt"
        text.write_text("A bird sings at dawn. " * 40)
        done = dunlin("perplexity", path, text, "--context", "64", "--json")
        self.bad(done, FAILED, "impossible", "text.txt")

    @needs_model
    def test_short_text(self):
        path = support.FOLDER / "short.txt"
        path.write_text("too short")
        self.bad(dunlin("perplexity", support.REAL_MODEL, path), FAILED, "512")


if __name__ == "__main__":
    support.main()
