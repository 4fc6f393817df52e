#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dunlin embed and rerank: vectors beside golden ones, the same bits however they were computed,
forms of output, limits, and models that lie."""

import json
import math
import os
import pathlib
import pty
import struct
import subprocess
import sys

import ggufs
import support
from ggufs import F32, STRING, U32
from support import FAILED, ROOT, USAGE, dunlin, environment

sys.path.insert(0, str(ROOT / "scripts" / "lib"))

import gguf_file  # noqa: E402

REFERENCE = environment(DUNLIN_CPU="ref")
GOLDEN = json.loads((ROOT / "tests" / "golden" / "embedding-cases.json").read_text())["cases"]
TEXTS = ["the words", "On the hill, a user and the wanderer are lost!", "a", "sound " * 40, "the"]
F32_TENSOR = 0


def made(*options):
    """The path of the model that scripts/make-test-model makes of some options."""
    path = support.FOLDER / ("model" + "".join(options) + ".gguf")
    if not path.exists():
        script = ROOT / "scripts" / "make-test-model"
        subprocess.run([sys.executable, str(script), "--output", str(path), *options], check=True)
    return path


def bert(*options):
    """A small encoder."""
    return made("--arch", "bert", *options)


def changed(path, name, change):
    """The path of a copy in which something is other."""
    model = ggufs.Gguf.parse(pathlib.Path(path).read_bytes())
    change(model)
    copy = support.FOLDER / f"changed-{name}.gguf"
    copy.write_bytes(model.bytes())
    return copy


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


def length(a):
    return math.sqrt(dot(a, a))


def floats(data):
    return list(struct.unpack(f"<{len(data) // 4}f", data))


class Case(support.Case):
    """With what all of them ask."""

    def vectors(self, model, *words, **options):
        """A list for each text."""
        done = dunlin("embed", model, *words, **options)
        return [json.loads(line) for line in self.good(done).splitlines()]

    def scores(self, model, query, *documents, **options):
        """Of each document, in their order."""
        done = dunlin("rerank", model, query, *documents, "--json", **options)
        results = json.loads(self.good(done))["results"]
        return [r["relevance_score"] for r in sorted(results, key=lambda r: r["index"])]

    def near(self, have, want, most):
        self.assertEqual(len(have), len(want))
        self.assertLess(max(abs(a - b) for a, b in zip(have, want)), most)


class Golden(Case):
    """Vectors of an independent computation in double precision, from the text on."""

    def cases(self, *poolings):
        for case in GOLDEN:
            if case["pooling"] in poolings:
                yield case, made(*case["model"]["options"]), case["inputs"]

    def test_vectors(self):
        for case, model, inputs in self.cases("mean", "cls", "last"):
            texts = [given["text"] for given in inputs]
            with self.subTest(case["model"]["options"]):
                plain = ("--no-normalise", "--kv", "f32")
                for have, want in zip(self.vectors(model, *texts, *plain, env=REFERENCE), inputs):
                    self.near(have, want["vector"], 1e-5)
                # 8-bit activations; measured: 5e-4, and 1e-8 of the cosine.
                for have, want in zip(self.vectors(model, *texts, "--no-normalise"), inputs):
                    self.near(have, want["vector"], 2e-3)
                    cosine = dot(have, want["vector"]) / length(have) / length(want["vector"])
                    self.assertGreater(cosine, 1 - 1e-7)

    def test_scores(self):
        for _, model, inputs in self.cases("rank"):
            for given in inputs:
                want = given["score_of_two_types"]
                pair = (given["query"], given["document"])
                have = self.scores(model, *pair, "--kv", "f32", env=REFERENCE)
                self.near(have, [want], 1e-5)
                self.near(self.scores(model, *pair), [want], 2e-3)


class Bits(Case):
    """The same bits whatever the threads, the other texts, and their order."""

    def bits(self, model, *words, **options):
        return self.good(dunlin("embed", model, "--raw", *words, **options))

    def test_alone_and_together(self):
        for model in (bert(), made("--arch", "nomic-bert"), made("--arch", "llama")):
            for pooling in ("mean", "last"):
                words = ("--pooling", pooling)
                rows = [self.bits(model, text, *words, "--threads", "1") for text in TEXTS]
                self.assertEqual(len(set(rows)), len(TEXTS))
                for threads in "1234":
                    together = self.bits(model, *TEXTS, *words, "--threads", threads)
                    self.assertEqual(together, b"".join(rows))
                backwards = self.bits(model, *reversed(TEXTS), *words)
                self.assertEqual(backwards, b"".join(reversed(rows)))

    def test_levels(self):
        for model in (bert("--type", "Q8_0"), made("--arch", "nomic-bert", "--type", "Q4_0")):
            scalar = self.bits(model, *TEXTS, env=environment(DUNLIN_CPU="scalar"))
            self.assertEqual(self.bits(model, *TEXTS), scalar)

    def test_more_texts_than_a_step_takes(self):
        texts = [f"the {'word ' * (i % 7)}{i}" for i in range(100)]
        together = self.bits(bert(), *texts)
        size = len(together) // len(texts)
        for i in (0, 31, 32, 63, 99):
            self.assertEqual(together[i * size : (i + 1) * size], self.bits(bert(), texts[i]))

    def test_scores(self):
        model = bert("--pooling", "rank")
        alone = [self.scores(model, "what is the word", text)[0] for text in TEXTS]
        self.assertEqual(self.scores(model, "what is the word", *TEXTS, "--threads", "3"), alone)


class Causal(Case):
    """Models that generate embed too: from rows that the output matrix would read."""

    def setUp(self):
        self.model = made("--arch", "llama", "--type", "F32", "--context", "1024")
        self.long = "the hill and the word are a sound " * 30

    def test_rows_give_the_logits(self):
        text = "On the hill"
        words = ("--pooling", "none", "--no-normalise", "--kv", "f32")
        (rows,) = self.vectors(self.model, text, *words, env=REFERENCE)
        ids = self.good(dunlin("tokenize", self.model, text, "--ids")).decode().split()
        self.assertEqual(len(rows), len(ids))
        logits = floats(self.good(dunlin("logits", self.model, "--tokens", ",".join(ids),
                                         "--kv", "f32", env=REFERENCE)))
        output = gguf_file.Reader(self.model.read_bytes()).floats("token_embd.weight")
        have = [dot(token, row) for row in rows for token in output]
        self.near(have, logits, 1e-4 * max(map(abs, logits)))

    def test_pooling(self):
        """A text of several steps."""
        words = ("--no-normalise",)
        (rows,) = self.vectors(self.model, self.long, "--pooling", "none", *words)
        self.assertGreater(len(rows), 300)
        (last,) = self.vectors(self.model, self.long, "--pooling", "last", *words)
        self.assertEqual(last, rows[-1])
        self.assertEqual(self.vectors(self.model, self.long, *words), [last])
        (mean,) = self.vectors(self.model, self.long, "--pooling", "mean", *words)
        self.near(mean, [math.fsum(column) / len(rows) for column in zip(*rows)], 1e-5)

    def test_what_a_file_says(self):
        def say(number):
            return lambda model: model.set("llama.pooling_type", U32, number)

        mean = self.vectors(self.model, *TEXTS, "--pooling", "mean")
        said = changed(self.model, "mean", say(1))
        self.assertEqual(self.vectors(said, *TEXTS), mean)
        self.assertEqual(len(self.vectors(changed(self.model, "none", say(0)), "the hill")[0][0]),
                         len(mean[0]))

    def test_cls(self):
        self.bad(dunlin("embed", self.model, "a", "--pooling", "cls"), FAILED, "'last'")


class Reranker(Case):
    """Qwen 3's: the last token's row, two outputs, the probability of the first."""

    PROMPT = "On {query} the {document} hill"

    def setUp(self):
        dim = 64
        weights = [math.sin(i * 0.7) for i in range(2 * dim)]

        def add_head(model):
            model.set("qwen3.pooling_type", U32, 4)
            model.set("qwen3.classifier.output_labels", STRING, ["yes", "no"])
            data = struct.pack(f"<{len(weights)}f", *weights)
            model.tensors.append(ggufs.Tensor("cls.output.weight", [dim, 2], F32_TENSOR, data))

        self.head = [weights[:dim], weights[dim:]]
        self.model = changed(made("--arch", "qwen3", "--type", "F32"), "reranker", add_head)
        self.prompted = changed(self.model, "prompted", lambda model: model.set(
            "tokenizer.chat_template.rerank", STRING, self.PROMPT))

    def want(self, text):
        (row,) = self.vectors(self.model, text, "--pooling", "last", "--no-normalise",
                              "--kv", "f32", env=REFERENCE)
        yes, no = (dot(weights, row) for weights in self.head)
        return 1 / (1 + math.exp(no - yes))

    def test_probability(self):
        documents = [" the word", " a sound and the hill", " user"]
        have = self.scores(self.prompted, "what", *documents, "--kv", "f32", env=REFERENCE)
        want = [self.want(self.PROMPT.format(query="what", document=d)) for d in documents]
        self.near(have, want, 1e-5)
        self.assertEqual(len(set(have)), 3)

    def test_special_tokens(self):
        """They count where the prompt has them; in a query or a document they are text."""
        mark = "<|im_end|>"
        plain = self.want(self.PROMPT.format(query="a", document=mark))
        words = ("--kv", "f32")
        self.near(self.scores(self.prompted, "a", mark, *words, env=REFERENCE), [plain], 1e-5)
        marked = changed(self.model, "marked", lambda model: model.set(
            "tokenizer.chat_template.rerank", STRING, self.PROMPT.format(
                query="{query}", document=mark)))
        (score,) = self.scores(marked, "a", "b", *words, env=REFERENCE)
        self.assertGreater(abs(score - plain), 1e-4)

    def test_truncated(self):
        """The document is cut, not what the prompt has behind it."""
        long = "the word " * 2000
        self.bad(dunlin("rerank", self.prompted, "a", long), FAILED, "tokens", "256")
        done = dunlin("rerank", self.prompted, "a", long, "b", "--truncate", "--json")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"1 of 2 documents were cut to 256 tokens", done.stderr)


class Output(Case):
    """What users see."""

    def test_forms(self):
        lines = self.vectors(bert(), *TEXTS)
        for line in lines:
            self.assertAlmostEqual(length(line), 1, places=6)
        whole = json.loads(self.good(dunlin("embed", bert(), *TEXTS, "--json")))
        self.assertEqual(whole["object"], "list")
        self.assertEqual([entry["embedding"] for entry in whole["data"]], lines)
        self.assertEqual([entry["index"] for entry in whole["data"]], list(range(len(TEXTS))))
        tokens = sum(len(dunlin("tokenize", bert(), t, "--ids").stdout.split()) for t in TEXTS)
        self.assertEqual(whole["usage"]["prompt_tokens"], tokens + 2 * len(TEXTS))
        raw = floats(self.good(dunlin("embed", bert(), *TEXTS, "--raw")))
        self.near(raw, [x for line in lines for x in line], 1e-8)

    def test_standard_input(self):
        lines = self.vectors(bert(), *TEXTS)
        self.assertEqual(self.vectors(bert(), stdin="\n".join(TEXTS)), lines)
        objects = "\n".join(json.dumps({"text": text}) for text in TEXTS)
        self.assertEqual(self.vectors(bert(), "--jsonl", stdin=objects), lines)
        two_lines = json.dumps({"text": "the\nwords"})
        self.assertEqual(self.vectors(bert(), "--jsonl", stdin=two_lines), lines[:1])

    def test_path_that_is_no_text(self):
        """Its bytes still have a place in JSON."""
        for verb, model in (("embed", bert()), ("rerank", bert("--pooling", "rank"))):
            path = os.fsencode(support.FOLDER) + b"/\xff.gguf"
            os.symlink(model, path)
            done = subprocess.run([support.PROGRAM, verb, path, "a", "b", "--json"],
                                  capture_output=True, env=environment(), check=False)
            self.assertTrue(json.loads(self.good(done))["model"].endswith("/\ufffd.gguf"))
            os.unlink(path)

    def test_terminal(self):
        """A line a text, cut between letters."""
        ours, theirs = pty.openpty()
        done = dunlin("embed", bert(), "\u00e4" * 23 + "a\u00e4", "two\nlines", stdout=theirs)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = os.read(ours, 65536).decode().splitlines()
        os.close(ours)
        os.close(theirs)
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].endswith("  " + "\u00e4" * 23 + "a..."), lines)
        self.assertTrue(lines[1].endswith("  two lines"), lines)

    def test_progress(self):
        """On a terminal that shows nothing else, and gone at the end."""
        text = "\n".join(["the words"] * 200)
        for verb, model, words in (("embed", bert(), []),
                                   ("rerank", bert("--pooling", "rank"), ["the"])):
            ours, theirs = pty.openpty()
            done = subprocess.run([support.PROGRAM, verb, model, *words], input=text.encode(),
                                  stdout=subprocess.PIPE, stderr=theirs, env=environment(),
                                  check=False)
            seen = os.read(ours, 65536)
            os.close(ours)
            os.close(theirs)
            self.assertEqual(done.returncode, 0, seen)
            self.assertIn(b" of 200 texts ", seen)
            self.assertTrue(seen.endswith(b"\r\033[K"), seen)

    def test_dimensions(self):
        (whole,) = self.vectors(bert(), "the words")
        (short,) = self.vectors(bert(), "the words", "--dimensions", "16")
        self.near(short, [x / length(whole[:16]) for x in whole[:16]], 1e-6)
        (plain,) = self.vectors(bert(), "the words", "--no-normalise")
        self.assertEqual(self.vectors(bert(), "the words", "--dimensions", "16",
                                      "--no-normalise"), [plain[:16]])
        self.assertGreater(abs(length(plain) - 1), 0.1)

    def test_prefix(self):
        self.assertEqual(self.vectors(bert(), "words", "--prefix", "the "),
                         self.vectors(bert(), "the words"))

    def test_too_long(self):
        long = "a " * 400
        self.bad(dunlin("embed", bert(), "a", long), FAILED, "text 2 has 402 tokens", "256")
        done = dunlin("embed", bert(), "a", long, "--truncate")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"1 of 2 texts were cut to 256 tokens", done.stderr)
        # What is left: 254 words, between [CLS] and [SEP].
        (_, cut) = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([cut], self.vectors(bert(), "a " * 254))

    def test_order(self):
        model = bert("--pooling", "rank")
        scores = self.scores(model, "what is the word", *TEXTS)
        order = sorted(range(len(TEXTS)), key=lambda i: -scores[i])
        lines = self.good(dunlin("rerank", model, "what is the word", *TEXTS)).decode().split("\n")
        self.assertEqual([int(line.split()[1]) for line in lines[:-1]], order)
        self.assertTrue(lines[0].endswith(f"  {TEXTS[order[0]]}"))
        best = dunlin("rerank", model, "what is the word", "--top", "2", "--json",
                      stdin="\n".join(TEXTS))
        self.assertEqual([r["index"] for r in json.loads(self.good(best))["results"]], order[:2])

    def test_command_line(self):
        self.bad(dunlin("embed", bert(), "a", "--json", "--raw"), USAGE, "--raw")
        self.bad(dunlin("embed", bert(), "a", "--jsonl"), USAGE, "--jsonl")
        self.bad(dunlin("embed", bert(), "a", "--pooling", "max"), USAGE, "none|mean|cls|last|rank")
        self.bad(dunlin("embed", bert()), FAILED, "no text")
        self.bad(dunlin("embed", bert(), "--jsonl", stdin='{"text": 1}'), FAILED, "line 1")
        self.bad(dunlin("embed", bert(), "a", "--dimensions", "65"), FAILED, "65", "64")
        self.bad(dunlin("rerank", bert(), "a", "--jsonl", "b"), USAGE, "--jsonl")


class Refused(Case):
    """Models that cannot do what is asked of them, and models that lie."""

    def test_other_verbs(self):
        self.bad(dunlin("run", bert(), "a"), FAILED, "dunlin embed")
        self.bad(dunlin("logits", bert(), "--tokens", "1,2"), FAILED, "dunlin embed")
        self.bad(dunlin("rerank", bert(), "a", "b"), FAILED, "no reranker")
        self.bad(dunlin("embed", bert(), "a", "--pooling", "rank"), FAILED, "no reranker")
        self.bad(dunlin("embed", bert("--pooling", "rank"), "a"), FAILED, "dunlin rerank")

    def test_inspect(self):
        for model, words, keys in (
            (bert(), b"dunlin embed", (False, True, "mean", 0)),
            (bert("--pooling", "rank"), b"dunlin rerank", (False, True, "rank", 1)),
            (made("--arch", "llama"), b"runs            yes", (True, False, "last", 0)),
        ):
            self.assertIn(words, self.good(dunlin("inspect", model)))
            found = json.loads(self.good(dunlin("inspect", model, "--json")))
            names = ("generates", "encoder", "pooling", "scores")
            self.assertEqual(tuple(found[name] for name in names), keys)

    def test_context(self):
        """No more positions than the model has learned."""
        self.bad(dunlin("embed", bert(), "a", "--context", "257"), FAILED, "257", "256")
        self.assertEqual(self.vectors(bert(), "a", "--context", "32"), self.vectors(bert(), "a"))
        self.bad(dunlin("embed", bert(), "a " * 40, "--context", "32"), FAILED, "42", "32")
        self.vectors(made("--arch", "nomic-bert"), "a", "--context", "300")

    def test_lies(self):
        def shorter(model):
            tensor = model.tensor("position_embd.weight")
            tensor.dims[1] -= 1
            tensor.data = tensor.data[: -4 * tensor.dims[0]]

        def wider(model):
            tensor = model.tensor("cls.output.weight")
            tensor.dims[:] = [tensor.dims[0], 2]
            tensor.data *= 2

        def many_types(model):
            tensor = model.tensor("token_types.weight")
            tensor.dims[1] = 65
            tensor.data = bytes(65 * 4 * tensor.dims[0])

        lies = [
            ("positions", shorter, "position_embd.weight"),
            ("pooling", lambda model: model.set("bert.pooling_type", U32, 9), "pooling_type is 9"),
            ("scores", wider, "cls.output.weight"),
            ("types", many_types, "types"),
            ("labels", lambda model: model.set("bert.classifier.output_labels", STRING,
                                               ["a", "b"]), "cls.output.weight"),
            ("no label", lambda model: model.set("bert.classifier.output_labels", STRING, []),
             "output_labels"),
            ("labels of numbers", lambda model: model.set("bert.classifier.output_labels", F32,
                                                          [1.0]), "output_labels"),
        ]
        good = bert("--pooling", "rank")
        for name, change, word in lies:
            with self.subTest(name):
                self.bad(dunlin("rerank", changed(good, name, change), "a", "b"), FAILED, word)

    def test_experts(self):
        def add(model):
            model.set("nomic-bert.moe_every_n_layers", U32, 2)

        model = changed(made("--arch", "nomic-bert"), "experts", add)
        self.bad(dunlin("embed", model, "a"), FAILED, "moe_every_n_layers")


if __name__ == "__main__":
    support.main()
