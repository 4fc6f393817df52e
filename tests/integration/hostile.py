# SPDX-License-Identifier: MIT
"""Runs the program on files that mean ill, and holds it to its promises: an end by itself, exit
code 0 or 1, one line about what is wrong, little time, little memory."""

import concurrent.futures
import dataclasses
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading

import ggufs
import support
from support import FAILED, OK

CPU_SECONDS = 10.0 if support.SANITIZED else 1.0
# Of the processor's time; the clock's is others' too, so this only ends what hangs.
HANG_SECONDS = 60
# What a refusal may take on top of what the good file takes.
MEMORY = (512 if support.SANITIZED else 32) << 20

RUN = ("run", "{}", "x", "-n", "1", "-t", "1", "--context", "128")
INSPECT = ("inspect", "{}", "--json")

_numbers = itertools.count()


@dataclasses.dataclass
class Outcome:
    """How a process and its worker ended."""

    code: int
    stdout: bytes
    stderr: str
    seconds: float
    peak: int


def measure(*arguments, stdin=None):
    """Runs the program; the time and the peak are those of its worker too, which it waits for."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with subprocess.Popen(
            [support.PROGRAM, *map(str, arguments)],
            stdin=stdin or subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=support.environment(),
        ) as process:
            timer = threading.Timer(HANG_SECONDS, process.kill)
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            timer.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Outcome(
            process.returncode,
            out.read(),
            err.read().decode(errors="backslashreplace"),
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * 1024,
        )


def own_peak():
    """Linux counts what a process was before it became ours: no peak is below this program's."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def complaint(outcome, peak):
    """What is wrong with how it ended; None where nothing is."""
    if outcome.code not in (OK, FAILED):
        return f"exit code {outcome.code}"
    if outcome.code == FAILED and outcome.stderr.count("\n") != 1:
        return "no message of one line"
    # A sanitizer's report is none of ours; a remark on a good answer is.
    if not all(line.startswith(("dunlin: ", "error: ")) for line in outcome.stderr.splitlines()):
        return "words that are not ours"
    if outcome.seconds > CPU_SECONDS:
        return f"{outcome.seconds:.1f} s of processor time"
    if outcome.peak > peak:
        return f"{outcome.peak >> 20} MiB of memory"
    return None


def reason(verb, outcome):
    """Why the file is refused, or None. inspect describes what cannot run, and says why."""
    if outcome.code == FAILED:
        return outcome.stderr
    if verb != INSPECT:
        return None
    about = json.loads(outcome.stdout)
    return about["reason"] or about["tokenizer"]["reason"]


@dataclasses.dataclass
class Lie:
    """A file that means ill: whether it must be refused, and words of the message."""

    name: str
    data: bytes
    must: bool = True
    words: tuple = ()
    verbs: tuple = (RUN, INSPECT)


class Case(support.Case):
    """Tests that try many files."""

    good_peak = 0
    memory = MEMORY

    @classmethod
    def setUpClass(cls):
        good = support.tiny_model()
        done = [measure(*(str(word).format(good) for word in verb)) for verb in (RUN, INSPECT)]
        assert all(outcome.code == OK for outcome in done), done
        cls.good_peak = max(outcome.peak for outcome in done)

    def try_one(self, lie):
        """The complaints about one file."""
        path = support.FOLDER / f"lie-{next(_numbers)}.gguf"
        path.write_bytes(lie.data)
        found = []
        for verb in lie.verbs:
            outcome = measure(*(word.format(path) for word in verb))
            wrong = complaint(outcome, max(self.good_peak, own_peak()) + self.memory)
            if not wrong and lie.must:
                why = reason(verb, outcome)
                if not why:
                    wrong = "accepted"
                elif not all(word in why for word in lie.words):
                    wrong = f"does not say {lie.words}"
            if wrong:
                found.append(f"{lie.name}: {verb[0]}: {wrong}: {outcome.stderr.strip()[:600]}")
        path.unlink()
        return found

    def try_all(self, lies):
        """Fails with the complaints about all of them."""
        lies = list(lies)
        self.assertTrue(lies)
        with concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            found = [line for lines in pool.map(self.try_one, lies) for line in lines]
        self.assertEqual(found, [], f"{len(found)} of {len(lies)} files:\n" + "\n".join(found))


def make_model(name, *arguments):
    """A small good file by scripts/make-test-model; None where that cannot make it."""
    path = support.FOLDER / f"good-{name}.gguf"
    if not path.exists():
        script = support.ROOT / "scripts" / "make-test-model"
        done = subprocess.run(
            [sys.executable, str(script), "--layers", "1", *arguments, "--output", str(path)],
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            return None
    return path


def good():
    """A small good model, to spoil."""
    return ggufs.Gguf.parse(pathlib.Path(support.tiny_model()).read_bytes())
