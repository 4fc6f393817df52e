# SPDX-License-Identifier: MIT
"""A whole process from outside: when its first byte comes, what memory it and its children take."""

import os
import pathlib
import subprocess
import time

from peer import BenchError

SAMPLE_SECONDS = 0.005
CHUNK = 1 << 20


def start(command, output, env):
    return subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output,
                            stderr=subprocess.DEVNULL, env=env)


def clock(command, env=None):
    """Milliseconds from the start of a program to its first byte of output, and to its end."""
    begin = time.monotonic()
    with start(command, subprocess.PIPE, env) as process:
        byte = os.read(process.stdout.fileno(), 1)
        first = time.monotonic()
        process.stdout.read()
        code = process.wait()
    whole = time.monotonic()
    if code != 0 or not byte:
        raise BenchError(f"{' '.join(map(str, command))}: exit code {code}, "
                         f"{'some' if byte else 'no'} output")
    return {"first": (first - begin) * 1e3, "whole": (whole - begin) * 1e3}


def children(pid):
    for path in pathlib.Path("/proc", str(pid), "task").glob("*/children"):
        try:
            yield from map(int, path.read_text().split())
        except OSError:
            pass


def family(pid):
    """A process and all below it."""
    found = [pid]
    for each in found:
        found += children(each)
    return found


def pss_bytes(pids):
    """The memory of processes, what they share counted once; reading others' takes root."""
    total = 0
    for pid in pids:
        try:
            for line in pathlib.Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


def high_water(pid):
    """The most that a process had resident so far, in bytes; 0 where it is gone."""
    try:
        for line in pathlib.Path("/proc", str(pid), "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def peak_bytes(command, env=None):
    """The sum over a program and its children of the most that each had resident."""
    most = {}
    with start(command, subprocess.DEVNULL, env) as process:
        while process.poll() is None:
            waiting = [process.pid]
            while waiting:
                pid = waiting.pop()
                most[pid] = max(most.get(pid, 0), high_water(pid))
                waiting += children(pid)
            time.sleep(SAMPLE_SECONDS)
    if process.returncode != 0:
        raise BenchError(f"{' '.join(map(str, command))}: exit code {process.returncode}")
    if not most.get(process.pid):
        raise BenchError(f"{' '.join(map(str, command))}: ended before its memory could be seen")
    return sum(most.values())


def forget(path):
    """Takes a file out of the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def read_ms(path):
    """How long the disk takes to give the whole file, in order."""
    forget(path)
    begin = time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while file.read(CHUNK):
            pass
    return (time.monotonic() - begin) * 1e3
