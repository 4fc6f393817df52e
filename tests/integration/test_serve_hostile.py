#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Clients that mean harm, or do it all the same: each gets the right status in the API's own shape,
and the server goes on answering others."""

import contextlib
import json
import socket

import serving
import support
from serving import Server

HOST = "Host: localhost\r\n"
JSON = HOST + "Content-Type: application/json\r\n"
BODY = b'{"content": "x"}'
LIMIT = 1 << 20
# Less than any time-out of the server's.
PATIENCE = 8


def read_answers(link):
    """All answers up to the end of the connection."""
    data = b""
    try:
        while piece := link.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass
    except TimeoutError:
        raise AssertionError(f"the connection stays open behind {data}") from None
    return data


def take_answer(data):
    """(status, headers, body, rest) of the first answer in what came."""
    head, found, rest = data.partition(b"\r\n\r\n")
    assert found, data
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status = first.split(" ")[:2]
    assert version == "HTTP/1.1", first
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    if status == "100":
        return int(status), headers, b"", rest
    size = int(headers["content-length"])
    assert len(rest) >= size, data
    return int(status), headers, rest[:size], rest[size:]


def post(path, body, more="", length=None):
    """A whole request as bytes."""
    size = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\n{JSON}Content-Length: {size}\r\n{more}\r\n".encode() + body


def chunked(*pieces, head="Transfer-Encoding: chunked\r\n"):
    return f"POST /tokenize HTTP/1.1\r\n{JSON}{head}\r\n".encode() + b"".join(pieces)


def chunk(data, size=None, end=b"\r\n"):
    return b"%x\r\n%s%s" % (len(data) if size is None else size, data, end)


LAST = b"0\r\n\r\n"


class Hostile(support.Case):
    """One server, which has to answer after each test as before."""

    words = ["--max-body", "1M"]

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "30000", "--queue", "200", *cls.words)
        cls.addClassCleanup(cls.server.kill)
        cls.front = cls.server.fronts()

    def tearDown(self):
        self.assertEqual(self.server.complete(max_tokens=2).status, 200)
        self.assertEqual(self.server.fronts(), self.front, self.server.log()[-2000:])

    def raw(self, data, shut=False):
        """What comes back until the server closes; the sender may be refused before it is done."""
        with self.server.connect(PATIENCE) as link:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                link.sendall(data)
            if shut:
                link.shutdown(socket.SHUT_WR)
            return read_answers(link)

    def refused(self, data, *statuses):
        """One answer: an error in the API's shape, and the connection is closed."""
        status, headers, body, rest = take_answer(self.raw(data))
        self.assertIn(status, statuses, body)
        self.assertEqual(headers["content-type"], "application/json")
        self.assertEqual(headers["connection"], "close")
        error = serving.Response(status, headers, body).error()
        self.assertEqual(rest, b"")
        return error

    def asked(self, data, status=200):
        """One answer on a connection that is good for another request."""
        with self.server.connect(PATIENCE) as link:
            link.sendall(data)
            link.sendall(f"GET /health HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
            got = read_answers(link)
        found, headers, body, rest = take_answer(got)
        self.assertEqual(found, status, body)
        self.assertEqual(take_answer(rest)[0], 200)
        return serving.Response(found, headers, body)


class Heads(Hostile):
    """What is no request, or more than one."""

    def test_smuggling(self):
        for name, data in {
            "both": chunked(chunk(BODY), LAST, head="Content-Length: 5\r\n"
                            "Transfer-Encoding: chunked\r\n"),
            "both, turned": chunked(chunk(BODY), LAST, head="Transfer-Encoding: chunked\r\n"
                                    "Content-Length: 5\r\n"),
            "two lengths": post("/tokenize", BODY, "Content-Length: 3\r\n"),
            "the same length twice": post("/tokenize", BODY, "Content-Length: 16\r\n"),
            "lengths in one": chunked(BODY, head="Content-Length: 16, 16\r\n"),
            "no chunked": chunked(chunk(BODY), LAST, head="Transfer-Encoding: xchunked\r\n"),
            "identity": chunked(BODY, head="Transfer-Encoding: identity\r\n"),
            "gzip": chunked(chunk(BODY), LAST, head="Transfer-Encoding: gzip, chunked\r\n"),
            "twice": chunked(chunk(BODY), LAST, head="Transfer-Encoding: chunked\r\n" * 2),
            "TE with tab": chunked(chunk(BODY), LAST, head="Transfer-Encoding:\x0bchunked\r\n"),
            "a space": chunked(chunk(BODY), LAST, head="Transfer-Encoding : chunked\r\n"),
            "length with sign": chunked(BODY, head="Content-Length: +16\r\n"),
            "negative length": chunked(BODY, head="Content-Length: -1\r\n"),
            "hexadecimal length": chunked(BODY, head="Content-Length: 0x10\r\n"),
            "length with words": chunked(BODY, head="Content-Length: 1 6\r\n"),
            "no length": chunked(BODY, head="Content-Length:\r\n"),
            "a long length": chunked(BODY, head=f"Content-Length: {10 ** 30}\r\n"),
            "HTTP/1.0 chunked": chunked(chunk(BODY), LAST).replace(b"HTTP/1.1", b"HTTP/1.0"),
            "bare LF": f"GET /health HTTP/1.1\n{HOST}\r\n\r\n".encode(),
            "bare LF in a field": f"GET /health HTTP/1.1\r\n{HOST}A: b\nC: d\r\n\r\n".encode(),
            "bare CR": f"GET /health HTTP/1.1\r\n{HOST}A: b\rC: d\r\n\r\n".encode(),
            "folded": f"GET /health HTTP/1.1\r\n{HOST}A: b\r\n c\r\n\r\n".encode(),
            "folded first": f"GET /health HTTP/1.1\r\n {HOST}\r\n".encode(),
            "NUL in a value": f"GET /health HTTP/1.1\r\n{HOST}A: b\0\r\n\r\n".encode(),
            "NUL in the target": f"GET /hea\0lth HTTP/1.1\r\n{HOST}\r\n".encode(),
            "no colon": f"GET /health HTTP/1.1\r\n{HOST}A\r\n\r\n".encode(),
            "no name": f"GET /health HTTP/1.1\r\n{HOST}: b\r\n\r\n".encode(),
            "two hosts": f"GET /health HTTP/1.1\r\n{HOST}Host: b\r\n\r\n".encode(),
            "no version": b"GET /health\r\n\r\n",
            "HTTP/0.9": b"GET /health HTTP/0.9\r\n\r\n",
            "two spaces": f"GET  /health HTTP/1.1\r\n{HOST}\r\n".encode(),
        }.items():
            with self.subTest(name):
                self.refused(data, 400, 413, 505)

    def test_what_is_no_http(self):
        for name, data in {"HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                           "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                           "noise": bytes(range(256)) + b"\r\n\r\n",
                           "HTTP/3": f"GET / HTTP/3.0\r\n{HOST}\r\n".encode(),
                           "no method": f"/health HTTP/1.1\r\n{HOST}\r\n".encode(),
                           "lower case": f"get /health HTTP/1.1\r\n{HOST}\r\n".encode(),
                           "unknown": f"BREW /health HTTP/1.1\r\n{HOST}\r\n".encode(),
                           "CONNECT": f"CONNECT localhost:1 HTTP/1.1\r\n{HOST}\r\n".encode(),
                           "star": f"GET * HTTP/1.1\r\n{HOST}\r\n".encode(),
                           "upgrade": f"GET /health HTTP/1.1\r\n{HOST}Connection: Upgrade\r\n"
                                      "Upgrade: websocket\r\n\r\n".encode()}.items():
            with self.subTest(name):
                got = self.raw(data if name != "upgrade" else
                               data.replace(b"Connection: Upgrade", b"Connection: Upgrade, close"))
                status, headers, body, _ = take_answer(got)
                if name == "upgrade":
                    self.assertIn(status, (200, 400))
                    continue
                self.assertIn(status, (400, 405, 505), body)
                serving.Response(status, headers, body).error()

    def test_large_heads(self):
        fill = "A: " + "b" * 8000 + "\r\n"
        many = "".join(f"A{n}: b\r\n" for n in range(100))
        for name, data in {
            "fields": f"GET /health HTTP/1.1\r\n{HOST}{fill * 3}\r\n",
            "a value": f"GET /health HTTP/1.1\r\n{HOST}A: {'b' * 20000}\r\n\r\n",
            "a name": f"GET /health HTTP/1.1\r\n{HOST}{'b' * 20000}: c\r\n\r\n",
            "a target": f"GET /{'b' * 20000} HTTP/1.1\r\n{HOST}\r\n",
            "no end": f"GET /health HTTP/1.1\r\n{HOST}A: {'b' * 300000}",
            "many": f"GET /health HTTP/1.1\r\n{HOST}{many}\r\n",
        }.items():
            with self.subTest(name):
                self.refused(data.encode(), 431)
        small = "".join(f"A{n}: b\r\n" for n in range(60))
        self.asked(f"GET /health HTTP/1.1\r\n{HOST}{small}\r\n".encode())

    def test_methods(self):
        for method, path, status in (("OPTIONS", "/v1/chat/completions", 405),
                                     ("OPTIONS", "/health", 405), ("PUT", "/tokenize", 405),
                                     ("DELETE", "/v1/models/tiny", 405), ("GET", "/tokenize", 405),
                                     ("TRACE", "/health", 405), ("PUT", "/", 405),
                                     ("GET", "/page/none", 404),
                                     ("GET", "/v1/modelsx", 404), ("GET", "//health", 404),
                                     ("GET", "/health/../props", 404),
                                     ("GET", "/%2fhealth", 404), ("GET", "/health%3f", 404)):
            with self.subTest(method=method, path=path):
                data = f"{method} {path} HTTP/1.1\r\n{HOST}\r\n".encode()
                self.asked(data, status).error()
        head = self.raw(f"HEAD /health HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "))
        self.assertTrue(head.endswith(b"\r\n\r\n"))
        self.assertIn(b"Content-Length: 15", head)

    def test_targets(self):
        for target, status in (("http://localhost/health", 200), ("http://localhost?/health", 200),
                               ("HTTP://LOCALHOST/health?a#b", 200), ("/%68ealth", 200),
                               ("/health?a=/../b", 200), ("http://localhost", 200)):
            with self.subTest(target):
                self.asked(f"GET {target} HTTP/1.1\r\n{HOST}\r\n".encode(), status)
        for target in ("http://evil.example/health", "http://localhost@evil.example/health",
                       "http://evil.example#@localhost/health", "ftp://localhost/health",
                       "//evil.example/health", "http:///health", "http://", "health",
                       "http://127.0.0.1/health", "/health%00", "/health%0", "/health%+1"):
            with self.subTest(target):
                data = f"GET {target} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
                got = self.raw(data.encode())
                status, headers, body, _ = take_answer(got)
                self.assertIn(status, (400, 403, 404))
                serving.Response(status, headers, body).error()

    def test_old_version(self):
        got = take_answer(self.raw(b"GET /health HTTP/1.0\r\n\r\n"))
        self.assertEqual((got[0], got[1]["connection"]), (200, "close"))
        text = b'{"prompt": "x", "stream": true, "max_tokens": 3, "ignore_eos": true}'
        got = self.raw(post("/v1/completions", text).replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertNotIn(b"chunked", got)
        self.assertTrue(got.endswith(b"data: [DONE]\n\n"), got)

    def test_pipelining(self):
        count = 50
        data = b"".join(post("/detokenize", json.dumps({"tokens": [n]}).encode())
                        for n in range(count - 1))
        data += post("/detokenize", b'{"tokens": []}', "Connection: close\r\n")
        want = [self.server.post("/detokenize", tokens=[n]).json() for n in range(count - 1)]
        want.append({"content": ""})
        with self.server.connect(PATIENCE) as link:
            link.sendall(data)
            rest = read_answers(link)
        got = []
        while rest:
            status, _, body, rest = take_answer(rest)
            self.assertEqual(status, 200)
            got.append(json.loads(body))
        self.assertEqual(got, want)

    def test_byte_by_byte(self):
        data = post("/tokenize", BODY, "Connection: close\r\n")
        with self.server.connect(PATIENCE) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(len(data)):
                link.sendall(data[at:at + 1])
            self.assertEqual(take_answer(read_answers(link))[0], 200)

    def test_half_requests(self):
        whole = post("/tokenize", BODY)
        for size in (1, 10, 60, len(whole) - len(BODY), len(whole) - 1):
            self.assertEqual(self.raw(whole[:size], shut=True), b"")

    def test_browsers(self):
        for name, fields, status, code in (
                ("foreign host", "Host: evil.example\r\n", 403, "host"),
                ("with a port", "Host: evil.example:8080\r\n", 403, "host"),
                ("alike", "Host: localhost.evil.example\r\n", 403, "host"),
                ("empty", "Host: \r\n", 403, "host"),
                ("bracket", "Host: [::1\r\n", 403, "host"),
                ("foreign origin", f"{HOST}Origin: http://evil.example\r\n", 403, "origin"),
                ("no origin", f"{HOST}Origin: null\r\n", 403, "origin"),
                ("another port", f"{HOST}Origin: http://localhost:1\r\n", 403, "origin")):
            with self.subTest(name):
                data = f"GET /v1/models HTTP/1.1\r\n{fields}\r\n".encode()
                status_, _, body, _ = take_answer(self.raw(data.replace(
                    b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
                self.assertEqual((status_, json.loads(body)["error"]["code"]), (status, code))
        for fields in ("Host: 127.0.0.1\r\n", "Host: [::1]:80\r\n", "Host: LOCALHOST:1\r\n",
                       f"{HOST}Origin: http://localhost\r\n"):
            self.asked(f"GET /v1/models HTTP/1.1\r\n{fields}\r\n".encode())
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""):
            data = post("/tokenize", BODY).replace(b"application/json", kind.encode())
            with self.subTest(kind):
                self.assertEqual(self.refused(data, 415)["code"], "media_type")
        charset = post("/tokenize", BODY).replace(b"/json", b"/json; charset=utf-8")
        self.asked(charset)


class Bodies(Hostile):
    """Too large, cut, lying, and JSON that is none."""

    def test_too_large(self):
        # Before any of it came.
        for more in ("", "Expect: 100-continue\r\n"):
            self.refused(post("/tokenize", b"", more, LIMIT + 1), 413)
        self.refused(chunked(*[chunk(b"x" * 65536)] * 20), 413)
        self.refused(chunked(b"%x\r\n" % (1 << 40)), 413, 400)
        whole = json.dumps({"content": "x" * (LIMIT - 15)}).encode()
        self.assertEqual(len(whole), LIMIT)
        self.asked(post("/tokenize", whole))

    def test_too_large_for_an_api(self):
        """It says so in its own words."""
        for path in ("/v1/messages", "/v1/messages/count_tokens", "/api/chat"):
            with self.subTest(path):
                status, _, body, _ = take_answer(self.raw(post(path, b"", "", LIMIT + 1)))
                self.assertEqual(status, 413)
                error = json.loads(body)
                if path.startswith("/api/"):
                    self.assertIsInstance(error["error"], str)
                else:
                    self.assertEqual((error["type"], error["error"]["type"]),
                                     ("error", "request_too_large"))
                    self.assertTrue(error["request_id"])

    def test_expected(self):
        with self.server.connect(PATIENCE) as link:
            link.sendall(post("/tokenize", b"", "Expect: 100-continue\r\nConnection: close\r\n",
                              len(BODY)))
            self.assertEqual(link.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            link.sendall(BODY)
            self.assertEqual(take_answer(read_answers(link))[0], 200)

    def test_good_chunks(self):
        half = len(BODY) // 2
        for name, data in {
            "one": [chunk(BODY), LAST],
            "two": [chunk(BODY[:half]), chunk(BODY[half:]), LAST],
            "bytes": [*(chunk(bytes([byte])) for byte in BODY), LAST],
            "zeros": [b"000" + chunk(BODY), b"0000\r\n\r\n"],
            "upper case": [b"A\r\n" + BODY[:10] + b"\r\n", chunk(BODY[10:]), LAST],
            "extensions": [b"10;a=b;c=\"d\"\r\n" + BODY + b"\r\n", b"0;e\r\n\r\n"],
            "trailer": [chunk(BODY), b"0\r\nA: b\r\nC: d\r\n\r\n"],
        }.items():
            with self.subTest(name):
                self.assertEqual(self.asked(chunked(*data)).json()["count"], 1)

    def test_bad_chunks(self):
        for name, data in {
            "0x": [b"0x10\r\n" + BODY + b"\r\n", LAST],
            "negative": [b"-1\r\n" + BODY + b"\r\n", LAST],
            "sign": [b"+10\r\n" + BODY + b"\r\n", LAST],
            "huge": [b"99999999999999999999\r\n" + BODY + b"\r\n", LAST],
            "overflow": [b"10000000000000010\r\n" + BODY + b"\r\n", LAST],
            "no size": [b"\r\n" + BODY + b"\r\n", LAST],
            "words": [b"ten\r\n" + BODY + b"\r\n", LAST],
            "space": [b"1 0\r\n" + BODY + b"\r\n", LAST],
            "space before": [b" 10\r\n" + BODY + b"\r\n", LAST],
            "no end of a chunk": [chunk(BODY, end=b""), LAST],
            "another end": [chunk(BODY, end=b"XY"), LAST],
            "LF as end": [chunk(BODY, end=b"\n"), LAST],
            "LF behind the size": [b"10\n" + BODY + b"\r\n", LAST],
            "CR behind the size": [b"10\rX" + BODY + b"\r\n", LAST],
            "LF in an extension": [b"10;a\nb\r\n" + BODY + b"\r\n", LAST],
            "NUL in an extension": [b"10;a\0b\r\n" + BODY + b"\r\n", LAST],
            "long extensions": [b"10;" + b"a" * 20000 + b"\r\n" + BODY + b"\r\n", LAST],
            "LF in a trailer": [chunk(BODY), b"0\r\nA: b\nC: d\r\n\r\n"],
            "folded trailer": [chunk(BODY), b"0\r\nA: b\r\n c\r\n\r\n"],
            "long trailers": [chunk(BODY), b"0\r\n" + b"A: b\r\n" * 5000 + b"\r\n"],
            "no end": [chunk(BODY), b"0\r\nX"],
        }.items():
            with self.subTest(name):
                if name == "no end":
                    data.append(b"\0\r\n\r\n")
                self.refused(chunked(*data), 400, 413, 431)

    def test_json(self):
        for name, body in {
            "empty": b"", "cut": b'{"content": "x', "a list": b"[]", "a text": b'"x"',
            "two": b'{"content": "x"}{}', "behind": b'{"content": "x"} x',
            "NaN": b'{"content": NaN}',
            "comment": b'{"content": "x" /* */}', "comma": b'{"content": "x",}',
            "invalid UTF-8": b'{"content": "\xff\xfe"}', "overlong": b'{"content": "\xc0\xaf"}',
            "surrogate": b'{"content": "\xed\xa0\x80"}', "half a pair": b'{"content": "\\ud800"}',
            "NUL": b'{"content": "\0"}', "escaped NUL": b'{"content": "\\u0000"}',
            "twice": b'{"content": "x", "content": "y"}', "BOM": b'\xef\xbb\xbf{"content": "x"}',
            "deep lists": b'{"content": ' + b"[" * 100000 + b"]" * 100000 + b"}",
            "deep objects": b'{"a":' * 50000 + b"1" + b"}" * 50000,
            "a large number": b'{"content": 1e999}', "UTF-16": '{"content": "x"}'.encode("utf-16"),
        }.items():
            with self.subTest(name):
                error = self.asked(post("/tokenize", body), 400).error()
                self.assertEqual(error["type"], "invalid_request_error")
                self.assertEqual(error["code"], "invalid_json")

    def test_json_that_lies(self):
        deep = json.loads("[" * 500 + "]" * 500)
        for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": "x",
                                                                   "more": deep}]}),
                           ("/v1/completions", {"prompt": "x", "max_tokens": 1e300}),
                           ("/v1/completions", {"prompt": "x", "max_tokens": 1.5}),
                           ("/v1/completions", {"prompt": deep}),
                           ("/v1/completions", {"prompt": "x", "temperature": True}),
                           ("/v1/completions", {"prompt": ["x"] * 10000}),
                           ("/v1/completions", {"prompt": "x", "model": ["tiny"]}),
                           ("/v1/chat/completions", {"messages": [{"role": "user", "content": []}] *
                                                     5000})):
            answer = self.server.request("POST", path, {"max_tokens": 1, **body})
            if "more" in str(body)[:100]:
                self.assertIn(answer.status, (200, 400))
            else:
                self.assertEqual(answer.status, 400, body)
                answer.error()


if __name__ == "__main__":
    support.main()
