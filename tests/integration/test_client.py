#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dunlin chat and dunlin top: a server at the terminal."""

import fcntl
import json
import os
import pathlib
import signal
import socket
import struct
import termios
import threading

import serving
import support
from serving import Server, wait_for
from support import FAILED, FOLDER, INTERRUPTED, OK, USAGE, dunlin
from test_terminal import Terminal

SECRET = "0123456789abcdef-secret"
LONG = ("--max-tokens", "20000")


class Chat(support.Case):
    """One shot, and errors that say what to do."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "30000")
        cls.addClassCleanup(cls.server.kill)

    def chat(self, *words, **more):
        return dunlin("chat", self.server.url, *words, **more)

    def test_same_as_the_api(self):
        """Text as the API gives it, in all ways that a prompt can come."""
        words = ("--temperature", "0", "-n", "12", "--system", "Be brief.")
        body = {"messages": [{"role": "system", "content": "Be brief."},
                             {"role": "user", "content": "Name a bird."}],
                "max_tokens": 12, "temperature": 0}
        wanted = self.server.post("/v1/chat/completions", **body).json()["choices"][0]["message"]
        wanted = wanted["content"].encode()
        path = FOLDER / "prompt"
        path.write_text("Name a bird.\n")
        for more, stdin in ((("Name a bird.",), ""), ((), "Name a bird.\n"),
                            (("-",), "Name a bird."), (("--file", path), "")):
            with self.subTest(more):
                got = self.good(self.chat(*words, *more, stdin=stdin))
                self.assertEqual(got, wanted if wanted.endswith(b"\n") else wanted + b"\n")

    def test_json(self):
        got = json.loads(self.good(self.chat("hello", "--json", "-n", "5", "--seed", "1",
                                             "--temperature", "0.5")))
        self.assertEqual(set(got), {"text", "model", "finish_reason", "prompt_tokens",
                                    "cached_tokens", "output_tokens", "timings"})
        self.assertEqual(got["model"], "tiny")
        self.assertLessEqual(got["output_tokens"], 5)
        self.assertGreater(got["prompt_tokens"], 0)
        self.assertIn("decode_ms", got["timings"])
        again = json.loads(self.good(self.chat("hello", "--json", "-n", "5", "--seed", "1",
                                               "--temperature", "0.5")))
        self.assertEqual(again["text"], got["text"])

    def test_stats(self):
        done = self.chat("hello", "--stats", "-n", "3")
        self.assertEqual(done.returncode, OK)
        self.assertRegex(done.stderr.decode(), r"\Aprompt \d+ tokens \(\d+ cached\); answer \d+ "
                         r"tokens, [\d.]+ tokens/s; first token [\d.]+ ms; end: (stop|length)\n\Z")

    def test_usage(self):
        self.bad(self.chat("hello", "--file", "x"), USAGE, "either a PROMPT or --file")
        self.bad(dunlin("chat", "a", "b", "c"), USAGE, "'c'")
        self.bad(self.chat("hello", "--temperature", "3"), USAGE, "0 to 2")
        self.bad(self.chat(stdin=""), FAILED, "the prompt is empty")
        self.bad(self.chat(stdin=b"\xff"), FAILED, "UTF-8")

    def test_nobody(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            where = f"127.0.0.1:{free.getsockname()[1]}"
        self.bad(dunlin("chat", where, "x"), FAILED, where, "refused", "is 'dunlin serve' running")
        self.bad(dunlin("chat", f"unix:{FOLDER}/none", "x"), FAILED, "No such file")
        self.bad(dunlin("chat", "somewhere", "x"), FAILED, "HOST:PORT")
        self.bad(dunlin("chat", "http://h:1/elsewhere", "x"), FAILED, "HOST:PORT")
        self.bad(dunlin("top", where), FAILED, where, "refused", "is 'dunlin serve' running")

    def test_refused(self):
        """What the server says of a request is said here."""
        self.bad(self.chat("x " * 40000), FAILED, "30000")
        self.bad(self.chat("x", "--model", "none"), FAILED, "no model 'none'", "tiny")

    def test_interrupt(self):
        """Ctrl-C ends it with what there is, and the server's work."""
        process = support.start("chat", self.server.url, *LONG, "--temperature", "2", "--top-k",
                                "0", "--top-p", "1", "--min-p", "0", "hello")
        self.assertTrue(process.stdout.read(1))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=serving.PATIENCE)
        # Where the answer was over before the signal came, it is whole.
        self.assertIn(process.returncode, (INTERRUPTED, OK))
        self.server.idle()


class Ways(support.Case):
    """Keys, socket files, several models."""

    def test_key(self):
        path = FOLDER / "client-keys"
        path.write_text(f"# the list of a server\nother sha256:{'0' * 64}\nme {SECRET}\n")
        path.chmod(0o600)
        with Server("--key-file", path) as server:
            words = ("chat", server.url, "hello", "-n", "2")
            self.bad(dunlin(*words), FAILED, "--key-file", "DUNLIN_API_KEY")
            self.good(dunlin(*words, "--key-file", path))
            self.good(dunlin(*words, env=support.environment(DUNLIN_API_KEY=SECRET)))
            self.bad(dunlin(*words, env=support.environment(DUNLIN_API_KEY="wrong")), FAILED,
                     "not known", "--key-file")
            done = dunlin(*words, env=support.environment(DUNLIN_API_KEY="a b\r\nX: y"))
            self.bad(done, FAILED, "a character that no key has")
            self.assertNotIn(b"X: y", done.stderr)
            self.bad(dunlin("top", server.url), FAILED, "--key-file")
            self.assertIn(b"tokens/s", self.good(dunlin("top", server.url, "--key-file", path)))
        path.write_text("# none\n")
        self.bad(dunlin("chat", "127.0.0.1:1", "x", "--key-file", path), FAILED, "has no key")

    def test_key_of_base64(self):
        """What the server takes for a line's key is what is sent."""
        path = FOLDER / "client-base64"
        for line in "bob dGVzdC1rZXktMDEyMzQ1Njc4OQ== parallel=2\n", f"{SECRET} parallel=2":
            path.write_text(line)
            path.chmod(0o600)
            with Server("--key-file", path) as server:
                self.good(dunlin("chat", server.url, "hello", "-n", "2", "--key-file", path))
        path.write_text(f"\n{SECRET} # mine\n")
        done = dunlin("chat", "127.0.0.1:1", "x", "--key-file", path)
        self.bad(done, FAILED, str(path), "line 2")
        self.assertNotIn(SECRET.encode(), done.stderr)

    def test_socket_file(self):
        path = FOLDER / "client.sock"
        with Server(listen=[f"unix:{path}"]):
            self.good(dunlin("chat", f"unix:{path}", "hello", "-n", "2"))
            self.assertIn(b"tiny", self.good(dunlin("top", f"unix:{path}")))

    def test_several_models(self):
        model = support.tiny_model()
        with Server(models=[f"one={model}", f"two={model}"]) as server:
            self.bad(dunlin("chat", server.url, "x"), FAILED, "--model one, two")
            got = json.loads(self.good(dunlin("chat", server.url, "x", "--model", "two", "--json",
                                              "-n", "2")))
            self.assertEqual(got["model"], "two")


class Hostile(support.Case):
    """Servers that are none, or mean harm."""

    def serve(self, *answers):
        """Gives each connection the next answer; returns where."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def run():
            for answer in answers:
                link, _ = listener.accept()
                with link:
                    link.recv(65536)
                    link.sendall(answer)
        threading.Thread(target=run, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    def models(self):
        body = b'{"data": [{"id": "evil"}]}'
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def stream(self, *events):
        return b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(b"data: " + one + b"\n\n" for one in events)

    def piece(self, text):
        return json.dumps({"choices": [{"delta": {"content": text}}]}).encode()

    def test_no_http(self):
        self.bad(dunlin("chat", self.serve(b"SSH-2.0-nobody\r\n"), "x"), FAILED,
                 "does not speak HTTP")
        self.bad(dunlin("top", self.serve(b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n")),
                 FAILED, "JSON")

    def test_cut(self):
        done = dunlin("chat", self.serve(self.models(), self.stream(self.piece("half"))), "x")
        self.assertEqual(done.stdout, b"half\n")
        self.assertEqual(done.returncode, FAILED)
        self.assertIn(b"broke off", done.stderr)

    def test_events(self):
        for name, events, word in (
                ("no JSON", [b"{"], "no JSON"),
                ("a list", [b"[1]"], "no JSON"),
                ("an error", [b'{"error": {"message": "too\\u001b[2J hot"}}'], "hot"),
                ("odd types", [b'{"choices": 1, "usage": 2, "timings": []}', b"{}"], "broke off"),
                ("odd error", [b'{"error": 1}'], "the server failed")):
            with self.subTest(name):
                done = dunlin("chat", self.serve(self.models(), self.stream(*events)), "x")
                self.bad(done, FAILED, word)
                self.assertNotIn(b"\x1b", done.stderr)

    def test_endless_line(self):
        where = self.serve(self.models(),
                           b"HTTP/1.1 200 OK\r\n\r\ndata: " + b"x" * (5 << 20))
        self.bad(dunlin("chat", where, "x"), FAILED, "more than 4194304 bytes")

    def test_terminal(self):
        """Nothing that a server sends moves the cursor."""
        end = json.dumps({"choices": [{"finish_reason": "\x1b[2J" + "\u00e9" * 40}]}).encode()
        where = self.serve(self.models(), self.stream(self.piece("a\x1b]0;title\x07b"), end,
                                                      b"[DONE]"))
        terminal = Terminal("chat", where, "x", "--stats")
        self.assertEqual(terminal.wait(), OK)
        self.assertNotRegex(terminal.seen, b"[\x1b\x07]")
        self.assertIn("a\ufffd]0;title\ufffdb".encode(), terminal.seen)
        self.assertIn("end: \ufffd[2J\u00e9".encode(), terminal.seen)


class Conversation(support.Case):
    """dunlin chat at a terminal."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "30000")
        cls.addClassCleanup(cls.server.kill)

    def talk(self, *words, server=None, **options):
        terminal = Terminal("chat", (server or self.server).url, *words, **options)
        terminal.expect(b"model 'tiny' at")
        terminal.expect(b">>> ")
        return terminal

    def test_turns(self):
        """What was said goes with the next line, until it is reset."""
        terminal = self.talk("-n", "5", "--stats", "--temperature", "0")
        prompts = []
        for line in (b"hello\n", b"again\n", b"/reset\n", b"hello\n"):
            terminal.send(line)
            if line != b"/reset\n":
                terminal.expect(b"prompt ")
                prompts.append(int(terminal.expect(b" tokens (")))
            terminal.expect(b">>> ")
        self.assertGreater(prompts[1], prompts[0])
        self.assertEqual(prompts[2], prompts[0])
        terminal.send(b"/help\n")
        terminal.expect(b"/bye or Ctrl-D")
        terminal.expect(b">>> ")
        terminal.send(b"\x04")
        self.assertEqual(terminal.wait(), OK)

    def test_history(self):
        """The same as of `dunlin run`."""
        env = support.environment(XDG_STATE_HOME=str(FOLDER / "chat-state"))
        terminal = self.talk("-n", "2", env=env)
        terminal.send("was sagt der V\u00f6gel\n".encode())
        terminal.expect(b"\n")
        terminal.expect(b">>> ")
        terminal.send(b"/bye\n")
        self.assertEqual(terminal.wait(), OK)
        terminal = self.talk("-n", "2", env=env)
        terminal.send(b"\x10\x10")
        terminal.expect("was sagt der V\u00f6gel".encode())
        terminal.send(b"\x15/bye\n")
        self.assertEqual(terminal.wait(), OK)
        path = pathlib.Path(FOLDER / "chat-state" / "dunlin" / "history")
        self.assertEqual(path.stat().st_mode & 0o77, 0)

    def test_server_that_goes(self):
        """The conversation outlives it, and says why there is no answer."""
        with Server() as server:
            terminal = self.talk("-n", "2", server=server)
            server.kill()
            terminal.send(b"hello\n")
            terminal.expect(b"is 'dunlin serve' running there?")
            terminal.expect(b">>> ")
            terminal.send(b"/bye\n")
            self.assertEqual(terminal.wait(), OK)

    def test_interrupt_of_a_line(self):
        terminal = self.talk("-n", "2")
        terminal.send(b"half a li\x03")
        terminal.expect(b"/bye or Ctrl-D")
        terminal.expect(b">>> ")
        terminal.send(b"/bye\n")
        self.assertEqual(terminal.wait(), OK)

    def test_json_needs_a_prompt(self):
        terminal = Terminal("chat", self.server.url, "--json")
        self.assertEqual(terminal.wait(), USAGE)


class Top(support.Case):
    """dunlin top."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--memory", "1G")
        cls.addClassCleanup(cls.server.kill)

    def test_text(self):
        text = self.good(dunlin("top", self.server.url)).decode()
        self.assertNotIn("\x1b", text)
        for word in ("dunlin ", self.server.where, "tokens/s", "first token", "between tokens",
                     "0 active of", "0 waiting of 64", "cores", "of 1024 MiB", "restarts", "tiny",
                     "ready"):
            self.assertIn(word, text)

    def test_json(self):
        got = json.loads(self.good(dunlin("top", self.server.url, "--json")))
        self.assertEqual(set(got), {"server", "version", "seconds", "tokens_per_second",
                                    "first_token", "between_tokens", "queue", "active", "waiting",
                                    "cores", "cpu_seconds_per_token", "front_restarts", "memory",
                                    "models"})
        self.assertGreaterEqual(got["seconds"], 1)
        self.assertEqual(got["memory"]["budget_bytes"], 1 << 30)
        self.assertGreater(got["memory"]["used_bytes"], 0)
        self.assertEqual(got["models"][0]["meta"]["state"], "ready")

    def test_counts(self):
        """Figures of what happened between two looks: the curve of work is not empty."""
        stop = threading.Event()

        def work():
            while not stop.is_set():
                self.server.complete(max_tokens=16, ignore_eos=True)
        worker = threading.Thread(target=work)
        worker.start()
        try:
            # On a machine that others use, two seconds may pass without a token.
            for _ in range(5):
                got = json.loads(self.good(dunlin("top", self.server.url, "--json", "-i", "2")))
                if got["tokens_per_second"] > 0:
                    break
        finally:
            stop.set()
            worker.join()
        self.assertGreater(got["tokens_per_second"], 0)
        self.assertGreater(got["between_tokens"]["p95_ms"], 0)
        self.assertGreaterEqual(got["between_tokens"]["p95_ms"], got["between_tokens"]["p50_ms"])
        self.assertGreater(got["cpu_seconds_per_token"], 0)

    def live(self, server=None):
        terminal = Terminal("top", (server or self.server).url)
        terminal.expect(b"\x1b[?1049h")
        terminal.expect(b"tokens/s")
        return terminal

    def test_live(self):
        """Drawn anew until q, and the terminal is as it was."""
        terminal = self.live()
        before = termios.tcgetattr(terminal.fd)[3]
        self.assertFalse(before & termios.ECHO)
        terminal.expect(b"tokens/s")
        terminal.send(b"q")
        terminal.expect(b"\x1b[?25h\x1b[?1049l")
        self.assertEqual(terminal.wait(), OK)

    def test_interrupt(self):
        terminal = self.live()
        terminal.send(b"\x03")
        terminal.expect(b"\x1b[?1049l")
        self.assertEqual(terminal.wait(), OK)

    def test_resize(self):
        """No line is wider than the terminal, nor are there more than it has."""
        terminal = self.live()
        fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 6, 30, 0, 0))
        os.kill(terminal.pid, signal.SIGWINCH)

        def fits():
            terminal.expect(b"\x1b[H")
            screen = terminal.expect(b"\x1b[J").decode()
            lines = screen.replace("\x1b[K", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
            lines = lines.split("\r\n")
            return len(lines) <= 6 and all(len(line.strip("\r")) <= 30 for line in lines)
        wait_for(fits, "a small screen")
        terminal.send(b"q")
        self.assertEqual(terminal.wait(), OK)

    def test_server_that_goes(self):
        """It waits for it to come back."""
        with Server() as server:
            terminal = self.live(server)
            server.kill()
            terminal.expect(b"Connection refused", serving.PATIENCE)
            with Server(listen=[server.where]) as again:
                terminal.expect(b"tiny")
                again.kill()
            terminal.send(b"q")
            self.assertEqual(terminal.wait(), OK)


if __name__ == "__main__":
    support.main()
