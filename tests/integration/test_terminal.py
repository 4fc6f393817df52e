#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""At a terminal: the conversation, Ctrl-C, and what may not reach the screen."""

import os
import pty
import select
import signal
import subprocess
import sys
import time

import support
from support import FAILED, OK, USAGE


def run_or_exit(path, arguments, env):
    """In the child of a fork: never back into the tests."""
    try:
        os.execve(path, arguments, env)
    finally:
        os._exit(127)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *words, env=None):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            run_or_exit(support.PROGRAM, [support.PROGRAM, *words], env or support.environment())

    def expect(self, text, seconds=support.TIMEOUT):
        """Wait until the text appears behind what was waited for before."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            ready, _, _ = select.select([self.fd], [], [], max(left, 0))
            try:
                more = os.read(self.fd, 65536) if ready else b""
            except OSError:
                more = b""
            if not more:
                raise AssertionError(f"no {text} in {self.seen}")
            self.seen += more
        before, _, self.seen = self.seen.partition(text)
        return before

    def send(self, data):
        os.write(self.fd, data)

    def wait(self):
        """The rest of the output, and the exit code."""
        try:
            while select.select([self.fd], [], [], support.TIMEOUT)[0]:
                self.seen += os.read(self.fd, 65536)
        except OSError:
            pass  # the other side has closed
        else:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Conversation(support.Case):
    """dunlin run without a prompt."""

    def talk(self, *words, **options):
        terminal = Terminal("run", support.tiny_model(), *words, **options)
        terminal.expect(b">>> ")
        return terminal

    def test_turns_and_end(self):
        terminal = self.talk("-n", "5", "--temperature", "0", "--ignore-eos", "--stats")
        terminal.send(b"hello\n")
        terminal.expect(b"(0 reused)")
        terminal.expect(b">>> ")
        terminal.send(b"again\n")
        self.assertNotIn(b"(0 reused)", terminal.expect(b"end: length"))
        terminal.expect(b">>> ")
        terminal.send(b"/reset\n")
        terminal.expect(b"a new conversation")
        terminal.expect(b">>> ")
        terminal.send(b"/help\n")
        terminal.expect(b"/bye or Ctrl-D")
        terminal.expect(b">>> ")
        terminal.send(b"/bye\n")
        self.assertEqual(terminal.wait(), OK)

    def test_letters_without_a_locale(self):
        """Devices and containers often have none set; the program speaks UTF-8 all the same."""
        terminal = self.talk("-n", "1", env=support.environment(LC_ALL="C"))
        terminal.send("zw\u00f6lf \u732b\n".encode())
        terminal.expect("zw\u00f6lf \u732b".encode())
        terminal.expect(b">>> ")
        terminal.send(b"\x1b[A")
        terminal.expect("zw\u00f6lf \u732b".encode())
        terminal.send(b"\n")
        terminal.expect(b">>> ")
        terminal.send(b"/bye\n")
        self.assertEqual(terminal.wait(), OK)

    def test_model_that_generates_nothing(self):
        """Said at once, not after the first line."""
        path = support.FOLDER / "bert.gguf"
        subprocess.run([sys.executable, str(support.ROOT / "scripts" / "make-test-model"),
                        "--arch", "bert", "--output", str(path)], check=True)
        terminal = Terminal("run", str(path))
        terminal.expect(b"made for 'dunlin embed'")
        self.assertEqual(terminal.wait(), FAILED)
        self.assertNotIn(b">>>", terminal.seen)

    def test_end_of_input(self):
        terminal = self.talk()
        terminal.send(b"\x04")
        self.assertEqual(terminal.wait(), OK)

    def test_interrupts(self):
        """Ctrl-C ends an answer, and a line that was begun, but not the program."""
        terminal = self.talk("--ignore-eos", "--context", "100000")
        terminal.send(b"half a li\x03")
        terminal.expect(b"/bye or Ctrl-D")
        terminal.expect(b">>> ")
        terminal.send(b"hello\n")
        time.sleep(1)
        terminal.send(b"\x03")
        terminal.expect(b"(stopped)")
        terminal.expect(b">>> ")
        terminal.send(b"/bye\n")
        self.assertEqual(terminal.wait(), OK)

    def test_history(self):
        env = support.environment(XDG_STATE_HOME=str(support.FOLDER / "state" / "deep"))
        terminal = self.talk("-n", "2", env=env)
        terminal.send("what was said: \u00e4\u20ac\n".encode())
        terminal.expect(b"\n")
        terminal.expect(b">>> ")
        terminal.send(b"/bye\n")
        self.assertEqual(terminal.wait(), OK)
        path = support.FOLDER / "state" / "deep" / "dunlin" / "history"
        self.assertEqual(path.stat().st_mode & 0o77, 0)
        terminal = self.talk("-n", "2", env=env)
        terminal.send(b"\x10")
        terminal.expect(b"/bye")
        terminal.send(b"\x10")
        terminal.expect("what was said: \u00e4\u20ac".encode())
        terminal.send(b"\x15/bye\n")
        self.assertEqual(terminal.wait(), OK)

    def test_too_long_a_turn_is_taken_back(self):
        terminal = self.talk("--context", "64", "-n", "3", "--ignore-eos")
        terminal.send(b"x " * 200 + b"\n")
        terminal.expect(b"the prompt has")
        terminal.expect(b">>> ")
        terminal.send(b"hi\n")
        terminal.expect(b"\n")
        self.assertNotIn(b"the prompt has", terminal.expect(b">>> "))
        terminal.send(b"/bye\n")
        self.assertEqual(terminal.wait(), OK)

    def test_dead_worker_ends_it(self):
        terminal = self.talk("--ignore-eos", "--context", "100000")
        os.kill(support.children(terminal.pid)[0], signal.SIGKILL)
        terminal.send(b"hello\n")
        terminal.expect(b"SIGKILL")
        self.assertEqual(terminal.wait(), support.WORKER)


class Screen(support.Case):
    """What a terminal gets."""

    def test_control_characters_are_replaced(self):
        path = support.FOLDER / "evil.jinja"
        path.write_text("{{ a }}")
        variables = support.FOLDER / "evil.json"
        variables.write_text('{"a": "x\\u001b]0;title\\u0007\\u009b2J\\u202etxt\\ty\\nend"}')
        shown = self.shell(f"template --file {path} < {variables}")
        self.assertNotRegex(shown, b"[\x1b\x07]|\xc2\x9b|\xe2\x80\xae")
        self.assertIn("x\ufffd]0;title\ufffd\ufffd2J\ufffdtxt\ty\r\nend".encode(), shown)
        with open(variables, "rb") as stdin:
            piped = support.dunlin("template", "--file", path, stdin=stdin.read())
        self.assertIn(b"\x1b]0;title\x07", self.good(piped))

    def shell(self, words):
        pid, fd = pty.fork()
        if pid == 0:
            run_or_exit("/bin/sh", ["sh", "-c", f"exec {support.PROGRAM} {words}"],
                        support.environment())
        terminal = Terminal.__new__(Terminal)
        terminal.pid, terminal.fd, terminal.seen = pid, fd, b""
        self.assertEqual(terminal.wait(), OK, terminal.seen)
        return terminal.seen

    def test_numbers_are_not_for_terminals(self):
        terminal = Terminal("logits", support.tiny_model(), "--tokens", "1")
        self.assertEqual(terminal.wait(), USAGE)
        self.assertIn(b"--output", terminal.seen)

    def test_json_needs_a_prompt(self):
        terminal = Terminal("run", support.tiny_model(), "--json")
        self.assertEqual(terminal.wait(), USAGE)

    def test_no_colour_into_a_pipe(self):
        done = support.dunlin("bench", support.tiny_model(), "-p", "8", "-n", "4", "-r", "1")
        self.assertEqual(self.good(done).count(b"\x1b"), 0)


if __name__ == "__main__":
    support.main()
