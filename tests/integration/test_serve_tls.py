#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TLS: with clients that people have, certificates that are good and that are not, and new ones."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

import certificates
import serving
import support
from certificates import Authority, needs_curl, openssl
from serving import Server, ask, chat, wait_for
from support import FAILED, FOLDER, dunlin

if serving.openai:
    import openai

KEY = "sk-of-alice-0123456789"
ACTIVATE = shutil.which("systemd-socket-activate")
GREETING = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"

authority = None
other = None
pair = None


def setUpModule():
    global authority, other, pair
    if not certificates.OPENSSL:
        raise unittest.SkipTest("the openssl program is missing")
    authority = Authority(FOLDER / "authority")
    other = Authority(FOLDER / "other", "Other authority")
    pair = authority.issue("server")


class Secure(Server):
    """Beside its port with TLS, a socket file without."""

    def __init__(self, *words, certificate=None, more=(), **options):
        path = FOLDER / f"socket-{os.urandom(4).hex()}"
        super().__init__(*(certificate or pair).server(), *words,
                         listen=(f"unix:{path}", "127.0.0.1:0", *more), **options)

    @property
    def url(self):
        return self.addresses[1]

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    def link(self, client=None, context=None, name="localhost"):
        """A connection after its handshake."""
        context = context or authority.context(client)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=serving.PATIENCE)
        try:
            return context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)
        except BaseException:
            plain.close()
            raise

    def https(self, client=None, context=None):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=serving.PATIENCE,
                                           context=context or authority.context(client))

    def ask(self, path, body=None, key=None, client=None):
        connection = self.https(client)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        with contextlib.closing(connection):
            connection.request("POST" if body is not None else "GET", path,
                               json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())


def key_file(name="keys"):
    path = FOLDER / name
    path.write_text(f"alice {KEY}\n")
    path.chmod(0o600)
    return path


def s_client(server, *words, text=b""):
    """openssl's own client; None where there was no handshake, else what it says."""
    done = subprocess.run([certificates.OPENSSL, "s_client", "-connect",
                           f"127.0.0.1:{server.port}", "-CAfile", str(authority.file),
                           "-verify_return_error", *words], input=text, capture_output=True,
                          timeout=60, check=False)
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def serial_of(link):
    return link.getpeercert()["serialNumber"]


def reload(server, event="info"):
    before = len(server.events("reload"))
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(server.events("reload")) > before, "a reload")
    line = server.events("reload")[-1]
    assert line.startswith(event), line
    return line


class Clients(support.Case):
    """Real ones."""

    @classmethod
    def setUpClass(cls):
        cls.server = Secure("--key-file", key_file())
        cls.addClassCleanup(cls.server.kill)

    def client(self, context=None, host="127.0.0.1", **more):
        return openai.OpenAI(
            base_url=f"https://{host}:{self.server.port}/v1", api_key=KEY,
            timeout=serving.PATIENCE, max_retries=0,
            http_client=openai.DefaultHttpxClient(verify=context or authority.context()), **more)

    @serving.needs_openai
    def test_openai(self):
        for host in "127.0.0.1", "localhost":
            with self.client(host=host) as client:
                self.assertEqual([m.id for m in client.models.list().data], ["tiny"])
                whole = client.completions.create(model="tiny", prompt="Once", max_tokens=12,
                                                  temperature=0)
                pieces = list(client.completions.create(model="tiny", prompt="Once", max_tokens=12,
                                                        temperature=0, stream=True))
                self.assertEqual("".join(p.choices[0].text for p in pieces),
                                 whole.choices[0].text)

    @serving.needs_openai
    def test_openai_trusts_no_other(self):
        for context in other.context(), ssl.create_default_context():
            with self.client(context) as client:
                with self.assertRaises(openai.APIConnectionError):
                    client.models.list()

    @needs_curl
    def test_curl(self):
        def curl(*words):
            return subprocess.run([certificates.CURL, "-sS", *words], capture_output=True,
                                  timeout=60, check=False)
        url = f"https://localhost:{self.server.port}"
        resolve = ["--resolve", f"localhost:{self.server.port}:127.0.0.1"]
        trust = ["--cacert", str(authority.file)]
        done = curl(*trust, *resolve, f"{url}/v1/models", "-H", f"Authorization: Bearer {KEY}",
                    "-w", "%{http_code} %{http_version}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.endswith(b"200 1.1"), done.stdout)
        done = curl(*trust, *resolve, f"{url}/v1/models", "-o", os.devnull, "-w", "%{http_code}")
        self.assertEqual(done.stdout, b"401")
        self.assertEqual(curl(*resolve, f"{url}/health").returncode, 60)
        # A name that is not in the certificate.
        done = curl(*trust, "--resolve", f"dunlin.test:{self.server.port}:127.0.0.1",
                    f"https://dunlin.test:{self.server.port}/health")
        self.assertEqual(done.returncode, 60)

    def test_any_name_is_good(self):
        """By TLS, no page of another name can come here: its own name has no such certificate."""
        for name in "example.org", "localhost", "10.1.2.3":
            with self.server.link() as link:
                link.sendall(f"GET /health HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
                self.assertTrue(link.recv(4096).startswith(b"HTTP/1.1 200 "))

    def test_large_bodies(self):
        """More than is read at once, by one write and by many."""
        body = {"content": "word " * 120000}
        status, answer = self.server.ask("/tokenize", body, KEY)
        self.assertEqual(status, 200)
        self.assertGreater(answer["count"], 1000)
        text = json.dumps({"content": "word " * 30000}).encode()
        with self.server.link() as link:
            link.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                         b"application/json\r\nAuthorization: Bearer " + KEY.encode()
                         + b"\r\nContent-Length: " + str(len(text)).encode() + b"\r\n\r\n")
            for at in range(0, len(text), 5000):
                link.sendall(text[at:at + 5000])
            self.assertTrue(link.recv(4096).startswith(b"HTTP/1.1 200 "))

    def test_many_requests_of_a_connection(self):
        with self.server.link() as link:
            link.sendall(GREETING * 50)
            got = b""
            while got.count(b'{"status":"ok"}') < 50:
                more = link.recv(65536)
                self.assertTrue(more, got[-500:])
                got += more

    def test_answers_end(self):
        """With a word that they do: what is cut on the way is seen to be."""
        with self.server.link() as link:
            link.sendall(GREETING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            got = b""
            while True:
                more = link.recv(4096)  # ssl.SSLEOFError where the word is missing
                if not more:
                    break
                got += more
            self.assertTrue(got.endswith(b'{"status":"ok"}'), got)

    def test_who_leaves_frees_a_place(self):
        with Secure() as server:
            worker, = server.workers()
            os.kill(worker, signal.SIGSTOP)
            connection = server.https()
            connection.request("POST", "/v1/completions",
                               json.dumps({"prompt": "Once", "max_tokens": 4000, "stream": True}),
                               {"Content-Type": "application/json"})
            wait_for(lambda: server.active() == 1, "a request")
            connection.close()
            wait_for(lambda: server.events("generation", "end=left"), "that it left")
            os.kill(worker, signal.SIGCONT)
            server.idle()
            self.assertEqual(server.events("front", "error"), [])

    def test_who_does_not_read_is_given_up(self):
        with Secure("--parallel", 1) as server:
            for _ in range(3):
                plain = socket.socket()
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                plain.connect(("127.0.0.1", server.port))
                with authority.context().wrap_socket(plain, server_hostname="localhost") as link:
                    body = json.dumps({"prompt": "Once", "max_tokens": 4000, "stream": True,
                                       "ignore_eos": True, "n": 8, "logprobs": 5}).encode()
                    link.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                                 b"Content-Type: application/json\r\nContent-Length: "
                                 + str(len(body)).encode() + b"\r\n\r\n" + body)
                    server.idle()
            self.assertEqual(server.ask("/health")[0], 200)
            self.assertEqual(server.events("front", "error"), [])


class Handshakes(support.Case):
    """What is agreed on, and with whom not."""

    @classmethod
    def setUpClass(cls):
        cls.server = Secure("--request-timeout", "1", "--idle-timeout", "3600")
        cls.addClassCleanup(cls.server.kill)

    def test_versions(self):
        weak = ["-cipher", "ALL:@SECLEVEL=0"]
        self.assertIsNone(s_client(self.server, "-tls1", *weak))
        self.assertIsNone(s_client(self.server, "-tls1_1", *weak))
        self.assertIn("Protocol  : TLSv1.2", s_client(self.server, "-tls1_2"))
        self.assertIn("TLSv1.3", s_client(self.server, "-tls1_3"))

    def test_ciphers(self):
        for good in "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305":
            self.assertIn(good, s_client(self.server, "-tls1_2", "-cipher", good))
        # Without forward secrecy, or without authenticated encryption.
        for bad in "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384":
            self.assertIsNone(s_client(self.server, "-tls1_2", "-cipher", f"{bad}:@SECLEVEL=0"))

    def test_rsa(self):
        with Secure(certificate=authority.issue("rsa", kind="rsa")) as server:
            self.assertIn("ECDHE-RSA-", s_client(server, "-tls1_2"))
            self.assertEqual(server.ask("/health")[0], 200)

    def test_protocols(self):
        self.assertIn("ALPN protocol: http/1.1",
                      s_client(self.server, "-alpn", "h2,http/1.1"))
        self.assertIn("No ALPN negotiated", s_client(self.server))
        self.assertIsNone(s_client(self.server, "-alpn", "h2"))

    def test_nothing_is_resumed(self):
        """So that a certificate that was revoked does not come back by a ticket."""
        for version in "-tls1_2", "-tls1_3":
            said = s_client(self.server, version)
            self.assertNotIn("TLS session ticket:", said)
            self.assertIn("Compression: NONE", said)

    def test_no_renegotiation(self):
        """A client that asks for it ends with an error."""
        self.assertIsNone(s_client(self.server, "-tls1_2", text=b"R\n"))
        self.assertIsNotNone(s_client(self.server, "-tls1_2", text=b"Q\n"))

    def test_slow_ones_end(self):
        """Nothing, half a hello, and a whole one without an end: in the time of a head."""
        hello = self.hello()
        links = [self.server.connect() for _ in range(30)]
        for i, link in enumerate(links):
            link.sendall(hello[:len(hello) * (i % 3) // 2])
        # Others are served meanwhile.
        self.assertEqual(self.server.ask("/health")[0], 200)
        for link in links:
            with contextlib.suppress(ConnectionError):
                while link.recv(4096):
                    pass
            link.close()
        wait_for(lambda: self.server.metrics()["dunlin_connections"] == 1, "no connection")

    def test_by_bytes(self):
        """However many come, each in time: a whole hello takes longer than it may."""
        with self.server.connect() as link, self.assertRaises(ConnectionError):
            for byte in self.hello():
                link.sendall(bytes([byte]))
                time.sleep(0.02)

    def hello(self):
        out = ssl.MemoryBIO()
        half = authority.context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            half.do_handshake()
        return out.read()

    def test_plain_words_to_tls(self):
        with self.server.connect() as link:
            link.sendall(GREETING)
            got = link.recv(4096)
        self.assertTrue(got.startswith(b"HTTP/1.1 400 "), got)
        self.assertIn(b"https://", got)
        with self.server.connect() as link:
            link.sendall(b"\0\1\2\3 nonsense")
            with contextlib.suppress(ConnectionError):
                while link.recv(4096):
                    pass
        self.assertEqual(self.server.ask("/health")[0], 200)

    def test_tls_to_plain_words(self):
        with Server() as server:
            with self.assertRaises(ssl.SSLError), server.connect() as link:
                authority.context().wrap_socket(link, server_hostname="localhost")
            wait_for(lambda: server.events("request", "status=400"), "an answer")
            self.assertEqual(server.get("/health").status, 200)

    def test_socket_files_have_none(self):
        self.assertEqual(ask(self.server.where, "/health")[0], 200)


class ClientCertificates(support.Case):
    """--tls-client-ca, --tls-client-crl"""

    @classmethod
    def setUpClass(cls):
        cls.alice = authority.issue("alice", "DNS:alice")
        cls.bob = authority.issue("bob", "DNS:bob")
        cls.late = authority.issue("late", "DNS:late", since=-9, until=-1)
        cls.stranger = other.issue("alice", "DNS:alice")

    def refused(self, server, client):
        """In TLS 1.2 in the handshake, in 1.3 behind it."""
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            context = authority.context(client)
            context.maximum_version = version
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                with server.link(context=context) as link:
                    link.sendall(GREETING)
                    if not link.recv(100):
                        raise ConnectionError

    def test_who_is_let_in(self):
        with Secure("--tls-client-ca", authority.file) as server:
            self.assertEqual(server.ask("/health", client=self.alice)[0], 200)
            self.assertEqual(server.ask("/v1/chat/completions", chat("hi"), client=self.bob)[0],
                             200)
            for client in None, self.late, self.stranger:
                self.refused(server, client)
            wait_for(lambda: server.events("tls", "certificate has expired"), "a reason")
            wait_for(lambda: server.events("tls", "peer did not return a certificate"), "a reason")
            # Whoever it was is in the log.
            wait_for(lambda: server.events("request", 'client="bob"'), "a name")

    @needs_curl
    def test_curl(self):
        with Secure("--tls-client-ca", authority.file) as server:
            words = [certificates.CURL, "-sS", "--cacert", str(authority.file),
                     f"{server.url}/health"]
            done = subprocess.run([*words, *self.alice.curl()], capture_output=True, timeout=60,
                                  check=False)
            self.assertEqual(done.stdout, b'{"status":"ok"}', done.stderr)
            for more in [], self.stranger.curl():
                done = subprocess.run([*words, *more], capture_output=True, timeout=60, check=False)
                self.assertNotEqual(done.returncode, 0)

    def test_revoked(self):
        carol = authority.issue("carol", "DNS:carol")
        revoked = authority.revoked("empty")
        with Secure("--tls-client-ca", authority.file, "--tls-client-crl", revoked) as server:
            self.assertEqual(server.ask("/health", client=carol)[0], 200)
            authority.revoke(carol)
            shutil.copy(authority.revoked("full"), revoked)
            reload(server)
            wait_for(lambda: self.is_refused(server, carol), "a refusal")
            self.refused(server, carol)
            self.assertEqual(server.ask("/health", client=self.alice)[0], 200)
            wait_for(lambda: server.events("tls", "certificate revoked"), "a reason")

    def is_refused(self, server, client):
        try:
            return server.ask("/health", client=client)[0] != 200
        except (OSError, http.client.HTTPException):
            return True

    def test_each_has_prefixes_of_its_own(self):
        """What bob asked is nothing that alice's answer would be faster by."""
        prompt = "The same long beginning of all of them. " * 3

        def cached(server, client):
            answer = server.ask("/v1/completions", {"prompt": prompt, "max_tokens": 1},
                                client=client)[1]
            return answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        with Secure("--tls-client-ca", authority.file) as server:
            self.assertEqual(cached(server, self.alice), 0)
            self.assertEqual(cached(server, self.bob), 0)
            self.assertGreater(cached(server, self.alice), 0)


class Files(support.Case):
    """Certificates and keys at the start."""

    def fails(self, *words, **files):
        done = dunlin("serve", support.tiny_model(), "--listen", "127.0.0.1:0",
                      *[w for name, path in files.items()
                        for w in (f"--tls-{name.replace('_', '-')}", path)])
        self.bad(done, FAILED, *words)

    def file(self, name, text, mode=0o600):
        path = FOLDER / name
        path.write_bytes(text)
        path.chmod(mode)
        return path

    def test_bad_ones(self):
        cert, key = pair.certificate, pair.key
        self.fails("--tls-key", cert=cert)
        self.fails("--tls-cert", client_ca=authority.file)
        self.fails("--tls-client-ca", cert=cert, key=key, client_crl=authority.revoked("x"))
        self.fails("No such file", cert=FOLDER / "none", key=key)
        self.fails("does not belong to", cert=cert, key=authority.issue("another").key)
        self.fails("the certificate", cert=key, key=key)
        self.fails("the private key", cert=cert, key=self.file("no.key", cert.read_bytes()))
        self.fails("is empty", cert=self.file("empty", b""), key=key)
        self.fails("chmod 600", cert=cert, key=self.file("open.key", key.read_bytes(), 0o644))
        self.fails("no file of", cert=cert, key=FOLDER)
        self.fails("authorities", cert=cert, key=key, client_ca=key)
        self.fails("revoked", cert=cert, key=key, client_ca=authority.file, client_crl=cert)
        text = cert.read_bytes()
        self.fails("the certificate", cert=self.file("cut", text[:len(text) // 2]), key=key)

    def test_password(self):
        """Nobody is there to be asked for one."""
        path = FOLDER / "locked.key"
        openssl("pkey", "-in", pair.key, "-aes256", "-passout", "pass:x", "-out", path)
        path.chmod(0o600)
        self.fails("the private key", cert=pair.certificate, key=path)

    def test_weak(self):
        weak = authority.issue("weak", kind="weak")
        self.fails("too small", cert=weak.certificate, key=weak.key)

    def test_expired(self):
        """It may be this device's clock: the server says so, and clients decide."""
        with Secure(certificate=authority.issue("old", since=-9, until=-1)) as server:
            self.assertEqual(len(server.events("tls", "warning", "has expired")), 1)
            with self.assertRaises(ssl.SSLCertVerificationError) as caught:
                server.link()
            self.assertIn("expired", str(caught.exception))
        with Secure(certificate=authority.issue("new", since=5)) as server:
            self.assertEqual(len(server.events("tls", "warning", "not valid yet")), 1)

    def test_wrong_name(self):
        with Secure(certificate=authority.issue("elsewhere", "DNS:elsewhere.test")) as server:
            with self.assertRaises(ssl.SSLCertVerificationError) as caught:
                server.link()
            self.assertIn("Hostname mismatch", str(caught.exception))

    def test_chain(self):
        """What lies between a certificate and its authority comes along."""
        path = self.file("chain.crt", pair.certificate.read_bytes() + authority.file.read_bytes())
        both = certificates.Pair(FOLDER, "chain")
        shutil.copy(pair.key, both.key)
        self.assertEqual(both.certificate, path)
        with Secure(certificate=both) as server:
            self.assertIn("\n 1 s:CN = Test authority", s_client(server, "-showcerts"))


class Reload(support.Case):
    """SIGHUP"""

    def own(self, name):
        """A pair that the test may change."""
        mine = certificates.Pair(FOLDER, name)
        pair.copy_to(mine)
        return mine

    def test_new_certificate(self):
        mine = self.own("renewed")
        fresh = authority.issue("fresh")
        with Secure(certificate=mine) as server, server.link() as old:
            first = serial_of(old)
            fresh.copy_to(mine)
            self.assertIn("certificate_not_after=", reload(server))

            def is_new():
                with server.link() as link:
                    return serial_of(link) != first
            wait_for(is_new, "the new certificate")
            # Who is there goes on with what there was.
            old.sendall(GREETING)
            self.assertTrue(old.recv(4096).startswith(b"HTTP/1.1 200 "))

    def test_broken_ones_change_nothing(self):
        mine = self.own("broken")
        with Secure(certificate=mine) as server:
            with server.link() as link:
                first = serial_of(link)
            # The key of another one, as between two copies.
            shutil.copy(authority.issue("half").key, mine.key)
            self.assertIn("does not belong", reload(server, "error"))
            mine.certificate.write_text("nothing")
            self.assertIn("old=kept", reload(server, "error"))
            with server.link() as link:
                self.assertEqual(serial_of(link), first)
            # A front that is started again has them, though the files are gone.
            mine.certificate.unlink()
            for pid in server.fronts():
                os.kill(pid, signal.SIGKILL)
            server.ready()
            with server.link() as link:
                self.assertEqual(serial_of(link), first)

    def test_under_load(self):
        """Certificates change all the time, and no request fails."""
        mine = self.own("busy")
        pairs = [authority.issue(f"busy-{i}") for i in range(4)]
        stop = threading.Event()

        def work(server, keep):
            n = 0
            connection = server.https()
            while not stop.is_set():
                connection.request("POST", "/v1/completions",
                                   json.dumps({"prompt": "Once", "max_tokens": 4}),
                                   {"Content-Type": "application/json"})
                answer = connection.getresponse()
                self.assertEqual(answer.status, 200, answer.read())
                answer.read()
                n += 1
                if not keep:
                    connection.close()
            connection.close()
            return n
        with Secure(certificate=mine) as server:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(work, server, i % 2) for i in range(4)]
                try:
                    for i in range(20):
                        pairs[i % len(pairs)].copy_to(mine)
                        reload(server)
                finally:
                    stop.set()
                self.assertTrue(all(f.result() > 0 for f in futures))
            self.assertEqual(server.events("front", "error"), [])


class Beyond(support.Case):
    """Addresses that others reach."""

    def refuses(self, *words, listen="0.0.0.0:0", has=()):
        done = dunlin("serve", support.tiny_model(), "--listen", listen, *words)
        self.bad(done, FAILED, listen, "--insecure-listen", *has)

    def test_refused(self):
        key = key_file("beyond")
        self.refuses(has=["--key-file", "--tls-cert"])
        self.refuses("--key-file", key, has=["--tls-cert"])
        self.refuses(*pair.server(), has=["--key-file"])
        self.refuses(listen="[::]:0", has=["--key-file"])
        self.refuses("--listen", "127.0.0.1:0")

    @unittest.skipUnless(ACTIVATE, "systemd-socket-activate is missing")
    def test_handed_over(self):
        """A socket of systemd's is no other."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = [ACTIVATE, f"--listen=0.0.0.0:{port}", support.PROGRAM, "serve",
                 support.tiny_model()]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=support.environment()) as process:
            self.addCleanup(process.kill)

            def is_there():
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                return process.poll() is not None
            wait_for(is_there, "an end")
            self.assertIn(b"--insecure-listen", process.stderr.read())
            self.assertEqual(process.returncode, FAILED)

    def test_allowed(self):
        key = key_file("beyond")
        for words in (["--insecure-listen"], ["--insecure-listen", "--key-file", key]):
            with Server(*words, listen=("0.0.0.0:0",)) as server:
                self.assertEqual(server.get("/health").status, 200)
        for words in (["--key-file", key], ["--tls-client-ca", authority.file]):
            with Secure(*words, more=["0.0.0.0:0"]) as server:
                self.assertEqual(len(server.events("listen", "https://0.0.0.0:")), 1)


class Verbs(support.Case):
    """dunlin chat https://…, dunlin top: a key goes to whom the certificate names alone."""

    def test_answers(self):
        env = support.environment(DUNLIN_API_KEY=KEY)
        with Secure("--key-file", key_file()) as server:
            said = self.good(dunlin("chat", "--ca", authority.file, "--max-tokens", "4",
                                    server.url, "Hi", env=env))
            self.assertTrue(said.strip())
            top = json.loads(self.good(dunlin("top", "--json", "--ca", authority.file, server.url,
                                              env=env)))
            self.assertTrue(top)
            for words in (("chat", server.url, "Hi"), ("top", server.url),
                          ("chat", "--ca", other.file, server.url, "Hi")):
                self.bad(dunlin(*words, env=env), FAILED, "no TLS with")
            self.assertEqual(server.events("request", "status=401"), [])


class Health(support.Case):
    """dunlin health https://…"""

    def test_answers(self):
        with Secure("--key-file", key_file()) as server:
            self.assertEqual(self.good(dunlin("health", server.url)), b"ok\n")
            self.assertEqual(self.good(dunlin("health", "--ready", "--ca", authority.file,
                                              server.url)), b"ready\n")
            where = server.url.removeprefix("https://")
            self.bad(dunlin("health", "--ca", other.file, server.url), FAILED, "no TLS with")
            self.bad(dunlin("health", "--ca", FOLDER / "none", server.url), FAILED,
                     "no certificates")
            self.bad(dunlin("health", where), FAILED, "answers 400")
        with Secure(certificate=authority.issue("away", "DNS:elsewhere.test")) as server:
            self.bad(dunlin("health", "--ca", authority.file, server.url), FAILED, "no TLS with")
        with Server() as server:
            self.bad(dunlin("health", f"https://{server.where}"), FAILED, "no TLS with")

    def test_client_certificates(self):
        """It has none: it asks where none is wanted."""
        with Secure("--tls-client-ca", authority.file) as server:
            self.bad(dunlin("health", server.url), FAILED, server.url.removeprefix("https://"))
            self.assertEqual(self.good(dunlin("health", server.where)), b"ok\n")


if __name__ == "__main__":
    support.main()
