#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""packaging/systemd under a real systemd, in a virtual machine of Debian's packages.

The machine has the installed tree of a build (DUNLIN_BUILD), runs `guest`, which says what held, and
ends. It has one processor, 1 GiB and no network."""

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
# pylint: disable=wrong-import-position
import certificates  # noqa: E402
import support  # noqa: E402

BUILD = os.environ.get("DUNLIN_BUILD", str(support.ROOT / "build"))
ROOT_SECONDS = 1500
# By KVM, and where each instruction is emulated: for the whole, and for one answer.
ACCELERATORS = {"kvm": ["-accel", "kvm", "-cpu", "host"], "tcg": ["-accel", "tcg", "-cpu", "max"]}
VM_SECONDS = {"kvm": 600, "tcg": 2400}
PATIENCE = {"kvm": 60, "tcg": 240}
# Until the kernel's first words: where KVM is there, it need not run every kernel.
FIRST_WORDS = {"kvm": 30, "tcg": 300}
KERNEL = "root=/dev/vda rw console=ttyS0 systemd.show_status=0 panic=-1 " \
    "systemd.wants=dunlin-test.service systemd.setenv=PATIENCE={} systemd.setenv=TOKENS={}"
# Not asked of a first boot: an empty file would have systemd enable all units that it knows.
MACHINE_ID = "d0000000000000000000000000000001\n"
UNIT = """[Unit]
Description=Tests of dunlin.service
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/test/guest
StandardOutput=file:/dev/ttyS1
StandardError=inherit
TimeoutStartSec=infinity
"""
# Of a jail's measures: what kernels of this age lack, and what a user namespace takes.
ABSENT = {"no_tracing", "no_new_code", "landlock_network", "landlock_scope"}


def run(*words, seconds=support.TIMEOUT, **options):
    """Its output, or what went wrong."""
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds,
                          errors="replace", check=False, **options)
    if done.returncode:
        raise AssertionError(f"{words[0]}: exit code {done.returncode}\n{done.stdout[-2000:]}"
                             f"{done.stderr[-4000:]}")
    return done.stdout


class Missing(Exception):
    """Why there can be no machine here."""


def check_tools():
    for name in "qemu-system-x86_64", "mmdebstrap", "mkfs.ext4", "meson":
        if shutil.which(name) is None:
            raise Missing(f"{name} is not installed")
    if platform.machine() != "x86_64":
        raise Missing("only for x86_64")
    if os.geteuid() != 0:
        raise Missing("files in the machine's root belong to others: needs root")


def make_root(folder):
    """A root with Dunlin, models and what is run; Return: its kernel and its first file system."""
    try:
        archive = run(HERE / "make-root", support.PROGRAM, seconds=ROOT_SECONDS).strip()
    except AssertionError as error:
        if "mmdebstrap failed" in str(error):
            raise Missing("no root: no packages to be had") from None
        raise
    run("tar", "--extract", "--file", archive, "--directory", folder, "--exclude=./dev/*")
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", folder)
    models = folder / "test" / "models"
    models.mkdir(parents=True)
    shutil.copy(support.REAL_MODEL or support.tiny_model(), models)
    shutil.copy(HERE / "guest", folder / "test" / "guest")
    if certificates.OPENSSL:
        tls = folder / "test" / "tls"
        tls.mkdir()
        certificates.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
                             "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=vm",
                             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                             tls / "server.key", "-out", tls / "server.crt")
    system = folder / "etc" / "systemd" / "system"
    (system / "dunlin-test.service").write_text(UNIT)
    (folder / "etc" / "machine-id").write_text(MACHINE_ID)
    return (folder / "vmlinuz").resolve(), (folder / "initrd.img").resolve()


def make_disk(folder):
    """Return: a disk, kernel, initial RAM disk."""
    root = folder / "root"
    root.mkdir()
    kernel, initrd = make_root(root)
    used = int(run("du", "--summarize", "--block-size=1M", root).split()[0])
    model = os.path.getsize(support.REAL_MODEL or support.tiny_model()) >> 20
    run("mkfs.ext4", "-q", "-d", root, folder / "disk", f"{used + model + 256}M")
    return folder / "disk", kernel, initrd


def text_of(path):
    return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""


def try_machine(folder, accelerator, disk, kernel, initrd):
    """Let it run to its end. Return: what it said, its console, and why it was ended, if it was."""
    said, console = folder / f"said-{accelerator}", folder / f"console-{accelerator}"
    # A drain of 30 s has to be enough for them.
    tokens = 4 if support.REAL_MODEL and accelerator == "tcg" else 200
    begin = time.monotonic()
    with subprocess.Popen(
            ["qemu-system-x86_64", *ACCELERATORS[accelerator], "-m", "1G", "-smp", "1",
             "-nodefaults", "-display", "none", "-no-reboot", "-nic", "none", "-kernel", kernel,
             "-initrd", initrd, "-append", KERNEL.format(PATIENCE[accelerator], tokens),
             "-snapshot", "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe",
             "-serial", f"file:{console}", "-serial", f"file:{said}"],
            stdin=subprocess.DEVNULL) as machine:
        why = ""
        while machine.poll() is None and not why:
            time.sleep(0.2)
            seconds = time.monotonic() - begin
            if seconds > FIRST_WORDS[accelerator] and "Linux version" not in text_of(console):
                why = f"the kernel said nothing for {seconds:.0f} s"
            elif seconds > VM_SECONDS[accelerator]:
                why = f"ended after {seconds:.0f} s"
        machine.kill()
    print(f"{accelerator}: {time.monotonic() - begin:.0f} s {why}")
    return text_of(said), text_of(console), why


def boot(folder):
    """Return: as of try_machine()."""
    made = make_disk(folder)
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        said, console, why = try_machine(folder, "kvm", *made)
        if "Linux version" in console:
            return said, console, why
    print("without KVM, which takes minutes")
    return try_machine(folder, "tcg", *made)


class Unit(support.Case):
    """What the machine said."""

    said = console = why = lines = journal = ""

    def note(self, word):
        return re.search(rf"(?m)^note {word} (.*)$", self.said)[1]

    def test_every_check(self):
        end = re.search(r"(?m)^end (\d+)$", self.said)
        self.assertTrue(end, f"it did not come to its end: {self.why}\n{self.console[-4000:]}")
        failed = re.findall(r"(?m)^FAIL .*$", self.lines)
        self.assertFalse(failed, "\n".join(failed) + self.journal)
        self.assertEqual(len(re.findall(r"(?m)^ok ", self.lines)), int(end[1]))

    def test_sandbox(self):
        """Nothing that the unit forbids keeps the jails from what this kernel has."""
        code, _, text = self.note("props").partition(" ")
        self.assertEqual(code, "200")
        props = json.loads(text)
        [model] = props["models"]
        print(f"a worker's jail: {model['sandbox']}\na front's: {props['front_sandbox']}")
        self.assertLessEqual(set(model["sandbox"]["absent"]), ABSENT)
        self.assertTrue(model["sandbox"]["memory_group"])
        self.assertTrue(model["sandbox"]["pids_group"])
        absent = re.findall(r"\bno (\w+)", props["front_sandbox"])
        self.assertLessEqual(set(absent), ABSENT)


def main():
    try:
        check_tools()
        Unit.said, Unit.console, Unit.why = boot(support.FOLDER)
    except Missing as error:
        print(f"skipped: {error}")
        sys.exit(77)
    Unit.lines, _, Unit.journal = Unit.said.partition("\nend ")
    print(Unit.lines)
    support.main()


if __name__ == "__main__":
    main()
