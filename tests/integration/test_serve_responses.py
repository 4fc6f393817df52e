#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""OpenAI's Responses API, as the real `openai` package sees it."""

import json
import unittest

import serving
import support
from serving import openai

TOOLS = [{"type": "function", "name": "weather", "strict": False, "description": "Tell it.",
          "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
THOUGHT = "<think>\nI wonder.\n</think>\n\n"


@unittest.skipUnless(openai, "no 'openai' package: scripts/fetch-clients has it")
class Responses(support.Case):
    """By a parrot, which writes what it is told."""

    @classmethod
    def setUpClass(cls):
        cls.server = serving.parrot_server("<tool_call><think>")
        cls.addClassCleanup(cls.server.kill)
        cls.client = openai.OpenAI(base_url=f"{cls.server.url}/v1", api_key="none", max_retries=0,
                                   timeout=serving.PATIENCE)
        cls.addClassCleanup(cls.client.close)

    def ask(self, text, **more):
        return self.client.responses.create(model="polly", input=text, **more)

    def test_text(self):
        answer = self.ask("Hello", instructions="Be brief.", metadata={"a": "b"})
        self.assertEqual(answer.output_text, "Hello")
        self.assertEqual((answer.status, answer.model, answer.store), ("completed", "polly", False))
        self.assertEqual(answer.instructions, "Be brief.")
        self.assertEqual(answer.metadata, {"a": "b"})
        self.assertEqual((answer.usage.input_tokens, answer.usage.output_tokens), (5, 5))
        cut = self.ask("Hello", max_output_tokens=2)
        self.assertEqual((cut.status, cut.output_text), ("incomplete", "He"))
        self.assertEqual(cut.incomplete_details.reason, "max_output_tokens")
        self.assertEqual([item.status for item in answer.output + cut.output],
                         ["completed", "incomplete"])

    def test_reasoning_tokens(self):
        thought = THOUGHT.removeprefix("<think>").rstrip()
        whole = self.ask(f"{THOUGHT}Yes.")
        self.assertEqual(whole.usage.output_tokens_details.reasoning_tokens, len(thought))
        cut = self.ask(f"{THOUGHT}Yes.", max_output_tokens=len(f"{THOUGHT}Y"))
        self.assertEqual(cut.usage.output_tokens_details.reasoning_tokens, len(thought))
        self.assertEqual([item.status for item in cut.output], ["completed", "incomplete"])
        plain = self.ask("Yes.")
        self.assertEqual(plain.usage.output_tokens_details.reasoning_tokens, 0)

    def test_stream_that_is_cut(self):
        text = f"{THOUGHT}I look."
        with self.client.responses.create(model="polly", input=text, stream=True,
                                          max_output_tokens=len(text) - 2) as stream:
            events = list(stream)
        self.assertEqual(events[-1].type, "response.incomplete")
        last = events[-1].response
        self.assertEqual([item.status for item in last.output], ["completed", "incomplete"])
        done = [event.item for event in events if event.type == "response.output_item.done"]
        self.assertEqual(done, last.output)
        self.assertIn("first_token_ms", last.model_extra["timings"])

    def test_items(self):
        answer = self.ask(f"{THOUGHT}I look.\n{CALL}", tools=TOOLS, store=True)
        thought, message, call = answer.output
        self.assertEqual((thought.type, thought.content[0].text), ("reasoning", "I wonder."))
        self.assertEqual((message.type, message.content[0].text), ("message", "I look."))
        self.assertEqual((call.type, call.name), ("function_call", "weather"))
        self.assertEqual(json.loads(call.arguments), {"city": "Bonn"})
        self.assertEqual(len({item.id for item in answer.output}), 3)
        self.assertEqual(answer.tools[0].name, "weather")

    def test_stream(self):
        text = f"{THOUGHT}I look.\n{CALL}\nSo."
        with self.client.responses.stream(model="polly", input=text, tools=TOOLS) as stream:
            events = list(stream)
            last = stream.get_final_response()
        kinds = [event.type for event in events]
        self.assertEqual(kinds[:2], ["response.created", "response.in_progress"])
        self.assertEqual(kinds[-1], "response.completed")
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual([item.type for item in last.output],
                         ["reasoning", "message", "function_call", "message"])
        self.assertEqual(last.output_text, "I look.So.")
        done = [event.item for event in events if event.type == "response.output_item.done"]
        self.assertEqual([item.id for item in done], [item.id for item in last.output])
        added = [event for event in events if event.type == "response.output_item.added"]
        self.assertEqual([event.output_index for event in added], [0, 1, 2, 3])
        deltas = "".join(event.delta for event in events
                         if event.type == "response.output_text.delta")
        self.assertEqual(deltas, "I look.So.")
        self.assertEqual(json.loads(last.output[2].arguments), {"city": "Bonn"})

    def test_stream_that_fails(self):
        with self.client.responses.create(
                model="polly", input="Hello", stream=True,
                extra_body={"chat_template_kwargs": {"fail": True}}) as stream:
            events = list(stream)
        self.assertEqual(events[-1].type, "response.failed")
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        last = events[-1].response
        self.assertEqual((last.status, last.error.code), ("failed", "server_error"))
        self.assertIn("choked", last.error.message)

    def messages(self, items, **more):
        """What the template gets of them."""
        answer = self.ask(items, extra_body={"chat_template_kwargs": {"tell": True}}, **more)
        return json.loads(answer.output_text)["messages"]

    def test_items_in(self):
        """A conversation that the client keeps: each item once, in order."""
        first = self.ask(f"{THOUGHT}I look.\n{CALL}\n{CALL}", tools=TOOLS)
        calls = first.output[2:]
        self.assertEqual(len(calls), 2)
        user = {"role": "user", "content": "And the weather?"}
        parts = {"role": "user", "content": [{"type": "input_text", "text": "So?"},
                                             {"type": "input_text", "text": "Well?"}]}
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": said}
                   for call, said in zip(calls, ("Rain.", "Sun."))]
        got = self.messages([user, *first.output, *results, parts], tools=TOOLS,
                            instructions="Be brief.")
        self.assertEqual(got, [
            {"role": "system", "content": "Be brief."}, user,
            {"role": "assistant", "reasoning_content": "I wonder.", "content": "I look.",
             "tool_calls": [{"id": call.call_id, "type": "function",
                             "function": {"name": "weather", "arguments": {"city": "Bonn"}}}
                            for call in calls]},
            *[{"role": "tool", "tool_call_id": call.call_id, "name": "weather", "content": said}
              for call, said in zip(calls, ("Rain.", "Sun."))],
            {"role": "user", "content": "So?\nWell?"}])

    def test_reasoning_in(self):
        """An answer of several items is one message."""
        items = self.ask(f"{THOUGHT}I look.").output
        self.assertEqual([item.type for item in items], ["reasoning", "message"])
        said = {"role": "assistant", "reasoning_content": "I wonder.", "content": "I look."}
        user = {"role": "user", "content": "And?"}
        self.assertEqual(self.messages([user, *items, user]), [user, said, user])
        # What another answer said is a message of its own.
        again = {"role": "assistant", "content": "So."}
        self.assertEqual(self.messages([user, *items, again]), [user, said, again])

    def test_allowed(self):
        def allow(mode, *names):
            return {"type": "allowed_tools", "mode": mode,
                    "tools": [{"type": "function", "name": name} for name in names]}
        tools = [*TOOLS, {**TOOLS[0], "name": "now"}]
        answer = self.ask(CALL, tools=tools, tool_choice=allow("auto", "weather"))
        self.assertEqual([item.type for item in answer.output], ["function_call"])
        self.assertEqual(self.ask(CALL, tools=tools, tool_choice=allow("auto", "now")).output_text,
                         CALL)
        forced = self.ask('[{"name": "now", "arguments": {}}]', tools=tools,
                          tool_choice=allow("required", "now"))
        self.assertEqual([item.name for item in forced.output], ["now"])
        for wrong in (allow("auto", "nobody"), allow("perhaps", "now"), {"type": "allowed_tools"},
                      {"type": "web_search_preview"}):
            with self.subTest(wrong), self.assertRaises(openai.BadRequestError) as caught:
                self.ask("Hi", tools=tools, tool_choice=wrong)
            self.assertEqual(caught.exception.body["param"], "tool_choice")

    def test_refused(self):
        for more, param in (({"previous_response_id": "resp_1"}, "previous_response_id"),
                            ({"conversation": "conv_1"}, "conversation"),
                            ({"background": True}, "background"),
                            ({"tools": [{"type": "web_search"}]}, "tools"),
                            ({"tool_choice": "required", "tools": []}, "tool_choice"),
                            ({"input": []}, "input"),
                            ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
                            ({"input": [{"role": "user", "content": [
                                {"type": "input_image", "image_url": "http://localhost/x"}]}]},
                             "input"),
                            ({"text": {"format": {"type": "nonsense"}}}, "text.format"),
                            ({"max_output_tokens": 0}, "max_output_tokens"),
                            ({"input": [{"role": "user", "content": "x"}] * 5000}, "input"),
                            ({"reasoning": {"effort": 5}}, "reasoning.effort"),
                            ({"instructions": 5}, "instructions"), ({"store": 5}, "store")):
            with self.subTest(more), self.assertRaises(openai.BadRequestError) as caught:
                self.client.responses.create(**{"model": "polly", "input": "x", **more})
            self.assertEqual(caught.exception.body["param"], param)
            self.assertNotRegex(caught.exception.body["message"], "'(max_completion_tokens|"
                                "response_format|messages|reasoning_effort)'")


if __name__ == "__main__":
    support.main()
