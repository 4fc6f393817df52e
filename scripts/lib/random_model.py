# SPDX-License-Identifier: MIT
"""A random model, or an adapter for one, from a complete shape (see model_shapes)."""

import math
import struct

import gguf_file
import model_families
import model_vocabulary
import model_weights
from gguf_file import F32, STRING, entry
from model_families import EXACT, MATRIX
from model_weights import NORMAL


def tensor(name, shape, kind, values, seed):
    """One for gguf_file.write(). @values: quantiles, or a tuple of the values themselves."""
    def data():
        if isinstance(values, tuple):
            return iter([struct.pack(f"<{len(values)}f", *values)])
        return model_weights.pieces(kind, shape, values, f"{seed} {name}")

    size = model_weights.size_of(kind, shape)
    return name, shape, model_weights.TYPES[kind].number, size, data


def around_zero(columns):
    """Products keep about the size of what goes in: no layer drowns the others."""
    return [x / math.sqrt(columns) for x in NORMAL]


def model_tensors(shape, kind, seed):
    output = "output.weight" if shape.get("untied") else "token_embd.weight"
    for name, size, values in model_families.tensors(shape):
        own = "F32"
        if values == MATRIX:
            own = model_weights.choose(kind, name, size[0], shape["layers"], name == output)
        if values in (MATRIX, EXACT):
            values = around_zero(size[0])
        yield tensor(name, size, own, values, seed)


def write_model(path, shape, kind, tokenizer, seed, split):
    """@shape["vocab"] may be 0: the vocabulary's own size. Return: the paths written."""
    shape["vocab"], vocabulary = model_vocabulary.vocabulary(shape["arch"], tokenizer,
                                                             shape["vocab"])
    entries = [
        *model_families.general("random test model", model_weights.file_type(kind), shape["arch"]),
        *model_families.metadata(shape),
        *vocabulary,
    ]
    return gguf_file.write(path, entries, model_tensors(shape, kind, seed), split)


def adapter_tensors(shape, rank, seed):
    """A and B of each matrix of the layers. B is small: an adapter changes a model, it does not
    replace it."""
    for name, size, values in model_families.tensors(shape):
        if values != MATRIX or len(size) != 2 or not name.startswith("blk."):
            continue
        columns, rows = size
        down, up = around_zero(columns), [0.1 * x for x in around_zero(rank)]
        yield tensor(f"{name}.lora_a", (columns, rank), "F32", down, seed)
        yield tensor(f"{name}.lora_b", (rank, rows), "F32", up, seed)


def write_adapter(path, shape, rank, seed):
    """A LoRA adapter of @rank for the model of @shape, with an alpha of twice the rank."""
    entries = [
        *model_families.general("random test adapter", 0, shape["arch"], "adapter"),
        entry("adapter.type", STRING, "lora"),
        entry("adapter.lora.alpha", F32, 2.0 * rank),
    ]
    return gguf_file.write(path, entries, adapter_tensors(shape, rank, seed))
