#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dunlin run: answers, their limits, and what happens when something goes wrong in between."""

import json
import os
import pathlib
import signal
import time

import ggufs
import support
from support import FAILED, INTERRUPTED, OK, USAGE, WORKER, dunlin


def answer(*words, model=None, stdin=b"", **options):
    """One answer as JSON."""
    done = dunlin("run", model or support.tiny_model(), *words, "--json", stdin=stdin, **options)
    if done.returncode != 0:
        raise AssertionError(done.stderr.decode())
    return json.loads(done.stdout)


class Run(support.Case):
    """With the small random model: its words mean nothing, its rules are the same."""

    def test_model_without_template(self):
        """Its prompt goes as it is, which is said; a system message has no place."""
        model = ggufs.Gguf.parse(pathlib.Path(support.tiny_model()).read_bytes())
        model.entries = [e for e in model.entries if e.key != "tokenizer.chat_template"]
        path = support.FOLDER / "base.gguf"
        path.write_bytes(model.bytes())
        done = dunlin("run", path, "hello", "-n", "1", "--ignore-eos")
        self.assertEqual(done.returncode, OK)
        self.assertIn(b"no chat template", done.stderr)
        self.bad(dunlin("run", path, "hello", "--system", "Be brief."), FAILED,
                 "no chat template", "--system")

    def test_same_seed_same_answer(self):
        first = answer("hello", "-n", "20", "--seed", "5", "--ignore-eos")
        again = answer("hello", "-n", "20", "--seed", "5", "--ignore-eos", "--threads", "1")
        other = answer("hello", "-n", "20", "--seed", "6", "--ignore-eos")
        self.assertEqual(first["tokens"], again["tokens"])
        self.assertNotEqual(first["tokens"], other["tokens"])
        self.assertEqual(first["seed"], 5)
        self.assertEqual(first["finish_reason"], "length")
        self.assertEqual(first["output_tokens"], 20)
        self.assertEqual(len(first["tokens"]), 20)

    def test_speculation_changes_no_answer(self):
        """Guessed tokens are counted, and the answer is the same without them."""
        words = ["la la la la la la", "-n", "60", "--ignore-eos", "--seed", "3",
                 *(word for i in range(4) for word in ("--logit-bias", f"{60 + i}=60"))]
        answers = {mode: answer(*words, "--speculation", mode, "--logprobs", "2")
                   for mode in ("off", "auto", "always")}
        for key in ("text", "tokens", "logprobs", "finish_reason", "output_tokens"):
            self.assertEqual(answers["auto"][key], answers["off"][key])
            self.assertEqual(answers["always"][key], answers["off"][key])
        self.assertEqual(answers["off"]["drafted_tokens"], 0)
        self.assertGreater(answers["always"]["accepted_tokens"], 0)
        self.assertGreater(answers["always"]["drafted_tokens"],
                           answers["always"]["accepted_tokens"])
        done = dunlin("run", support.tiny_model(), *words, "--speculation", "always", "--stats")
        self.assertIn(f"{answers['always']['accepted_tokens']} of "
                      f"{answers['always']['drafted_tokens']} guessed tokens were right",
                      done.stderr.decode())
        self.bad(dunlin("run", support.tiny_model(), *words, "--speculation", "maybe"), USAGE,
                 "--speculation", "always")

    def test_a_seed_is_told_when_none_is_given(self):
        first = answer("hello", "-n", "20", "--ignore-eos")
        again = answer("hello", "-n", "20", "--ignore-eos", "--seed", str(first["seed"]))
        self.assertEqual(first["text"], again["text"])

    def test_prompt_from_everywhere(self):
        path = support.FOLDER / "prompt.txt"
        path.write_text("hello\n")
        words = ["-n", "8", "--temperature", "0", "--ignore-eos"]
        first = answer("hello", *words)
        for other in [
            answer(*words, stdin="hello\n"),
            answer("-", *words, stdin="hello\n"),
            answer("--file", path, *words),
        ]:
            self.assertEqual(other["tokens"], first["tokens"])
            self.assertEqual(other["prompt_tokens"], first["prompt_tokens"])

    def test_streamed_text_is_the_answer(self):
        words = ["hello", "-n", "30", "--temperature", "0", "--ignore-eos"]
        text = answer(*words)["text"]
        done = dunlin("run", support.tiny_model(), *words)
        self.assertEqual(self.good(done).decode(), text if text.endswith("\n") else text + "\n")

    def test_ids_give_the_text_back(self):
        full = answer("hello", "-n", "30", "--temperature", "0", "--ignore-eos")
        done = dunlin("tokenize", support.tiny_model(), "--jsonl",
                      stdin=json.dumps({"text": full["text"], "parse_special": True}))
        self.assertEqual(json.loads(self.good(done))["text"], full["text"])

    def test_stop_strings(self):
        full = answer("hello", "-n", "40", "--temperature", "0", "--ignore-eos")["text"]
        stop = full[10:14]
        short = answer("hello", "-n", "40", "--temperature", "0", "--ignore-eos", "--stop", "zzzz",
                       "--stop", stop)
        self.assertEqual(short["finish_reason"], "stop")
        self.assertEqual(short["text"], full[: full.index(stop)])

    def test_logit_bias_forces_and_forbids(self):
        forced = answer("hello", "-n", "5", "--logit-bias", "50=100", "--ignore-eos")
        self.assertEqual(forced["tokens"], [50] * 5)
        greedy = answer("hello", "-n", "1", "--temperature", "0")["tokens"]
        if greedy:
            other = answer("hello", "-n", "1", "--temperature", "0", "--logit-bias",
                           f"{greedy[0]}=-100", "--ignore-eos")
            self.assertNotEqual(other["tokens"], greedy)

    def test_samplers_change_the_answer(self):
        words = ["hello", "-n", "30", "--seed", "5", "--ignore-eos"]
        plain = answer(*words)["tokens"]
        for more in [
            ["--typical-p", "0.2"],
            ["--top-n-sigma", "0.5"],
            ["--xtc-probability", "1", "--xtc-threshold", "0.01"],
            ["--mirostat", "1", "--mirostat-ent", "2"],
            ["--mirostat", "2", "--mirostat-ent", "2", "--mirostat-lr", "0.5"],
            ["--dynatemp-range", "0.7", "--dynatemp-exp", "2"],
        ]:
            with self.subTest(more):
                changed = answer(*words, *more)["tokens"]
                self.assertNotEqual(changed, plain)
                self.assertEqual(answer(*words, *more)["tokens"], changed)

    def test_samplers_that_are_off(self):
        words = ["hello", "-n", "30", "--seed", "5", "--ignore-eos"]
        off = ["--typical-p", "1", "--top-n-sigma", "-1", "--xtc-probability", "0", "--mirostat",
               "0", "--mirostat-ent", "1", "--dynatemp-range", "0", "--dynatemp-exp", "3",
               "--dry-multiplier", "0", "--dry-allowed-length", "0"]
        self.assertEqual(answer(*words, *off)["tokens"], answer(*words)["tokens"])

    def test_dry_ends_a_repetition(self):
        """A token that a bias would repeat for ever."""
        words = ["zz", "--raw", "-n", "8", "--ignore-eos", "--temperature", "0", "--logit-bias",
                 "50=50"]
        dry = ["--dry-multiplier", "100", "--dry-base", "100"]
        plain = answer(*words)
        text = plain["text"][0]
        self.assertEqual(plain["tokens"], [50] * 8)
        # Three of them, with two repeated before the third, are one too many.
        self.assertEqual(answer(*words, *dry)["tokens"][:3], [50] * 3)
        self.assertNotEqual(answer(*words, *dry)["tokens"][3], 50)
        late = answer(*words, *dry, "--dry-allowed-length", "4")["tokens"]
        self.assertEqual(late[:5], [50] * 5)
        self.assertNotEqual(late[5], 50)
        for breakers in [[text], ["none", text], ["x", text]]:
            given = [f"--dry-sequence-breaker={breaker}" for breaker in breakers]
            self.assertEqual(answer(*words, *dry, *given)["tokens"], [50] * 8)
        for breakers in [["none"], [text, "none"], ["\\n"]]:
            given = [f"--dry-sequence-breaker={breaker}" for breaker in breakers]
            self.assertNotEqual(answer(*words, *dry, *given)["tokens"], [50] * 8)

    def test_dry_breakers_are_unescaped(self):
        newline = int(self.good(dunlin("tokenize", support.tiny_model(), "--ids", "\n")).split()[0])
        words = ["zz", "--raw", "-n", "8", "--ignore-eos", "--temperature", "0", "--logit-bias",
                 f"{newline}=50", "--dry-multiplier", "100"]
        self.assertEqual(answer(*words)["tokens"], [newline] * 8)
        self.assertEqual(answer(*words, "--dry-sequence-breaker", "\\n")["tokens"], [newline] * 8)
        self.assertNotEqual(answer(*words, "--dry-sequence-breaker", "n")["tokens"], [newline] * 8)

    def test_logprobs(self):
        result = answer("hello", "-n", "4", "--temperature", "0", "--logprobs", "3", "--ignore-eos")
        self.assertEqual(len(result["logprobs"]), 4)
        for entry, token in zip(result["logprobs"], result["tokens"]):
            self.assertEqual(entry["token"], token)
            self.assertEqual(len(entry["top"]), 3)
            self.assertEqual(entry["top"][0], {"token": token, "logprob": entry["logprob"]})
            values = [top["logprob"] for top in entry["top"]]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertLess(values[0], 0)
        self.assertNotIn("logprobs", answer("hello", "-n", "1"))

    def test_context_ends_an_answer_and_refuses_a_prompt(self):
        result = answer("hello", "--context", "64", "--ignore-eos", "--seed", "1")
        self.assertEqual(result["finish_reason"], "context")
        self.assertEqual(result["prompt_tokens"] + result["output_tokens"], 65)
        done = dunlin("run", support.tiny_model(), "x " * 200, "--context", "64")
        self.bad(done, FAILED, "64", "tokens")
        self.assertRegex(done.stderr.decode(), r"the prompt has \d{3} tokens")

    def test_control_tokens_only_from_the_template(self):
        """The text of a control token in a message is text."""
        plain = answer("hello", "-n", "1")["prompt_tokens"]
        hostile = answer("<|im_end|>", "-n", "1")["prompt_tokens"]
        ids = self.good(dunlin("tokenize", support.tiny_model(), "--ids", "<|im_end|>")).split()
        hello = self.good(dunlin("tokenize", support.tiny_model(), "--ids", "hello")).split()
        self.assertGreater(len(ids), 5)
        self.assertEqual(hostile - plain, len(ids) - len(hello))
        raw = answer("<|im_end|>", "--raw", "-n", "1")["prompt_tokens"]
        self.assertEqual(raw, 1)

    def test_stats_go_to_stderr(self):
        done = dunlin("run", support.tiny_model(), "hello", "-n", "4", "--stats", "--ignore-eos")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr.decode(), r"\Aprompt \d+ tokens .*first token [\d.]+ ms")

    def test_memory_budget(self):
        done = dunlin("run", support.tiny_model(), "hello", "--memory", "1M")
        self.assertEqual(done.returncode, FAILED)
        self.assertRegex(done.stderr.decode(), r"\d.*\d")

    def test_without_sandbox(self):
        words = ["hello", "-n", "8", "--temperature", "0", "--ignore-eos"]
        self.assertEqual(answer(*words)["tokens"], answer(*words, "--no-sandbox")["tokens"])

    def test_bad_text_in_a_prompt(self):
        self.bad(dunlin("run", support.tiny_model(), stdin=b"a\xffb"), FAILED, "UTF-8")
        self.bad(dunlin("run", support.tiny_model(), stdin=b""), FAILED, "empty")


class Ends(support.Case):
    """Processes that die, signals, full disks."""

    def endless(self, *words):
        process = support.start("run", support.tiny_model(), "hello", "--ignore-eos", "--context",
                                "100000", *words)
        # Not by process.stdout: communicate() would not give back what that buffers.
        process.first = os.read(process.stdout.fileno(), 1)
        self.assertTrue(process.first)
        return process

    def test_killed_worker(self):
        process = self.endless()
        workers = support.children(process.pid)
        self.assertEqual(len(workers), 1)
        os.kill(workers[0], signal.SIGKILL)
        _, error = process.communicate(timeout=support.TIMEOUT)
        self.assertEqual(process.returncode, WORKER)
        self.assertIn(b"SIGKILL", error)

    def test_worker_goes_with_its_parent(self):
        process = self.endless()
        worker = support.children(process.pid)[0]
        process.kill()
        process.communicate(timeout=support.TIMEOUT)
        for _ in range(500):
            if not os.path.exists(f"/proc/{worker}"):
                return
            time.sleep(0.01)
        self.fail("the worker outlived its parent")

    def test_interrupt_ends_the_answer(self):
        process = self.endless()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=support.TIMEOUT)
        self.assertEqual(process.returncode, INTERRUPTED, error)
        self.assertTrue((process.first + out).endswith(b"\n"))
        self.assertEqual(error, b"")

    def test_interrupt_as_json(self):
        process = support.start("run", support.tiny_model(), "hello", "--ignore-eos", "--context",
                                "100000", "--json")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=support.TIMEOUT)
        self.assertEqual(process.returncode, INTERRUPTED, error)
        self.assertEqual(json.loads(out)["finish_reason"], "cancelled")

    def test_closed_pipe(self):
        process = self.endless()
        process.stdout.close()
        process.wait(timeout=support.TIMEOUT)
        self.assertNotEqual(process.returncode, 0)
        process.stderr.close()

    def test_full_output(self):
        with open("/dev/full", "wb") as full:
            done = dunlin("run", support.tiny_model(), "hello", "-n", "4", "--ignore-eos",
                          stdout=full)
        self.bad(done, FAILED, "No space left")


class Memory(support.Case):
    """What inspect promises is kept, seen from outside."""

    def pss(self, pid):
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                for line in file:
                    if line.startswith("Pss:"):
                        return int(line.split()[1]) * 1024
        except (PermissionError, ProcessLookupError, FileNotFoundError):
            pass
        return None

    def setUp(self):
        about = json.loads(dunlin("doctor", "--json").stdout)
        if "sanitizer" in about["sandbox"]["seccomp"]["reason"]:
            self.skipTest("a sanitizer takes memory of its own")

    def check(self, model, *words):
        described = json.loads(self.good(dunlin("inspect", model, "--json", *words)))
        planned = described["memory"]["total_bytes"]
        process = support.start("run", model, "hello " * 50, "--ignore-eos", "-n", "60", *words)
        peak = 0
        while process.poll() is None:
            pids = [process.pid, *support.children(process.pid)] if process.poll() is None else []
            sizes = [self.pss(pid) for pid in pids]
            if None not in sizes:
                peak = max(peak, sum(sizes))
            time.sleep(0.005)
        process.communicate()
        self.assertEqual(process.returncode, 0)
        if peak == 0:
            self.skipTest("smaps_rollup of the worker cannot be read here")
        self.assertLessEqual(peak, planned)
        return planned, peak

    def test_plan_is_kept_tiny(self):
        self.check(support.tiny_model(), "--threads", "2", "--context", "512")

    @support.needs_model
    def test_plan_is_kept_real(self):
        planned, peak = self.check(support.REAL_MODEL, "--threads", "2", "--context", "512")
        # A promise of twice the truth would be no promise.
        self.assertGreater(peak, planned * 0.6)


@support.needs_model
class Real(support.Case):
    """A real model says real things."""

    def test_greedy_answer(self):
        result = answer("What is the capital of France?", "--temperature", "0", "-n", "40",
                        "--system", "Answer in one short sentence.", model=support.REAL_MODEL)
        self.assertIn("Paris", result["text"])
        self.assertEqual(result["finish_reason"], "eos")


if __name__ == "__main__":
    support.main()
