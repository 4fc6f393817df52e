# SPDX-License-Identifier: MIT
"""A server that runs while a test asks it, and HTTP over TCP or a socket file."""

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import time

import support

# How long a server may take to be ready on a machine that has other work.
PATIENCE = 120


class UnixConnection(http.client.HTTPConnection):
    """http.client over a socket file."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def connect(where, timeout=support.TIMEOUT):
    """@where: unix:PATH or HOST:PORT."""
    if where.startswith("unix:"):
        return UnixConnection(where[5:], timeout)
    return http.client.HTTPConnection(where, timeout=timeout)


def ask(where, path, body=None, key=None):
    """One request. Return: status, JSON or text."""
    connection = connect(where)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path,
                           None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    return answer.status, json.loads(text) if text.startswith("{") else text


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


def wait_until(what, true, seconds=PATIENCE):
    """Look often until @true() is; fail where it never is."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def is_up(where, path="/ready"):
    try:
        return ask(where, path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


class Server:
    """`dunlin serve` with its log; ended at the end of the with statement."""

    def __init__(self, *arguments, env=None, listen="127.0.0.1:0", **options):
        words = [support.PROGRAM, "serve", *SANDBOX, *(["--listen", listen] if listen else []),
                 *map(str, arguments)]
        self.log = ""
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env=env or support.environment(), **options)
        os.set_blocking(self.process.stderr.fileno(), False)

    def read(self, seconds=0.0):
        """More of the log, if there is any."""
        if select.select([self.process.stderr], [], [], seconds)[0]:
            self.log += (self.process.stderr.read() or b"").decode(errors="replace")
        return self.log

    def wait_for(self, pattern):
        """Return: what a line of the log has that matches."""
        end = time.monotonic() + PATIENCE
        while True:
            match = re.search(pattern, self.read(0.1), re.MULTILINE)
            if match:
                return match
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"no {pattern!r} in the log:\n{self.read()}")

    def where(self):
        """Its address, once it serves a model."""
        at = self.wait_for(r'^info listen at="(?:http://)?([^"]+)"')[1]
        self.wait_for(r"^info model .* state=ready")
        return at

    def end(self, number=signal.SIGTERM):
        """Return: the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(support.TIMEOUT)
        self.read()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()


# More options of every server, while looking for a fault: --no-sandbox.
SANDBOX = []
