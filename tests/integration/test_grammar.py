# SPDX-License-Identifier: MIT
"""Structured output: texts drawn at random from what two hundred schemas allow, on a real vocabulary,
against the `jsonschema` package; and answers of the program and of the server."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import ggufs
import schemas
import serving
import support
from serving import openai

try:
    import jsonschema
except ImportError:
    jsonschema = None

MODEL = os.environ.get("DUNLIN_TEST_MODEL")
WALK = os.environ.get("DUNLIN_GRAMMAR_WALK")
needs_jsonschema = unittest.skipUnless(jsonschema, "no 'jsonschema' package: "
                                       "scripts/fetch-clients has it")
needs_model = unittest.skipUnless(MODEL, "DUNLIN_TEST_MODEL names no model")
needs_walk = unittest.skipUnless(WALK, "DUNLIN_GRAMMAR_WALK names no program")

PERSON = {"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 30}, "age": {"type": "integer", "minimum": 0,
                                                         "maximum": 150},
    "colours": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1,
                "maxItems": 3}},
    "required": ["name", "age", "colours"], "additionalProperties": False}


def walk(lines, texts=1 if support.SANITIZED else 3, checks=0, seed=1):
    told = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([WALK, MODEL, str(seed), str(texts), str(checks)], input=told,
                          capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def of_schema(schema):
    return {"kind": "schema", "text": json.dumps(schema)}


@needs_model
@needs_walk
class Walks(support.Case):
    def one(self, line, **more):
        return walk([line], **more)[0]

    @needs_jsonschema
    def test_what_ends_keeps_to_the_schema(self):
        made = schemas.all_schemas()
        finished = drawn = 0
        for schema, out in zip(made, walk([of_schema(schema) for schema in made])):
            with self.subTest(schema):
                self.assertNotIn("error", out)
                self.assertEqual((out["failed"], out["wrong"]), ("", 0))
                checker = jsonschema.Draft202012Validator
                if isinstance(schema, dict) and "draft-07" in schema.get("$schema", ""):
                    checker = jsonschema.Draft7Validator
                validator = checker(schema, format_checker=checker.FORMAT_CHECKER)
                for text, end in zip(out["texts"], out["finished"]):
                    finished += end
                    drawn += 1
                    if end:
                        validator.validate(json.loads(text))
        self.assertGreater(finished, 0.9 * drawn)

    def test_the_mask_says_what_each_token_says_by_itself(self):
        made = [of_schema(schema) for schema in schemas.all_schemas()[:60:6]]
        made += [{"kind": "json", "text": ""}, {"kind": "gbnf", "text":
                 'root ::= item ("," ws item)*\nitem ::= [a-zé]{2,12} | "(" root ")"\nws ::= [ ]*'},
                 {"kind": "gbnf", "text": "root ::= ([a-zA-Z ]{1,40} [a-z]{0,40} ){1,800}"}]
        made += [of_schema({"type": "string", "pattern": "^([a-z]{1,60}[a-z ]{1,60}){1,60}$"})]
        for line, out in zip(made, walk(made, texts=1, checks=2)):
            with self.subTest(line):
                self.assertEqual((out["failed"], out["wrong"]), ("", 0))

    def test_any_json_is_an_object(self):
        out = self.one({"kind": "json"}, texts=20)
        for text, end in zip(out["texts"], out["finished"]):
            if end:
                self.assertIsInstance(json.loads(text), dict)
        self.assertIn(True, out["finished"])

    def test_what_cannot_be_promised_is_refused_by_name(self):
        for schema, word in (({"not": {"type": "string"}}, "'not'"),
                             ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
                             ({"properties": {"a": {"if": {}, "then": {}}}}, "#/properties/a"),
                             ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
                             ({"type": "string", "pattern": "(a)\\1"}, "back-references"),
                             ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "'oneOf'"),
                             ({"$ref": "other.json"}, "'$ref'"), ({"$ref": "#/none"}, "'$ref'"),
                             ({"type": "strin"}, "'type'"), ({"format": "iban"}, "iban"),
                             ({"type": "integer", "minimum": 2, "maximum": 1}, "no text"),
                             ({"type": "number", "minimum": 0.30000000000000004,
                               "maximum": 0.3000000000000001}, "'minimum'"),
                             ({"type": "integer", "maximum": -1e20}, "'maximum'"),
                             ({"type": "object", "properties": {"foo": {}},
                               "propertyNames": {"pattern": "^x"}}, "'propertyNames'"),
                             ({"required": ["foo"], "propertyNames": {"maxLength": 2}},
                              "'propertyNames'"),
                             ({"type": "object", "unevaluatedProperties": False,
                               "allOf": [{"required": ["x"]}]}, "'unevaluatedProperties'"),
                             ({"type": "object", "properties": {"a": {"$ref": "#"}},
                               "required": ["a"]}, "no text")):
            with self.subTest(schema):
                self.assertIn(word, self.one(of_schema(schema)).get("error", "no error"))

    def test_wrong_grammars_are_told_with_their_line(self):
        for text, word in (("root ::= x", "'x'"), ("a ::= \"b\"", "'root'"),
                           ("root ::= root \"a\" | \"b\"", "itself"), ("root ::= \"a", "line 1"),
                           ("root ::= \"a\"\n\nroot ::= \"b\"", "line 3"), ("root ::= [b-a]", "range")):
            with self.subTest(text):
                self.assertIn(word, self.one({"kind": "gbnf", "text": text})["error"])


@needs_model
class Program(support.Case):
    def run_with(self, option, text, *more):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "file")
            path.write_text(text)
            return support.dunlin("run", MODEL, "Describe a person.", option, path,
                                  "--temperature", "1.5", "--seed", "7", *more)

    @needs_jsonschema
    def test_a_schema(self):
        done = self.run_with("--schema", json.dumps(PERSON))
        jsonschema.validate(json.loads(self.good(done)), PERSON)

    def test_a_grammar_and_the_same_text_with_guesses(self):
        grammar = 'root ::= "yes" | "no" | "perhaps, " ("so " | "not "){2,4} "!"'
        texts = {self.run_with("--grammar", grammar, "--speculation", mode).stdout
                 for mode in ("off", "always")}
        self.assertEqual(len(texts), 1)
        self.assertRegex(texts.pop(), rb"^(yes|no|perhaps, (so |not ){2,4}!)\n$")

    def test_errors(self):
        self.bad(self.run_with("--schema", '{"not": {}}'), support.FAILED, "'not'")


@needs_model
@serving.needs_openai
class Served(support.Case):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server("--context", "4096", models=[MODEL])
        cls.addClassCleanup(cls.server.kill)
        cls.client = openai.OpenAI(base_url=f"{cls.server.url}/v1", api_key="none",
                                   timeout=serving.PATIENCE, max_retries=0)
        cls.addClassCleanup(cls.client.close)
        cls.model = cls.client.models.list().data[0].id

    def ask(self, **more):
        return self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": "Describe a person as JSON."}],
            temperature=1.5, **more)

    @needs_jsonschema
    def test_schema(self):
        answer = self.ask(seed=3, n=3, response_format={"type": "json_schema", "json_schema": {
            "name": "person", "strict": True, "schema": PERSON}})
        for choice in answer.choices:
            self.assertEqual(choice.finish_reason, "stop")
            jsonschema.validate(json.loads(choice.message.content), PERSON)

    @needs_jsonschema
    def test_stream_and_logprobs(self):
        pieces = self.ask(seed=4, stream=True, logprobs=True, top_logprobs=2, response_format={
            "type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}})
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        jsonschema.validate(json.loads(text), PERSON)

    def test_object(self):
        for seed in range(4):
            choice = self.ask(seed=seed, max_tokens=200,
                              response_format={"type": "json_object"}).choices[0]
            if choice.finish_reason == "stop":
                self.assertIsInstance(json.loads(choice.message.content), dict)
            else:
                self.assertEqual(choice.finish_reason, "length")
                self.assertTrue(choice.message.content.startswith("{"))

    def test_types_of_pydantic(self):
        import pydantic

        class Step(pydantic.BaseModel):
            explanation: str = pydantic.Field(max_length=20)
            done: bool | None

        class Plan(pydantic.BaseModel):
            steps: list[Step] = pydantic.Field(max_length=2)

        answer = self.client.chat.completions.parse(
            model=self.model, messages=[{"role": "user", "content": "Plan a day."}],
            temperature=1.5, seed=5, response_format=Plan)
        self.assertIsInstance(answer.choices[0].message.parsed, Plan)

    def test_grammar(self):
        answer = self.ask(seed=1, extra_body={"grammar": 'root ::= "yes" | "no"'})
        self.assertIn(answer.choices[0].message.content, ("yes", "no"))
        answer = self.client.completions.create(model=self.model, prompt="The number is",
                                                extra_body={"grammar": "root ::= \" \" [0-9]{4}"})
        self.assertRegex(answer.choices[0].text, r"^ \d{4}$")

    @needs_jsonschema
    def test_a_call_that_is_demanded(self):
        """Whatever the model would rather say; references within a tool's own schema hold too."""
        place = {"type": "object", "properties": {
            "where": {"$ref": "#/$defs/city"}, "days": {"type": "integer", "maximum": 9,
                                                        "minimum": 1}},
            "required": ["where", "days"], "additionalProperties": False,
            "$defs": {"city": {"type": "string", "maxLength": 12}}}
        place["$id"] = "https://example.org/weather"
        schemas_of = {"weather": place, "now": None, "any": {"type": "object"}}
        tools = [{"type": "function", "function": {"name": name} | (
            {"parameters": schema} if schema else {})} for name, schema in schemas_of.items()]
        demands = [("required", {}, None), ("required", {"parallel_tool_calls": False}, None)] + [
            ({"type": "function", "function": {"name": name}}, {}, name) for name in ("now", "weather")]
        for seed in range(3):
            for choice, more, name in demands:
                with self.subTest(choice, seed=seed, **more):
                    answer = self.ask(seed=seed, tools=tools, tool_choice=choice, max_tokens=400,
                                      **more).choices[0]
                    if answer.finish_reason == "length":
                        self.assertIsNone(answer.message.tool_calls)
                        continue
                    self.assertEqual(answer.finish_reason, "tool_calls")
                    calls = answer.message.tool_calls
                    self.assertLessEqual(len(calls), 1 if more or name else 8)
                    for call in calls:
                        self.assertIn(call.function.name, [name] if name else schemas_of)
                        jsonschema.validate(json.loads(call.function.arguments),
                                            schemas_of[call.function.name] or {"maxProperties": 0})
        bad = [{"type": "function", "function": {"name": "f", "parameters": {
            "type": "object", "not": {}}}}]
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask(tools=bad, tool_choice="required")
        self.assertEqual(caught.exception.param, "tools")
        self.assertIn("'not'", str(caught.exception))

    def test_what_is_wrong_names_its_field(self):
        for format, param, word in (
                ({"type": "json_schema", "json_schema": {"name": "x", "schema": {
                    "type": "object", "patternProperties": {}}}}, "response_format",
                 "patternProperties"),
                ({"type": "json_schema", "json_schema": {"name": "x"}}, "response_format", "schema"),
                ({"type": "yaml"}, "response_format", "json_schema")):
            with self.subTest(format), self.assertRaises(openai.BadRequestError) as caught:
                self.ask(response_format=format)
            self.assertEqual(caught.exception.param, param)
            self.assertIn(word, str(caught.exception))
        # The last two need too much, at once and behind a letter: that is no "try again".
        words = "|".join(f'"{i}."' for i in range(5000))
        for grammar, word in (("root ::= nothing", "nothing"), (f"root ::= {words}", "too much"),
                              (f'root ::= "x" ({words})', "too much")):
            with self.subTest(grammar[:20]), self.assertRaises(openai.BadRequestError) as caught:
                self.ask(extra_body={"grammar": grammar})
            self.assertEqual(caught.exception.param, "grammar")
            self.assertIn(word, str(caught.exception))
        # The server goes on.
        self.test_grammar()


@needs_model
@needs_jsonschema
class Reasoning(support.Case):
    """A prompt that begins the reasoning: the answer keeps to the schema behind it."""

    TEMPLATE = ("Ann: A place?\n<think>\nHm.\n</think>\n{}\n" * 3
                + "Ann: {{ messages[-1]['content'] }}\n<think>\n")

    def test_behind(self):
        model = ggufs.Gguf.parse(pathlib.Path(MODEL).read_bytes())
        model.set_raw("tokenizer.chat_template", ggufs.STRING, ggufs.text(self.TEMPLATE.encode()))
        path = support.FOLDER / "thinks.gguf"
        path.write_bytes(model.bytes())
        schema = {"type": "object", "properties": {"city": {"enum": ["Bonn", "Rome"]}},
                  "required": ["city"], "additionalProperties": False}
        with serving.Server("--context", "512", models=[path]) as server:
            answer = server.post("/v1/chat/completions", max_tokens=60, temperature=0,
                                 messages=[{"role": "user", "content": "A place?"}],
                                 response_format={"type": "json_schema", "json_schema": {
                                     "name": "x", "schema": schema}})
            self.assertEqual(answer.status, 200, answer.body)
            choice = answer.json()["choices"][0]
            self.assertEqual(choice["finish_reason"], "stop")
            self.assertEqual(choice["message"]["reasoning_content"], "Hm.")
            jsonschema.validate(json.loads(choice["message"]["content"]), schema)
        path.unlink()


# Each has its own states; the next are as large and as wide as there may be, and the last two take
# the most while they are compiled: one is refused only when its graph is full, one fills what is read.
LARGE = [{"type": "string", "maxLength": 1000 + i, "pattern": "^[a-z" + chr(0x100 + i) + "]*$"}
         for i in range(12)]
LARGE += [{"enum": [f"{i} is a long word of an enumeration" for i in range(5000)]},
          {"type": "object", "properties": {f"property{i}": {"type": "string", "maxLength": i + 5}
                                            for i in range(900)}}]
TOO_LARGE = [{"enum": [f"{i}" * 12 for i in range(3900)]},
             {"type": "integer", "examples": list(range(8000)),
              "oneOf": [{"minimum": i, "maximum": i} for i in range(2500)]}]


@needs_model
class Memory(support.Case):
    """What clients make a worker keep for grammars is within what was planned for them."""

    @support.needs_speed
    def test_bound(self):
        with serving.Server("--context", "512", "--parallel", "2", models=[MODEL]) as server:
            worker, = server.workers()
            folder = pathlib.Path("/proc", str(worker))

            def most():
                status = (folder / "status").read_text()
                return int(status.split("VmHWM:")[1].split()[0]) >> 10

            for seed in range(20):  # all of the cache is in use then
                server.complete("Once", max_tokens=60, temperature=2, seed=seed)
            (folder / "clear_refs").write_text("5")
            before = most()
            for schema in LARGE:
                answer = server.complete("Once upon a time", max_tokens=60, temperature=2,
                                         response_format={"type": "json_schema", "json_schema": {
                                             "name": "x", "schema": schema}})
                self.assertEqual(answer.status, 200, answer.body)
                # Not a grammar that no text can follow.
                self.assertGreater(answer.json()["usage"]["completion_tokens"], 0)
                choice = answer.json()["choices"][0]
                if choice["finish_reason"] == "stop":
                    json.loads(choice["text"])
            for schema in TOO_LARGE:
                answer = server.complete("Once", max_tokens=60, response_format={
                    "type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
                self.assertEqual(answer.status, 400, answer.body)
                self.assertIn(b"too large", answer.body)
            self.assertEqual(server.workers(), [worker])
            # <dunlin/grammar.h>: 8 MiB while one is compiled, 6 of states, masks, an index.
            took = most() - before
            self.assertLess(took, 18)
            # The worst of them was there to be measured.
            self.assertGreater(took, 5)


if __name__ == "__main__":
    support.main()
