#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""--realtime granted and refused, no page fault while tokens come, times between tokens, and no
wake-up at all where nothing is asked."""

import ctypes
import json
import os
import pathlib
import re
import resource
import time
import unittest
import xml.etree.ElementTree

import support
from serving import Server
from support import FAILED, USAGE, dunlin
from test_terminal import Terminal

PR_CAPBSET_DROP = 24
CAP_SYS_NICE = 23
IDLE_SECONDS = 2
# In which a server has seen that nobody is connected any more.
WATCHED_SECONDS = 2.5
# It answers mlockall() itself: its shadow memory could not be locked.


def granted():
    """Whether real-time scheduling is to be had here, tried in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


needs_rights = unittest.skipUnless(granted(), "no real-time rights here (ulimit -r)")
needs_cpus = unittest.skipUnless(len(os.sched_getaffinity(0)) >= 2, "one CPU")


def without_rights():
    """In the child, before the program: what a user has who was given nothing."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))


def threads(pid):
    return [int(path.name) for path in pathlib.Path(f"/proc/{pid}/task").iterdir()]


def status(pid, tid=None):
    text = pathlib.Path(f"/proc/{pid}/task/{tid or pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.M))


def cpu_seconds(*pids):
    """Of the processes, in the kernel's ticks."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def shown_cpu_seconds(server):
    return float(re.search(rb"^dunlin_cpu_seconds_total (.*)$", server.get("/metrics").body,
                           re.M)[1])


def switches(pid):
    """How often each thread was put on a core or taken from it."""
    return {tid: [int(status(pid, tid)[f"{kind}voluntary_ctxt_switches"]) for kind in ("", "non")]
            for tid in threads(pid)}


class Refused(support.Case):
    """Without rights it is an error before anything is started, and says what would help."""

    def test_message(self):
        for verb, words in (("run", ["x"]), ("bench", []), ("embed", ["x"]), ("rerank", ["x", "y"])):
            done = dunlin(verb, support.tiny_model(), "--realtime", *words,
                          preexec_fn=without_rights)
            self.bad(done, FAILED, "real-time scheduling is refused", "ulimit -r",
                     "LimitRTPRIO=", "setcap")

    def test_doctor(self):
        done = dunlin("doctor", "--json", preexec_fn=without_rights)
        about = json.loads(self.good(done))["realtime"]
        self.assertFalse(about["scheduling"])
        self.assertIn("ulimit -r", about["reason"])
        text = self.good(dunlin("doctor", preexec_fn=without_rights)).decode()
        self.assertIn("real time      real-time scheduling is refused", text)


@needs_rights
class Granted(support.Case):
    """With rights."""

    def notes(self, done):
        """It succeeded; at most it says that memory could not be locked."""
        text = done.stderr.decode()
        self.assertEqual(done.returncode, 0, text)
        if text:
            self.assertIn("RLIMIT_MEMLOCK", text)
            self.assertIn("ulimit -l", text)
            self.assertEqual(text.count("\n"), 1, text)
        return done.stdout

    def test_doctor(self):
        about = json.loads(self.good(dunlin("doctor", "--json")))["realtime"]
        self.assertTrue(about["scheduling"])
        self.assertIsNone(about["reason"])

    @needs_cpus
    def test_policy_and_place_of_every_thread(self):
        process = support.start("run", support.tiny_model(), "x", "--realtime", "--threads", "2",
                                "--ignore-eos", "--context", "100000", "--no-sandbox")
        try:
            process.stdout.read(1)
            worker = support.children(process.pid)[0]
            tids = threads(worker)
            # A sanitizer may have a thread of its own.
            self.assertGreaterEqual(len(tids), 2)
            places = []
            for tid in tids:
                self.assertEqual(os.sched_getscheduler(tid), os.SCHED_FIFO)
                self.assertEqual(os.sched_getparam(tid).sched_priority, 1)
                places.append(os.sched_getaffinity(tid))
            alone = {cpu for place in places if len(place) == 1 for cpu in place}
            self.assertEqual(len(alone), 2, places)
            # The parent passes tokens on, where no core is left to programs without rights.
            self.assertEqual(os.sched_getscheduler(process.pid), os.SCHED_FIFO)
            locked = int(status(worker)["VmLck"].split()[0])
            if locked == 0 and not support.SANITIZED:
                process.kill()
                self.assertIn(b"memory is not locked", process.communicate()[1])
        finally:
            process.kill()
            process.communicate()

    def test_same_answer(self):
        words = ("run", support.tiny_model(), "A prompt.", "-n", "40", "--temperature", "0",
                 "--ignore-eos")
        self.assertEqual(self.notes(dunlin(*words, "--realtime")), self.good(dunlin(*words)))

    @unittest.skipIf(support.SANITIZED, "a sanitizer touches memory of its own")
    def test_no_page_faults(self):
        done = dunlin("bench", support.tiny_model(), "-p", "40", "-n", "200", "-r", "3",
                      "--realtime", "--json")
        result = json.loads(self.notes(done))
        self.assertTrue(result["realtime"])
        self.assertEqual(result["memory_locked"], done.stderr == b"")
        self.assertEqual(result["decode_page_faults"], {"minor": 0, "major": 0})

    def faults(self, *words):
        """Page faults of a worker in the middle of a long answer, by the kernel's own count."""
        process = support.start("run", support.tiny_model(), "x", "--ignore-eos", "--context",
                                "30000", "--threads", "1", *words)
        try:
            counts = []
            for size in (2000, 20000):
                self.assertEqual(len(process.stdout.read(size)), size)
                worker = support.children(process.pid)[0]
                fields = pathlib.Path(f"/proc/{worker}/stat").read_text().rpartition(") ")[2]
                counts.append(int(fields.split()[7]))
            return counts[1] - counts[0]
        finally:
            process.kill()
            process.communicate()

    @unittest.skipIf(support.SANITIZED, "a sanitizer touches memory of its own")
    def test_cache_is_there_beforehand(self):
        self.assertGreater(self.faults(), 0)
        self.assertEqual(self.faults("--realtime"), 0)

    def test_embeds(self):
        self.notes(dunlin("embed", support.tiny_model(), "a text", "--realtime"))

    def test_more_threads_than_cpus(self):
        count = len(os.sched_getaffinity(0)) + 1
        self.bad(dunlin("run", support.tiny_model(), "x", "--realtime", "--threads", count),
                 FAILED, f"{count} threads", f"{count - 1} CPUs")


class Latency(support.Case):
    """bench --latency."""

    def test_json(self):
        done = dunlin("bench", support.tiny_model(), "-p", "8", "-n", "501", "-r", "2", "--json",
                      "--latency")
        times = json.loads(self.good(done))["latency"]
        self.assertEqual(times["samples"], 1000)
        self.assertEqual(times["first_token"]["samples"], 2)
        order = [times[key] for key in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")]
        self.assertEqual(order, sorted(order))
        self.assertGreater(order[0], 0)

    def test_too_few_is_said(self):
        done = dunlin("bench", support.tiny_model(), "-p", "8", "-n", "51", "-r", "2", "--latency")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"100 times between tokens are too few", done.stderr)
        self.assertIn(b"--generate 501", done.stderr)
        self.assertRegex(done.stdout.decode(), r"p99 [\d.]+ ms, p99.9 \(takes 1000 times\), max")

    def test_picture(self):
        path = support.FOLDER / "latency.svg"
        done = dunlin("bench", support.tiny_model(), "-p", "8", "-n", "501", "-r", "2",
                      "--latency", "--svg", path)
        self.assertIn(b"between tokens  1000 times: p50", self.good(done))
        root = xml.etree.ElementTree.parse(path).getroot()
        line = root.find("{http://www.w3.org/2000/svg}polyline")
        heights = [float(point.split(",")[1]) for point in line.get("points").split()]
        self.assertEqual(heights, sorted(heights, reverse=True))
        self.bad(dunlin("bench", support.tiny_model(), "--svg", path), USAGE, "--latency")
        self.bad(dunlin("bench", support.tiny_model(), "-p", "8", "-n", "501", "-r", "2",
                        "--latency", "--svg", support.FOLDER / "none" / "x.svg"),
                 FAILED, "x.svg")


    def test_nothing_to_wait_for(self):
        self.assertIn(b"no tokens to wait for",
                      dunlin("bench", support.tiny_model(), "-n", "0", "--latency").stderr)


class Idle(support.Case):
    """Who is asked nothing does nothing."""

    def still(self, *pids, quiet_after=0.5):
        """No thread of them is scheduled for some seconds, once it is quiet."""
        time.sleep(quiet_after)
        before = [switches(pid) for pid in pids]
        time.sleep(IDLE_SECONDS)
        self.assertEqual([switches(pid) for pid in pids], before)
        self.assertTrue(all(before))

    def conversation(self, *words):
        terminal = Terminal("run", support.tiny_model(), "-n", "8", "--ignore-eos", "--threads",
                            "2", *words)
        terminal.expect(b">>> ")
        worker = support.children(terminal.pid)[0]
        self.still(terminal.pid, worker)
        terminal.send(b"hello\n")
        terminal.expect(b"\n")
        terminal.expect(b">>> ")
        self.still(terminal.pid, worker)
        terminal.send(b"/bye\n")
        self.assertEqual(terminal.wait(), 0)

    def test_conversation(self):
        self.conversation()

    def test_server(self):
        """A server that nobody is connected to, before an answer and after it."""
        with Server() as server:
            pids = [server.process.pid, *server.fronts(), *server.workers()]
            self.assertEqual(len(pids), 3)
            self.still(*pids, quiet_after=WATCHED_SECONDS)
            # With what has ended, as a loader.
            others = shown_cpu_seconds(server) - cpu_seconds(*pids)
            begun = cpu_seconds(*pids)
            while cpu_seconds(*pids) < begun + 1:
                self.assertEqual(server.complete(max_tokens=200, ignore_eos=True).status, 200)
            self.still(*pids, quiet_after=WATCHED_SECONDS)
            # Nothing was missed before they slept.
            self.assertAlmostEqual(shown_cpu_seconds(server), cpu_seconds(*pids) + others,
                                   delta=0.1)

    @needs_rights
    @needs_cpus
    def test_realtime_conversation(self):
        self.conversation("--realtime")


if __name__ == "__main__":
    support.main()
