#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Anthropic's Messages API, as the real `anthropic` package sees it."""

import json
import unittest

import serving
import support

anthropic = serving.package("anthropic")
TOOLS = [{"name": "weather", "description": "Tell the weather.",
          "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
THOUGHT = "<think>\nI wonder.\n</think>\n\n"


@unittest.skipUnless(anthropic, "no 'anthropic' package: scripts/fetch-clients has it")
class Messages(support.Case):
    """By a parrot, which writes what it is told."""

    @classmethod
    def setUpClass(cls):
        cls.server = serving.parrot_server("<tool_call><think>")
        cls.addClassCleanup(cls.server.kill)
        cls.client = anthropic.Anthropic(base_url=cls.server.url, api_key="none", max_retries=0,
                                         timeout=serving.PATIENCE)
        cls.addClassCleanup(cls.client.close)

    def ask(self, text, **more):
        more = {"max_tokens": 4000, **more}
        return self.client.messages.create(
            model="polly", messages=[{"role": "user", "content": text}], **more)

    def variables(self, *messages, **more):
        """What the template gets."""
        answer = self.client.messages.create(
            model="polly", max_tokens=4000, messages=list(messages),
            extra_body={"chat_template_kwargs": {"tell": True}}, **more)
        return json.loads(answer.content[0].text)

    def test_text(self):
        answer = self.ask("Hello", system="Be brief.")
        self.assertEqual(answer.content[0].text, "Hello")
        self.assertEqual((answer.type, answer.role, answer.model), ("message", "assistant", "polly"))
        self.assertEqual(answer.stop_reason, "end_turn")
        self.assertEqual((answer.usage.input_tokens, answer.usage.output_tokens), (5, 5))
        self.assertTrue(answer.id.startswith("msg_"))
        self.assertEqual(self.ask("Hello", max_tokens=2).stop_reason, "max_tokens")

    def test_blocks(self):
        answer = self.ask(f"{THOUGHT}I look.\n{CALL}", tools=TOOLS,
                          thinking={"type": "enabled", "budget_tokens": 1024})
        thinking, text, call = answer.content
        self.assertEqual((thinking.type, thinking.thinking), ("thinking", "I wonder."))
        self.assertEqual((text.type, text.text), ("text", "I look."))
        self.assertEqual((call.type, call.name, call.input), ("tool_use", "weather",
                                                              {"city": "Bonn"}))
        self.assertEqual(answer.stop_reason, "tool_use")

    def test_stream(self):
        text = f"{THOUGHT}I look.\n{CALL}"
        with self.client.messages.stream(
                model="polly", max_tokens=4000, tools=TOOLS,
                messages=[{"role": "user", "content": text}]) as stream:
            kinds = [event.type for event in stream]
            last = stream.get_final_message()
        self.assertEqual([block.type for block in last.content], ["thinking", "text", "tool_use"])
        self.assertEqual(last.content[0].thinking, "I wonder.")
        self.assertEqual(last.content[1].text, "I look.")
        self.assertEqual(last.content[2].input, {"city": "Bonn"})
        self.assertEqual(last.stop_reason, "tool_use")
        self.assertEqual(last.usage.output_tokens, len(text))
        self.assertEqual(kinds[0], "message_start")
        self.assertEqual(kinds[-1], "message_stop")
        self.assertEqual(kinds.count("content_block_start"), 3)
        self.assertEqual(kinds.count("content_block_stop"), 3)

    def test_stream_that_fails(self):
        with self.assertRaises(anthropic.APIStatusError) as caught:
            list(self.ask("Hello", stream=True,
                          extra_body={"chat_template_kwargs": {"fail": True}}))
        self.assertEqual(caught.exception.body["error"]["type"], "api_error")

    def test_many_stops(self):
        answer = self.ask("Hello", stop_sequences=list("123456789"))
        self.assertEqual(answer.content[0].text, "Hello")

    def test_results(self):
        """What the model called, and what came of it, on its way back: each block once, in order."""
        got = self.variables(
            {"role": "user", "content": [{"type": "text", "text": "And the weather?"},
                                         {"type": "text", "text": "By day."}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "call_1", "name": "weather",
                 "input": {"city": "Bonn"}},
                {"type": "tool_use", "id": "call_2", "name": "weather",
                 "input": {"city": "Rome"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1",
                 "content": [{"type": "text", "text": "Rain."}]},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "Sun."},
                {"type": "text", "text": "So?"}]},
            system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
            tools=TOOLS)
        self.assertEqual(got["messages"], [
            {"role": "system", "content": "Be brief.\nBe kind."},
            {"role": "user", "content": "And the weather?\nBy day."},
            {"role": "assistant", "reasoning_content": "Hm.", "content": "I look.", "tool_calls": [
                {"id": name, "type": "function",
                 "function": {"name": "weather", "arguments": {"city": city}}}
                for name, city in (("call_1", "Bonn"), ("call_2", "Rome"))]},
            {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "Rain."},
            {"role": "tool", "tool_call_id": "call_2", "name": "weather", "content": "Sun."},
            {"role": "user", "content": "So?"}])
        self.assertEqual([tool["function"]["name"] for tool in got["tools"]], ["weather"])

    def test_count(self):
        counted = self.client.messages.count_tokens(
            model="polly", messages=[{"role": "user", "content": "Hello"}])
        longer = self.client.messages.count_tokens(
            model="polly", messages=[{"role": "user", "content": "Hello Hello"}])
        self.assertEqual(longer.input_tokens - counted.input_tokens, 6)

    def test_count_is_what_is_billed(self):
        """Whatever control tokens a user writes: they are none."""
        with serving.Server("--context", "512") as server, anthropic.Anthropic(
                base_url=server.url, api_key="none", max_retries=0) as client:
            for text in ("Hello there.", "<|im_end|><|im_start|>" * 10):
                messages = [{"role": "user", "content": text}]
                counted = client.messages.count_tokens(model="tiny", messages=messages)
                answer = client.messages.create(model="tiny", max_tokens=1, messages=messages)
                self.assertEqual(counted.input_tokens, answer.usage.input_tokens
                                 + answer.usage.cache_read_input_tokens)

    def test_stop(self):
        with serving.Server("--context", "512") as server, anthropic.Anthropic(
                base_url=server.url, api_key="none", max_retries=0) as client:
            plain = client.messages.create(
                model="tiny", max_tokens=24, extra_body={"temperature": 0},
                messages=[{"role": "user", "content": "Hello there."}])
            word = plain.content[0].text[4:7]
            cut = client.messages.create(
                model="tiny", max_tokens=24, extra_body={"temperature": 0},
                stop_sequences=[word],
                messages=[{"role": "user", "content": "Hello there."}])
            self.assertEqual((cut.stop_reason, cut.stop_sequence), ("stop_sequence", word))

    def test_errors(self):
        with self.assertRaises(anthropic.NotFoundError) as caught:
            self.client.messages.create(model="none", max_tokens=5,
                                        messages=[{"role": "user", "content": "x"}])
        self.assertEqual(caught.exception.body["error"]["type"], "not_found_error")
        image = [{"type": "image", "source": {"type": "url", "url": "http://localhost/x.png"}}]
        for more in ({"messages": [{"role": "user", "content": image}]},
                     {"messages": []}, {"messages": [{"role": "user", "content": []}]},
                     {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
                     {"tool_choice": {"type": "tool", "name": "nobody"}, "tools": TOOLS}):
            with self.subTest(more), self.assertRaises(anthropic.BadRequestError) as caught:
                self.client.messages.create(**{
                    "model": "polly", "max_tokens": 5,
                    "messages": [{"role": "user", "content": "x"}], **more})
            self.assertEqual(caught.exception.body["error"]["type"], "invalid_request_error")
        answer = self.server.post("/v1/messages", max_tokens=5, stop_sequences=["x"] * 20,
                                  messages=[{"role": "user", "content": "x"}])
        self.assertIn("'stop_sequences'", answer.json()["error"]["message"])
        answer = self.server.post("/v1/messages", messages=[{"role": "user", "content": "x"}])
        self.assertEqual(answer.status, 400)
        self.assertIn("max_tokens", answer.json()["error"]["message"])

    def test_prefill(self):
        """A last message of the assistant's is the beginning of the answer."""
        user = {"role": "user", "content": "Yes or no?"}
        begun = {"role": "assistant", "content": "I say"}
        got = self.variables(user, begun)
        self.assertEqual(got["messages"], [user, begun])
        self.assertIs(got["continue_final_message"], True)
        self.assertIs(got["add_generation_prompt"], False)
        for last in ([], [{"role": "assistant", "content": ""}]):
            got = self.variables(user, *last)
            self.assertEqual(got["messages"], [user])
            self.assertIs(got["add_generation_prompt"], True)
            self.assertNotIn("continue_final_message", got)
        call = {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}]}
        self.assertIs(self.variables(user, call)["add_generation_prompt"], True)

    def test_prefill_in_a_template(self):
        with serving.Server("--context", "512") as server:
            user = {"role": "user", "content": "Yes or no?"}
            begun = {"role": "assistant", "content": "I say <|im_end|> "}
            more = {"max_tokens": 1}
            plain = server.post("/apply-template", messages=[user]).json()["prompt"]
            got = server.post("/apply-template", messages=[user, begun],
                              continue_final_message=True).json()["prompt"]
            self.assertEqual(got, plain + begun["content"])
            closed = server.post("/v1/messages", messages=[user, begun, user], **more).json()
            count = server.post("/v1/messages/count_tokens", messages=[user, begun]).json()
            answer = server.post("/v1/messages", messages=[user, begun], **more).json()
            self.assertEqual(answer["usage"]["input_tokens"]
                             + answer["usage"]["cache_read_input_tokens"], count["input_tokens"])
            self.assertLess(count["input_tokens"], closed["usage"]["input_tokens"]
                            + closed["usage"]["cache_read_input_tokens"])
            for wrong in ({"messages": [user, {"role": "assistant", "content": " "}]},
                          {"messages": [user], "continue_final_message": 5}):
                answer = server.post("/apply-template",
                                     **{"continue_final_message": True, **wrong})
                self.assertEqual(answer.status, 400)

    def test_key(self):
        path = support.FOLDER / "keys"
        path.write_text("carol sk-of-carol-0123456789\n")
        path.chmod(0o600)
        with serving.parrot_server("x", "--key-file", path) as server:
            for key, status in (("sk-of-carol-0123456789", 200), ("sk-of-nobody", 401)):
                answer = server.post("/v1/messages", {"x-api-key": key}, max_tokens=5,
                                     messages=[{"role": "user", "content": "x"}])
                self.assertEqual(answer.status, status)
            self.assertEqual(answer.json()["error"]["type"], "authentication_error")
            self.assertEqual(json.loads(answer.body)["type"], "error")


if __name__ == "__main__":
    support.main()
