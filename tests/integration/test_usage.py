#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Help, options, exit codes, completions and man pages: one table tells all of them."""

import json
import re
import shutil
import subprocess
import unittest

import support
from support import USAGE, FAILED, dunlin

VERBS = ["run", "inspect", "tokenize", "template", "logits", "perplexity", "bench", "doctor",
         "embed", "rerank", "prepare", "restore", "health", "chat",
         "top"]


def options_of(verb):
    """Long options as the help lists them."""
    text = dunlin(verb, "--help").stdout.decode()
    return re.findall(r"^  (?:-\w, |    )--([a-z-]+)", text, re.MULTILINE)


class Usage(support.Case):
    """What the program says of itself."""

    def test_help_lists_the_verbs(self):
        text = self.good(dunlin("--help")).decode()
        for verb in VERBS:
            self.assertRegex(text, rf"(?m)^  {verb} ")
        self.assertNotRegex(text, r"(?m)^  worker ")
        self.assertEqual(self.good(dunlin("help")).decode(), text)

    def test_help_of_each_verb(self):
        for verb in VERBS:
            text = self.good(dunlin(verb, "--help")).decode()
            self.assertTrue(text.startswith(f"Usage: dunlin {verb} [OPTIONS]"), text)
            self.assertEqual(self.good(dunlin("help", verb)).decode(), text)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_headings(self):
        """Each option is under one heading, those of the samplers under theirs."""
        text = self.good(dunlin("run", "--help")).decode()
        first, choosing, recent = re.split(r"\n(?:Choosing tokens|Recent tokens):\n", text)
        self.assertIn("--help", first)
        self.assertIn("--no-sandbox", first)
        self.assertIn("--top-k", choosing)
        self.assertIn("--mirostat ", choosing)
        self.assertIn("--dry-base", recent)
        self.assertNotIn("--dry-base", first + choosing)

    def test_version(self):
        self.assertRegex(self.good(dunlin("--version")).decode(), r"\Adunlin \d+\.\d+\.\d+\n\Z")

    def test_no_verb_is_a_usage_error(self):
        done = dunlin()
        self.assertEqual(done.returncode, USAGE)
        self.assertEqual(done.stdout, b"")
        self.assertIn(b"Usage:", done.stderr)

    def test_closed_streams(self):
        """What is opened meanwhile does not take their place."""
        model = support.tiny_model()
        # With a seed: an answer may be nothing at all, for which no output is needed.
        for words in (("inspect", model), ("--version",),
                      ("run", model, "hi", "-n", "4", "--ignore-eos", "--seed", "1")):
            script = 'exec "$0" "$@" >&-'
            done = subprocess.run(["sh", "-c", script, support.PROGRAM, *words],
                                  capture_output=True, check=False, env=support.environment())
            self.bad(done, FAILED, "Bad file descriptor")
        done = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&- 2>&-', support.PROGRAM, "run",
                               model, "hi", "-n", "1", "--json"],
                              capture_output=True, check=False, env=support.environment())
        self.assertEqual(json.loads(self.good(done))["output_tokens"], 1)

    def test_mode_of_output_file(self):
        """What the user's mask says, as for any file that a program makes."""
        path = support.FOLDER / "mode.f32"
        for mask, mode in ((0o077, 0o600), (0o022, 0o644), (0o027, 0o640)):
            self.good(dunlin("logits", support.tiny_model(), "--tokens", "1", "-o", path,
                             umask=mask))
            self.assertEqual(path.stat().st_mode & 0o777, mode)

    def test_nearest_names(self):
        self.bad(dunlin("inspct"), USAGE, "inspct", "did you mean 'inspect'?")
        self.bad(dunlin("xyzzy"), USAGE, "xyzzy", "--help")
        self.bad(dunlin("rnu"), USAGE, "did you mean 'run'?")
        self.bad(dunlin("frob"), USAGE, "'frob'; 'dunlin --help' lists them")
        self.bad(dunlin("run", "--temprature", "1", "m"), USAGE, "did you mean --temperature?")
        self.bad(dunlin("run", "--top", "1", "m"), USAGE, "--top")

    def test_values_and_ranges(self):
        for words, named in [
            (["--top-p", "2"], "0 to 1"),
            (["--top-p", "x"], "0 to 1"),
            (["--threads", "0"], "1 to 64"),
            (["--threads=-1"], "1 to 64"),
            (["--threads", "1x"], "1 to 64"),
            (["--threads", "18446744073709551616"], "1 to 64"),
            (["--temperature", "nan"], "0 to 100"),
            (["--kv", "f64"], "f16|f32"),
            (["--memory", "lots"], "400M"),
            (["--logit-bias", "5"], "123=-5"),
            (["--logit-bias", "5=1e9"], "-100 to 100"),
            (["--seed", "1.5"], "a whole number, 0 to 9007199254740992"),
            (["--stop", ""], "--stop"),
            (["--stop", "x" * 256], "240 bytes"),
            (["--stop", "a", *["--stop=b"] * 16], "at most 16"),
            (["--typical-p", "1.01"], "--typical-p '1.01': takes a number, 0 to 1"),
            (["--top-n-sigma", "-2"], "--top-n-sigma '-2': takes a number, -1 to 100"),
            (["--xtc-probability", "2"], "--xtc-probability '2': takes a number, 0 to 1"),
            (["--xtc-threshold", "nan"], "--xtc-threshold 'nan': takes a number, 0 to 1"),
            (["--mirostat", "3"], "--mirostat '3': takes a whole number, 0 to 2"),
            (["--mirostat-lr", "11"], "--mirostat-lr '11': takes a number, 0 to 10"),
            (["--mirostat-ent", "-1"], "--mirostat-ent '-1': takes a number, 0 to 100"),
            (["--dynatemp-range", "x"], "--dynatemp-range 'x': takes a number, 0 to 100"),
            (["--dynatemp-exp", "1e3"], "--dynatemp-exp '1e3': takes a number, 0 to 100"),
            (["--dry-multiplier", "-1"], "--dry-multiplier '-1': takes a number, 0 to 100"),
            (["--dry-base", "0.5"], "--dry-base '0.5': takes a number, 1 to 100"),
            (["--dry-allowed-length", "1.5"], "whole number, 0 to 32768"),
            (["--dry-penalty-last-n", "32769"], "whole number, 0 to 32768"),
            (["--dry-sequence-breaker", ""], "--dry-sequence-breaker takes 1 to 31 bytes"),
            (["--dry-sequence-breaker", "x" * 32], "--dry-sequence-breaker takes 1 to 31 bytes"),
            (["--dry-sequence-breaker=a"] * 9, "--dry-sequence-breaker: at most 8"),
            (["--raw=1"], "takes no value"),
            (["-q"], "-q"),
            (["--logprobs", "2"], "--json"),
            (["--file", "x"], "either"),
        ]:
            with self.subTest(words):
                self.bad(dunlin("run", "model.gguf", "hi", *words), USAGE, named)
        self.bad(dunlin("run", "model.gguf", "hi", "--max-tokens"), USAGE, "needs a value")
        self.bad(dunlin("run"), USAGE, "MODEL [PROMPT]")
        self.bad(dunlin("run", "a", "b", "c"), USAGE, "'c'")
        self.bad(dunlin("template"), USAGE, "--file")
        self.bad(dunlin("template", "--file", "x", "--now", "noon"), USAGE, "noon")
        self.bad(dunlin("tokenize", "x.gguf", "--jsonl", "--ids"), USAGE, "--jsonl")
        for tokens in ["", "1,,2", "1,", "-1", "a", "4294967295"]:
            self.bad(dunlin("logits", "x.gguf", "--tokens", tokens), USAGE, "--tokens")

    def test_two_dashes_end_the_options(self):
        done = dunlin("tokenize", support.tiny_model(), "--ids", "--", "--ids")
        self.assertRegex(self.good(done).decode(), r"\A\d+( \d+)*\n\Z")

    def test_unknown_names_list_what_is_there(self):
        models = support.FOLDER / ".cache" / "dunlin" / "models"
        models.mkdir(parents=True, exist_ok=True)
        try:
            self.bad(dunlin("inspect", "nothing"), FAILED, "no model named 'nothing'")
            shutil.copy(support.tiny_model(), models / "tiny-one.gguf")
            self.bad(dunlin("inspect", "nothing"), FAILED, "tiny-one")
            self.assertIn(b"llama", self.good(dunlin("inspect", "tiny-one")))
            data = support.FOLDER / "data" / "dunlin" / "models"
            data.mkdir(parents=True, exist_ok=True)
            shutil.copy(support.tiny_model(), data / "mine.gguf")
            env = support.environment(XDG_DATA_HOME=str(support.FOLDER / "data"))
            self.good(dunlin("inspect", "mine", env=env))
            self.good(dunlin("inspect", "tiny-one", env=env))
        finally:
            shutil.rmtree(models)

    def test_full_output_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            for words in [["--help"], ["--version"], ["inspect", support.tiny_model()],
                          ["doctor", "--json"], ["tokenize", support.tiny_model(), "--ids", "x"]]:
                with self.subTest(words):
                    self.bad(dunlin(*words, stdout=full), FAILED, "No space left")


class Documents(support.Case):
    """What is written beside the tables must agree with them."""

    def test_completions_are_those_of_the_tables(self):
        for shell, name in [("bash", "dunlin.bash"), ("zsh", "_dunlin")]:
            made = self.good(dunlin("completion", shell)).decode()
            kept = (support.ROOT / "completions" / name).read_text()
            self.assertEqual(made, kept, f"run: dunlin completion {shell} > completions/{name}")

    @unittest.skipUnless(shutil.which("bash"), "no bash")
    def test_bash_completion_works(self):
        script = (
            f". {support.ROOT}/completions/dunlin.bash; COMP_WORDS=(dunlin run --temp); "
            "COMP_CWORD=2; _dunlin; echo ${COMPREPLY[@]}; COMP_WORDS=(dunlin in); COMP_CWORD=1; "
            "_dunlin; echo ${COMPREPLY[@]}"
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=60)
        self.assertEqual(done.stdout, b"--temperature\ninspect\n")

    def test_man_pages_name_every_option(self):
        for verb in VERBS:
            page = (support.ROOT / "docs" / "man" / f"dunlin-{verb}.1.scd").read_text()
            for option in options_of(verb):
                self.assertIn(f"*--{option}*", page, f"dunlin-{verb}.1.scd lacks --{option}")
            for option in re.findall(r"(?m)^\*--([a-z-]+)\*", page):
                self.assertIn(option, options_of(verb), f"dunlin-{verb}.1.scd invents --{option}")
            for default in re.findall(r"default: ([^)]*)\)", dunlin(verb, "--help").stdout.decode()):
                self.assertIn(default.split(",")[0].split(" ")[0], page)


if __name__ == "__main__":
    support.main()
