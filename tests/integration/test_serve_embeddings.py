#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Vectors and rankings of the server, beside those of `dunlin embed` and `dunlin rerank`."""

import base64
import json
import math
import struct
import subprocess
import sys

import serving
import support
from serving import openai
from support import ROOT, dunlin

TEXTS = ["the words", "On the hill, a user and the wanderer are lost!", "a"]


def made(*options):
    """The path of the model that scripts/make-test-model makes of some options."""
    path = support.FOLDER / ("made" + "".join(options) + ".gguf")
    if not path.exists():
        script = ROOT / "scripts" / "make-test-model"
        subprocess.run([sys.executable, str(script), "--output", str(path), *options], check=True)
    return path


class Embeddings(support.Case):
    """/v1/embeddings and /api/embed"""

    @classmethod
    def setUpClass(cls):
        cls.model = made("--arch", "bert")
        cls.server = serving.Server(models=[f"bert={cls.model}"])
        cls.addClassCleanup(cls.server.kill)
        done = dunlin("embed", cls.model, *TEXTS)
        assert done.returncode == 0, done.stderr
        cls.want = [json.loads(line) for line in done.stdout.splitlines()]

    def embed(self, given, **more):
        answer = self.server.post("/v1/embeddings", input=given, **more)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def near(self, have, want):
        self.assertEqual(len(have), len(want))
        self.assertLess(max(abs(a - b) for a, b in zip(have, want)), 1e-6)

    def test_texts(self):
        got = self.embed(TEXTS, model="bert")
        self.assertEqual([row["index"] for row in got["data"]], [0, 1, 2])
        self.assertEqual((got["object"], got["model"]), ("list", "bert"))
        for row, want in zip(got["data"], self.want):
            self.near(row["embedding"], want)
        alone = self.embed(TEXTS[1])
        self.assertEqual(alone["data"][0]["embedding"], got["data"][1]["embedding"])
        self.assertGreater(got["usage"]["prompt_tokens"], alone["usage"]["total_tokens"])

    def test_large_answers_are_bounded(self):
        """A short request can ask for a large answer: what all of these take has a limit."""
        texts = ["a"] * 2000
        with serving.Server("--max-body", "64K", models=[self.model]) as server:
            answer = server.post("/v1/embeddings", input=texts)
            self.assertEqual((answer.status, answer.error()["code"]), (400, "answer_too_large"))
            self.assertIn("--max-body", answer.error()["message"])
            self.assertEqual(server.post("/v1/embeddings", input=texts[:100]).status, 200)
            # What was refused, or was read, is given back.
            for _ in range(20):
                self.assertEqual(server.post("/v1/embeddings", input=texts[:500],
                                             encoding_format="base64").status, 200)

    def test_many(self):
        got = self.embed([TEXTS[i % 3] for i in range(100)])
        self.assertEqual([row["index"] for row in got["data"]], list(range(100)))
        for i in (0, 50, 99):
            self.near(got["data"][i]["embedding"], self.want[i % 3])

    def test_ids(self):
        ids = [self.server.post("/tokenize", content=text).json()["tokens"] for text in TEXTS[:2]]
        both = self.embed(ids)
        self.assertEqual(self.embed(ids[1])["data"][0]["embedding"], both["data"][1]["embedding"])
        self.assertEqual(both["usage"]["prompt_tokens"], len(ids[0]) + len(ids[1]))

    def test_base64(self):
        got = self.embed(TEXTS[0], encoding_format="base64")["data"][0]["embedding"]
        data = base64.b64decode(got)
        self.near(struct.unpack(f"<{len(data) // 4}f", data), self.want[0])

    def test_dimensions(self):
        got = self.embed(TEXTS[0], dimensions=8)["data"][0]["embedding"]
        length = math.sqrt(math.fsum(x * x for x in self.want[0][:8]))
        self.near(got, [x / length for x in self.want[0][:8]])
        answer = self.server.post("/v1/embeddings", input="x", dimensions=60000)
        self.assertEqual((answer.status, answer.error()["param"]), (400, "dimensions"))

    @serving.needs_openai
    def test_openai(self):
        """Which asks for base64 unless told."""
        with openai.OpenAI(base_url=f"{self.server.url}/v1", api_key="none",
                           max_retries=0) as client:
            got = client.embeddings.create(model="bert", input=TEXTS)
        for row, want in zip(got.data, self.want):
            self.near(row.embedding, want)

    def test_ollama(self):
        answer = self.server.post("/api/embed", model="bert:latest", input=TEXTS)
        self.assertEqual(answer.status, 200, answer.body)
        got = answer.json()
        self.assertEqual(len(got["embeddings"]), 3)
        self.near(got["embeddings"][1], self.want[1])

    def test_wrong(self):
        for body, param in (({}, "input"), ({"input": []}, "input"), ({"input": ""}, "input"),
                            ({"input": 5}, "input"), ({"input": ["x", 5]}, "input"),
                            ({"input": [1, "x"]}, "input"), ({"input": [[1], "x"]}, "input"),
                            ({"input": ["x"] * 2049}, "input"),
                            ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
                            ({"input": "x", "dimensions": "8"}, "dimensions")):
            with self.subTest(str(body)[:60]):
                answer = self.server.post("/v1/embeddings", **body)
                self.assertEqual((answer.status, answer.error()["param"]), (400, param))
        self.assertEqual(self.server.post("/v1/embeddings", input=[1 << 30]).status, 400)
        self.assertEqual(self.server.post("/v1/embeddings", input="word " * 60000).status, 400)

    def test_no_ranking(self):
        answer = self.server.post("/v1/rerank", query="x", documents=["y"])
        self.assertEqual(answer.status, 400)


class Ranking(support.Case):
    """/v1/rerank"""

    @classmethod
    def setUpClass(cls):
        cls.model = made("--arch", "bert", "--pooling", "rank")
        cls.server = serving.Server(models=[f"rank={cls.model}"])
        cls.addClassCleanup(cls.server.kill)

    def rank(self, **body):
        answer = self.server.post("/v1/rerank", query="the words", **body)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def test_order(self):
        done = dunlin("rerank", self.model, "the words", *TEXTS, "--json")
        want = json.loads(self.good(done))["results"]
        got = self.rank(documents=TEXTS)
        self.assertEqual([result["index"] for result in got["results"]],
                         [result["index"] for result in want])
        for a, b in zip(got["results"], want):
            self.assertAlmostEqual(a["relevance_score"], b["relevance_score"], places=5)
        self.assertGreater(got["usage"]["total_tokens"], 0)

    def test_forms(self):
        plain = self.rank(documents=TEXTS, top_n=2)
        self.assertEqual(len(plain["results"]), 2)
        self.assertNotIn("document", plain["results"][0])
        objects = self.rank(documents=[{"text": text} for text in TEXTS], return_documents=True)
        best = objects["results"][0]
        self.assertEqual(best["index"], plain["results"][0]["index"])
        self.assertEqual(best["document"], {"text": TEXTS[best["index"]]})

    def test_wrong(self):
        for body, param in (({}, "query"), ({"query": "x"}, "documents"),
                            ({"query": "x", "documents": []}, "documents"),
                            ({"query": "x", "documents": [5]}, "documents"),
                            ({"query": 5, "documents": ["x"]}, "query"),
                            ({"query": "x", "documents": ["x"], "top_n": 0}, "top_n")):
            with self.subTest(body):
                answer = self.server.post("/v1/rerank", **body)
                self.assertEqual((answer.status, answer.error()["param"]), (400, param))


if __name__ == "__main__":
    support.main()
