#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""LoRA adapters through the whole program: logits near an independent truth, every family and
fused tensors, what inspect says, and what is refused."""

import array
import hashlib
import json
import subprocess
import sys

import ggufs
import support
from support import FAILED, USAGE, dunlin

CASES = json.loads((support.ROOT / "tests" / "golden" / "logits-cases.json").read_text())["cases"]
TINY = ["--type", "F32", "--tokenizer", "none", "--vocab", "64"]
LLAMA = ["--arch", "llama", *TINY]
TOKENS = "3,41,17,17,0,63,8,29"


def made(*options):
    """A file of scripts/make-test-model."""
    path = support.FOLDER / f"adapter-{hashlib.sha256(repr(options).encode()).hexdigest()}.gguf"
    if not path.exists():
        subprocess.run([sys.executable, str(support.ROOT / "scripts" / "make-test-model"),
                        "--output", str(path), *options], check=True)
    return path


def floats(data):
    values = array.array("f")
    values.frombytes(data)
    return values


def distance(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


class Adapters(support.Case):
    def logits(self, model, tokens, *words, level="ref"):
        env = support.environment(**({"DUNLIN_CPU": level} if level else {}))
        done = dunlin("logits", model, "--tokens", tokens, "--kv", "f32", *words, env=env)
        return self.good(done)

    def test_as_the_truth_has_it(self):
        cases = [case for case in CASES if "adapter" in case]
        self.assertGreaterEqual(len(cases), 2)
        for case in cases:
            model, adapter = made(*case["model"]["options"]), made(*case["adapter"]["options"])
            for file, about in [(model, case["model"]), (adapter, case["adapter"])]:
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                self.assertEqual(digest, about["sha256"])
            words = ["--lora", f"{adapter}:{case['adapter']['scale']}"]
            truth = [value for row in case["logits"] for value in row]
            tokens = ",".join(map(str, case["tokens"]))
            with self.subTest(scale=case["adapter"]["scale"]):
                have = floats(self.logits(model, tokens, *words))
                self.assertLess(distance(have, truth), 1e-5)
                # The fast kernels read the same float32 where weights are floats.
                have = floats(self.logits(model, tokens, *words, level=None))
                self.assertLess(distance(have, truth), 1e-4)
                plain = floats(self.logits(model, tokens))
                self.assertGreater(distance(plain, truth), 1e-2)

    def test_several(self):
        """Halves of one are the whole of it; a scale of 0 is none, bit for bit."""
        model, adapter = made(*LLAMA), made(*LLAMA, "--lora", "4")
        whole = floats(self.logits(model, TOKENS, "--lora", adapter))
        halves = self.logits(model, TOKENS, "--lora", f"{adapter}:0.25", "--lora",
                             f"{adapter}:0.75")
        self.assertLess(distance(whole, floats(halves)), 1e-5)
        none = self.logits(model, TOKENS, "--lora", f"{adapter}:0", level=None)
        self.assertEqual(none, self.logits(model, TOKENS, level=None))

    def test_every_family(self):
        """Phi-3 has q, k and v in one tensor, and gate and up; the others are as they come."""
        for arch in ["gemma3", "gemma4", "granite", "granitehybrid", "lfm2", "phi3", "qwen2",
                     "qwen3", "qwen3moe", "qwen35", "smollm3"]:
            with self.subTest(arch):
                model = made("--arch", arch, *TINY)
                adapter = made("--arch", arch, *TINY, "--lora", "3")
                plain = floats(self.logits(model, TOKENS, level=None))
                one = self.logits(model, TOKENS, "--lora", adapter, "--threads", "1", level=None)
                self.assertGreater(distance(plain, floats(one)), 1e-3)
                truth = floats(self.logits(model, TOKENS, "--lora", adapter))
                self.assertLess(distance(truth, floats(one)), 1e-3)
                three = self.logits(model, TOKENS, "--lora", adapter, "--threads", "3", level=None)
                self.assertEqual(one, three)

    def test_inspect(self):
        model, adapter = made(*LLAMA), made(*LLAMA, "--lora", "4")
        plain = json.loads(self.good(dunlin("inspect", "--json", model)))
        self.assertEqual(plain["adapters"], [])
        words = ["--lora", adapter, "--lora", f"{adapter}:-0.5"]
        both = json.loads(self.good(dunlin("inspect", "--json", model, *words)))
        first, second = both["adapters"]
        self.assertEqual(
            {key: first[key] for key in ("name", "rank", "alpha", "scale", "matrices")},
            {"name": "random test adapter", "rank": 4, "alpha": 8.0, "scale": 1.0, "matrices": 14})
        self.assertEqual(second["scale"], -0.5)
        for key in ("weights_bytes", "workspace_bytes", "total_bytes"):
            self.assertGreater(both["memory"][key], plain["memory"][key])
        text = self.good(dunlin("inspect", model, *words)).decode()
        self.assertRegex(text, r"adapter +random test adapter: rank 4, alpha 8, scale -0.5, 14 mat")

    def test_generates(self):
        model = support.tiny_model()
        adapter = made("--lora", "4")
        words = ["run", model, "the", "--raw", "--temperature", "0", "--max-tokens", "12"]
        plain = self.good(dunlin(*words))
        self.assertNotEqual(self.good(dunlin(*words, "--lora", f"{adapter}:50")), plain)
        self.assertEqual(self.good(dunlin(*words, "--lora", f"{adapter}:0")), plain)

    def test_refused(self):
        model, adapter = made(*LLAMA), made(*LLAMA, "--lora", "4")
        qwen = made("--arch", "qwen3", *TINY, "--lora", "4")
        experts, of_experts = made("--arch", "qwen3moe", *TINY), support.FOLDER / "experts.gguf"
        file = ggufs.Gguf.parse(made("--arch", "qwen3moe", *TINY, "--lora", "4").read_bytes())
        for tensor in file.tensors:
            tensor.name = tensor.name.replace("attn_q.", "ffn_up_exps.")
        of_experts.write_bytes(file.bytes())
        for words, code, named in [
            ([model, "--lora", model], FAILED, "adapter 1: general.type is 'model'"),
            ([model, "--lora", adapter, "--lora", qwen], FAILED,
             "adapter 2: general.architecture is 'qwen3'; the model's is 'llama'"),
            ([model, "--lora", "nothing.gguf"], FAILED, "open adapter 'nothing.gguf'"),
            ([model, "--lora", f"{adapter}:2000"], FAILED, "a scale is from -1000 to 1000"),
            ([model, "--lora", f"{adapter}:nan"], FAILED, "a scale is from -1000 to 1000"),
            ([model, "--lora", f"{adapter}:x"], FAILED, f"open adapter '{adapter}:x'"),
            ([model, "--lora", support.FOLDER], FAILED, "is a directory"),
            ([model, *["--lora", adapter] * 17], USAGE, "--lora: at most 16 of them"),
            ([experts, "--lora", of_experts], FAILED,
             "'blk.0.ffn_up_exps.weight' has the matrices of 8 experts"),
        ]:
            with self.subTest(named):
                self.bad(dunlin("inspect", *words), code, named)


if __name__ == "__main__":
    support.main()
