#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that people use in front of servers: LangChain, LiteLLM, curl."""

import json
import os
import shutil
import subprocess
import sys
import unittest

import serving
import support

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
LANGCHAIN = """
import sys
from langchain_openai import ChatOpenAI
def weather(city: str) -> str:
    "Tell the weather."
    return "Rain."
model = ChatOpenAI(model="polly", base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
assert model.invoke("Hello").content == "Hello"
assert "".join(chunk.content for chunk in model.stream("Hello")) == "Hello"
said = model.bind_tools([weather]).invoke([("system", "Speak."), ("user", sys.argv[2])])
assert said.tool_calls[0]["name"] == "weather", said
assert said.tool_calls[0]["args"] == {"city": "Bonn"}, said
"""
LITELLM = """
import json, sys
import litellm
common = {"max_retries": 0, "api_key": "none"}
said = litellm.completion(model="openai/polly", api_base=sys.argv[1] + "/v1",
                          messages=[{"role": "user", "content": "Hello"}], **common)
assert said.choices[0].message.content == "Hello", said
parts = litellm.completion(model="openai/polly", api_base=sys.argv[1] + "/v1", stream=True,
                           messages=[{"role": "user", "content": "Hello"}], **common)
assert "".join(part.choices[0].delta.content or "" for part in parts) == "Hello"
tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
for model, base in (("openai/polly", "/v1"), ("anthropic/polly", "")):
    said = litellm.completion(model=model, api_base=sys.argv[1] + base, tools=tools,
                              messages=[{"role": "user", "content": sys.argv[2]}], **common)
    call, = said.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Bonn"}, said
"""


def has(package):
    """Whether it was fetched; importing it here would take long."""
    return serving.CLIENTS and os.path.isdir(os.path.join(serving.CLIENTS, package))


class Clients(support.Case):
    """By a parrot, which writes what it is told."""

    @classmethod
    def setUpClass(cls):
        cls.server = serving.parrot_server("<tool_call>")
        cls.addClassCleanup(cls.server.kill)

    def python(self, program):
        environment = {**os.environ, "PYTHONPATH": serving.CLIENTS,
                       "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}
        done = subprocess.run([sys.executable, "-c", program, self.server.url, CALL],
                              env=environment, cwd=support.FOLDER, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])

    @unittest.skipUnless(has("langchain_openai"), "no 'langchain-openai' package: "
                         "scripts/fetch-clients has it")
    def test_langchain(self):
        self.python(LANGCHAIN)

    @unittest.skipUnless(has("litellm"), "no 'litellm' package: scripts/fetch-clients has it")
    def test_litellm(self):
        self.python(LITELLM)

    @unittest.skipUnless(shutil.which("curl"), "no curl")
    def test_curl(self):
        body = json.dumps({"model": "polly", "max_tokens": 9, "stream": True,
                           "messages": [{"role": "user", "content": "Hello"}]})
        for path, last in (("/v1/chat/completions", "data: [DONE]"),
                           ("/v1/messages", 'data: {"type":"message_stop"}')):
            done = subprocess.run(
                ["curl", "--silent", "--show-error", "--fail", "--no-buffer", "--json", body,
                 "--header", "x-api-key: none", self.server.url + path],
                capture_output=True, text=True, check=True)
            self.assertEqual(done.stdout.strip().splitlines()[-1], last)


if __name__ == "__main__":
    support.main()
