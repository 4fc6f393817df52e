#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ollama's API, as the real `ollama` package sees it, and as lines of JSON."""

import json
import unittest

import serving
import support

ollama = serving.package("ollama")
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "Tell the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
THOUGHT = "<think>\nI wonder.\n</think>\n\n"


def say(text):
    return [{"role": "user", "content": text}]


class Lines(support.Case):
    """By plain HTTP."""

    @classmethod
    def setUpClass(cls):
        cls.server = serving.parrot_server("<tool_call><think>")
        cls.addClassCleanup(cls.server.kill)

    def lines(self, path, **body):
        answer = self.server.post(path, model="polly", **body)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.headers["Content-Type"], "application/x-ndjson")
        return [json.loads(line) for line in answer.body.splitlines()]

    def test_chat(self):
        lines = self.lines("/api/chat", messages=say(f"{THOUGHT}I look.\n{CALL}"), tools=TOOLS)
        self.assertEqual("".join(line["message"]["content"] for line in lines), "I look.")
        self.assertEqual("".join(line["message"].get("thinking", "") for line in lines),
                         "I wonder.")
        calls = [call for line in lines for call in line["message"].get("tool_calls", [])]
        self.assertEqual(calls[0]["function"], {"name": "weather", "arguments": {"city": "Bonn"}})
        self.assertEqual([line["done"] for line in lines], [False] * (len(lines) - 1) + [True])
        self.assertEqual(lines[-1]["done_reason"], "stop")
        self.assertGreater(lines[-1]["eval_count"], 0)

    def test_generate(self):
        lines = self.lines("/api/generate", prompt="Hello", system="Be brief.",
                           chat_template_kwargs={"tell": True})
        self.assertEqual(json.loads("".join(line["response"] for line in lines))["messages"],
                         [{"role": "system", "content": "Be brief."}, *say("Hello")])
        raw = self.server.post("/api/generate", model="polly:latest", prompt="Hi", raw=True,
                               stream=False, options={"num_predict": 1}).json()
        self.assertEqual((raw["response"], raw["done_reason"], raw["done"]), ("H", "length", True))

    def test_results(self):
        """What the model called, and what came of it, on its way back: each once, in order."""
        calls = [{"function": {"name": "weather", "arguments": {"city": city}}}
                 for city in ("Bonn", "Rome")]
        answer = self.server.post("/api/chat", stream=False, tools=TOOLS, messages=[
            {"role": "system", "content": "Be brief."}, *say("And the weather?"),
            {"role": "assistant", "content": "I look.", "thinking": "Hm.", "tool_calls": calls},
            {"role": "tool", "content": "Rain.", "tool_name": "weather"},
            {"role": "tool", "content": "Sun.", "tool_name": "weather"}, *say("So?")],
                                  chat_template_kwargs={"tell": True})
        got = json.loads(answer.json()["message"]["content"])["messages"]
        self.assertEqual([message.pop("tool_name", None) for message in got],
                         [None, None, None, "weather", "weather", None])
        self.assertEqual(got, [
            {"role": "system", "content": "Be brief."}, *say("And the weather?"),
            {"role": "assistant", "content": "I look.", "reasoning_content": "Hm.",
             "tool_calls": [{"type": "function", **call} for call in calls]},
            {"role": "tool", "content": "Rain.", "name": "weather"},
            {"role": "tool", "content": "Sun.", "name": "weather"}, *say("So?")])

    def test_options(self):
        """Beyond the ranges of the other APIs is the nearest, and what is no limit is none."""
        for options in ({"temperature": 2.5}, {"temperature": -1}, {"top_k": -1}, {"top_k": 1 << 40},
                        {"top_p": 1.5}, {"min_p": -0.5}, {"repeat_penalty": 0},
                        {"repeat_penalty": 1000}, {"presence_penalty": 3},
                        {"frequency_penalty": -3.5}, {"num_predict": 99999999},
                        {"num_predict": -1}, {"num_predict": 0},
                        {"stop": ["1", "2", "3", "4", "5"]}):
            with self.subTest(options):
                answer = self.server.post("/api/generate", prompt="Hello", options=options,
                                          stream=False)
                self.assertEqual((answer.status, answer.json().get("response")), (200, "Hello"))

    def test_load(self):
        """Clients have a model loaded by a request that asks nothing."""
        for _ in range(2):
            for path, body, key, said in (
                    ("/api/generate", {}, "response", ""),
                    ("/api/generate", {"prompt": "", "keep_alive": "5m"}, "response", ""),
                    ("/api/generate", {"prompt": None, "raw": True}, "response", ""),
                    ("/api/chat", {}, "message", {"role": "assistant", "content": ""}),
                    ("/api/chat", {"messages": []}, "message",
                     {"role": "assistant", "content": ""})):
                with self.subTest(path=path, body=body):
                    answer = self.server.post(path, model="polly", **body)
                    self.assertEqual(answer.status, 200)
                    self.assertEqual(answer.headers["Content-Type"], "application/json")
                    got = answer.json()
                    self.assertTrue(got.pop("created_at"))
                    self.assertEqual(got, {"model": "polly", "done": True,
                                           "done_reason": "load", key: said})

    def test_wrong_by_name(self):
        """What is wrong is named as the request has it."""
        for name in ("repeat_penalty", "num_predict", "stop", "top_k"):
            with self.subTest(name):
                answer = self.server.post("/api/chat", messages=say("x"), options={name: {}})
                self.assertEqual(answer.status, 400)
                self.assertIn(f"'{name}'", answer.json()["error"])

    def test_wrong(self):
        for path, body in (("/api/chat", {"messages": "x"}), ("/api/generate", {"prompt": 5}),
                           ("/api/chat", {"messages": say("x"), "options": 5}),
                           ("/api/chat", {"messages": say("x"), "options": {"top_k": "x"}}),
                           ("/api/chat", {"messages": [{**say("x")[0], "images": ["eA=="]}]}),
                           ("/api/generate", {"prompt": "x", "images": ["eA=="]}),
                           ("/api/generate", {"prompt": "x", "suffix": "y"}),
                           ("/api/chat", {"messages": say("x"), "think": 5})):
            with self.subTest(path=path, body=body):
                answer = self.server.post(path, **body)
                self.assertEqual(answer.status, 400)
                self.assertEqual(list(answer.json()), ["error"])
                self.assertIsInstance(answer.json()["error"], str)


@unittest.skipUnless(ollama, "no 'ollama' package: scripts/fetch-clients has it")
class Client(support.Case):
    """The package."""

    @classmethod
    def setUpClass(cls):
        cls.server = serving.parrot_server("<tool_call><think>")
        cls.addClassCleanup(cls.server.kill)
        cls.client = ollama.Client(host=cls.server.url)

    def test_models(self):
        self.assertEqual([model.model for model in self.client.list().models], ["polly"])
        shown = self.client.show("polly")
        self.assertIn("completion", shown.capabilities)
        self.assertEqual(shown.details.family, "parrot")

    def test_chat(self):
        answer = self.client.chat("polly", say(f"{THOUGHT}I look.\n{CALL}"), tools=TOOLS,
                                  think=True)
        self.assertEqual(answer.message.content, "I look.")
        self.assertEqual(answer.message.thinking, "I wonder.")
        self.assertEqual(answer.message.tool_calls[0].function.arguments, {"city": "Bonn"})
        text = "".join(part.message.content for part in
                       self.client.chat("polly", say("Hello"), stream=True))
        self.assertEqual(text, "Hello")

    def test_results(self):
        answer = self.client.chat("polly", [
            *say("And the weather?"),
            {"role": "assistant", "content": "", "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Bonn"}}}]},
            {"role": "tool", "content": "Rain.", "tool_name": "weather"}], tools=TOOLS)
        self.assertEqual(answer.message.content, "Rain.")

    def test_generate(self):
        self.assertEqual(self.client.generate("polly", "Hello").response, "Hello")

    def test_unknown_model(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.chat("none", say("x"))
        self.assertEqual(caught.exception.status_code, 404)


if __name__ == "__main__":
    support.main()
