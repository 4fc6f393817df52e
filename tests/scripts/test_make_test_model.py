#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/make-test-model: the same bytes for the same options, and a file that adds up."""

import hashlib
import importlib.machinery
import importlib.util
import math
import pathlib
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "make-test-model"
NUMBERS = {0: "<B", 2: "<H", 4: "<I", 5: "<i", 6: "<f", 7: "<?"}
# Number, columns and bytes of a block, general.file_type: from ggml.h, ggml-common.h and llama.h.
TYPES = {
    "F32": (0, 1, 4, 0), "F16": (1, 1, 2, 1), "BF16": (30, 1, 2, 32), "Q4_0": (2, 32, 18, 2),
    "Q4_1": (3, 32, 20, 3), "Q5_0": (6, 32, 22, 8), "Q5_1": (7, 32, 24, 9), "Q8_0": (8, 32, 34, 7),
    "Q2_K": (10, 256, 84, 10), "Q3_K": (11, 256, 110, 11), "Q4_K": (12, 256, 144, 14),
    "Q5_K": (13, 256, 176, 16), "Q6_K": (14, 256, 210, 18), "IQ4_NL": (20, 32, 18, 25),
    "IQ4_XS": (23, 256, 136, 30),
}
BLOCKS = {number: (columns, size) for number, columns, size, _ in TYPES.values()}
ARCHS = ["llama", "qwen2", "qwen3", "qwen3moe", "qwen35", "gemma2", "gemma3", "gemma4", "phi3",
         "granite", "granitehybrid", "smollm3", "lfm2", "bert", "nomic-bert"]


def make(folder, *options):
    path = pathlib.Path(folder) / "model.gguf"
    command = [sys.executable, str(SCRIPT), "--output", str(path), *options]
    return path, subprocess.run(command, capture_output=True, text=True, check=False)


def load():
    """The script as a module: a process for each of hundreds of files would take minutes."""
    loader = importlib.machinery.SourceFileLoader("make_test_model", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


MODULE = load()


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


def size_of(shape, number):
    columns, size = BLOCKS[number]
    assert shape[0] % columns == 0, (shape, number)
    return math.prod(shape) // columns * size


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def made(self, *options):
        path = pathlib.Path(self.folder, "model.gguf")
        self.assertEqual(MODULE.main(["--output", str(path), *options]), 0)
        return path.read_bytes()

    def check_offsets(self, reader):
        """The tensors follow each other, aligned, and fill the file."""
        end = 0
        for name, (shape, number, offset) in reader.tensors.items():
            self.assertEqual(offset, end, name)
            end = offset + size_of(shape, number)
            end += -end % 32
        self.assertEqual(reader.start + end, len(reader.data))


class MakeTestModel(Case):

    def test_same_seed_same_bytes(self):
        first = self.made("--seed", "5")
        self.assertEqual(first, self.made("--seed", "5"))
        self.assertNotEqual(first, self.made("--seed", "6"))
        # On every machine and with every Python.
        self.assertEqual(hashlib.sha256(first).hexdigest()[:16], "63606098750b415a")

    def test_every_type_fills_its_file(self):
        for name, (number, columns, _, file_type) in TYPES.items():
            reader = Reader(self.made("--type", name.lower()))
            dim = 256 if columns == 256 else 64
            with self.subTest(type=name):
                tensor = reader.tensors["blk.1.ffn_down.weight"]
                self.assertEqual(tensor[:2], ((2 * dim, dim), number))
                self.assertEqual(reader.tensors["blk.1.ffn_norm.weight"][1], 0)
                self.assertEqual(reader.entries["general.file_type"], file_type)
                self.check_offsets(reader)

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

    def test_options_that_do_not_fit_are_refused(self):
        for options, word in (("--arch llama --shape qwen3-0.6b", "qwen3"),
                              ("--pooling mean", "encoder"), ("--vocab 100", "at least"),
                              ("--split 0", "--split"), ("--lora 0", "--lora")):
            path, result = make(self.folder, *options.split())
            self.assertNotEqual(result.returncode, 0, options)
            self.assertIn(word, result.stderr)
            self.assertFalse(path.exists())


class Weights(Case):
    """What the blocks mean, from ggml's quants: the weights are of the size that they should be."""

    def rows(self, kind):
        """Some rows of a matrix of 512 columns: the number of its type says how to read them."""
        reader = Reader(self.made("--type", kind, "--dim", "256", "--ffn", "512"))
        (columns, _), number, offset = reader.tensors["blk.0.ffn_down.weight"]
        self.assertEqual((columns, number), (512, TYPES[kind][0]))
        return reader.data[reader.start + offset :][: size_of((512, 64), number)]

    def check_spread(self, weights):
        std = 1 / math.sqrt(512)
        self.assertEqual(len(weights), 512 * 64)
        self.assertAlmostEqual(statistics.pstdev(weights) / std, 1, delta=0.05)
        self.assertAlmostEqual(statistics.fmean(weights) / std, 0, delta=0.05)

    def test_floats(self):
        data = self.rows("F32")
        self.check_spread(struct.unpack(f"<{len(data) // 4}f", data))
        data = self.rows("F16")
        self.check_spread(struct.unpack(f"<{len(data) // 2}e", data))
        data = self.rows("BF16")
        wide = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
        self.check_spread(struct.unpack(f"<{len(wide) // 4}f", wide))

    def test_q8_0(self):
        data = self.rows("Q8_0")
        blocks = struct.iter_unpack("<e32b", data)
        self.check_spread([scale * q for scale, *qs in blocks for q in qs])

    def test_q4_1(self):
        data = self.rows("Q4_1")
        blocks = struct.iter_unpack("<ee16B", data)
        self.check_spread([scale * q + low for scale, low, *qs in blocks
                           for byte in qs for q in (byte & 15, byte >> 4)])

    def test_q6_k(self):
        # Which low bits belong to which high bits and scale does not change the spread.
        data = self.rows("Q6_K")
        weights = []
        for *raw, scale in struct.iter_unpack("<128B64B16be", data):
            low = [q for byte in raw[:128] for q in (byte & 15, byte >> 4)]
            high = [byte >> shift & 3 for byte in raw[128:192] for shift in (0, 2, 4, 6)]
            weights += [scale * raw[192 + i // 16] * ((a | b << 4) - 32)
                        for i, (a, b) in enumerate(zip(low, high))]
        self.check_spread(weights)

    def test_q4_k(self):
        data = self.rows("Q4_K")
        weights = []
        for scale, low, *raw in struct.iter_unpack("<ee140B", data):
            packed = int.from_bytes(bytes(raw[:12]), "little")
            sixes = [packed >> 6 * i & 63 for i in range(16)]
            qs = [q for byte in raw[12:] for q in (byte & 15, byte >> 4)]
            weights += [scale * sixes[i // 32] * q - low * sixes[8 + i // 32]
                        for i, q in enumerate(qs)]
        self.check_spread(weights)


class Architectures(Case):
    def test_every_type_of_every_architecture(self):
        for arch in ARCHS:
            for kind in TYPES:
                with self.subTest(arch=arch, type=kind):
                    reader = Reader(self.made("--arch", arch, "--type", kind))
                    self.assertEqual(reader.entries["general.architecture"], arch)
                    self.check_offsets(reader)
                    counts = [int(m[1]) for m in map(re.compile(r"blk\.(\d+)\.").match,
                                                     reader.tensors) if m]
                    self.assertEqual(max(counts) + 1, reader.entries[f"{arch}.block_count"])
                    used = {number for _, number, _ in reader.tensors.values()}
                    self.assertIn(TYPES[kind][0], used)

    def test_vocabulary_of_every_architecture(self):
        for arch in ARCHS:
            for kind, model in (("bpe", "gpt2"), ("spm", "llama"), ("wordpiece", "bert")):
                with self.subTest(arch=arch, kind=kind):
                    reader = Reader(self.made("--arch", arch, "--tokenizer", kind))
                    tokens = reader.entries["tokenizer.ggml.tokens"]
                    self.assertEqual(reader.entries["tokenizer.ggml.model"], model)
                    self.assertEqual(len(set(tokens)), len(tokens))
                    self.assertEqual(reader.entries[f"{arch}.vocab_size"], len(tokens))
                    self.assertEqual(reader.tensors["token_embd.weight"][0][1], len(tokens))
                    self.assertEqual(len(reader.entries["tokenizer.ggml.token_type"]), len(tokens))

    def test_vocabulary_is_filled_up(self):
        entries = Reader(self.made("--vocab", "1000", "--tokenizer", "spm")).entries
        self.assertEqual(len(set(entries["tokenizer.ggml.tokens"])), 1000)
        self.assertEqual(len(entries["tokenizer.ggml.scores"]), 1000)
        entries = Reader(self.made("--vocab", "64", "--tokenizer", "none")).entries
        self.assertEqual((entries["llama.vocab_size"], entries["tokenizer.ggml.model"]),
                         (64, "none"))

    def test_sentencepiece_reaches_its_pieces(self):
        """Two neighbours that are tokens merge into each longer piece."""
        entries = Reader(self.made("--arch", "gemma2")).entries
        tokens, kinds = entries["tokenizer.ggml.tokens"], entries["tokenizer.ggml.token_type"]
        known = set(tokens)
        for token in (t for t, kind in zip(tokens, kinds) if kind == 1 and len(t) > 1):
            halves = ({token[:i], token[i:]} for i in range(1, len(token)))
            self.assertTrue(any(pair <= known for pair in halves), token)
        self.assertEqual(kinds.count(6), 256)

    def test_layers_differ_where_the_family_says_so(self):
        names = Reader(self.made("--arch", "granitehybrid")).tensors
        self.assertIn("blk.0.ssm_in.weight", names)
        self.assertIn("blk.1.attn_q.weight", names)
        self.assertNotIn("blk.1.ssm_in.weight", names)
        reader = Reader(self.made("--arch", "gemma4"))
        windows = reader.entries["gemma4.attention.sliding_window_pattern"]
        for layer, window in enumerate(windows):
            rows = reader.tensors[f"blk.{layer}.attn_q.weight"][0][1]
            self.assertEqual(rows, 4 * (8 if window else 16))
            self.assertEqual(f"blk.{layer}.attn_k.weight" in reader.tensors, layer < 4)

    def test_mixture(self):
        numbers = {name: number for name, (_, number, _) in
                   Reader(self.made("--type", "Q4_K_M", "--layers", "9")).tensors.items()}
        self.assertEqual(numbers["token_embd.weight"], TYPES["Q6_K"][0])
        self.assertEqual(numbers["blk.0.attn_q.weight"], TYPES["Q4_K"][0])
        better = [i for i in range(9) if numbers[f"blk.{i}.ffn_down.weight"] == TYPES["Q6_K"][0]]
        self.assertEqual(better, [0, 3, 6, 7, 8])

    def test_narrow_rows_get_a_smaller_block(self):
        tensors = Reader(self.made("--type", "Q4_K", "--dim", "96", "--ffn", "256")).tensors
        self.assertEqual(tensors["blk.0.attn_q.weight"][1], TYPES["Q5_0"][0])
        self.assertEqual(tensors["blk.0.ffn_down.weight"][1], TYPES["Q4_K"][0])

    def test_reranker(self):
        reader = Reader(self.made("--arch", "bert", "--pooling", "rank"))
        self.assertEqual(reader.entries["bert.pooling_type"], 4)
        self.assertEqual(reader.tensors["cls.output.weight"][0], (64, 1))
        self.assertEqual(reader.tensors["cls.bias"][0], (64,))

    def test_shape_of_a_published_model(self):
        options = "--shape gemma-3-270m --layers 1 --vocab 512 --tokenizer none --type Q8_0"
        reader = Reader(self.made(*options.split()))
        self.assertEqual(reader.tensors["blk.0.attn_q.weight"][0], (640, 1024))
        self.assertEqual(reader.entries["gemma3.attention.sliding_window"], 512)
        self.check_offsets(reader)


class Files(Case):
    def test_split(self):
        """The parts together have the tensors of the whole, bit for bit."""
        whole = Reader(self.made("--arch", "qwen3"))
        MODULE.main(["--arch", "qwen3", "--split", "3", "--output",
                     str(pathlib.Path(self.folder, "cut.gguf"))])
        tensors = {}
        for part in range(3):
            path = pathlib.Path(self.folder, f"cut-{part + 1:05}-of-00003.gguf")
            reader = Reader(path.read_bytes())
            self.check_offsets(reader)
            self.assertEqual(reader.entries["split.no"], part)
            self.assertEqual(reader.entries["split.count"], 3)
            self.assertEqual(reader.entries["split.tensors.count"], len(whole.tensors))
            self.assertEqual("general.architecture" in reader.entries, part == 0)
            for name, (shape, number, offset) in reader.tensors.items():
                begin = reader.start + offset
                tensors[name] = shape, number, reader.data[begin : begin + size_of(shape, number)]
        self.assertEqual(list(tensors), list(whole.tensors))
        for name, (shape, number, offset) in whole.tensors.items():
            begin = whole.start + offset
            data = whole.data[begin : begin + size_of(shape, number)]
            self.assertEqual(tensors[name], (shape, number, data), name)

    def test_adapter(self):
        model = Reader(self.made("--arch", "qwen2"))
        reader = Reader(self.made("--arch", "qwen2", "--lora", "3"))
        self.check_offsets(reader)
        entries = reader.entries
        self.assertEqual([entries[key] for key in ("general.type", "adapter.type",
                          "general.architecture", "adapter.lora.alpha")],
                         ["adapter", "lora", "qwen2", 6.0])
        bases = {name.rsplit(".", 1)[0] for name in reader.tensors}
        self.assertIn("blk.1.ffn_down.weight", bases)
        for base in bases:
            columns, rows = model.tensors[base][0]
            self.assertEqual(reader.tensors[f"{base}.lora_a"][0], (columns, 3))
            self.assertEqual(reader.tensors[f"{base}.lora_b"][0], (3, rows))


if __name__ == "__main__":
    unittest.main()
