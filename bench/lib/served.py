# SPDX-License-Identifier: MIT
"""A server that is measured: its start, its memory, and the times at which tokens come from it."""

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time

import process
from peer import BenchError

START_SECONDS = 120
ANSWER_SECONDS = 300
SAMPLE_SECONDS = 0.05


def free_port():
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return link.getsockname()[1]


def percentile(values, share):
    """Of sorted values: one of them, the least that so many are not above."""
    return values[min(int(share * len(values)), len(values) - 1)]


class Stream:
    """A streamed completion: when it was asked for, and when each event with text came."""

    def __init__(self, port, prompt, tokens, **more):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        body = {"model": "model", "prompt": prompt, "max_tokens": tokens, "temperature": 0,
                "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True},
                **more}
        self.begin = time.monotonic()
        self.times = []
        self.tokens = 0
        self.whole = False
        try:
            self.connection.request("POST", "/v1/completions", json.dumps(body),
                                    {"Content-Type": "application/json"})
            self.answer = self.connection.getresponse()
            self.status = self.answer.status
        except BaseException:
            self.connection.close()
            raise

    def close(self):
        self.connection.close()

    def events(self):
        """Each line of data, as bytes."""
        for line in self.answer:
            if line.startswith(b"data: "):
                yield line[6:].strip()

    def read(self):
        """To the end. What is parsed takes time from the server: the last events alone are."""
        last = []
        for event in self.events():
            self.times.append(time.monotonic())
            last = [*last[-2:], event]
        self.close()
        self.whole = last[-1:] == [b"[DONE]"]
        for event in last[:-1]:
            usage = json.loads(event).get("usage")
            if usage:
                self.tokens = usage["completion_tokens"]
        return self

    def gaps(self):
        """Milliseconds between events with tokens; the last ones tell usage and the end."""
        times = self.times[:-3]
        return [(after - before) * 1e3 for before, after in zip(times, times[1:])]


class Server:
    """A program that answers at a port, until the end of a `with`."""

    def __init__(self, command, port, log=subprocess.DEVNULL):
        self.command = list(map(str, command))
        self.port = port
        self.begin = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=log)
        self.peak = 0
        self.stop = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        if self.watcher.is_alive():
            self.watcher.join()

    def _watch(self):
        while not self.stop.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, process.pss_bytes(process.family(self.process.pid)))

    def watch_memory(self):
        """Until the end; self.peak is the most that there was."""
        self.watcher.start()

    def first_token(self, prompt):
        """Milliseconds from the start of the program to its first token."""
        end = self.begin + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise BenchError(f"{' '.join(self.command)}: exit code {self.process.returncode}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                stream = Stream(self.port, prompt, 1)
                if stream.status == 200:
                    return (stream.read().times[0] - self.begin) * 1e3
                stream.close()
            time.sleep(0.005)
        raise BenchError(f"{' '.join(self.command)}: no answer in {START_SECONDS} s")


def throughput(port, prompts, tokens, clients):
    """Tokens a second of so many clients, who share the prompts between them."""
    waiting = list(prompts)
    done = []
    failures = []

    def work():
        while True:
            try:
                prompt = waiting.pop()
            except IndexError:
                return
            try:
                stream = Stream(port, prompt, tokens).read()
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                return
            if not stream.whole or stream.tokens == 0:
                failures.append(f"status {stream.status}, {stream.tokens} tokens")
            done.append(stream.tokens)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise BenchError(f"{len(failures)} requests failed: {failures[0]}")
    return sum(done) / (time.monotonic() - begin)
