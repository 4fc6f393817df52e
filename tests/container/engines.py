# SPDX-License-Identifier: MIT
"""Container engines, each with storage of its own, so that nothing of the user's is touched."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
# pylint: disable=wrong-import-position
import serving  # noqa: E402
import support  # noqa: E402

TOOLS = ROOT / "packaging" / "container"
BUILD_SECONDS = 1500
# As some distributions have it: few descriptors, few processes.
PODMAN_CONF = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Missing(Exception):
    """Why an engine cannot be tried here."""


def run(*words, env=None, seconds=support.TIMEOUT, check=True, merge=False, cwd=None):
    """Return: the CompletedProcess, with text."""
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, env=env, cwd=cwd, text=True, errors="replace",
                          stderr=subprocess.STDOUT if merge else subprocess.PIPE,
                          timeout=seconds, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, words))}: exit code {done.returncode}\n"
                             f"{done.stdout[-4000:]}{(done.stderr or '')[-4000:]}")
    return done


class Engine:
    """What podman and docker have in common on their command lines."""

    name = ""

    def __init__(self):
        self.env = dict(os.environ)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dunlin-container-"))
        self.containers = []
        self.command = []

    def __call__(self, *words, **options):
        return run(*self.command, *words, env=self.env, **options)

    def build_image(self):
        """The name of the image that the Dockerfile is to build in."""
        wrapper = self.folder / "engine"
        if not wrapper.exists():
            wrapper.write_text("#!/bin/sh\nexec " + " ".join(map(str, self.command)) + ' "$@"\n')
            wrapper.chmod(0o755)
        return run(TOOLS / "make-build-image", "--engine", wrapper, env=self.env,
                   seconds=BUILD_SECONDS).stdout.strip()

    def build(self, tag, *options, context):
        """Return: its id."""
        self("build", "-t", tag, *options, ".", seconds=BUILD_SECONDS, cwd=context)
        return self.id_of(tag)

    def id_of(self, tag):
        return self("image", "inspect", "--format", "{{.Id}}", tag).stdout.strip()

    def inspect(self, kind, name):
        return json.loads(self(kind, "inspect", name).stdout)[0]

    def start(self, *words):
        """Return: the container's id."""
        one = self("run", "-d", *words).stdout.strip()
        self.containers.append(one)
        return one

    def logs(self, container):
        return self("logs", container, merge=True).stdout

    def wait_for_log(self, container, word):
        def there():
            if word in self.logs(container):
                return True
            if not self.inspect("container", container)["State"]["Running"]:
                raise AssertionError(f"it ended:\n{self.logs(container)}")
            return False
        serving.wait_for(there, f"{word!r} in the log", interval=0.05)

    def remove_containers(self):
        for container in self.containers:
            self("rm", "-f", "-v", container, check=False)
        self.containers = []

    def done(self):
        self.remove_containers()
        # Engines leave their storage mounted; the last is the innermost.
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split()[4] for line in file if f" {self.folder}/" in line]
        for mount in reversed(mounts):
            run("umount", "--lazy", mount, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Podman(Engine):
    """With storage of our own, whatever driver works here."""

    name = "podman"

    def __init__(self):
        super().__init__()
        if not shutil.which("podman"):
            raise Missing("podman is not installed")
        conf = self.folder / "containers.conf"
        conf.write_text(PODMAN_CONF)
        self.env["CONTAINERS_CONF"] = str(conf)
        tried = []
        for driver in "overlay", "vfs":
            self.command = ["podman", "--root", self.folder / driver, "--runroot",
                            self.folder / f"{driver}-run", "--storage-driver", driver]
            done = self("info", check=False)
            if done.returncode == 0:
                return
            tried.append(done.stderr.strip().splitlines()[-1:])
        raise Missing(f"podman does not work here: {tried}")


class Docker(Engine):
    """A dockerd of our own, which changes nothing of the machine's network."""

    name = "docker"

    def __init__(self):
        super().__init__()
        if not shutil.which("dockerd") or not shutil.which("docker"):
            raise Missing("dockerd is not installed")
        if os.geteuid() != 0:
            raise Missing("dockerd needs root")
        socket = self.folder / "docker.sock"
        self.env["DOCKER_HOST"] = f"unix://{socket}"
        self.env["DOCKER_CONFIG"] = str(self.folder / "config")
        self.env["DOCKER_BUILDKIT"] = "0"
        self.command = ["docker"]
        self.log = open(self.folder / "dockerd.log", "w+", encoding="utf-8", errors="replace")
        self.daemon = subprocess.Popen(
            ["dockerd", "--host", self.env["DOCKER_HOST"], "--data-root", self.folder / "data",
             "--exec-root", self.folder / "exec", "--pidfile", self.folder / "pid",
             "--iptables=false", "--ip6tables=false", "--bridge=none",
             "--storage-driver", "vfs", "--default-ulimit", "nofile=4096:4096"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 120
        while self("version", check=False).returncode:
            if self.daemon.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                why = self.log.read().strip().splitlines()[-1:]
                self.stop()
                raise Missing(f"dockerd does not run here: {why}")
            time.sleep(0.2)

    def stop(self):
        self.daemon.terminate()
        try:
            self.daemon.wait(60)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.log.close()

    def done(self):
        self.remove_containers()
        self.stop()
        super().done()
