#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Dockerfile, built and run by podman and by docker: test_container.py [podman|docker]."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import unittest

import engines
import serving
import support
from serving import ask, chat

TAG = "generative-ai-edge"
LIMIT_MIB = 25
JAILED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "-m", "256m",
          "--network", "none"]
KEY = r"a new API key, which is shown this once: (sk-[0-9a-f]{48})"
EPOCH = "1700000000"

engine = None


def checkout(folder):
    """A copy of what belongs to the checkout, without what builds leave in it."""
    left = shutil.ignore_patterns(".git", "build*", "__pycache__", "models")
    shutil.copytree(engines.ROOT, folder, symlinks=True, ignore=left)
    return folder


class Container(support.Case):
    """What both engines show. Containers have no network: they are asked over a socket file."""

    @classmethod
    def setUpClass(cls):
        if shutil.which("mmdebstrap") is None:
            raise unittest.SkipTest("mmdebstrap is not installed")
        try:
            engine.build_image()
        except AssertionError as error:
            if "mmdebstrap failed" in str(error):
                raise unittest.SkipTest("no build image: no packages to be had") from None
            raise
        cls.args = ["--build-arg", f"BUILD_IMAGE={engine.build_image()}"]
        if engine.name == "podman":
            cls.args += ["--format", "docker", "--timestamp", EPOCH]
        cls.context = checkout(engine.folder / "context")
        # Not in the image unless it is asked for.
        (cls.context / "models").mkdir()
        shutil.copy(support.tiny_model(), cls.context / "models" / "tiny.gguf")
        (cls.context / "models" / "tiny.gguf").chmod(0o600)
        cls.id = engine.build(TAG, *cls.args, context=cls.context)
        cls.models = engine.folder / "models"
        cls.models.mkdir()
        engine.folder.chmod(0o755)
        shutil.copy(support.REAL_MODEL or support.tiny_model(), cls.models / "one.gguf")
        (cls.models / "one.gguf").chmod(0o644)

    def setUp(self):
        # Where a container puts its socket.
        self.folder = engine.folder / self.id.rpartition(":")[2][:8]
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.where = f"unix:{self.folder}/socket"

    def tearDown(self):
        engine.remove_containers()

    def serve(self, *options, image=TAG, models=True, words=()):
        """A server with the image's own command line, and a socket that is reached from here."""
        volumes = ["-v", f"{self.folder}:/socket"]
        if models:
            volumes += ["-v", f"{self.models}:/models:ro"]
        return engine.start(*JAILED, *volumes, *options, image, *DEFAULT, "--listen",
                            "unix:/socket/socket", *serving.SANDBOX, *words)

    def ready(self, container):
        """Return: its key."""
        engine.wait_for_log(container, "state=ready")
        serving.wait_for(lambda: serving.is_up(self.where), "it answers")
        return re.search(KEY, engine.logs(container))[1]

    def test_size_and_config(self):
        image = engine.inspect("image", TAG)
        self.assertLess(image["Size"], LIMIT_MIB * 1000 * 1000)
        print(f"size: {image['Size'] / 1e6:.1f} MB")
        config = image["Config"]
        self.assertEqual(config["User"], "65532:65532")
        self.assertEqual(config["Entrypoint"], ["/usr/bin/dunlin"])
        self.assertEqual(config["Cmd"], [*DEFAULT])
        self.assertIn("/state", config["Volumes"])
        health = config.get("Healthcheck") or image.get("Healthcheck")
        self.assertEqual(health["Test"], ["CMD", "/usr/bin/dunlin", "health"])

    def test_what_is_in_it(self):
        """One program, its libraries, certificates; no shell."""
        container = engine("create", TAG).stdout.strip()
        engine.containers.append(container)
        listed = subprocess.run(" ".join(map(str, engine.command)) + f" export {container} |"
                                " tar tv --numeric-owner",
                                shell=True, capture_output=True, text=True, env=engine.env,
                                check=True).stdout
        programs = []
        for line in listed.splitlines():
            mode, owner, *_, name = re.split(r"\s+", line, maxsplit=5)
            # What the engine mounts over.
            if re.match(r"(\./)?(dev|proc|sys|run|\.dockerenv)|(\./)?etc/(host|mtab|resolv)", name):
                continue
            self.assertNotIn("s", mode[1:], line)
            if mode[0] == "-" and "x" in mode and ".so" not in name:
                programs.append(name)
            self.assertIn(owner, ("65532/65532" if name.rstrip("/").endswith("state") else
                                  "0/0",), line)
        self.assertEqual([p.lstrip("./") for p in programs], ["usr/bin/dunlin"])
        self.assertIn("etc/ssl/certs/ca-certificates.crt", listed)
        for shell in "/bin/sh", "/bin/bash":
            done = engine("run", "--rm", "--network", "none", "--entrypoint", shell, TAG,
                          check=False)
            self.assertNotEqual(done.returncode, 0)

    def test_answers_in_its_bounds(self):
        container = self.serve()
        key = self.ready(container)
        begin = time.monotonic()
        status, answer = ask(self.where, "/v1/chat/completions", chat("Name a bird."), key)
        self.assertEqual(status, 200, answer)
        self.assertGreater(answer["usage"]["completion_tokens"], 0)
        print(f"an answer in {time.monotonic() - begin:.2f} s")
        self.assertEqual(ask(self.where, "/v1/chat/completions", chat("hi"))[0], 401)
        # Not root, inside either.
        pid = engine.inspect("container", container)["State"]["Pid"]
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            state = file.read()
        self.assertRegex(state, r"(?m)^Uid:\s+65532\s")
        self.assertRegex(state, r"(?m)^CapBnd:\s+0+$")
        self.assertRegex(state, r"(?m)^NoNewPrivs:\s+1$")
        log = engine.logs(container)
        self.assertIn("budget_mib=256", log)
        for line in re.findall(r"(?m)^info front jail=.*$", log):
            print(f"{engine.name}: {line}")
        self.within_memory(container, key)
        # Orderly, though it is the first process of its namespace.
        engine("stop", "-t", "30", container)
        state = engine.inspect("container", container)["State"]
        self.assertEqual(state["ExitCode"], 0, engine.logs(container))
        self.assertIn("info drain", engine.logs(container))

    def within_memory(self, container, key):
        """As many answers at once as it takes, and nothing was killed."""
        body = json.dumps(chat("word " * 300, max_tokens=16))
        many = []
        for _ in range(12):
            one = serving.connect(self.where)
            one.request("POST", "/v1/chat/completions", body,
                        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
            many.append(one)
        answers = [one.getresponse() for one in many]
        self.assertEqual([a.status for a in answers], [200] * len(many))
        self.assertTrue(all(a.read() for a in answers))
        state = engine.inspect("container", container)["State"]
        self.assertTrue(state["Running"])
        self.assertFalse(state["OOMKilled"])
        props = ask(self.where, "/props", key=key)[1]
        self.assertEqual([m["restarts"] for m in props["models"]], [0])
        self.assertEqual(props["memory"]["budget_bytes"], 256 << 20)
        print(f"memory: {props['memory']}")

    def test_health(self):
        """The check of the image, by the engine or by us, finds what it is to find."""
        container = self.serve("--health-interval", "1s", "--health-start-period", "0s")
        self.ready(container)
        if engine.name == "podman":
            # Its timers need systemd; the check itself does not.
            engine("healthcheck", "run", container)
        else:
            serving.wait_for(lambda: engine.inspect("container", container)["State"]["Health"][
                "Status"] == "healthy", "a healthy container")
        done = engine("exec", container, "/usr/bin/dunlin", "health", "127.0.0.1:9", check=False)
        self.assertEqual(done.returncode, 1, done.stderr)

    def test_key_is_printed_once(self):
        container = self.serve()
        key = self.ready(container)
        engine("restart", container)
        serving.wait_for(lambda: engine.logs(container).count("state=ready") == 2,
                         "a second start")
        self.assertEqual(len(re.findall(KEY, engine.logs(container))), 1)
        serving.wait_for(lambda: serving.is_up(self.where), "it answers")
        self.assertEqual(ask(self.where, "/v1/models", key=key)[0], 200)

    def fails(self, *options, words=()):
        """Return: what it says before it ends with 1."""
        done = engine("run", "--rm", *JAILED, *options, TAG, *words, check=False, merge=True)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stdout

    def test_no_model(self):
        text = self.fails()
        self.assertIn("no model in '/models'", text)
        self.assertIn("-v ./models:/models:ro", text)
        empty = engine.folder / "empty"
        empty.mkdir(exist_ok=True)
        self.assertIn("no model in '/models'", self.fails("-v", f"{empty}:/models:ro"))

    def test_no_place_for_a_key(self):
        text = self.fails("-v", f"{self.models}:/models:ro", "-v", f"{self.models}:/state:ro")
        self.assertIn("make the keys '/state/keys': Read-only file system", text)
        self.assertIn("a volume", text)

    def test_device(self):
        """podman run --device=/dev/accel0 generative-ai-edge"""
        device = "/dev/accel0"
        if not os.path.exists(device):
            try:
                # What /dev/null is: there is none of these here.
                os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            except OSError as error:
                self.skipTest(f"mknod: {error}")
            self.addCleanup(os.unlink, device)
        container = self.serve(f"--device={device}")
        engine.wait_for_log(container, "accelerator=/dev/accel0")
        self.assertRegex(engine.logs(container), r'(?m)^info device accelerator=/dev/accel0 '
                                                 r'driver="\S+" message="not used')

    @support.needs_time
    def test_baked_in(self):
        """--build-arg MODEL=models/NAME; what is compiled is not compiled again."""
        engine.build("dunlin-baked", *self.args, "--build-arg", "MODEL=models/tiny.gguf",
                     context=self.context)
        container = self.serve(image="dunlin-baked", models=False)
        key = self.ready(container)
        listed = ask(self.where, "/v1/models", key=key)[1]
        self.assertEqual([m["id"] for m in listed["data"]], ["tiny"])


class Podman(Container):
    """What only podman has."""

    def test_same_id_twice(self):
        again = engine.build("dunlin-again", *self.args, context=self.context)
        self.assertEqual(again, self.id)

    @support.needs_time
    def test_same_layers_without_cache(self):
        """Bit for bit; podman 4.3 itself writes random names into images of the format docker."""
        engine.build("dunlin-anew", *self.args, "--no-cache", context=self.context)
        first, second = (engine.inspect("image", tag) for tag in (TAG, "dunlin-anew"))
        self.assertEqual(first["RootFS"], second["RootFS"])
        for image in first, second:
            image["Config"].pop("Hostname", None)
        self.assertEqual(first["Config"], second["Config"])

    def test_published(self):
        """As the examples have it: on an address of this machine alone."""
        words = [w for w in JAILED if w not in ("--network", "none")]
        done = engine("run", "-d", *words, "-p", "127.0.0.1::8080", "-v",
                      f"{self.models}:/models:ro", TAG, *DEFAULT, *serving.SANDBOX, check=False)
        if done.returncode:
            self.skipTest(f"no network for containers: {done.stderr.strip().splitlines()[-1]}")
        container = done.stdout.strip()
        engine.containers.append(container)
        engine.wait_for_log(container, "state=ready")
        where = engine("port", container, "8080/tcp").stdout.strip()
        self.assertTrue(where.startswith("127.0.0.1:"), where)
        serving.wait_for(lambda: serving.is_up(where), "it answers")
        key = re.search(KEY, engine.logs(container))[1]
        self.assertEqual(ask(where, "/v1/chat/completions", chat("hi"), key)[0], 200)

    def test_limits_of_its_configuration(self):
        container = self.serve()
        self.ready(container)
        pid = engine.inspect("container", container)["State"]["Pid"]
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            limits = file.read()
        self.assertRegex(limits, r"Max open files\s+4096\s+4096")
        self.assertRegex(limits, r"Max processes\s+1024\s+1024")


class Docker(Container):
    """Nothing more."""


DEFAULT = ["serve", "--listen", "0.0.0.0:8080", "--insecure-listen", "--key-file", "/state/keys",
           "--make-key", "/models"]


def main():
    global engine
    name = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in ("podman", "docker") else "podman"
    try:
        engine = engines.Podman() if name == "podman" else engines.Docker()
    except engines.Missing as error:
        print(f"skipped: {error}")
        sys.exit(77)
    try:
        case = Podman if name == "podman" else Docker
        loader = unittest.defaultTestLoader
        only = [a for a in sys.argv[1:] if not a.startswith("-")]
        suite = loader.loadTestsFromNames(only, case) if only else loader.loadTestsFromTestCase(case)
        result = unittest.TextTestRunner(verbosity=2).run(suite)
    finally:
        engine.done()
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if len(result.skipped) >= result.testsRun else 0)


if __name__ == "__main__":
    main()
