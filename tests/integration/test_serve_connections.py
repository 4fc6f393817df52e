#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Connections that are slow, idle, left or never read: each is bounded, and its place is free
again. And who is let in."""

import contextlib
import hashlib
import json
import re
import resource
import socket
import time

import serving
import support
from serving import Server
from test_serve_hostile import BODY, HOST, chunk, chunked, post, read_answers, take_answer

IDLE = 10000
# Of the server in these tests; a loaded machine may take much longer.
TIMEOUT = 2
LONG = {"max_tokens": 25000, "ignore_eos": True, "stream": True}


def completion(**body):
    return post("/v1/completions", json.dumps({"prompt": "x", **LONG, **body}).encode())


class Slow(support.Case):
    """Requests that take their time."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--request-timeout", TIMEOUT, "--idle-timeout", TIMEOUT)
        cls.addClassCleanup(cls.server.kill)

    def trickle(self, data, more):
        """Sends a byte now and then until the server has had enough."""
        begin = time.monotonic()
        with self.server.connect() as link:
            link.sendall(data)
            link.settimeout(0.2)
            while time.monotonic() - begin < serving.PATIENCE:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    link.sendall(more)
                with contextlib.suppress(TimeoutError):
                    first = link.recv(1)
                    link.settimeout(serving.PATIENCE)
                    return first + read_answers(link), time.monotonic() - begin
        self.fail("it waits for ever")

    def test_each_part(self):
        for name, data, more in (("first line", b"GE", b"T"),
                                 ("head", b"GET / HTTP/1.1\r\nA: ", b"b"),
                                 ("body", post("/tokenize", b"{", length=10000), b" "),
                                 ("chunks", chunked(chunk(b"{")), chunk(b" ")),
                                 ("trailer", chunked(chunk(BODY), b"0\r\nA: "), b"b")):
            with self.subTest(name):
                got, seconds = self.trickle(data, more)
                status, _, body, _ = take_answer(got)
                self.assertEqual(status, 408)
                serving.Response(status, {}, body).error()
                self.assertGreater(seconds, TIMEOUT / 2)

    def test_idle(self):
        for data in (b"", f"GET /health HTTP/1.1\r\n{HOST}\r\n".encode(), b"\r\n"):
            with self.subTest(data), self.server.connect() as link:
                link.sendall(data)
                got = read_answers(link)
                if len(data) > 2:
                    self.assertEqual(take_answer(got)[3], b"")

    def test_half_open(self):
        """Closed without a word in the midst of a request: nothing is left."""
        for size in (0, 5, 100):
            with self.server.connect() as link:
                link.sendall(post("/tokenize", BODY)[:size])
        serving.wait_for(lambda: self.server.metrics()["dunlin_connections"] == 1, "closed ones")


class Leaving(support.Case):
    """Clients that do not want what they asked for: the work stops."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "30000", "--parallel", "2", "--idle-timeout", "4")
        cls.addClassCleanup(cls.server.kill)

    def is_free(self):
        """Once the step is over that was under way, long before an answer's end."""
        self.server.idle()

        def is_still():
            before = self.server.metrics()["dunlin_steps_total"]
            time.sleep(0.1)
            return self.server.metrics()["dunlin_steps_total"] == before
        serving.wait_for(is_still, "a worker that does nothing")
        self.assertEqual(self.server.complete(max_tokens=2).status, 200)

    def test_in_the_midst(self):
        links = []
        for stream in (True, False):
            for _ in range(2):
                link = self.server.connect()
                link.sendall(completion(stream=stream))
                links.append(link)
        links[0].recv(100)
        serving.wait_for(lambda: self.server.active() == 4, "four that run")
        tokens = self.server.metrics()["dunlin_step_tokens_total"]
        for link in links:
            link.close()
        self.is_free()
        # Of 100,000.
        self.assertLess(self.server.metrics()["dunlin_step_tokens_total"] - tokens, 20000)
        self.assertGreaterEqual(len(self.server.events("generation", "end=left")), 4)

    def test_before_the_first_byte(self):
        with self.server.connect() as link:
            link.sendall(completion(prompt="word " * 5000))
            serving.wait_for(lambda: self.server.active() == 1, "one that runs")
        self.is_free()

    def test_while_it_waits(self):
        links = []
        for _ in range(20):
            link = self.server.connect()
            link.sendall(completion(stream=False))
            links.append(link)
        serving.wait_for(lambda: self.server.props()["models"][0]["waiting"] > 5, "a queue")
        for link in links:
            link.close()
        serving.wait_for(lambda: self.server.props()["models"][0]["waiting"] == 0,
                         "an empty queue")
        self.is_free()

    def test_reset(self):
        with self.server.connect() as link:
            link.sendall(completion())
            link.recv(10)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.is_free()

    def test_never_reading(self):
        """Neither a fast nor a stopped answer is kept for it without end."""
        for more in ({"logprobs": 20}, {"max_tokens": 1500, "logprobs": 20}):
            link = socket.socket()
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.settimeout(serving.PATIENCE)
            link.connect(("127.0.0.1", self.server.port))
            with link:
                link.sendall(completion(**more))
                serving.wait_for(lambda: self.server.metrics()["dunlin_connections"] == 1,
                                 "a connection that was given up")
                self.is_free()

    def test_reads_slowly(self):
        """Who reads at all is answered to the end."""
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(serving.PATIENCE)
        link.connect(("127.0.0.1", self.server.port))
        with link:
            link.sendall(completion(max_tokens=300).replace(
                b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            got = b""
            while piece := link.recv(2000):
                got += piece
                time.sleep(0.001)
        self.assertIn(b"data: [DONE]", got)


class Many(support.Case):
    """Connections that say nothing, as many as there may be."""

    def open(self, server, count):
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(server.connect()) for _ in range(count)]
            return stack.pop_all(), links

    def test_idle(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        count = min(IDLE, hard - 500)
        with Server("--connections", count + 100, "--idle-timeout", "600") as server:
            stack, links = self.open(server, count)
            with stack:
                serving.wait_for(lambda: server.metrics()["dunlin_connections"] > count,
                                 "all of them")
                self.assertEqual(server.complete().status, 200)
                for link in links[::999]:
                    link.sendall(f"GET /health HTTP/1.1\r\n{HOST}\r\n".encode())
                    self.assertTrue(link.recv(1000).startswith(b"HTTP/1.1 200"))
                # Beyond what there may be, who was idle for longest goes.
                more, others = self.open(server, 200)
                with more:
                    self.assertEqual(server.complete().status, 200)
                    self.assertEqual(links[1].recv(1), b"")
            serving.wait_for(lambda: server.metrics()["dunlin_connections"] == 1, "closed ones")

    def test_full_of_answers(self):
        """Who is answered is not closed for others."""
        with Server("--connections", "4", "--context", "30000", "--parallel", "2") as server:
            streams = [server.stream(max_tokens=20000) for _ in range(3)]
            for _ in range(10):
                self.assertEqual(server.get("/health").status, 200)
            for connection, answer in streams:
                self.assertTrue(answer.readline().startswith(b"data: "))
                connection.close()


class KeyFiles(support.Case):
    """Who may ask, and files that say so."""

    SECRET = "sk-a-secret-of-some-length"

    def write(self, text, mode=0o600):
        path = support.FOLDER / "some-keys"
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_who_is_let_in(self):
        digest = hashlib.sha256(b"another-secret-0123").hexdigest()
        path = self.write(f"# remark\n\n{self.SECRET}\nbob\tsha256:{digest.upper()}\r\n")
        with Server("--key-file", path) as server:
            for value, status in ((None, 401), ("", 401), ("Bearer", 401), ("Bearer ", 401),
                                  ("Bearer wrong", 401), (f"Basic {self.SECRET}", 401),
                                  (self.SECRET, 401), (f"Bearer {self.SECRET}x", 401),
                                  (f"Bearer {digest}", 401), (f"Bearer sha256:{digest}", 401),
                                  (f"Bearer {self.SECRET}", 200), (f"bearer  {self.SECRET}", 200),
                                  ("Bearer another-secret-0123", 200)):
                headers = {"Authorization": value} if value is not None else {}
                for path in ("/v1/models", "/props", "/metrics"):
                    with self.subTest(value=value, path=path):
                        answer = server.get(path, headers=headers)
                        self.assertEqual(answer.status, status)
                        if status == 401:
                            self.assertEqual(answer.error()["type"], "authentication_error")
                            self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
            self.assertEqual(server.get("/health").status, 200)
            # Before a large body has come.
            with server.connect() as link:
                link.sendall(post("/tokenize", b"", "Expect: 100-continue\r\n", 1 << 20))
                self.assertEqual(take_answer(read_answers(link))[0], 401)

    def test_files(self):
        for text, words in (("", "no key"), ("# nothing\n", "no key"), ("short\n", "16 characters"),
                            (f"a b {self.SECRET}\n", "line 1"), ("x sha256:12\n", "64 hexadecimal"),
                            (f"\n\nx sha256:{'g' * 64}\n", "line 3"),
                            (f"{self.SECRET}\n" * 300, "256 keys")):
            with self.subTest(text[:40]):
                done = support.dunlin("serve", support.tiny_model(), "--key-file", self.write(text))
                self.bad(done, support.FAILED, words)
                self.assertNotIn(self.SECRET.encode(), done.stderr)
        done = support.dunlin("serve", support.tiny_model(), "--key-file",
                              self.write(f"{self.SECRET}\n", 0o644))
        self.bad(done, support.FAILED, "chmod 600")
        self.bad(support.dunlin("serve", support.tiny_model(), "--key-file", support.FOLDER),
                 support.FAILED, "no file of keys")

    def test_made(self):
        path = support.FOLDER / "made-keys"
        with Server("--key-file", path, "--make-key") as server:
            key = re.search(r"shown this once: (sk-[0-9a-f]{48})", server.log())[1]
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            # What is on the disk lets nobody in.
            self.assertEqual(path.read_text(),
                             f"first sha256:{hashlib.sha256(key.encode()).hexdigest()}\n")
            self.assertEqual(server.log().count(key), 1)
            good = server.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
            self.assertEqual(good.status, 200)
        with Server("--key-file", path, "--make-key") as server:
            self.assertNotIn(key, server.log())


if __name__ == "__main__":
    support.main()
