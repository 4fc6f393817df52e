#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Calls of tools and reasoning in chats, as `openai` sees them: the model is a parrot, which writes
what it is told, in the forms of the families."""

import json
import unittest

import serving
import support
from serving import openai

TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "Tell the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "now"}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
# What each family writes for the same call.
FORMS = {
    "<tool_call>": CALL,
    "<function= <tool_call>": "<tool_call>\n<function=weather>\n<parameter=city>\nBonn\n"
                              "</parameter>\n</function>\n</tool_call>",
    "ipython": '{"name": "weather", "parameters": {"city": "Bonn"}}',
    "[TOOL_CALLS]": '[TOOL_CALLS]weather[ARGS]{"city": "Bonn"}',
    "<|tool|>": '<|tool_call|>[{"name": "weather", "arguments": {"city": "Bonn"}}]<|/tool_call|>',
    "<|tool_call|>": '<|tool_call|>[{"name": "weather", "arguments": {"city": "Bonn"}}]',
    "<|tool_call_start|>": '<|tool_call_start|>[weather(city="Bonn")]<|tool_call_end|>',
    "<|tool_call>": '<|tool_call>call:weather{city:<|"|>Bonn<|"|>}<tool_call|>',
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n"
                             '```json\n{"city": "Bonn"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "no form": CALL,
}


def say(text):
    """Messages that a parrot answers with this text."""
    return [{"role": "system", "content": "Speak."}, {"role": "user", "content": text}]


class Parrot(support.Case):
    """A server for each form, as long as a test takes."""

    template = "<tool_call><think>"

    @classmethod
    def setUpClass(cls):
        if cls is Parrot or not openai:
            raise unittest.SkipTest("no 'openai' package: scripts/fetch-clients has it")
        cls.start(cls.template)

    @classmethod
    def start(cls, template):
        cls.server = serving.parrot_server(template)
        cls.addClassCleanup(cls.server.kill)
        cls.client = openai.OpenAI(base_url=f"{cls.server.url}/v1", api_key="none", max_retries=0,
                                   timeout=serving.PATIENCE)
        cls.addClassCleanup(cls.client.close)

    def chat(self, text, **more):
        more = {"tools": TOOLS, "messages": say(text), **more}
        return self.client.chat.completions.create(model="polly", **more)

    def variables(self, **body):
        """What the template got."""
        answer = self.server.post("/apply-template", **body)
        self.assertEqual(answer.status, 200, answer.body)
        return json.loads(answer.json()["prompt"])


class Forms(support.Case):
    """Each family's."""

    @serving.needs_openai
    def test_all(self):
        for template, text in FORMS.items():
            with self.subTest(template), serving.parrot_server(template) as server, \
                    openai.OpenAI(base_url=f"{server.url}/v1", api_key="none",
                                  max_retries=0) as client:
                whole = client.chat.completions.create(
                    model="polly", messages=say(text), tools=TOOLS).choices[0]
                self.assertEqual(whole.finish_reason, "tool_calls")
                self.assertIsNone(whole.message.content)
                call, = whole.message.tool_calls
                self.assertEqual(call.function.name, "weather")
                self.assertEqual(json.loads(call.function.arguments), {"city": "Bonn"})
                with client.chat.completions.stream(
                        model="polly", messages=say(text), tools=TOOLS) as stream:
                    last = stream.get_final_completion().choices[0]
                self.assertEqual(last.finish_reason, "tool_calls")
                self.assertEqual(last.message.tool_calls[0].function.arguments,
                                 call.function.arguments)


class Calls(Parrot):
    """What comes back."""

    def test_parallel(self):
        choice = self.chat(f"I look.\n{CALL}\n{NOW}").choices[0]
        self.assertEqual(choice.message.content, "I look.")
        self.assertEqual([call.function.name for call in choice.message.tool_calls],
                         ["weather", "now"])
        self.assertEqual(len({call.id for call in choice.message.tool_calls}), 2)
        one = self.chat(f"{CALL}\n{NOW}", parallel_tool_calls=False).choices[0]
        self.assertEqual([call.function.name for call in one.message.tool_calls], ["weather"])

    def test_deltas(self):
        events = list(self.chat(f"I look.\n{CALL}\n{NOW}", stream=True))
        deltas = [call for event in events for choice in event.choices
                  for call in choice.delta.tool_calls or []]
        self.assertEqual([delta.index for delta in deltas], [0, 0, 1, 1])
        self.assertEqual(deltas[0].function.name, "weather")
        self.assertEqual(deltas[0].function.arguments, "")
        self.assertTrue(deltas[0].id.startswith("call_"))
        self.assertEqual(deltas[0].type, "function")
        self.assertEqual(json.loads(deltas[1].function.arguments), {"city": "Bonn"})
        text = "".join(event.choices[0].delta.content or "" for event in events)
        self.assertEqual(text, "I look.")
        self.assertEqual(events[-1].choices[0].finish_reason, "tool_calls")

    def test_no_calls(self):
        for more in ({"tools": openai.NOT_GIVEN}, {"tools": []}, {"tool_choice": "none"}):
            with self.subTest(more):
                choice = self.chat(CALL, **more).choices[0]
                self.assertEqual(choice.message.content, CALL)
                self.assertIsNone(choice.message.tool_calls)
                self.assertEqual(choice.finish_reason, "stop")
        broken = "<tool_call>{nonsense</tool_call>"
        self.assertEqual(self.chat(broken).choices[0].message.content, broken)

    def test_cut_short(self):
        choice = self.chat(CALL, max_tokens=20).choices[0]
        self.assertEqual(choice.message.content, CALL[:20])
        self.assertEqual(choice.finish_reason, "length")

    def test_forced(self):
        one = '{"name": "now", "arguments": {}}'
        two = f'[{{"name": "weather", "arguments": {{"city": "Bonn"}}}}, {one}]'
        named = {"type": "function", "function": {"name": "now"}}
        for text, choice, more, names in (
                (two, "required", {}, ["weather", "now"]),
                (one, "required", {"parallel_tool_calls": False}, ["now"]),
                (one, named, {}, ["now"])):
            with self.subTest(choice):
                answer = self.chat(text, tool_choice=choice, **more).choices[0]
                self.assertEqual(answer.finish_reason, "tool_calls")
                self.assertIsNone(answer.message.content)
                self.assertEqual([call.function.name for call in answer.message.tool_calls], names)
        cut = self.chat(two, tool_choice="required", max_tokens=20).choices[0]
        self.assertEqual((cut.finish_reason, cut.message.content), ("length", two[:20]))

    def test_a_call_or_a_format(self):
        """A model may call before it answers in the form that is asked for."""
        call, other = '{"name": "now", "arguments": {}}', '{"name": "Bob", "city": "Bonn"}'
        for format in ({"type": "json_object"}, {"type": "json_schema", "json_schema": {
                "name": "x", "schema": {"type": "object"}}}):
            with self.subTest(format):
                made = self.chat(call, response_format=format).choices[0]
                self.assertEqual(made.message.tool_calls[0].function.name, "now")
                for text in (other, '{"city": "Bonn"}'):
                    said = self.chat(text, response_format=format).choices[0]
                    self.assertEqual((said.message.content, said.finish_reason), (text, "stop"))
                    self.assertIsNone(said.message.tool_calls)
        events = list(self.chat('{"city": "Bonn"}', stream=True,
                                response_format={"type": "json_object"}))
        self.assertGreater(sum(bool(event.choices[0].delta.content) for event in events), 5)

    def test_forced_behind_reasoning(self):
        choice = self.chat('I wonder.</think>[{"name": "now", "arguments": {}}]',
                           tool_choice="required", extra_body={
                               "chat_template_kwargs": {"end": "<think>\n"}}).choices[0]
        self.assertEqual(choice.message.model_extra["reasoning_content"], "I wonder.")
        self.assertEqual(choice.message.tool_calls[0].function.name, "now")

    def test_allowed(self):
        """Some of the tools, as if there were no others."""
        def allow(mode, *names):
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [
                {"type": "function", "function": {"name": name}} for name in names]}}
        both = f"{CALL}\n{NOW}"
        for names, called in ((["weather", "now"], ["weather", "now"]), (["now", "weather"],
                              ["weather", "now"])):
            choice = self.chat(both, tool_choice=allow("auto", *names)).choices[0]
            self.assertEqual([call.function.name for call in choice.message.tool_calls], called)
        self.assertEqual(self.chat(NOW, tool_choice=allow("auto", "now")).choices[0].finish_reason,
                         "tool_calls")
        for names in (["now"], []):
            choice = self.chat(CALL, tool_choice=allow("auto", *names)).choices[0]
            self.assertEqual((choice.message.tool_calls, choice.message.content), (None, CALL))
        one = '[{"name": "now", "arguments": {}}]'
        choice = self.chat(one, tool_choice=allow("required", "now")).choices[0]
        self.assertEqual([call.function.name for call in choice.message.tool_calls], ["now"])
        told = self.variables(messages=say("x"), tools=TOOLS, tool_choice=allow("auto", "now"))
        self.assertEqual(told["tools"], TOOLS[1:])
        for wrong in (allow("auto", "nobody"), allow("perhaps", "now"), allow("required"),
                      {"type": "allowed_tools"}, {"type": "allowed_tools", "allowed_tools": {
                          "mode": "auto", "tools": ["now"]}}):
            with self.subTest(wrong), self.assertRaises(openai.BadRequestError) as caught:
                self.chat("Hi", tool_choice=wrong)
            self.assertEqual(caught.exception.body["param"], "tool_choice")

    def test_forced_wrong(self):
        named = {"type": "function", "function": {"name": "nobody"}}
        for choice, more in ((named, {}), ({"type": "function"}, {}), ("perhaps", {}), (5, {}),
                             ("required", {"tools": []}),
                             ({"type": "function", "function": {}}, {})):
            with self.subTest(choice), self.assertRaises(openai.BadRequestError) as caught:
                self.chat("Hi", tool_choice=choice, **more)
            self.assertEqual(caught.exception.body["param"], "tool_choice")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat("Hi", tool_choice="required", response_format={"type": "json_object"})
        self.assertEqual(caught.exception.body["param"], "tools")

    def test_wrong(self):
        for tools, param in ((5, "tools"), ([{"type": "code"}], "tools"),
                             ([{"type": "function", "function": {}}], "tools"),
                             ([{"type": "function",
                                "function": {"name": "f", "parameters": []}}], "tools")):
            with self.subTest(tools):
                answer = self.server.post("/v1/chat/completions", messages=say("x"), tools=tools)
                self.assertEqual((answer.status, answer.error()["param"]), (400, param))

    def test_logprobs(self):
        """Of every token, whether its text is content or not."""
        events = list(self.chat(CALL, stream=True, logprobs=True))
        tokens = [entry for event in events for choice in event.choices if choice.logprobs
                  for entry in choice.logprobs.content]
        self.assertEqual("".join(entry.token for entry in tokens), CALL)


class Reasoning(Parrot):
    """Apart from the text."""

    def test_apart(self):
        text = "<think>\nI wonder.\n</think>\n\nYes."
        message = self.chat(text).choices[0].message
        self.assertEqual(message.content, "Yes.")
        self.assertEqual(message.model_extra["reasoning_content"], "I wonder.")
        events = list(self.chat(text, stream=True))
        thought = "".join(event.choices[0].delta.model_extra.get("reasoning_content", "")
                          for event in events)
        self.assertEqual(thought, "I wonder.")

    def test_begun_by_the_prompt(self):
        message = self.chat("I wonder.</think>Yes.", extra_body={
            "chat_template_kwargs": {"end": "<think>\n"}}).choices[0].message
        self.assertEqual(message.content, "Yes.")
        self.assertEqual(message.model_extra["reasoning_content"], "I wonder.")
        plain = self.chat("I wonder.</think>Yes.").choices[0].message
        self.assertEqual(plain.content, "I wonder.</think>Yes.")

    def test_with_a_call(self):
        message = self.chat(f"<think>I look.</think>{CALL}").choices[0].message
        self.assertEqual(message.model_extra["reasoning_content"], "I look.")
        self.assertEqual(message.tool_calls[0].function.name, "weather")


HISTORY = [
    {"role": "developer", "content": "Speak."},
    {"role": "user", "content": "And the weather?"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_1", "type": "function",
         "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Rain."}]},
    {"role": "tool", "tool_call_id": "call_2", "content": "Noon."}]


class Variables(Parrot):
    """What a template gets of tools, calls and results."""

    def test_tools_and_results(self):
        variables = self.variables(messages=HISTORY, tools=TOOLS,
                                   chat_template_kwargs={"enable_thinking": False})
        self.assertEqual(variables["tools"], TOOLS)
        self.assertIs(variables["enable_thinking"], False)
        system, _, assistant, result, _ = variables["messages"]
        self.assertEqual(system["role"], "system")
        self.assertEqual(assistant["content"], "")
        self.assertEqual(assistant["tool_calls"][0]["function"]["arguments"], {"city": "Bonn"})
        self.assertEqual(result, {"role": "tool", "tool_call_id": "call_1", "content": "Rain.",
                                  "name": "weather"})

    def test_effort(self):
        variables = self.variables(messages=HISTORY, reasoning_effort="none")
        self.assertNotIn("tools", variables)
        answer = self.client.chat.completions.create(
            model="polly", messages=HISTORY, tools=TOOLS, reasoning_effort="low")
        self.assertEqual(answer.choices[0].message.content, "Noon.")

    def test_wrong(self):
        def message(**more):
            return {"messages": [{"role": "user", "content": "x", **more}]}
        for body, param in ((message(tool_calls=5), "messages"),
                            (message(tool_calls=[{}]), "messages"),
                            (message(content=[{"type": "image_url"}]), "messages"),
                            (message(content=[{"type": "input_audio"}]), "messages"),
                            ({**message(), "chat_template_kwargs": 5}, "chat_template_kwargs"),
                            ({**message(), "chat_template_kwargs": {"messages": []}},
                             "chat_template_kwargs"),
                            ({**message(), "reasoning_effort": 5}, "reasoning_effort")):
            with self.subTest(body):
                answer = self.server.post("/v1/chat/completions", **body)
                self.assertEqual((answer.status, answer.error()["param"]), (400, param))


class Mistral(Parrot):
    """Ids of nine letters and digits."""

    template = "[TOOL_CALLS]"

    def test_ids(self):
        call, = self.chat(FORMS["[TOOL_CALLS]"]).choices[0].message.tool_calls
        self.assertRegex(call.id, "^[0-9a-z]{9}$")
        _, _, assistant, result, _ = self.variables(messages=HISTORY)["messages"]
        self.assertRegex(result["tool_call_id"], "^[0-9a-z]{9}$")
        self.assertEqual(assistant["tool_calls"][0]["id"], result["tool_call_id"])


class InWords(Parrot):
    """A template that knows no tools."""

    template = "plain"

    def test_messages(self):
        variables = self.variables(messages=HISTORY, tools=TOOLS)
        self.assertNotIn("tools", variables)
        system, _, assistant, results = variables["messages"]
        for tool in TOOLS:
            self.assertIn(tool["function"]["name"], system["content"])
        self.assertTrue(system["content"].endswith("\n\nSpeak."))
        self.assertIn('{"name": "weather", "arguments": {"city": "Bonn"}}', assistant["content"])
        self.assertNotIn("tool_calls", assistant)
        self.assertEqual(results["role"], "user")
        self.assertIn("Rain.", results["content"])
        self.assertIn("Noon.", results["content"])

    def test_without_tools(self):
        self.assertEqual(self.variables(messages=say("x"))["messages"], say("x"))


class RealModel(support.Case):
    """With a template of its own, and a model that is no parrot."""

    @serving.needs_openai
    def test_tools_are_in_the_prompt(self):
        with serving.Server("--context", "2048") as server:
            prompt = server.post("/apply-template", messages=HISTORY, tools=TOOLS).json()["prompt"]
            self.assertIn("Tell the weather.", prompt)
            self.assertIn("Rain.", prompt)
            answer = server.post("/v1/chat/completions", messages=HISTORY, tools=TOOLS,
                                 max_tokens=8)
            self.assertEqual(answer.status, 200, answer.body)


if __name__ == "__main__":
    support.main()
