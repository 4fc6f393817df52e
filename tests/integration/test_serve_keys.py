#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""API keys: what each is good for, and files that change under a running server."""

import concurrent.futures
import contextlib
import datetime
import hashlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import threading
import time

import serving
import support
from serving import Server, ask, chat, wait_for
from support import FAILED, FOLDER, USAGE, dunlin

if serving.openai:
    import openai

ALICE = "sk-of-alice-0123456789"
BOB = "sk-of-bob-012345678901"
CAROL = "sk-of-carol-0123456789"


def key_file(name, text, mode=0o600):
    """Written beside, and put in place at once."""
    path = FOLDER / name
    part = FOLDER / f"{name}.part"
    part.write_text(text)
    part.chmod(mode)
    part.rename(path)
    return path


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def client_of(server, key, **more):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key,
                         **{"timeout": serving.PATIENCE, "max_retries": 0, **more})


def reload(server, event="info"):
    """SIGHUP, and wait until it was heeded; the line of the log."""
    before = len(server.events("reload"))
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(server.events("reload")) > before, "a reload")
    line = server.events("reload")[-1]
    assert line.startswith(event), line
    return line


class Fields(support.Case):
    """What a line of the file gives, and takes."""

    def test_models(self):
        path = key_file("models", f"alice {ALICE} models=one\nbob {BOB} models=one,two,gone\n"
                                  f"carol {CAROL}\n")
        tiny = support.tiny_model()
        with Server("--key-file", path, models=[f"one={tiny}", f"two={tiny}"]) as server:
            self.assertEqual(len(server.events("keys", "warning", 'model="gone"')), 1)
            where = server.where

            def names(key):
                return [m["id"] for m in ask(where, "/v1/models", key=key)[1]["data"]]
            self.assertEqual(names(ALICE), ["one"])
            self.assertEqual(names(BOB), ["one", "two"])
            self.assertEqual(names(CAROL), ["one", "two"])
            self.assertEqual(ask(where, "/v1/models/two", key=ALICE)[0], 404)
            self.assertEqual(ask(where, "/v1/models/two", key=BOB)[0], 200)
            for path in "/v1/chat/completions", "/v1/completions", "/tokenize":
                body = {**chat("hi"), "prompt": "hi", "content": "hi", "model": "two"}
                status, answer = ask(where, path, body, ALICE)
                self.assertEqual(status, 404, answer)
                # The same as of a model that there is not.
                other = ask(where, path, {**body, "model": "tow"}, ALICE)
                self.assertEqual(other[0], 404)
                self.assertEqual({**answer["error"], "message": ""},
                                 {**other[1]["error"], "message": ""})
                self.assertEqual(ask(where, path, body, BOB)[0], 200)
            # Of one model it is clear which is meant; of two it is not.
            self.assertEqual(ask(where, "/v1/chat/completions", chat("hi"), ALICE)[0], 200)
            self.assertEqual(ask(where, "/v1/chat/completions", chat("hi"), BOB)[0], 400)
            for path in "/props", "/metrics":
                text = str(ask(where, path, key=ALICE)[1])
                self.assertIn("one", text)
                self.assertNotIn('"two"', text.replace("'", '"'))

    def test_priority(self):
        path = key_file("priorities", f"alice {ALICE} priority=normal\nbob {BOB} priority=batch\n"
                                      f"carol {CAROL}\n")
        with Server("--key-file", path) as server:
            for key, allowed in ((ALICE, ("normal", "batch")), (BOB, ("batch",)),
                                 (CAROL, ("urgent", "normal", "batch"))):
                for word in ("urgent", "normal", "batch", None):
                    more = {"priority": word} if word else {}
                    with self.subTest(key=key, word=word):
                        answer = server.complete(headers=bearer(key), max_tokens=1, **more)
                        good = word is None or word in allowed
                        self.assertEqual(answer.status, 200 if good else 403)
                        if not good:
                            self.assertEqual(answer.error()["param"], "priority")
                            self.assertEqual(answer.error()["type"], "permission_error")
            self.assertEqual(server.complete(headers={**bearer(BOB), "X-Priority": "urgent"},
                                             max_tokens=1).status, 403)

    @serving.needs_openai
    def test_requests(self):
        """Two a day: the third is refused as OpenAI refuses it."""
        path = key_file("requests", f"alice {ALICE} requests=2/d\nbob {BOB}\n")
        with Server("--key-file", path) as server:
            with client_of(server, ALICE) as client:
                raw = client.with_raw_response.completions.create
                left = []
                for _ in range(2):
                    answer = raw(model="tiny", prompt="x", max_tokens=1)
                    left.append(answer.headers["x-ratelimit-remaining-requests"])
                    self.assertEqual(answer.headers["x-ratelimit-limit-requests"], "2")
                    self.assertRegex(answer.headers["x-ratelimit-reset-requests"],
                                     r"\A\d+\.\d{3}s\Z")
                self.assertEqual(left, ["1", "0"])
                with self.assertRaises(openai.RateLimitError) as caught:
                    client.completions.create(model="tiny", prompt="x", max_tokens=1)
                self.assertEqual(caught.exception.code, "rate_limit_exceeded")
                self.assertEqual(caught.exception.type, "requests")
                self.assertGreater(int(caught.exception.response.headers["retry-after"]), 3600)
                # What costs nothing is not counted.
                self.assertEqual(len(client.models.list().data), 1)
            self.assertEqual(server.complete(headers=bearer(BOB)).status, 200)
            # Before its body has come.
            with server.connect() as link:
                link.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                             b"application/json\r\nContent-Length: 1000\r\nAuthorization: Bearer "
                             + ALICE.encode() + b"\r\n\r\n")
                self.assertTrue(link.recv(4096).startswith(b"HTTP/1.1 429 "))

    def test_tokens(self):
        """Prompts and answers count; the last answer may overdraw."""
        path = key_file("tokens", f"alice {ALICE} tokens=30/d\n")
        with Server("--key-file", path) as server:
            answer = server.complete(headers=bearer(ALICE), max_tokens=8, ignore_eos=True)
            self.assertEqual(answer.status, 200)
            used = answer.json()["usage"]["total_tokens"]
            self.assertEqual(answer.headers["x-ratelimit-limit-tokens"], "30")
            answer = server.complete(headers=bearer(ALICE), max_tokens=64, ignore_eos=True)
            self.assertEqual(answer.status, 200)
            self.assertEqual(int(answer.headers["x-ratelimit-remaining-tokens"]), 30 - used)
            answer = server.complete(headers=bearer(ALICE), max_tokens=1)
            self.assertEqual(answer.status, 429)
            self.assertEqual(answer.error()["type"], "tokens")
            self.assertEqual(answer.headers["x-ratelimit-remaining-tokens"], "0")

    def test_tokens_of_who_left(self):
        """What was made for a stream that nobody reads to its end counts too."""
        path = key_file("left", f"alice {ALICE} tokens=40/d\n")
        with Server("--key-file", path) as server:
            connection, answer = server.stream(key=ALICE, max_tokens=400)
            for _ in range(100):
                answer.readline()
            connection.close()
            wait_for(lambda: server.complete(headers=bearer(ALICE), max_tokens=1).status == 429,
                     "a refusal")

    def test_parallel(self):
        path = key_file("parallel", f"alice {ALICE} parallel=2\nbob {BOB}\n")
        body = json.dumps({"prompt": "Once", "max_tokens": 4})
        with Server("--key-file", path) as server:
            # What is asked now is not answered until the worker goes on.
            worker, = server.workers()
            os.kill(worker, signal.SIGSTOP)
            links = [serving.connect(server.where) for _ in range(2)]
            for link in links:
                link.request("POST", "/v1/completions", body,
                             {"Content-Type": "application/json", **bearer(ALICE)})
            active = 'dunlin_active_requests{model="tiny"}'
            wait_for(lambda: server.metrics(ALICE)[active] == 2, "both requests")
            refused = server.complete(headers=bearer(ALICE), max_tokens=1)
            self.assertEqual(refused.status, 429)
            self.assertEqual(refused.headers["Retry-After"], "1")
            links[0].close()
            wait_for(lambda: server.events("request", "status=0"), "one that left")
            os.kill(worker, signal.SIGCONT)
            self.assertEqual(server.complete(headers=bearer(ALICE), max_tokens=1).status, 200)
            self.assertEqual(links[1].getresponse().status, 200)
            links[1].close()

    def test_expires(self):
        """Good to the end of its last day, of UTC."""
        now = datetime.datetime.now(datetime.timezone.utc)
        # Not today, which may end within this test.
        tomorrow, yesterday = (now + datetime.timedelta(days=n) for n in (1, -1))
        path = key_file("expiring", f"alice {ALICE} expires={tomorrow:%Y-%m-%d}\n"
                                    f"bob {BOB} expires={yesterday:%Y-%m-%d}\n{CAROL}\n")
        with Server("--key-file", path) as server:
            for key, status in (ALICE, 200), (BOB, 401), (CAROL, 200):
                answer = server.complete(headers=bearer(key), max_tokens=1)
                self.assertEqual(answer.status, status)
                if status == 401:
                    self.assertEqual(answer.error()["code"], "expired_api_key")

    def test_log_names_clients(self):
        path = key_file("named", f'al"ice {ALICE}\n')
        with Server("--key-file", path) as server:
            server.complete(headers=bearer(ALICE), max_tokens=1)
            wait_for(lambda: server.events("request", r'client="al\"ice"'), "a line")
            self.assertNotIn(ALICE, server.log())

    def test_where_a_key_may_stand(self):
        """What a proxy was let in with hides no key."""
        path = key_file("headers", f"alice {ALICE}\n")
        basic = {"Authorization": "Basic cHJveHk6cHJveHk="}
        with Server("--key-file", path) as server:
            for headers, status in ((bearer(ALICE), 200), ({"X-Api-Key": ALICE}, 200),
                                    ({**basic, "X-Api-Key": ALICE}, 200),
                                    ({**basic, "X-Api-Key": BOB}, 401), (basic, 401),
                                    ({**bearer(BOB), "X-Api-Key": ALICE}, 401)):
                with self.subTest(headers):
                    self.assertEqual(server.get("/v1/models", headers=headers).status, status)

    def test_bad_lines(self):
        for text, words in ((f"a {ALICE} requests=10", ("line 1", "'requests='", "/m")),
                            (f"a {ALICE} parallel=0", ("'parallel='", "1 to 65535")),
                            (f"a {ALICE} priority=high", ("'priority='", "urgent, normal or")),
                            (f"a {ALICE} tokens=1/m tokens=1/m", ("'tokens='", "twice")),
                            (f"a {ALICE} {BOB}", ("line 1 has more",))):
            with self.subTest(text):
                done = dunlin("serve", support.tiny_model(), "--key-file", key_file("bad", text))
                self.bad(done, FAILED, *words)
                for key in ALICE, BOB:
                    self.assertNotIn(key.encode(), done.stderr)


class Reload(support.Case):
    """SIGHUP."""

    def test_new_and_revoked(self):
        path = key_file("changing", f"alice {ALICE}\n")
        with Server("--key-file", path) as server:
            where = server.where
            self.assertEqual(ask(where, "/v1/models", key=BOB)[0], 401)
            # A stream of a key that goes ends whole.
            connection, answer = server.stream(key=ALICE, max_tokens=300)
            self.assertTrue(answer.readline().startswith(b"data: "))
            worker, = server.workers()
            os.kill(worker, signal.SIGSTOP)
            key_file("changing", f"bob {BOB}\n")
            self.assertIn("keys=1", reload(server))
            wait_for(lambda: ask(where, "/v1/models", key=ALICE)[0] == 401, "a refusal")
            self.assertEqual(ask(where, "/v1/models", key=BOB)[0], 200)
            os.kill(worker, signal.SIGCONT)
            events = list(serving.events_of(answer))
            self.assertIsNone(events[-1])
            self.assertFalse([e for e in events if e and "error" in e])
            connection.close()

    def test_revoked_while_its_body_comes(self):
        path = key_file("slow", f"alice {ALICE}\n")
        with Server("--key-file", path) as server, server.connect() as link:
            body = b'{"content": "hi"}'
            link.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                         b"application/json\r\nExpect: 100-continue\r\nContent-Length: "
                         + str(len(body)).encode() + b"\r\nAuthorization: Bearer "
                         + ALICE.encode() + b"\r\n\r\n")
            self.assertTrue(link.recv(4096).startswith(b"HTTP/1.1 100 "))
            key_file("slow", f"bob {BOB}\n")
            reload(server)
            wait_for(lambda: ask(server.where, "/v1/models", key=BOB)[0] == 200, "the new key")
            link.sendall(body)
            self.assertTrue(link.recv(4096).startswith(b"HTTP/1.1 401 "))

    def test_broken_file_changes_nothing(self):
        path = key_file("breaking", f"alice {ALICE}\n")
        with Server("--key-file", path) as server:
            for text, mode, words in (("", 0o600, "no key"), ("a short\n", 0o600, "line 1"),
                                      (f"bob {BOB}\n", 0o644, "chmod 600")):
                key_file("breaking", text, mode)
                line = reload(server, "error")
                self.assertIn(words, line)
                self.assertIn("old=kept", line)
                self.assertEqual(ask(server.where, "/v1/models", key=ALICE)[0], 200)
                self.assertEqual(ask(server.where, "/v1/models", key=BOB)[0], 401)
            path.unlink()
            self.assertIn("No such file", reload(server, "error"))
            self.assertEqual(ask(server.where, "/v1/models", key=ALICE)[0], 200)

    def test_rates_are_not_forgotten(self):
        path = key_file("rates", f"alice {ALICE} requests=1/d\n")
        with Server("--key-file", path) as server:
            self.assertEqual(server.complete(headers=bearer(ALICE)).status, 200)
            key_file("rates", f"bob {BOB}\nalice {ALICE} requests=1/d\n")
            reload(server)
            wait_for(lambda: ask(server.where, "/v1/models", key=BOB)[0] == 200, "the new key")
            self.assertEqual(server.complete(headers=bearer(ALICE)).status, 429)

    def test_under_load(self):
        """Files change all the time, and no request of a key that stays fails."""
        path = key_file("busy", f"alice {ALICE}\n")
        stop = threading.Event()

        def work(server):
            n = 0
            while not stop.is_set():
                status, answer = ask(server.where, "/v1/completions",
                                     {"prompt": "Once", "max_tokens": 4, "temperature": 0}, ALICE)
                self.assertEqual(status, 200, answer)
                n += 1
            return n
        with Server("--key-file", path) as server:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(work, server) for _ in range(4)]
                try:
                    for i in range(30):
                        others = "".join(f"x{j} sk-of-x{j}-0123456789-{i}\n"
                                         for j in range(i * 7 % 200))
                        key_file("busy", f"{others}alice {ALICE}\n")
                        reload(server)
                finally:
                    stop.set()
                self.assertTrue(all(f.result() > 0 for f in futures))
            self.assertEqual(server.events("front", "error"), [])
            self.assertEqual(len(server.events("reload", "info")), 30)

    def test_a_new_front_has_them(self):
        """A front that ended is told what is in force now."""
        path = key_file("front", f"alice {ALICE}\n")
        with Server("--key-file", path) as server:
            key_file("front", f"bob {BOB}\n")
            reload(server)
            for pid in server.fronts():
                signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL)
            server.ready()
            self.assertEqual(ask(server.where, "/v1/models", key=ALICE)[0], 401)
            self.assertEqual(ask(server.where, "/v1/models", key=BOB)[0], 200)

    def test_others_pass_over_it(self):
        """'pkill -HUP dunlin' reaches workers and front as well."""
        path = key_file("all", f"alice {ALICE}\n")
        with Server("--key-file", path) as server:
            for pid in serving.all_children(server.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGHUP)
            reload(server)
            self.assertEqual(server.complete(headers=bearer(ALICE)).status, 200)
            self.assertEqual(server.events("front", "error") + server.events("worker"), [])

    def test_before_it_serves(self):
        """A signal that comes while the server begins does not end it, and is heeded."""
        path = FOLDER / "early"
        log, theirs = os.pipe()
        os.set_blocking(theirs, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(theirs, b"x" * 4096):
                pass
        os.set_blocking(theirs, True)
        # Until somebody reads what it says, it comes no further than to the key that it made.
        process = subprocess.Popen([support.PROGRAM, "serve", support.tiny_model(), "--listen",
                                    "127.0.0.1:0", *serving.SANDBOX, "--threads", "1",
                                    "--key-file", path, "--make-key"], stderr=theirs)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(theirs)
        wait_for(path.exists, "a file of keys")
        process.send_signal(signal.SIGHUP)
        seen = b""
        with os.fdopen(log, "rb", buffering=0) as file:
            while b"info reload keys=1" not in seen:
                more = file.read(65536)
                self.assertTrue(more, seen.lstrip(b"x"))
                seen += more
        process.terminate()
        self.assertEqual(process.wait(serving.PATIENCE), 0)

    def test_service_manager_is_told(self):
        path = key_file("notified", f"alice {ALICE}\n")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.bind(str(FOLDER / "notify-reload"))
            ours.settimeout(serving.PATIENCE)
            env = support.environment(NOTIFY_SOCKET=str(FOLDER / "notify-reload"))
            with Server("--key-file", path, env=env) as server:
                self.assertTrue(ours.recv(4096).startswith(b"READY=1"))
                begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                reload(server)
                told = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", ours.recv(4096))
                self.assertTrue(told)
                self.assertGreaterEqual(int(told[1]), begin)
                self.assertTrue(ours.recv(4096).startswith(b"READY=1"))
                # A reload that failed is over as well.
                path.unlink()
                reload(server, "error")
                self.assertTrue(ours.recv(4096).startswith(b"RELOADING=1\n"))
                self.assertTrue(ours.recv(4096).startswith(b"READY=1"))


class Verb(support.Case):
    """dunlin key"""

    def test_new(self):
        done = dunlin("key", "new", "alice")
        self.assertEqual(done.returncode, 0)
        key = re.search(rb"this once: (sk-[0-9a-f]{48})\n", done.stderr)[1]
        digest = hashlib.sha256(key).hexdigest()
        self.assertEqual(done.stdout.decode(), f"alice sha256:{digest}\n")
        self.assertNotEqual(dunlin("key", "new", "alice").stdout, done.stdout)
        path = key_file("verb", done.stdout.decode())
        with Server("--key-file", path) as server:
            self.assertEqual(ask(server.where, "/v1/models", key=key.decode())[0], 200)

    def test_hash(self):
        digest = hashlib.sha256(ALICE.encode()).hexdigest()
        for text in ALICE, f"{ALICE}\n", f"{ALICE}\r\n":
            self.assertEqual(self.good(dunlin("key", "hash", "alice", stdin=text)).decode(),
                             f"alice sha256:{digest}\n")
        self.bad(dunlin("key", "hash", "alice", stdin="short"), FAILED, "16 characters")
        self.bad(dunlin("key", "hash", "alice", stdin="two words of a length"), FAILED, "blank")
        self.bad(dunlin("key", "hash", "alice", stdin=""), FAILED, "16 characters")

    def test_expires(self):
        digest = hashlib.sha256(ALICE.encode()).hexdigest()
        text = self.good(dunlin("key", "hash", "alice", "--expires", "2027-01-31", stdin=ALICE))
        self.assertEqual(text.decode(), f"alice sha256:{digest} expires=2027-01-31\n")
        self.assertRegex(dunlin("key", "new", "bob", "--expires=2027-01-31").stdout,
                         rb"\Abob sha256:[0-9a-f]{64} expires=2027-01-31\n\Z")
        self.bad(dunlin("key", "new", "bob", "--expires", "2027-02-30"), USAGE, "--expires",
                 "YYYY-MM-DD")

    def test_usage(self):
        self.bad(dunlin("key", "make", "alice"), USAGE, "new or hash")
        self.bad(dunlin("key", "new"), USAGE, "missing argument")
        self.bad(dunlin("key", "new", "a b"), USAGE, "one word")
        self.bad(dunlin("key", "new", "parallel=2"), USAGE, "without '='")


class Time(support.Case):
    """Whether time tells how near a guess is. What is certain is counted in the unit tests."""

    @support.needs_time
    def test_guesses_take_the_same_time(self):
        """A wrong key by its first letter, and one by its last: medians of many, in turns."""
        path = key_file("timed", "".join(f"x{i} sk-of-x{i:03}-0123456789\n" for i in range(255))
                        + f"alice {ALICE}\n")
        guesses = ["X" + ALICE[1:], ALICE[:-1] + "X"]
        times = [[], []]
        with Server("--key-file", path) as server:
            connection = serving.connect(server.where)
            for i in range(8000):
                which = i % 2
                begin = time.perf_counter_ns()
                connection.request("GET", "/v1/models", headers=bearer(guesses[which]))
                answer = connection.getresponse()
                answer.read()
                times[which].append(time.perf_counter_ns() - begin)
                self.assertEqual(answer.status, 401)
            connection.close()
        first, last = (statistics.median(t) for t in times)
        spread = statistics.median(abs(t - first) for t in times[0])
        print(f"medians: {first:.0f} ns, {last:.0f} ns; spread {spread:.0f} ns")
        self.assertLess(abs(first - last), spread)


if __name__ == "__main__":
    support.main()
