#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What those who start `dunlin serve` rely on: systemd, containers, health checks."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import unittest

import serving
import support
from serving import Server, ask, chat, is_up, wait_for
from support import FAILED, FOLDER, OK, USAGE, dunlin

UNITS = support.ROOT / "packaging" / "systemd"
ACTIVATE = shutil.which("systemd-socket-activate")
ANALYZE = shutil.which("systemd-analyze")
# Of an answer that a real model is still making while other things are done.
TOKENS = 20 if support.SANITIZED else 200
NOTE = r"a new API key, which is shown this once: (sk-[0-9a-f]{48})"


def model():
    return support.REAL_MODEL or support.tiny_model()


def serve(*words, env=None):
    """`dunlin serve` where it is to fail at its start."""
    return dunlin("serve", "--listen", "127.0.0.1:0", *words, env=env)


def folder(name):
    path = FOLDER / name
    path.mkdir()
    return path


class Units(support.Case):
    """packaging/systemd"""

    @unittest.skipUnless(ANALYZE, "systemd-analyze is missing")
    def test_exposure(self):
        done = subprocess.run([ANALYZE, "security", "--offline=yes", "--no-pager",
                               UNITS / "dunlin.service"], capture_output=True, text=True,
                              env=support.environment(LC_ALL="C"), check=False)
        if "offline" in done.stderr:
            self.skipTest("systemd-analyze is older than 250")
        found = re.search(r"Overall exposure level for dunlin.service: ([0-9.]+)", done.stdout)
        self.assertTrue(found, done.stdout + done.stderr)
        self.assertLess(float(found[1]), 1.5)

    @unittest.skipUnless(ANALYZE, "systemd-analyze is missing")
    def test_nothing_is_ignored(self):
        done = subprocess.run([ANALYZE, "verify", "--man=no", UNITS / "dunlin.service",
                               UNITS / "dunlin.socket"], capture_output=True, text=True,
                              env=support.environment(LC_ALL="C"), check=False)
        for line in done.stderr.splitlines():
            # What is wrong with this machine's other units is not ours.
            self.assertFalse("dunlin." in line and re.search("ignoring|Unknown|Failed", line), line)

    def test_the_verb_knows_its_words(self):
        """What ExecStart and the image's CMD say is what the program takes."""
        unit = (UNITS / "dunlin.service").read_text()
        words = re.search(r"^ExecStart=dunlin (.*)$", unit, re.MULTILINE)[1].split()
        image = (support.ROOT / "Dockerfile").read_text()
        default = json.loads(re.search(r"^CMD (\[.*\])$", image, re.MULTILINE)[1])
        for start in words, default:
            start = [w.replace("%S", str(FOLDER / "none")).replace("/models", str(FOLDER / "none"))
                     for w in start]
            self.bad(dunlin(*start), FAILED, "none", "No such file")


class Notify(support.Case):
    """sd_notify(3), sd_watchdog_enabled(3)"""

    def run_with(self, address):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.bind(address)
            ours.settimeout(serving.PATIENCE)
            name = "@" + address[1:] if address.startswith("\0") else address
            env = support.environment(NOTIFY_SOCKET=name, WATCHDOG_USEC="30000000")
            with Server(models=[model()], env=env) as server:
                self.assertTrue(ours.recv(4096).startswith(b"READY=1"))
                self.assertTrue(is_up(server.where))
                self.assertEqual([ours.recv(4096) for _ in range(2)], [b"WATCHDOG=1"] * 2)
                server.process.terminate()
                messages = []
                while not messages or not messages[-1].startswith(b"STOPPING=1"):
                    messages.append(ours.recv(4096))
                self.assertEqual(server.process.wait(serving.PATIENCE), OK)

    def test_socket_file(self):
        self.run_with(str(FOLDER / "notify"))

    def test_abstract_socket(self):
        self.run_with(f"\0dunlin-test-{os.getpid()}")

    def test_watchdog_of_another_process(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.bind(str(FOLDER / "notify-other"))
            ours.settimeout(serving.PATIENCE)
            env = support.environment(NOTIFY_SOCKET=str(FOLDER / "notify-other"),
                                      WATCHDOG_USEC="30000000", WATCHDOG_PID="1")
            with Server(models=[model()], env=env):
                self.assertTrue(ours.recv(4096).startswith(b"READY=1"))
                ours.settimeout(2.5)
                with self.assertRaises(TimeoutError):
                    ours.recv(4096)


@unittest.skipUnless(ACTIVATE, "systemd-socket-activate is missing")
class Activation(support.Case):
    """Listening sockets that systemd made."""

    def activate(self, *listen):
        words = [ACTIVATE, *[f"--listen={a}" for a in listen], support.PROGRAM, "serve",
                 *serving.SANDBOX, model()]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env=support.environment())
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_sockets_are_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            tcp = f"127.0.0.1:{free.getsockname()[1]}"
        path = FOLDER / "activated"
        process = self.activate(tcp, path)
        wait_for(lambda: is_up(tcp), "a ready server")
        self.assertEqual(ask(f"unix:{path}", "/health")[0], 200)
        self.assertEqual(ask(tcp, "/v1/chat/completions", chat("hi"))[0], 200)
        # By now systemd-socket-activate is the server.
        listening = subprocess.run(["sh", "-c", f"ls -l /proc/{process.pid}/fd"], check=True,
                                   capture_output=True, text=True).stdout
        self.assertIn("socket:", listening)
        process.terminate()
        self.assertEqual(process.wait(support.TIMEOUT), OK)
        # What is not ours stays for the next start.
        self.assertTrue(path.exists())


class Drain(support.Case):
    """SIGTERM: what is being answered is answered."""

    def test_a_stream_ends_whole(self):
        with Server("--drain", serving.PATIENCE, models=[model()]) as server:
            stream, answer = server.stream("Count.", max_tokens=TOKENS,
                                           stream_options={"include_usage": True})
            events = serving.events_of(answer)
            begun = next(events)
            server.process.terminate()
            wait_for(lambda: server.events("drain"), "the drain")
            # Nobody else is let in.
            wait_for(lambda: not is_up(server.where, "/health"), "a refusal", 10)
            *events, end = [begun, *events]
            stream.close()
            self.assertEqual(server.process.wait(serving.PATIENCE), OK)
        self.assertIsNone(end)
        self.assertFalse([e for e in events if "error" in e])
        reasons = [c["finish_reason"] for e in events for c in e["choices"]]
        self.assertEqual([r for r in reasons if r], ["length"])
        usage = [e["usage"]["completion_tokens"] for e in events if e.get("usage")]
        self.assertEqual(usage, [TOKENS])
        if support.REAL_MODEL:
            log = server.log()
            self.assertLess(log.index("info drain "), log.index("info generation "))

    def test_time_is_up(self):
        """An answer that would take too long is cut, and the server ends all the same."""
        with Server("--drain", "0", models=[model()]) as server:
            stream, answer = server.stream("Count.", max_tokens=TOKENS)
            answer.readline()
            self.assertEqual(server.terminate(), OK)
            stream.close()

    def test_the_second_signal_ends_it(self):
        with Server("--drain", "600", models=[model()]) as server:
            stream, answer = server.stream("Count.", max_tokens=TOKENS)
            answer.readline()
            server.process.send_signal(signal.SIGINT)
            wait_for(lambda: server.events("drain"), "the drain")
            self.assertEqual(server.terminate(signal.SIGINT), OK)
            stream.close()


class Folders(support.Case):
    """A MODEL that is a folder."""

    def test_each_model_by_its_name(self):
        path = folder("models")
        for name in "one.gguf", "two.gguf", "part-00001-of-00002.gguf", ".hidden.gguf", "notes.txt":
            shutil.copy(support.tiny_model(), path / name)
        (path / "part-00001-of-00002.gguf").unlink()
        with Server(models=[path]) as server:
            listed = server.get("/v1/models").json()
            self.assertEqual([m["id"] for m in listed["data"]], ["one", "two"])

    def test_prepared_form_beside_its_file(self):
        path = folder("both")
        shutil.copy(support.tiny_model(), path / "one.gguf")
        (path / "one.dunlin").write_bytes(b"not looked at")
        with Server(models=[path]) as server:
            self.assertEqual(len(server.get("/v1/models").json()["data"]), 1)

    def test_empty_folder(self):
        path = folder("empty")
        self.bad(serve(path), FAILED, f"no model in '{path}'", ".gguf", f"-v ./models:{path}:ro")
        (path / "part-00002-of-00002.gguf").touch()
        self.bad(serve(path), FAILED, "no model in")

    def test_missing_part(self):
        path = folder("parts")
        shutil.copy(support.tiny_model(), path / "part-00001-of-00002.gguf")
        self.bad(serve(path), FAILED, "part-00002-of-00002.gguf", "is not beside it")

    @unittest.skipIf(os.geteuid() == 0, "root may read all")
    def test_unreadable(self):
        path = folder("unreadable")
        shutil.copy(support.tiny_model(), path / "one.gguf")
        (path / "one.gguf").chmod(0)
        self.bad(serve(path), FAILED, f"user {os.geteuid()} may not read it")


class Keys(support.Case):
    """--key-file, --make-key, and credentials of systemd."""

    def test_made_once(self):
        path = FOLDER / "keys"
        with Server("--key-file", path, "--make-key", models=[model()]) as server:
            key = re.search(NOTE, server.log())[1]
            where = server.where
            body = chat("hi", max_tokens=1)
            self.assertEqual(ask(where, "/v1/chat/completions", body)[0], 401)
            self.assertEqual(ask(where, "/v1/chat/completions", body, key)[0], 200)
            self.assertEqual(ask(where, "/health")[0], 200)
            self.good(dunlin("health", "--ready", where))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        with Server("--key-file", path, "--make-key", models=[model()]) as server:
            self.assertNotRegex(server.log(), NOTE)
            self.assertNotIn(key, server.log())
            self.assertEqual(ask(server.where, "/v1/models", key=key)[0], 200)

    def test_credential_goes_first(self):
        path = folder("credentials")
        (path / "dunlin.keys").write_text("somebody sk-0123456789abcdef\n")
        (path / "dunlin.keys").chmod(0o440)
        env = support.environment(CREDENTIALS_DIRECTORY=str(path))
        with Server("--key-file", FOLDER / "not-made", "--make-key", models=[model()],
                    env=env) as server:
            self.assertEqual(ask(server.where, "/v1/models")[0], 401)
            self.assertEqual(ask(server.where, "/v1/models", key="sk-0123456789abcdef")[0], 200)
        self.assertFalse((FOLDER / "not-made").exists())

    def test_nowhere_to_keep_it(self):
        self.bad(serve("--key-file", FOLDER / "no" / "keys", "--make-key", model()), FAILED,
                 "make the keys", "No such file", "may write", "-v NAME:FOLDER")


class Peer(threading.Thread):
    """Accepts one connection and says @answer, or nothing until it is told to go."""

    def __init__(self, answer):
        super().__init__()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.where = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.answer = answer
        self.go = threading.Event()

    def run(self):
        one, _ = self.listener.accept()
        with one:
            one.settimeout(support.TIMEOUT)
            one.recv(4096)
            if self.answer is None:
                self.go.wait(support.TIMEOUT)
            else:
                one.sendall(self.answer)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.go.set()
        self.join()
        self.listener.close()


class Health(support.Case):
    """dunlin health"""

    def test_answers(self):
        with Peer(b"HTTP/1.1 200 OK\r\n\r\n") as peer:
            self.assertEqual(self.good(dunlin("health", f"http://{peer.where}")), b"ok\n")
        with Peer(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") as peer:
            self.bad(dunlin("health", "--ready", peer.where), FAILED, "503", "/ready", "loaded")
        with Peer(b"SSH-2.0-nobody\r\n") as peer:
            self.bad(dunlin("health", peer.where), FAILED, "does not speak HTTP")
        with Peer(b"HTTP/1.1") as peer:
            self.bad(dunlin("health", peer.where), FAILED, "does not speak HTTP")
        with Peer(None) as peer:
            self.bad(dunlin("health", "--timeout", "1", peer.where), FAILED, "timed out")

    def test_nobody(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            where = f"127.0.0.1:{free.getsockname()[1]}"
        self.bad(dunlin("health", where), FAILED, where, "refused")
        self.bad(dunlin("health", f"unix:{FOLDER}/nobody"), FAILED, "No such file")
        self.bad(dunlin("health", "somewhere"), FAILED, "HOST:PORT")
        self.bad(dunlin("health", "a", "b"), USAGE, "'b'")

    def test_socket_file(self):
        path = pathlib.Path(FOLDER / "health")
        with Server(models=[model()], listen=[f"unix:{path}"]):
            self.good(dunlin("health", f"unix:{path}"))


if __name__ == "__main__":
    support.main()
