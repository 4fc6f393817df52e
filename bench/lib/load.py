# SPDX-License-Identifier: MIT
"""Other work on the machine: what there is of it by the kernel's count, and some to measure beside."""

import contextlib
import os
import pathlib
import subprocess
import time

from peer import BenchError

TICKS = os.sysconf("SC_CLK_TCK")
# Cores that the hypervisor took, above which times between tokens are its doing.
MUCH_STOLEN = 0.005


def machine_seconds():
    """CPU time of all processes, and what the hypervisor took, in seconds since the start."""
    fields = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


@contextlib.contextmanager
def stress(cpus):
    """stress-ng --cpu N, until the end of the `with`."""
    try:
        process = subprocess.Popen(["stress-ng", "--cpu", str(cpus), "--quiet"])
    except OSError as error:
        raise BenchError("stress-ng is missing: it makes the other work") from error
    try:
        time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait()
