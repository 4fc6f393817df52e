# SPDX-License-Identifier: MIT
"""A server to test, what it logs and takes, and HTTP to it, over TCP or a socket file, by nothing
but Python's own library.

scripts/fetch-clients installs the packages that real clients use; without them those tests skip."""

import contextlib
import http.client
import importlib
import json
import os
import pathlib
import re
import signal
import socket
import sys
import threading
import time
import unittest

import support

# More options of every server, to attach a debugger: ["--no-sandbox"].
SANDBOX = []
PATIENCE = 120
CLIENTS = os.environ.get("DUNLIN_CLIENTS")

if CLIENTS:
    sys.path.append(CLIENTS)
try:
    import openai
except ImportError:
    openai = None
try:
    import prometheus_client.parser as prometheus
except ImportError:
    prometheus = None


def package(name):
    """One of those that a single test needs; None where it was not fetched."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


needs_openai = unittest.skipUnless(openai, "no 'openai' package: scripts/fetch-clients has it")
needs_prometheus = unittest.skipUnless(prometheus, "no 'prometheus_client' package: "
                                       "scripts/fetch-clients has it")
needs_root = unittest.skipUnless(os.geteuid() == 0, "reading others' memory and being others takes root")


def wait_for(condition, what, seconds=PATIENCE, interval=0.01):
    """Poll until it gives something true, which is returned."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(interval)


def all_children(pid):
    """Of a process and of its children, and so on."""
    found = []
    with contextlib.suppress(OSError):
        for child in support.children(pid):
            found += [child, *all_children(child)]
    return found


def is_gone(pid):
    """It has ended; whether its parent has noticed does not matter."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except OSError:
        return True


class UnixConnection(http.client.HTTPConnection):
    """http.client over a socket file."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def connect(where, timeout=PATIENCE):
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


def is_up(where, path="/ready"):
    try:
        return ask(where, path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


class Response:
    """A whole one."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def error(self):
        """The error that it has to be, in the shape that clients expect."""
        value = self.json()["error"]
        assert set(value) == {"message", "type", "param", "code"}, value
        assert value["message"], value
        return value


class Server:
    """`dunlin serve` until the end of a `with`; its log is read as it comes."""

    def __init__(self, *words, models=None, listen=("127.0.0.1:0",), threads=1, ready=True,
                 **options):
        models = models or [support.tiny_model()]
        places = [word for where in listen for word in ("--listen", where)]
        self.process = support.start("serve", *models, *SANDBOX, *places, "--threads", threads,
                                     *words, **options)
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.addresses = []
        try:
            wait_for(lambda: len(self.events("listen")) == len(listen) or self.ended(),
                     "a listener")
            self.addresses = re.findall(r'^info listen at="(.*)"$', self.log(), re.M)
            if ready:
                self.ready()
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))

    def log(self):
        return "\n".join(list(self.lines))

    def events(self, name, *parts):
        """Lines of the log of that event, which have all the parts."""
        return [line for line in list(self.lines)
                if line.split(" ")[1:2] == [name] and all(part in line for part in parts)]

    def ended(self):
        return self.process.poll() is not None

    @property
    def where(self):
        return self.addresses[0].removeprefix("http://")

    @property
    def port(self):
        return int(self.where.rpartition(":")[2])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ready(self):
        """Wait until a request would be computed."""
        def is_ready():
            if self.ended():
                raise AssertionError(f"the server ended:\n{self.log()}")
            return is_up(self.where)
        wait_for(is_ready, "a ready server")

    def connect(self, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE):
        connection = connect(self.where, timeout)
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, headers=None, **body):
        return self.request("POST", path, body, headers)

    def complete(self, prompt="Once", headers=None, **body):
        """A plain completion, greedy unless told."""
        body = {"prompt": prompt, "max_tokens": 16, "temperature": 0, **body}
        return self.post("/v1/completions", headers, **body)

    def stream(self, prompt="Once", key=None, **body):
        """A stream that has begun: (connection, answer), to be read by lines."""
        body = {"prompt": prompt, "max_tokens": 16, "temperature": 0, "ignore_eos": True,
                "stream": True, **body}
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection = connect(self.where)
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def metrics(self, key=None):
        """{name{labels}: value}"""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        text = self.get("/metrics", headers=headers).body.decode()
        return {name: float(value) for name, value in
                re.findall(r"^([^#\s].*) (\S+)$", text, re.M)}

    def active(self):
        """Requests that have a place in a worker."""
        return sum(value for name, value in self.metrics().items()
                   if name.startswith("dunlin_active_requests{"))

    def props(self):
        return self.get("/props").json()

    def idle(self, seconds=PATIENCE):
        """Wait until no request has a place."""
        wait_for(lambda: self.active() == 0, "a free place", seconds)

    def _processes(self, role):
        found = []
        for pid in support.children(self.process.pid):
            with contextlib.suppress(OSError):
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[:2] == [b"dunlin", role] and not is_gone(pid):
                    found.append(pid)
        return found

    def fronts(self):
        return self._processes(b"front")

    def workers(self):
        return self._processes(b"worker")

    def terminate(self, number=signal.SIGTERM):
        """By a signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code

    def kill(self):
        if not self.ended():
            self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()


def parrot_server(template, *words):
    """A server whose model says what it is told, and has this chat template."""
    model = support.FOLDER / "polly.model"
    model.write_bytes(b"PARROT" + template.encode())
    program = support.FOLDER / "parrot"
    source = (pathlib.Path(__file__).parent / "parrot.py").read_text()
    # A worker has no PATH, and so no /usr/bin/env.
    program.write_text(f"#!{sys.executable}\n{source}")
    program.chmod(0o755)
    return Server("--worker", program, *words, models=[f"polly={model}"])


def events_of(answer):
    """The JSON of each event of a stream, up to its end; None stands for [DONE]."""
    for line in answer:
        line = line.strip()
        if line.startswith(b"data: "):
            text = line[len(b"data: "):]
            yield None if text == b"[DONE]" else json.loads(text)


def text_of(answer):
    """The text of a stream of one completion, which has to be whole."""
    events = list(events_of(answer))
    assert events and events[-1] is None, events[-1:]
    return "".join(choice["text"] for event in events[:-1] for choice in event["choices"])
