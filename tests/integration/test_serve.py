#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The server as the real `openai` package sees it: answers, streams, choices, errors; and each of
many at once equal to what it is alone."""

import concurrent.futures
import sys
import unittest

import serving
import support
from serving import openai

AT_ONCE = 16
MODEL = "tiny"


def client_of(server, key="none", **more):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key,
                         **{"timeout": serving.PATIENCE, "max_retries": 0, **more})


def chat_text(stream):
    """Of the first choice of a stream of a chat."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


class Served(support.Case):
    """One server for all tests of a class."""

    words = ["--context", "2048"]
    models = None

    @classmethod
    def setUpClass(cls):
        if cls is Served or not openai:
            raise unittest.SkipTest("no 'openai' package: scripts/fetch-clients has it")
        cls.server = serving.Server(*cls.words, models=cls.models)
        cls.addClassCleanup(cls.server.kill)
        cls.client = client_of(cls.server)
        cls.addClassCleanup(cls.client.close)

    def chat(self, text="Hello there.", **more):
        more = {"model": MODEL, "max_tokens": 24, "temperature": 0, **more}
        return self.client.chat.completions.create(
            messages=[{"role": "user", "content": text}], **more)

    def complete(self, prompt="Once upon a time", **more):
        more = {"model": MODEL, "max_tokens": 24, "temperature": 0, **more}
        return self.client.completions.create(prompt=prompt, **more)

    def ids(self, text):
        return self.server.post("/tokenize", content=text).json()["tokens"]


class Answers(Served):
    """What comes back."""

    def test_chat(self):
        whole = self.chat(extra_body={"ignore_eos": True})
        choice = whole.choices[0]
        self.assertEqual(whole.object, "chat.completion")
        self.assertEqual(whole.model, MODEL)
        self.assertTrue(whole.id.startswith("chatcmpl-"))
        self.assertEqual(choice.message.role, "assistant")
        self.assertEqual(choice.finish_reason, "length")
        self.assertEqual(whole.usage.completion_tokens, 24)
        prompt = self.server.post("/apply-template",
                                  messages=[{"role": "user", "content": "Hello there."}])
        self.assertIn("Hello there.", prompt.json()["prompt"])
        self.assertEqual(whole.usage.total_tokens, whole.usage.prompt_tokens + 24)
        self.assertTrue(whole._request_id.startswith("req_"))

    def test_chat_stream(self):
        whole = self.chat(temperature=1, seed=3)
        events = list(self.chat(temperature=1, seed=3, stream=True,
                                stream_options={"include_usage": True}))
        self.assertEqual(chat_text(events), whole.choices[0].message.content)
        self.assertEqual(events[0].choices[0].delta.role, "assistant")
        self.assertEqual(events[-2].choices[0].finish_reason, whole.choices[0].finish_reason)
        self.assertEqual(events[-1].choices, [])
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            self.assertEqual(getattr(events[-1].usage, name), getattr(whole.usage, name))
        self.assertEqual(len({event.id for event in events}), 1)
        timings = events[-1].model_extra["timings"]
        self.assertGreater(timings["first_token_ms"], 0)
        self.assertFalse(timings["deadline_passed"])

    def test_no_usage_unless_asked(self):
        events = list(self.chat(stream=True))
        self.assertTrue(all(event.usage is None for event in events))
        self.assertIn("timings", events[-1].model_extra)

    def test_parts_of_a_message(self):
        parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there."}]
        got = self.client.chat.completions.create(
            model=MODEL, max_tokens=16, temperature=0,
            messages=[{"role": "system", "content": "Be brief."},
                      {"role": "user", "content": parts}])
        want = self.client.chat.completions.create(
            model=MODEL, max_tokens=16, temperature=0,
            messages=[{"role": "system", "content": "Be brief."},
                      {"role": "user", "content": "Hello\nthere."}])
        self.assertEqual(got.choices, want.choices)

    def test_completion(self):
        whole = self.complete(extra_body={"ignore_eos": True})
        self.assertEqual(whole.object, "text_completion")
        self.assertEqual(whole.choices[0].finish_reason, "length")
        self.assertEqual(whole.usage.completion_tokens, 24)
        text = "".join(event.choices[0].text for event in
                       self.complete(stream=True, extra_body={"ignore_eos": True}))
        self.assertEqual(text, whole.choices[0].text)

    def test_forms_of_prompts(self):
        texts = ["Once upon a time", "The end"]
        lone = [self.complete(text).choices[0].text for text in texts]
        both = [self.ids(text) for text in texts]
        self.assertEqual(self.complete(both[0]).choices[0].text, lone[0])
        for prompts in (texts, both):
            got = self.complete(prompts)
            self.assertEqual([choice.text for choice in got.choices], lone)
            self.assertEqual([choice.index for choice in got.choices], [0, 1])
            self.assertEqual(got.usage.prompt_tokens, len(both[0]) + len(both[1]))
        streamed = ["", ""]
        for event in self.complete(texts, stream=True):
            for choice in event.choices:
                streamed[choice.index] += choice.text
        self.assertEqual(streamed, lone)

    def test_n_and_seed(self):
        got = self.complete(n=4, seed=11, temperature=1.2)
        self.assertEqual([choice.index for choice in got.choices], [0, 1, 2, 3])
        self.assertGreater(len({choice.text for choice in got.choices}), 1)
        again = self.complete(n=4, seed=11, temperature=1.2)
        self.assertEqual([c.text for c in again.choices], [c.text for c in got.choices])
        # The others are those of the seeds that follow.
        self.assertEqual(self.complete(seed=13, temperature=1.2).choices[0].text,
                         got.choices[2].text)
        self.assertEqual(got.usage.prompt_tokens, len(self.ids("Once upon a time")))
        other = self.complete(seed=12345, temperature=1.2)
        self.assertNotEqual(other.choices[0].text, got.choices[0].text)

    def test_stream_of_several(self):
        want = self.chat(n=3, seed=5, temperature=1)
        texts, ends = ["", "", ""], {}
        for event in self.chat(n=3, seed=5, temperature=1, stream=True):
            for choice in event.choices:
                texts[choice.index] += choice.delta.content or ""
                if choice.finish_reason:
                    ends[choice.index] = choice.finish_reason
        self.assertEqual(texts, [choice.message.content for choice in want.choices])
        self.assertEqual(ends, {c.index: c.finish_reason for c in want.choices})

    def test_bias_and_stop(self):
        token = self.ids("a")[0]
        bias = {str(token): 100}
        self.assertEqual(self.complete(logit_bias=bias, max_tokens=7).choices[0].text, "a" * 7)
        for stop in ("aaaa", ["zzz", "aaaa"], [*"bcdefghijklmnop", "aaaa"]):
            choice = self.complete(logit_bias=bias, stop=stop).choices[0]
            self.assertEqual((choice.text, choice.finish_reason), ("", "stop"))
        streamed = list(self.complete(logit_bias=bias, stop="aaaa", stream=True))
        self.assertEqual("".join(event.choices[0].text for event in streamed), "")
        banned = self.complete(logit_bias={**bias, str(self.ids("b")[0]): 100.0,
                                           str(token): -100}, max_tokens=3)
        self.assertEqual(banned.choices[0].text, "bbb")

    def test_penalties(self):
        bias = {str(self.ids(letter)[0]): 50 for letter in "abc"}
        plain = self.complete(logit_bias=bias).choices[0].text
        for name in ("frequency_penalty", "presence_penalty"):
            with self.subTest(name):
                got = self.complete(logit_bias=bias, **{name: 2}).choices[0].text
                self.assertLessEqual(set(got), set("abc"))
                self.assertNotEqual(got, plain)

    def test_chat_logprobs(self):
        choice = self.chat(logprobs=True, top_logprobs=3).choices[0]
        content = choice.logprobs.content
        raw = b"".join(bytes(entry.bytes) for entry in content)
        self.assertTrue(raw.decode(errors="replace").startswith(choice.message.content[:1]))
        for entry in content:
            self.assertEqual(len(entry.top_logprobs), 3)
            self.assertEqual(entry.top_logprobs[0].token, entry.token)
            self.assertEqual(entry.top_logprobs[0].logprob, entry.logprob)
            order = [top.logprob for top in entry.top_logprobs]
            self.assertEqual(order, sorted(order, reverse=True))
            self.assertLessEqual(order[0], 0)
        streamed = []
        for event in self.chat(logprobs=True, top_logprobs=3, stream=True):
            if event.choices[0].logprobs:
                streamed += event.choices[0].logprobs.content
        self.assertEqual(streamed, content)
        alone = self.chat(logprobs=True).choices[0].logprobs.content
        self.assertEqual([e.logprob for e in alone], [e.logprob for e in content])
        self.assertEqual(alone[0].top_logprobs, [])

    def test_completion_logprobs(self):
        got = self.complete(logprobs=2, logit_bias={str(self.ids("a")[0]): 100},
                            max_tokens=5).choices[0]
        self.assertEqual(got.logprobs.tokens, ["a"] * 5)
        self.assertEqual(got.logprobs.text_offset, [0, 1, 2, 3, 4])
        self.assertEqual(len(got.logprobs.token_logprobs), 5)
        self.assertTrue(all(len(top) == 2 for top in got.logprobs.top_logprobs))

    def test_limits_of_length(self):
        more = {"ignore_eos": True}
        for name in ("max_tokens", "max_completion_tokens"):
            got = self.chat(**{"max_tokens": None, name: 9}, extra_body=more)
            self.assertEqual(got.usage.completion_tokens, 9)
        both = self.chat(max_tokens=50, max_completion_tokens=3, extra_body=more)
        self.assertEqual(both.usage.completion_tokens, 3)
        # The API's own default for plain completions.
        short = self.complete(max_tokens=None, extra_body=more)
        self.assertEqual(short.usage.completion_tokens, 16)
        until_full = self.complete([self.ids("a")[0]] * 2000, max_tokens=1000, extra_body=more)
        self.assertEqual(until_full.choices[0].finish_reason, "length")
        self.assertGreaterEqual(until_full.usage.total_tokens, 2048)

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL])
        about = self.client.models.retrieve(MODEL)
        self.assertEqual((about.id, about.owned_by), (MODEL, "dunlin"))
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("another")


class Errors(Served):
    """The package's own classes, with what was wrong."""

    def test_bad_fields(self):
        for name, value in (("temperature", 3), ("top_p", 1.5), ("n", 0), ("n", 1000),
                            ("max_tokens", -1), ("stop", ["x"] * 17), ("stop", [""]), ("seed", 1.5),
                            ("logit_bias", {"x": 1}), ("logit_bias", {"1": 101}),
                            ("presence_penalty", "a lot"), ("top_logprobs", 3),
                            ("stream_options", "all"), ("tools", [{"type": "function"}]),
                            ("response_format", {"type": "xml"})):
            with self.subTest(name=name, value=value):
                with self.assertRaises(openai.BadRequestError) as caught:
                    self.chat(**{name: None, "extra_body": {name: value}})
                self.assertEqual(caught.exception.param, name)
                self.assertEqual(caught.exception.type, "invalid_request_error")
                self.assertIn(name, str(caught.exception))

    def test_bad_prompts(self):
        for prompt in ([], [1, "x"], ["x", 1], [-1], {"a": 1}, 7):
            with self.subTest(prompt=prompt), self.assertRaises(openai.BadRequestError) as caught:
                self.complete(prompt)
            self.assertEqual(caught.exception.param, "prompt")
        for prompt in ([1 << 20], ""):
            with self.subTest(prompt=prompt), self.assertRaises(openai.BadRequestError):
                self.complete(prompt)

    def test_bad_messages(self):
        image = [{"type": "image_url", "image_url": {"url": "data:,x"}}]
        for messages in ([], [{"content": "x"}], ["x"], [{"role": "user", "content": 5}],
                         [{"role": "user", "content": image}]):
            with self.subTest(messages), self.assertRaises(openai.BadRequestError) as caught:
                self.client.chat.completions.create(model=MODEL, messages=messages)
            self.assertEqual(caught.exception.param, "messages")

    def test_too_long(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.complete([5] * 3000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        self.assertIn("3000", str(caught.exception))
        self.assertIn("2048", str(caught.exception))

    def test_unknown_model(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.chat(model="gpt-4o")
        self.assertEqual(caught.exception.code, "model_not_found")
        self.assertEqual(caught.exception.param, "model")
        with self.assertRaises(openai.NotFoundError):
            self.client.images.generate(model=MODEL, prompt="x")

    def test_refused_deadline_is_not_tried_again(self):
        self.complete()
        insists = client_of(self.server, max_retries=2)
        self.addCleanup(insists.close)
        before = len(self.server.events("request", "status=503"))
        with self.assertRaises(openai.InternalServerError) as caught:
            insists.completions.create(model=MODEL, prompt="x", max_tokens=1000,
                                       extra_body={"deadline_ms": 1})
        self.assertEqual(caught.exception.status_code, 503)
        self.assertEqual(caught.exception.code, "deadline")
        self.assertGreaterEqual(int(caught.exception.response.headers["retry-after"]), 1)
        self.complete()
        self.assertEqual(len(self.server.events("request", "status=503")), before + 1)


class Keys(support.Case):
    """Who may ask."""

    @serving.needs_openai
    def test_keys(self):
        path = support.FOLDER / "keys"
        path.write_text("# whose\nalice sk-of-alice-0123456789\n")
        path.chmod(0o600)
        with serving.Server("--key-file", path, ready=False) as server:
            serving.wait_for(lambda: server.get("/ready").status == 200, "a ready server")
            with client_of(server, "sk-of-alice-0123456789") as client:
                client.completions.create(model=MODEL, prompt="x", max_tokens=2)
            with client_of(server, "sk-of-nobody-0123456789") as client:
                with self.assertRaises(openai.AuthenticationError) as caught:
                    client.models.list()
            self.assertEqual(caught.exception.code, "invalid_api_key")
            self.assertEqual(caught.exception.response.headers["www-authenticate"], "Bearer")


class AtOnce(Served):
    """Many clients: each gets what it would get alone."""

    def requests(self):
        for number in range(AT_ONCE):
            yield {"text": f"This is question {number}. " + "Why? " * (5 * number), "seed": number,
                   "temperature": 0 if number % 4 == 0 else 1,
                   "max_tokens": 20 + 5 * number}

    def ask(self, request, stream):
        if stream:
            return chat_text(self.chat(**request, stream=True))
        return self.chat(**request).choices[0].message.content

    def compare(self):
        requests = list(self.requests())
        lone = [self.ask(request, False) for request in requests]
        with concurrent.futures.ThreadPoolExecutor(2 * AT_ONCE) as pool:
            for turn in range(2):
                futures = [pool.submit(self.ask, request, stream) for request in requests
                           for stream in ((False, True) if turn else (True, False))]
                got = [future.result() for future in futures]
                self.assertEqual(got[::2], lone)
                self.assertEqual(got[1::2], lone)

    def test_equal(self):
        self.compare()


@support.needs_model
@support.needs_speed
class RealModel(AtOnce):
    """The same of a model that has something to say."""

    words = ["--context", "256", "--threads", "2"]

    @classmethod
    def setUpClass(cls):
        cls.models = [f"{MODEL}={support.REAL_MODEL}"]
        super().setUpClass()

    def requests(self):
        for number in range(AT_ONCE):
            yield {"text": f"{number} plus {number}?", "seed": number, "max_tokens": 6,
                   "temperature": 0 if number % 2 else 1}

    def compare(self):
        requests = list(self.requests())
        lone = [self.ask(request, False) for request in requests]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            got = list(pool.map(lambda pair: self.ask(pair[1], pair[0] % 2), enumerate(requests)))
        self.assertEqual(got, lone)

    def test_stop(self):
        got = self.complete("one, two, three, four, five, six, seven,", stop=["nine"])
        text = got.choices[0].text
        self.assertTrue(text.startswith(" eight,"), text)
        self.assertNotIn("nine", text)
        self.assertEqual(got.choices[0].finish_reason, "stop")
        parts = [event.choices[0].text for event in self.complete(
            "one, two, three, four, five, six, seven,", stop=["nine"], stream=True)]
        self.assertEqual("".join(parts), text)

    def test_says_something(self):
        got = self.chat("What is the capital of France? Answer in one word.")
        self.assertIn("Paris", got.choices[0].message.content)


if __name__ == "__main__":
    if not openai:
        print("no 'openai' package: scripts/fetch-clients has it")
        sys.exit(77)
    support.main()
