# SPDX-License-Identifier: MIT
"""The files that are measured: fetched ones, the same in other types, and random ones.

Speed does not depend on what the weights are, only on how many there are and of which type: random
models have the widths of published ones (see scripts/make-test-model). All are made once, and kept
in the cache folder.
"""

import hashlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MAKER = ROOT / "scripts" / "make-test-model"
sys.path.insert(0, str(MAKER.parent / "lib"))

import model_shapes  # noqa: E402
import model_weights  # noqa: E402
from peer import BenchError, run, say  # noqa: E402

# What scripts/fetch-model has, and in which type.
FETCHED = {"smollm2": "Q4_1", "gemma3-270m": "Q4_K_M"}
# Layers that see a window of the context alone, and its tokens.
WINDOWS = {"gemma3": (5 / 6, 512)}


class RandomModel:
    """SHAPE:TYPE[:LAYERS[:VOCABULARY]], and the file that it has in @folder."""

    def __init__(self, text, folder, version):
        parts = text.split(":")
        if not 2 <= len(parts) <= 4 or parts[0] not in model_shapes.SHAPES or \
                parts[1].upper() not in model_weights.NAMES or \
                not all(part.isdigit() for part in parts[2:]):
            raise BenchError(f"'{text}': not SHAPE:TYPE[:LAYERS[:VOCABULARY]]; scripts/"
                             "make-test-model --help lists shapes and types")
        self.text = text
        self.shape = parts[0]
        self.kind = parts[1].upper()
        self.arch = model_shapes.SHAPES[self.shape]["arch"]
        self.options = ["--shape", self.shape, "--type", self.kind]
        for option, value in zip(("--layers", "--vocab"), parts[2:]):
            self.options += [option, value]
        self.path = folder / f"{'-'.join([self.shape, self.kind, *parts[2:]])}-{version}.gguf"

    def make(self):
        if not self.path.is_file():
            say(f"Making {self.path.name}")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            run([sys.executable, MAKER, *self.options, "--output", self.path])
        return self.path

    def is_encoder(self):
        return "pooling" in model_shapes.SHAPES[self.shape]


def version():
    """Of the script that makes the models: a change makes them anew."""
    digest = hashlib.sha256()
    for path in (MAKER, *sorted((MAKER.parent / "lib").glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def requantised(name, kind, folder, quantise):
    """A fetched model in another type, made by llama.cpp: right for speed, not for answers."""
    path = folder / f"{name}-{kind}.gguf"
    if not path.is_file():
        say(f"Making {path.name}")
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        run([quantise, "--allow-requantize", fetched(name), part, kind])
        part.rename(path)
    return path


def fetched(name):
    return pathlib.Path(run([sys.executable, ROOT / "scripts" / "fetch-model", name]).strip())


def path_of(text, folder, quantise):
    """The file of NAME:TYPE, or of a random model; made where it is not there yet."""
    name, _, kind = text.partition(":")
    if text.endswith(".gguf"):
        return pathlib.Path(text)
    if name not in FETCHED:
        return RandomModel(text, folder, version()).make()
    if kind.upper() == FETCHED[name]:
        return fetched(name)
    return requantised(name, kind.upper(), folder, quantise)


def cache_bytes(about, depth):
    """Of an F16 cache that a token reads after @depth others; @about: dunlin inspect's JSON."""
    share, window = WINDOWS.get(about["architecture"], (0, 0))
    windowed = round(about["layers"] * share)
    tokens = (about["layers"] - windowed) * depth + windowed * min(depth, window)
    return tokens * about["kv_heads"] * about["head_dim"] * 2 * 2
