#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The server's further answers by plain HTTP: texts and ids, what it says of itself, priorities and
deadlines, and prefixes that are computed once."""

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time

import serving
import support
from serving import Server

KEYS = {"alice": "sk-of-alice-0123456789", "bob": "sk-of-bob-0123456789ab"}


def key_file():
    path = support.FOLDER / "two-keys"
    path.write_text("".join(f"{name} {key}\n" for name, key in KEYS.items()))
    path.chmod(0o600)
    return path


class Texts(support.Case):
    """tokenize, detokenize, apply-template, and what the server says of itself."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "512")
        cls.addClassCleanup(cls.server.kill)

    def test_there_and_back(self):
        for text in ("Hello, world.", "", "naïve 日本 \U0001f600", "<|im_start|>"):
            with self.subTest(text):
                got = self.server.post("/tokenize", content=text).json()
                self.assertEqual(got["count"], len(got["tokens"]))
                back = self.server.post("/detokenize", tokens=got["tokens"]).json()
                self.assertEqual(back["content"], text)

    def test_special_tokens(self):
        text = self.server.post("/apply-template",
                                messages=[{"role": "user", "content": "Hi"}]).json()["prompt"]
        plain = self.server.post("/tokenize", content=text).json()["count"]
        special = self.server.post("/tokenize", content=text, parse_special=True).json()
        self.assertLess(special["count"], plain)
        back = self.server.post("/detokenize", tokens=special["tokens"]).json()
        self.assertEqual(back["content"], text)

    def test_wrong_fields(self):
        for path, body, param in (("/tokenize", {}, "content"),
                                  ("/tokenize", {"content": 5}, "content"),
                                  ("/detokenize", {"tokens": "x"}, "tokens"),
                                  ("/detokenize", {"tokens": [1, -1]}, "tokens"),
                                  ("/apply-template", {"messages": "x"}, "messages"),
                                  ("/tokenize", {"content": "x", "model": 5}, "model")):
            with self.subTest(path=path, body=body):
                answer = self.server.request("POST", path, body)
                self.assertEqual(answer.status, 400)
                self.assertEqual(answer.error()["param"], param)
        self.assertEqual(self.server.post("/detokenize", tokens=[1 << 20]).status, 400)
        self.assertEqual(self.server.post("/tokenize", content="x", model="y").status, 404)

    def test_health_and_readiness(self):
        self.assertEqual(self.server.get("/health").json(), {"status": "ok"})
        self.assertEqual(self.server.get("/ready").json()["status"], "ready")

    def test_props(self):
        props = self.server.props()
        self.assertTrue(props["version"].startswith("dunlin "))
        self.assertEqual([model["id"] for model in props["models"]], ["tiny"])
        self.assertEqual(props["models"][0]["meta"]["context_length"], 512)
        self.assertEqual(props["models"][0]["restarts"], 0)

    def test_speculation(self):
        """Guesses change when tokens come, and nothing in them."""
        texts = [self.server.complete(speculation=mode, max_tokens=60).json()["choices"][0]["text"]
                 for mode in ("auto", "off")]
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(self.server.complete(speculation="x").error()["param"], "speculation")

    def test_headers(self):
        answer = self.server.complete()
        self.assertRegex(answer.headers["Server-Timing"], r"queue;dur=[\d.]+, prefill;dur=")
        self.assertRegex(answer.headers["X-Request-Id"], "^req_[0-9a-f]{16}$")
        number = answer.headers["X-Request-Id"]
        serving.wait_for(lambda: self.server.events("generation", number), "its line in the log")
        self.assertEqual(len(self.server.events("generation", number)), 1)
        self.assertNotIn("Access-Control-Allow-Origin", answer.headers)

    @serving.needs_prometheus
    def test_metrics(self):
        self.server.complete(max_tokens=5, ignore_eos=True)
        # The supervisor says it once a second.
        serving.wait_for(lambda: self.server.metrics()["dunlin_cpu_seconds_total"], "CPU time")
        answer = self.server.get("/metrics")
        self.assertEqual(answer.headers["Content-Type"],
                         "text/plain; version=0.0.4; charset=utf-8")
        families = {family.name: family for family in
                    serving.prometheus.text_string_to_metric_families(answer.body.decode())}
        for name in ("first_token", "between_tokens", "queue"):
            family = families[f"dunlin_{name}_seconds"]
            self.assertEqual(family.type, "histogram")
            buckets = [s for s in family.samples if s.name.endswith("_bucket")]
            counts = [sample.value for sample in buckets]
            self.assertEqual(counts, sorted(counts))
            bounds = [float(sample.labels["le"]) for sample in buckets]
            self.assertEqual(bounds, sorted(bounds))
            total = next(s.value for s in family.samples if s.name.endswith("_count"))
            self.assertEqual(counts[-1], total)
            self.assertGreater(total, 0)
        for name in ("dunlin_output_tokens", "dunlin_prompt_tokens", "dunlin_step_cpu_seconds",
                     "dunlin_steps", "dunlin_cpu_seconds", "dunlin_requests"):
            self.assertEqual(families[name].type, "counter", name)
            self.assertGreater(families[name].samples[0].value, 0, name)
        self.assertTrue(all(family.documentation for family in families.values()))

    def test_metrics_count(self):
        before = self.server.metrics()
        self.server.complete(max_tokens=7, ignore_eos=True)
        self.server.get("/nothing")
        after = self.server.metrics()

        def more(name):
            return after[name] - before.get(name, 0)
        self.assertEqual(more("dunlin_output_tokens_total"), 7)
        self.assertEqual(more("dunlin_between_tokens_seconds_count"), 6)
        self.assertEqual(more("dunlin_first_token_seconds_count"), 1)
        self.assertEqual(more('dunlin_requests_total{status="404"}'), 1)

    def test_metrics_count_what_was_left(self):
        """A client that leaves in the midst has had what it got."""
        before = self.server.metrics()
        connection, answer = self.server.stream(max_tokens=400)
        events = serving.events_of(answer)
        for _ in range(5):
            next(events)
        connection.close()
        answer.close()
        self.server.idle()
        after = self.server.metrics()
        line = self.server.events("generation", "end=left")[-1]
        for name in ("prompt_tokens", "output_tokens"):
            counted = after[f"dunlin_{name}_total"] - before[f"dunlin_{name}_total"]
            self.assertIn(f" {name}={counted:.0f} ", line)
            self.assertGreater(counted, 4 if name == "output_tokens" else 0)


class Time(support.Case):
    """Priorities and deadlines, in bodies and in headers."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "30000", "--parallel", "4")
        cls.addClassCleanup(cls.server.kill)
        cls.server.complete("Some words to measure the pace with. " * 20, max_tokens=200,
                            ignore_eos=True)

    def test_refused(self):
        for body, headers in (({"deadline_ms": 1}, {}), ({"first_token_deadline_ms": 1}, {}),
                              ({}, {"X-Deadline-Ms": "1"}),
                              ({}, {"X-First-Token-Deadline-Ms": "1"})):
            with self.subTest(body=body, headers=headers):
                answer = self.server.complete("word " * 4000, headers, max_tokens=20000, **body)
                self.assertEqual(answer.status, 503)
                self.assertEqual(answer.error()["code"], "deadline")
                self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
                self.assertEqual(answer.headers["X-Should-Retry"], "false")

    def test_predicted(self):
        # Two microseconds a token: no step is so fast.
        answer = self.server.complete(max_tokens=29000, ignore_eos=True, deadline_ms=60,
                                      speculation="off")
        self.assertEqual(answer.status, 503)
        self.assertRegex(answer.error()["message"], r"as steps go it would take \d+ ms")

    def test_met(self):
        for body, headers in (({"deadline_ms": 100000}, {}),
                              ({"first_token_deadline_ms": 100000}, {}),
                              ({"priority": "urgent"}, {"X-Deadline-Ms": "90000.5"}),
                              ({}, {"X-Priority": "batch"})):
            with self.subTest(body=body, headers=headers):
                answer = self.server.complete("x", headers, **body)
                self.assertEqual(answer.status, 200, answer.body)
                self.assertFalse(answer.json()["timings"]["deadline_passed"])

    def test_wrong(self):
        for body, headers, param in (({"priority": "high"}, {}, "priority"),
                                     ({"priority": 1}, {}, "priority"),
                                     ({}, {"X-Priority": "now"}, "priority"),
                                     ({"deadline_ms": 0}, {}, "deadline_ms"),
                                     ({"deadline_ms": "1"}, {}, "deadline_ms"),
                                     ({}, {"X-Deadline-Ms": "soon"}, "x-deadline-ms"),
                                     ({}, {"X-Deadline-Ms": "-1"}, "x-deadline-ms"),
                                     ({}, {"X-Deadline-Ms": "nan"}, "x-deadline-ms"),
                                     ({}, {"X-First-Token-Deadline-Ms": "1e99"},
                                      "x-first-token-deadline-ms")):
            with self.subTest(body=body, headers=headers):
                answer = self.server.complete("x", headers, **body)
                self.assertEqual((answer.status, answer.error()["param"]), (400, param))

    def test_passed_in_the_midst(self):
        """Of a worker that is held up: what it has is the answer."""
        worker, = self.server.workers()
        connection, answer = self.server.stream(max_tokens=3000, deadline_ms=6000)
        with contextlib.closing(connection):
            self.assertEqual(answer.status, 200)
            events = serving.events_of(answer)
            next(events)
            os.kill(worker, signal.SIGSTOP)
            try:
                time.sleep(6.5)
            finally:
                os.kill(worker, signal.SIGCONT)
            last = [event for event in events if event][-1]
        self.assertEqual(last["choices"][0]["finish_reason"], "length")
        self.assertTrue(last["timings"]["deadline_passed"])

    def test_urgent_takes_the_steps(self):
        """Those that are not urgent wait meanwhile, and are whole afterwards."""
        lone = self.server.complete("Slow", max_tokens=8000, ignore_eos=True).json()
        texts, counts = {}, {"batch": 0, "urgent": 0}

        def read(name, answer):
            texts[name] = ""
            for event in serving.events_of(answer):
                counts[name] += 1
                if event:
                    texts[name] += event["choices"][0]["text"]

        def begin(name, prompt):
            connection, answer = self.server.stream(prompt, max_tokens=8000, priority=name)
            thread = threading.Thread(target=read, args=(name, answer))
            thread.start()
            self.addCleanup(connection.close)
            return thread

        def is_alone():
            """It gets on, and the other one does not."""
            self.assertTrue(threads[1].is_alive(), "both are through")
            before = dict(counts)
            time.sleep(0.1)
            return counts["urgent"] > before["urgent"] + 20 and counts["batch"] == before["batch"]

        threads = [begin("batch", "Slow")]
        serving.wait_for(lambda: counts["batch"] > 10, "a batch request that runs")
        threads.append(begin("urgent", "Now"))
        serving.wait_for(is_alone, "a batch request that waits")
        for thread in threads:
            thread.join(serving.PATIENCE)
        self.assertEqual(texts["batch"], lone["choices"][0]["text"])


class Queue(support.Case):
    """It has an end, and who is urgent has places of his own."""

    def test_full(self):
        with Server("--context", "30000", "--parallel", "1", "--queue", "1") as server:
            places = server.props()["models"][0]["places"]
            held = [server.stream(max_tokens=25000) for _ in range(places - 2)]
            waits = threading.Thread(target=server.complete)
            waits.start()
            serving.wait_for(lambda: server.props()["models"][0]["waiting"] == 1, "one that waits")
            answer = server.complete()
            self.assertEqual((answer.status, answer.error()["code"]), (503, "overloaded"))
            self.assertEqual(answer.headers["Retry-After"], "1")
            self.assertIsNone(answer.headers["X-Should-Retry"])
            for connection, _ in held:
                connection.close()
            waits.join(serving.PATIENCE)
            self.assertFalse(waits.is_alive())
            server.idle()
            self.assertEqual(server.complete().status, 200)


class Prefixes(support.Case):
    """What others of the same key asked is in the cache; of other keys it is not."""

    def cached(self, server, who, prompt):
        answer = server.complete(prompt, {"Authorization": f"Bearer {KEYS[who]}"}, max_tokens=4)
        return answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

    def start(self, *words):
        return Server("--context", "1024", "--key-file", key_file(), *words)

    def test_by_key(self):
        prompt = "You are a helpful assistant. " * 8
        with self.start() as server:
            self.assertEqual(self.cached(server, "alice", prompt + "Yes?"), 0)
            self.assertGreaterEqual(self.cached(server, "alice", prompt + "No?"), 100)
            self.assertEqual(self.cached(server, "bob", prompt + "No?"), 0)
            self.assertGreaterEqual(self.cached(server, "bob", prompt + "Why?"), 100)
            values = server.metrics(KEYS["bob"])
            self.assertGreaterEqual(values["dunlin_cached_tokens_total"], 200)

    def test_shared(self):
        prompt = "You are a helpful assistant. " * 8
        with self.start("--share-prefixes") as server:
            self.assertEqual(self.cached(server, "alice", prompt + "Yes?"), 0)
            self.assertGreaterEqual(self.cached(server, "bob", prompt + "No?"), 100)

    @serving.needs_root
    def test_user_with_the_bytes_of_an_address(self):
        """Without keys, nobody is another client by the number of a user. (In its jail the front is
        told of no users.)"""
        prompt = "You are a helpful assistant. " * 8
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o711)
            path = f"{folder}/socket"
            with Server("--context", "1024", "--no-sandbox",
                        listen=("127.0.0.1:0", f"unix:{path}")) as server:
                os.chmod(path, 0o666)
                self.assertEqual(server.complete(prompt + "Yes?").status, 200)
                link = serving.connect(f"unix:{path}")
                os.seteuid(int.from_bytes(socket.inet_aton("127.0.0.1"), sys.byteorder))
                try:
                    link.connect()
                finally:
                    os.seteuid(0)
                with contextlib.closing(link):
                    for asked, least, most in (("No?", 0, 0), ("Why?", 100, 1000)):
                        link.request("POST", "/v1/completions",
                                     json.dumps({"prompt": prompt + asked, "max_tokens": 4}),
                                     {"Content-Type": "application/json"})
                        usage = json.loads(link.getresponse().read())["usage"]
                        cached = usage["prompt_tokens_details"]["cached_tokens"]
                        self.assertTrue(least <= cached <= most, cached)

    def test_answers_stay_the_same(self):
        prompt = "You are a helpful assistant. " * 8
        with Server("--context", "1024") as server:
            cold = server.complete(prompt).json()
            warm = server.complete(prompt).json()
            self.assertGreater(warm["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            self.assertEqual(cold["choices"], warm["choices"])


if __name__ == "__main__":
    support.main()
