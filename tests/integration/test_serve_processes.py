#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The server's processes: killed, stopped, ended; what that costs others, and that nothing is left.
Memory within its budget, an orderly end, the log, and sockets to listen at.

DUNLIN_KILLS is how many processes are killed under load (40)."""

import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import statistics
import threading
import time
import unittest

import serving
import support
from serving import Server, all_children, is_gone, wait_for

KILLS = int(os.environ.get("DUNLIN_KILLS", "15" if support.SANITIZED else "40"))
CLIENTS = 6
# Of a machine that others load too; what was measured is printed.
BACK_SECONDS = 60
MIB = 1 << 20


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_files(pids):
    """Memory without a name that any of them has open, each of it once."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if "/memfd:" in os.readlink(path):
                        found.add(path.stat().st_ino)
    return found


def resident(pid):
    """Without what is mapped of files: that comes and goes with the machine's own memory."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^RssAnon:\s*(\d+)", text, re.M)[1]) * 1024


def pss(pids):
    """Proportional memory of all of them; a process that just ended has none."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, TypeError):
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s*(\d+)", text, re.M)[1]) * 1024
    return total


class Load:
    """Clients that ask without end, and know what they should get."""

    def __init__(self, server, count=CLIENTS):
        self.server = server
        self.wanted = [self.lone(number) for number in range(count)]
        self.stop = threading.Event()
        self.good = [0] * count
        self.errors = [0] * count
        self.wrong = []
        self.threads = [threading.Thread(target=self.ask, args=(number,), daemon=True)
                        for number in range(count)]
        for thread in self.threads:
            thread.start()

    def lone(self, number):
        answer = self.server.complete(f"Client {number}", max_tokens=40 + number, ignore_eos=True)
        return answer.json()["choices"][0]["text"]

    def one(self, number, stream):
        """Whether it was answered; an error has to be one that a client can tell."""
        if not stream:
            answer = self.server.complete(f"Client {number}", max_tokens=40 + number,
                                          ignore_eos=True)
            if answer.status != 200:
                answer.error()
                return False
            text = answer.json()["choices"][0]["text"]
        else:
            connection, answer = self.server.stream(f"Client {number}", max_tokens=40 + number)
            with contextlib.closing(connection):
                if answer.status != 200:
                    serving.Response(answer.status, answer.headers, answer.read()).error()
                    return False
                text = ""
                events = list(serving.events_of(answer))
                if not events or events[-1] is not None:
                    return False
                text = "".join(event["choices"][0]["text"] for event in events[:-1])
        if text != self.wanted[number]:
            self.wrong.append((number, text))
        return True

    def ask(self, number):
        turn = 0
        while not self.stop.is_set():
            turn += 1
            try:
                if self.one(number, turn % 2):
                    self.good[number] += 1
                    continue
            except (OSError, http.client.HTTPException):
                pass
            except Exception as error:  # pylint: disable=broad-exception-caught
                self.wrong.append((number, repr(error)))
            self.errors[number] += 1
            time.sleep(0.01)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(serving.PATIENCE)
        return not any(thread.is_alive() for thread in self.threads)


class Killed(support.Case):
    """Any process, at any moment, under load."""

    def setUp(self):
        self.server = Server("--context", "1024", "--parallel", "4")
        self.addCleanup(self.server.kill)
        self.pid = self.server.process.pid

    def back(self):
        """Seconds until a request is answered as it should be."""
        begin = time.monotonic()

        def answers():
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.server.complete(max_tokens=2).status == 200
        wait_for(answers, f"an answer\n{self.server.log()[-1000:]}", BACK_SECONDS, 0.002)
        return time.monotonic() - begin

    def all(self):
        return [self.pid, *all_children(self.pid)]

    def settled(self):
        """Descriptors and memory without names, where nothing is asked."""
        self.server.idle()
        return (descriptors(self.pid), len(memory_files(self.all())), len(self.all()))

    def kill(self, role):
        pids = wait_for(self.server.fronts if role == "front" else self.server.workers, role)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGKILL)
        wait_for(lambda: is_gone(pids[0]), "its end")

    def test_kills(self):
        # One of each, so that what is made once is there.
        for role in ("front", "worker"):
            self.kill(role)
            self.back()
        before, memory = self.settled(), resident(self.pid)
        load = Load(self.server)
        chance = random.Random(6)
        times = {"front": [], "worker": []}
        for _ in range(KILLS):
            time.sleep(chance.uniform(0, 0.1))
            role = chance.choice(("front", "worker"))
            self.kill(role)
            times[role].append(self.back())
        self.assertTrue(load.end(), "a client that waits for ever")
        for role, values in times.items():
            if values:
                print(f"{role}: {len(values)} kills, back after {statistics.median(values):.3f} s "
                      f"(median), {max(values):.3f} s (most)", flush=True)
        # Workers that end young, one after the other, are not started again until they are asked.
        failed = len(self.server.events("model", "state=failed"))
        print(f"{sum(load.good)} answers, {sum(load.errors)} errors, {failed} times not started at "
              "once", flush=True)
        self.assertEqual(load.wrong, [])
        self.assertTrue(all(load.good), load.good)
        # Those that were running; a front is gone for a moment, in which others find nobody.
        self.assertGreater(sum(load.errors), 0)
        wait_for(lambda: self.settled() == before, f"{before}, not {self.settled()}", 30, 0.2)
        if not support.SANITIZED:
            self.assertLess(resident(self.pid) - memory, 2 * MIB)

    def test_others_go_on(self):
        """Of two models, the other one's stream does not notice."""
        other = f"other={support.tiny_model()}"
        with Server("--context", "30000", models=[support.tiny_model(), other]) as server:
            wait_for(lambda: len(server.workers()) == 2, "two workers")
            streams = [server.stream(model=name, max_tokens=20000,
                                     stream_options={"include_usage": True})
                       for name in ("tiny", "other")]
            for _, answer in streams:
                self.assertTrue(answer.readline().startswith(b"data: "))
            os.kill(server.workers()[0], signal.SIGKILL)
            ends = [list(serving.events_of(answer))[-2:] for _, answer in streams]
            for connection, _ in streams:
                connection.close()
            lost, = (end[-1] for end in ends if end[-1])
            self.assertEqual(lost["error"]["code"], "worker_lost")
            self.assertIn("killed", lost["error"]["message"])
            whole, = (end[0] for end in ends if end[-1] is None)
            self.assertEqual(whole["usage"]["completion_tokens"], 20000)

    def test_what_waits_goes_on(self):
        """A worker that is lost costs those that it had, and not those that wait for it."""
        worker, = self.server.workers()
        os.kill(worker, signal.SIGSTOP)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(
            self.server.complete(max_tokens=5).status)) for _ in range(24)]
        for thread in threads:
            thread.start()
        wait_for(lambda: self.server.props()["models"][0]["waiting"] >= 8, "a queue")
        os.kill(worker, signal.SIGKILL)
        for thread in threads:
            thread.join(serving.PATIENCE)
        self.assertEqual(len(answers), 24)
        self.assertGreaterEqual(answers.count(200), 8)
        self.assertEqual(answers.count(200) + answers.count(500), 24)

    def test_stopped(self):
        """It is a long pause, for its own requests alone."""
        worker, = self.server.workers()
        connection, answer = self.server.stream(max_tokens=900)
        with contextlib.closing(connection):
            answer.readline()
            os.kill(worker, signal.SIGSTOP)
            for _ in range(5):
                self.assertEqual(self.server.get("/health").status, 200)
                time.sleep(0.2)
            os.kill(worker, signal.SIGCONT)
            self.assertIsNone(list(serving.events_of(answer))[-1])
        front, = self.server.fronts()
        os.kill(front, signal.SIGSTOP)
        time.sleep(1)
        os.kill(front, signal.SIGCONT)
        self.assertEqual(self.server.complete().status, 200)
        self.assertEqual(self.server.fronts(), [front])

    def test_stuck_front(self):
        """One that does not say that it is alive is ended, as soon as somebody waits for it."""
        for rest in (0, 3):
            with self.subTest(rest=rest):
                front, = self.server.fronts()
                ended = len(self.server.events("front", "ended"))
                time.sleep(rest)
                os.kill(front, signal.SIGSTOP)
                with self.server.connect():
                    wait_for(lambda pid=front: is_gone(pid), "its end")
                self.back()
                self.assertGreater(len(self.server.events("front", "ended")), ended)

    def test_supervisor(self):
        """Nobody is left without it."""
        connection, answer = self.server.stream(max_tokens=900)
        answer.readline()
        pids = all_children(self.pid)
        self.assertGreaterEqual(len(pids), 2)
        self.server.process.kill()
        self.server.process.wait()
        for pid in pids:
            wait_for(lambda pid=pid: is_gone(pid), f"the end of {pid}")
        connection.close()


class Memory(support.Case):
    """The budget holds, as seen from outside."""

    def models(self, count=2):
        path = support.FOLDER / "larger.gguf"
        if not path.exists():
            support.subprocess.run(
                [support.sys.executable, str(support.ROOT / "scripts" / "make-test-model"),
                 "--dim", "256", "--heads", "4", "--layers", "4", "--ffn", "1024", "--vocab",
                 "16000", "--output", str(path)], check=True)
        return [f"m{number}={path}" for number in range(count)]

    def planned(self, server, name):
        meta = server.get(f"/v1/models/{name}").json()["meta"]
        return meta["memory_bytes"]

    def budget(self, need):
        """For one of two, in MiB."""
        return 32 + (need * 3 // 2 + MIB - 1) // MIB

    def test_known_before_loaded(self):
        """What a model is does not depend on whether it has room now."""
        with Server("--context", "512", "--parallel", "1", models=self.models(1)) as server:
            need = self.planned(server, "m0")
        with Server("--context", "512", "--parallel", "1", "--memory", f"{self.budget(need)}M",
                    models=self.models()) as server:
            def absent():
                return [model["id"] for model in server.get("/v1/models").json()["data"]
                        if model["meta"]["state"] == "not loaded"]
            name, = serving.wait_for(absent, "a model without room")
            shown = server.post("/api/show", model=name).json()
            self.assertEqual(shown["capabilities"], ["completion", "tools"])
            self.assertEqual(shown["details"]["family"], "llama")
            self.assertEqual(shown["model_info"]["general.architecture"], "llama")
            self.assertEqual(shown["model_info"]["llama.context_length"], 512)
            self.assertAlmostEqual(self.planned(server, name), need, delta=need / 100)
            # Twice: the second time the form of its chats is known, and it has to be loaded again.
            for name in (name, *{"m0", "m1"} - {name}, name):
                self.assertEqual(server.post("/api/generate", model=name).json()["done_reason"],
                                 "load")
                self.assertNotIn(name, absent())

    @serving.needs_root
    @unittest.skipIf(support.SANITIZED, "a sanitizer takes memory of its own")
    def test_room_for_one(self):
        with Server("--context", "512", "--parallel", "1", models=self.models(1)) as server:
            need = self.planned(server, "m0")
        budget = self.budget(need)
        with Server("--context", "512", "--parallel", "1", "--memory", f"{budget}M",
                    models=self.models()) as server:
            most, stop = [0], threading.Event()

            def watch():
                while not stop.is_set():
                    most[0] = max(most[0], pss([server.process.pid,
                                                *all_children(server.process.pid)]))
                    time.sleep(0.005)
            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                got = {server.complete("Same", model=f"m{turn % 2}", max_tokens=30,
                                       ignore_eos=True).json()["choices"][0]["text"]
                       for turn in range(6)}
                results = []
                threads = [threading.Thread(target=lambda number=number: results.append(
                    server.complete("Same", model=f"m{number % 2}", max_tokens=100).status))
                    for number in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(serving.PATIENCE)
            finally:
                stop.set()
                watcher.join()
            print(f"most memory: {most[0] / MIB:.1f} MiB of {budget} MiB", flush=True)
            self.assertEqual(len(got), 1)
            self.assertEqual(results, [200] * 8)
            self.assertLess(most[0], budget * MIB)
            self.assertGreaterEqual(len(server.events("model", "state=ready")), 6)

    def test_too_small(self):
        done = support.dunlin("serve", support.tiny_model(), "--memory", "20M", "--listen",
                              "127.0.0.1:0")
        self.bad(done, support.FAILED, "20 MiB", "takes up to")
        with Server("--memory", "46M", "--context", "200", ready=False) as server:
            wait_for(lambda: server.events("model", "state=failed"), "a failure")
            answer = server.complete()
            self.assertEqual(answer.status, 503)
            self.assertRegex(answer.error()["message"], r"\d+(\.\d+)? MiB")
            self.assertEqual(server.get("/ready").status, 503)


class Ends(support.Case):
    """SIGTERM, and SIGINT."""

    def test_drain(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Server("--context", "30000", "--drain", "600") as server:
                idle = server.connect()
                connection, answer = server.stream(max_tokens=8000)
                answer.readline()
                events = []
                reader = threading.Thread(
                    target=lambda: events.extend(serving.events_of(answer)))
                reader.start()
                server.process.send_signal(number)
                wait_for(lambda: server.events("drain"), "the word")

                def is_refused():
                    try:
                        server.connect(5).close()
                    except ConnectionRefusedError:
                        return True
                wait_for(is_refused, "refused connections", 10)
                self.assertFalse(server.ended())
                self.assertEqual(idle.recv(1), b"")
                reader.join(serving.PATIENCE)
                self.assertIsNone(events[-1], server.log())
                self.assertEqual(server.process.wait(serving.PATIENCE), 0)
                for each in (idle, connection):
                    each.close()

    def test_time_is_up(self):
        with Server("--context", "100000", "--drain", "1") as server:
            connection, answer = server.stream(max_tokens=90000)
            answer.readline()
            pids = all_children(server.process.pid)
            self.assertEqual(server.terminate(), 0)
            self.assertTrue(server.events("drain", "time is up"))
            self.assertTrue(all(is_gone(pid) for pid in pids))
            connection.close()

    def test_twice_is_at_once(self):
        with Server("--context", "100000", "--drain", "600") as server:
            connection, answer = server.stream(max_tokens=90000)
            answer.readline()
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: server.events("drain"), "the word")
            self.assertEqual(server.terminate(), 0)
            connection.close()


class Log(support.Case):
    """One line an event, and never what was asked or answered."""

    SECRET = "Xyzzy7Plugh"

    def test_secrets(self):
        key = f"sk-{self.SECRET}-0123456789"
        path = support.FOLDER / "log-keys"
        path.write_text(f"me {key}\n")
        path.chmod(0o600)
        with Server("--key-file", path, "--context", "1024") as server:
            auth = {"Authorization": f"Bearer {key}"}
            # Of this model's own making.
            said = server.complete(self.SECRET, auth, max_tokens=60).json()["choices"][0]["text"]
            server.post("/v1/chat/completions", auth, max_tokens=5,
                        messages=[{"role": "user", "content": self.SECRET}])
            server.post("/v1/chat/completions", auth, messages=[{"role": self.SECRET}], stop=9)
            server.post("/tokenize", auth, content=self.SECRET)
            server.post("/tokenize", auth, content=5, model=self.SECRET)
            server.complete(self.SECRET, {"Authorization": f"Bearer {self.SECRET}"})
            server.request("POST", "/tokenize", b"{" + self.SECRET.encode(),
                           {**auth, "Content-Type": "application/json"})
            server.get(f"/health?key={self.SECRET}", headers={self.SECRET: self.SECRET})
            connection, answer = server.stream(self.SECRET, key, max_tokens=900)
            answer.readline()
            os.kill(server.workers()[0], signal.SIGKILL)
            answer.read()
            connection.close()
            server.get("/\"a\\b%0a\x7f\u00ff=c d".replace(" ", "%20").encode("latin-1")
                       .decode("latin-1").replace("\x7f", "%7f").replace("\u00ff", "%ff"))
            with server.connect() as link:
                link.sendall(b"GET /\xff\xfe\"x=\" HTTP/1.1\r\nHost: localhost\r\n"
                             b"Connection: close\r\n\r\n")
                link.recv(100)
            code = server.terminate()
            self.assertEqual(code, 0)
            lines = server.lines
        self.assertNotIn(self.SECRET.lower(), server.log().lower())
        for at in range(0, len(said) - 8):
            self.assertNotIn(said[at:at + 8], server.log())
        for line in lines:
            self.assertRegex(line, r"^(info|warning|error) [a-z]+ "
                             r"(\w+=(\"([^\"\\]|\\.)*\"|[^\s\"]+)( |$))*$")
            self.assertTrue(line.isascii(), line)
        self.assertGreater(len(server.events("request")), 8)


class Listening(support.Case):
    """Sockets of the network and of the file system."""

    def ask(self, path):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(serving.PATIENCE)
            link.connect(str(path))
            link.sendall(b"GET /v1/models HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n")
            data = b""
            while piece := link.recv(1 << 16):
                data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "), head)
        return json.loads(body)

    def test_several(self):
        path = support.FOLDER / "several.sock"
        with Server(listen=("127.0.0.1:0", f"unix:{path}", "[::1]:0")
                    if self.has_six() else ("127.0.0.1:0", f"unix:{path}")) as server:
            self.assertEqual(server.get("/v1/models").json(), self.ask(path))
            if len(server.addresses) == 3:
                port = int(server.addresses[2].rpartition(":")[2])
                connection = http.client.HTTPConnection("::1", port, timeout=serving.PATIENCE)
                connection.request("GET", "/health")
                self.assertEqual(connection.getresponse().status, 200)
                connection.close()
            os.kill(server.fronts()[0], signal.SIGKILL)
            wait_for(lambda: server.events("front", "restarts=1"), "another front")
            self.assertEqual(self.ask(path)["object"], "list")

    @staticmethod
    def has_six():
        try:
            with socket.socket(socket.AF_INET6) as link:
                link.bind(("::1", 0))
            return True
        except OSError:
            return False

    def test_in_use(self):
        path = support.FOLDER / "used.sock"
        with Server(listen=("127.0.0.1:0", f"unix:{path}")) as server:
            for where in (f"127.0.0.1:{server.port}", f"unix:{path}"):
                done = support.dunlin("serve", support.tiny_model(), *serving.SANDBOX, "--listen",
                                      where)
                self.assertEqual(done.returncode, support.FAILED)
                self.assertIn(where, done.stderr.decode())
                self.assertIn("in use", done.stderr.decode())
            self.assertEqual(server.complete().status, 200)
            self.assertEqual(self.ask(path)["object"], "list")
            server.process.kill()
        # What it left behind is no hindrance.
        self.assertTrue(path.is_socket())
        with Server(listen=("127.0.0.1:0", f"unix:{path}")) as server:
            self.assertEqual(self.ask(path)["object"], "list")

    def test_wrong(self):
        taken = support.FOLDER / "a-file"
        taken.write_text("x")
        for where, words in (("nonsense", "HOST:PORT"), ("127.0.0.1", "HOST:PORT"),
                             ("127.0.0.1:x", "HOST:PORT"), ("127.0.0.1:65536", "HOST:PORT"),
                             ("unix:", "a path"), (f"unix:/{'x' * 200}", "a path"),
                             (f"unix:{taken}", "in use"), ("unix:/none/x.sock", "No such file")):
            with self.subTest(where):
                done = support.dunlin("serve", support.tiny_model(), *serving.SANDBOX, "--listen",
                                      where)
                self.assertIn(done.returncode, (support.FAILED, support.USAGE))
                self.assertIn(words, done.stderr.decode())
        self.assertEqual(taken.read_text(), "x")


if __name__ == "__main__":
    support.main()
