#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The OpenAPI document: every path is in it, and what the server answers is what it says, as
schemathesis finds by asking whatever the document allows and forbids."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import unittest

import serving
import support
from support import ROOT

# Texts may be longer than the context and ids none of the model's, so that what is right by the
# document may still be refused with 400: 'positive_data_acceptance' is left out.
CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,"
          "response_headers_conformance,response_schema_conformance,negative_data_rejection")
# Models of any name are not there, deadlines of a millisecond are refused with 503, and 32 answers to
# a question are 32 times the time.
LEFT_OUT = ("model", "n", "deadline_ms", "first_token_deadline_ms")


def without(value, names):
    """A schema without some properties."""
    if isinstance(value, list):
        return [without(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: without(item, names) for key, item in value.items()}
    if "properties" in kept:
        kept["properties"] = {key: item for key, item in kept["properties"].items()
                              if key not in names or key in kept.get("required", [])}
    return kept


class Document(support.Case):
    """/openapi.json"""

    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server("--context", "64")
        cls.addClassCleanup(cls.server.kill)
        cls.document = cls.server.get("/openapi.json").json()

    def test_every_route(self):
        source = (ROOT / "src/server/front/route.c").read_text()
        routes = set(re.findall(r'\{ "([A-Z]+)", "([^"]+)", dn_front_', source))
        self.assertGreater(len(routes), 20)
        told = {(method.upper(), path) for path, methods in self.document["paths"].items()
                for method in methods}
        told.discard(("GET", "/v1/models/{model}"))
        # For people.
        routes -= {("GET", "/"), ("GET", "/page")}
        self.assertEqual(told, routes)

    def test_references(self):
        text = self.server.get("/openapi.json").body.decode()
        for name in set(re.findall(r'"#/components/schemas/(\w+)"', text)):
            self.assertIn(name, self.document["components"]["schemas"])
        self.assertEqual(self.document["openapi"], "3.1.0")

    @unittest.skipUnless(importlib.util.find_spec("schemathesis"), "no 'schemathesis' package: "
                         "scripts/fetch-clients has it")
    def test_answers(self):
        path = support.FOLDER / "openapi.json"
        path.write_text(json.dumps(without(self.document, LEFT_OUT)))
        environment = {**os.environ, "PYTHONPATH": serving.CLIENTS, "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", self.server.url,
             "--checks", CHECKS, "--generation-deterministic",
             "--phases", "examples,coverage", "--request-timeout", "60",
             "--continue-on-failure"],
            env=environment, cwd=support.FOLDER, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-60000:] + done.stderr[-2000:])
        self.assertEqual(self.server.get("/health").status, 200)


class Unsupported(support.Case):
    """What is no text, and fields that nobody knows."""

    @classmethod
    def setUpClass(cls):
        cls.server = serving.parrot_server("plain")
        cls.addClassCleanup(cls.server.kill)

    def test_media(self):
        for path in ("/v1/audio/speech", "/v1/audio/transcriptions", "/v1/images/generations"):
            for headers in ({"Content-Type": "application/json"},
                            {"Content-Type": "multipart/form-data; boundary=x"}):
                with self.subTest(path=path, headers=headers):
                    answer = self.server.request("POST", path, "{}", headers)
                    self.assertEqual((answer.status, answer.error()["code"]),
                                     (404, "unsupported"))

    def test_unknown_fields(self):
        """Are accepted, and in the log once."""
        body = {"messages": [{"role": "user", "content": "x"}], "temperatur_": 1, "user": "u"}
        for _ in range(2):
            self.assertEqual(self.server.post("/v1/chat/completions", **body).status, 200)
        line, = serving.wait_for(lambda: self.server.events("field"), "a line of the log")
        self.assertIn('unknown="temperatur_"', line)
        self.assertTrue(line.startswith("debug "))


if __name__ == "__main__":
    support.main()
