#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/make-test-model: the same bytes for the same options, and a file that adds up."""

import hashlib
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "make-test-model"
NUMBERS = {0: "<B", 4: "<I", 5: "<i", 6: "<f", 7: "<?"}
# Columns and bytes of a block, by the type's number.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34)}


def make(folder, *options):
    path = pathlib.Path(folder) / "model.gguf"
    command = [sys.executable, str(SCRIPT), "--output", str(path), *options]
    return path, subprocess.run(command, capture_output=True, text=True, check=False)


class Reader:
    """A GGUF file read anew, from the specification."""

    def __init__(self, data):
        self.data = data
        self.at = 0
        magic, _, n_tensors, n_entries = self.take("<4sIQQ")
        assert magic == b"GGUF"
        self.entries = {self.text(): self.value(self.take("<I")[0]) for _ in range(n_entries)}
        self.tensors = {}
        for _ in range(n_tensors):
            name = self.text()
            shape = self.take(f"<{self.take('<I')[0]}Q")
            self.tensors[name] = (shape, *self.take("<IQ"))
        self.start = self.at + -self.at % 32

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def text(self):
        (size,) = self.take("<Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            element, count = self.take("<IQ")
            return [self.value(element) for _ in range(count)]
        return self.take(NUMBERS[kind])[0]


class MakeTestModel(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def made(self, *options):
        path, result = make(self.folder, *options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return path.read_bytes()

    def test_same_seed_same_bytes(self):
        first = self.made("--seed", "5")
        self.assertEqual(first, self.made("--seed", "5"))
        self.assertNotEqual(first, self.made("--seed", "6"))
        # On every machine and with every Python.
        self.assertEqual(hashlib.sha256(first).hexdigest()[:16], "668e8b5bd1fee8d9")

    def test_every_type_fills_its_file(self):
        for name, number in (("f32", 0), ("f16", 1), ("q4_0", 2), ("q4_1", 3), ("q8_0", 8)):
            data = self.made("--type", name)
            reader = Reader(data)
            self.assertEqual(reader.tensors["blk.1.ffn_down.weight"][:2], ((128, 64), number))
            end = 0
            for shape, kind, offset in reader.tensors.values():
                columns, size = BLOCKS[kind]
                self.assertEqual(offset, end)
                end = offset + shape[0] // columns * size * (shape[1] if len(shape) > 1 else 1)
                end += -end % 32
            self.assertEqual(reader.start + end, len(data))

    def test_options_are_in_the_file(self):
        options = "--layers 3 --dim 96 --heads 6 --kv-heads 3 --ffn 160 --context 77 --untied"
        reader = Reader(self.made(*options.split()))
        for key, value in (
            ("block_count", 3),
            ("embedding_length", 96),
            ("attention.head_count", 6),
            ("attention.head_count_kv", 3),
            ("feed_forward_length", 160),
            ("context_length", 77),
            ("rope.dimension_count", 16),
        ):
            self.assertEqual(reader.entries[f"llama.{key}"], value)
        self.assertEqual(reader.tensors["blk.2.attn_v.weight"][0], (96, 48))
        self.assertEqual(reader.tensors["output.weight"][0], reader.tensors["token_embd.weight"][0])
        self.assertNotIn("output.weight", Reader(self.made()).tensors)

    def test_vocabulary(self):
        entries = Reader(self.made()).entries
        tokens = entries["tokenizer.ggml.tokens"]
        self.assertEqual(tokens[:3], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        self.assertEqual(len(set(tokens)), len(tokens))
        self.assertEqual(entries["tokenizer.ggml.token_type"], [3] * 3 + [1] * (len(tokens) - 3))
        self.assertTrue(all(len(token) == 1 for token in tokens[3:259]))
        # Each merge makes the next token of two that were there before.
        for i, merge in enumerate(entries["tokenizer.ggml.merges"]):
            left, right = merge.split(" ")
            self.assertEqual(tokens[259 + i], left + right)
            self.assertTrue({left, right} <= set(tokens[3 : 259 + i]))
        self.assertEqual(259 + len(entries["tokenizer.ggml.merges"]), len(tokens))

    def test_shapes_that_do_not_fit_are_refused(self):
        for options in ("--dim 65", "--heads 3", "--kv-heads 3", "--ffn 100", "--layers 0"):
            path, result = make(self.folder, *options.split())
            self.assertEqual(result.returncode, 2)
            self.assertIn("must be", result.stderr)
            self.assertFalse(path.exists())


if __name__ == "__main__":
    unittest.main()
