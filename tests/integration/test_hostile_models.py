#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GGUF files that lie: containers, hyperparameters, tensors, tokenizers, templates.

Families are not listed by their keys and tensors: each thing in a small good file of a family is
spoiled in every way, so that a family that comes later is tried as soon as it can be made."""

import random
import re
import struct

import ggufs
import hostile
import support
from ggufs import ARRAY, BOOL, F32, I32, STRING, U32
from hostile import INSPECT, RUN, Lie

FAMILIES = (
    "llama",
    "qwen2",
    "qwen3",
    "qwen3moe",
    "qwen35",
    "gemma2",
    "gemma3",
    "gemma4",
    "phi3",
    "granite",
    "granitehybrid",
    "smollm3",
    "lfm2",
    "bert",
    "nomic-bert",
)

# Keys behind "FAMILY." that no model runs without, or with another value than it was made with.
COUNTS = ("block_count", "embedding_length", "attention.head_count")
# Where a value is wrong whatever the family; a missing one may have a default.
NUMBERS = (*COUNTS, "context_length", "feed_forward_length", "attention.head_count_kv")
REALS = (
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
    "rope.freq_base",
)
# Tensors that a model may have or not: with them gone it is another model, but a model.
OPTIONAL = re.compile(r"^(output|rope_freqs|token_types)\.weight$|\.layer_output_scale\.weight$"
                      r"|\.bias$")

F32_TENSOR = 0
FOREIGN_TENSOR = 26  # I32
UNKNOWN_TENSOR = 99


def spoiled_entry(family, key, kind):
    """Ways to spoil an entry: name, type, value's bytes (None: gone), whether it is refused."""
    suffix = key.removeprefix(family + ".")
    number, real, count = suffix in NUMBERS, suffix in REALS, suffix in COUNTS
    yield "is text", STRING, ggufs.text("7"), number or real
    yield "is an array of texts", ARRAY, ggufs.array(STRING, ["7"]), number or real
    yield "is a bool", BOOL, b"\1", number or real
    yield "is zero", U32, struct.pack("<I", 0), number and kind != ARRAY
    yield "is one more than 31 bits", U32, struct.pack("<I", 1 << 31), number
    yield "is the most", U32, struct.pack("<I", 0xFFFFFFFF), number
    yield "is negative", I32, struct.pack("<i", -1), number
    yield "is not a number", F32, struct.pack("<f", float("nan")), number or real
    yield "is infinite", F32, struct.pack("<f", float("inf")), number or real
    yield "is less than zero", F32, struct.pack("<f", -1.0), number or real
    yield "is missing", None, None, count


def entry_lies(family, good):
    """Each of the family's own entries spoiled in each way, alone."""
    for entry in good.entries:
        if not entry.key.startswith(family + "."):
            continue
        for what, kind, data, must in spoiled_entry(family, entry.key, entry.kind):
            bad = good.copy()
            if kind is None:
                bad.drop(entry.key)
            else:
                bad.set_raw(entry.key, kind, data)
            yield Lie(f"{entry.key} {what}", bad.bytes(), must)


def spoil(good, name, change):
    """The good file with one tensor changed."""
    bad = good.copy()
    change(bad, bad.tensor(name))
    return bad.bytes()


def double(index):
    """Twice as large in one dimension, data and all."""

    def change(_, tensor):
        tensor.dims[index] *= 2
        tensor.data *= 2

    return change


def deepen(_, tensor):
    """One dimension more, of two."""
    tensor.dims.append(2)
    tensor.data *= 2


def turn(_, tensor):
    """Rows and columns the other way round."""
    tensor.dims.reverse()


def retype(kind):
    """A type of values that none of its kind has."""

    def change(_, tensor):
        tensor.kind = kind

    return change


def unnumber(_, tensor):
    """Floats that are no numbers, or too large for what is done with them."""
    odd = struct.pack("<4f", float("nan"), float("inf"), 3e38, float("-inf"))
    tensor.data = (odd * len(tensor.data))[: len(tensor.data)]


def rename(_, tensor):
    """A name that nothing asks for."""
    tensor.name += ".x"


def remove(gguf, tensor):
    """Gone."""
    gguf.tensors.remove(tensor)


def place(offset):
    """Elsewhere in the file, or out of it."""

    def change(_, tensor):
        tensor.offset = offset

    return change


def tensor_lies(good):
    """Each tensor spoiled in each way, alone."""
    # Gemma 4's values may be its keys.
    optional = r"\.attn_v\.weight$" if good.entry("gemma4.block_count") else r"(?!)"
    for tensor in good.tensors:
        may_lack = OPTIONAL.search(tensor.name) or re.search(optional, tensor.name)
        ways = [
            ("has twice the columns", double(0), True),
            ("has a dimension more", deepen, True),
            ("is of a foreign type", retype(FOREIGN_TENSOR), True),
            ("is of an unknown type", retype(UNKNOWN_TENSOR), True),
            ("is misplaced by a byte", place(1), True),
            ("is beyond the end", place(1 << 40), True),
            ("is at the end of 64 bits", place((1 << 64) - 32), True),
            ("has another name", rename, True),
            ("is missing", remove, not may_lack),
        ]
        if tensor.kind == F32_TENSOR:
            ways.append(("is no number", unnumber, False))
        if len(tensor.dims) > 1:
            # The vocabulary is as long as the embedding says.
            rows = tensor.name not in ("token_embd.weight", "token_types.weight")
            ways.append(("has twice the rows", double(1), rows))
            if tensor.dims[0] != tensor.dims[1]:
                ways.append(("is turned", turn, True))
        for what, change, must in ways:
            yield Lie(f"{tensor.name} {what}", spoil(good, tensor.name, change), must)


class Families(hostile.Case):
    """Every hyperparameter and every tensor of every family."""

    def family(self, name):
        """All lies about one family."""
        arguments = () if name == "llama" else ("--arch", name)
        path = hostile.make_model(name, *arguments)
        if not path:
            self.skipTest(f"scripts/make-test-model makes no {name}")
        done = hostile.measure(*(word.format(path) for word in INSPECT))
        why = hostile.reason(INSPECT, done)
        if why and "is not known" in why:
            self.skipTest(f"this version does not run {name}")
        self.assertIsNone(why)
        good = ggufs.Gguf.parse(path.read_bytes())
        self.try_all([*entry_lies(name, good), *tensor_lies(good)])


def add_families():
    """A test for each, so that what is skipped is seen."""
    for name in FAMILIES:

        def test(self, name=name):
            self.family(name)

        setattr(Families, f"test_{name}", test)


add_families()


def container_lies():
    """What is wrong with the file whatever the model: name, change, words of the message."""

    def head(**fields):
        return lambda bad: bad.__dict__.update(fields)

    def entry(kind, data, key="lie"):
        return lambda bad: bad.entries.append(ggufs.Entry(key, kind, data))

    def first(**fields):
        return lambda bad: bad.tensors[0].__dict__.update(fields)

    def twin_entry(bad):
        bad.entries.append(bad.entries[0])

    def twin_tensor(bad):
        bad.tensors.append(bad.tensors[0])

    def overlap(bad):
        bad.tensors[1].offset = 0

    return (
        ("an older version", head(version=1), "version 2 or 3"),
        ("a later version", head(version=4), "supported are 2 and 3"),
        ("big-endian by its version", head(version=3 << 24), "big-endian"),
        ("big-endian by its magic", head(magic=b"FUGG"), "big-endian"),
        ("too many tensors", head(n_tensors=1 << 40), "the limit is 65536"),
        ("too many entries", head(n_entries=(1 << 64) - 1), "the limit is 65536"),
        ("a tensor more than there is", head(n_tensors=21), "tensor 20 of 21"),
        ("an entry more than there is", head(n_entries=28), "tensor 0 of 20: name at byte"),
        ("an entry fewer than there are", head(n_entries=1), "tensor 0 of"),
        ("a long string", entry(STRING, struct.pack("<Q", 1 << 60)), "the limit is"),
        ("a long key", entry(U32, b"", "k" * 65536), "the limit is 65535"),
        ("a key of control characters", entry(U32, b"", "a\x1b[31m"), "control character"),
        ("an empty key", entry(U32, b"", ""), "is empty"),
        ("a type that is none", entry(13, b""), "known are 0 to 12"),
        ("an array of arrays", entry(ARRAY, b"\x09" + bytes(11)), "arrays of arrays"),
        ("a long array", entry(ARRAY, ggufs.array(U32, [], 1 << 61)), "the limit is"),
        ("a long array of texts", entry(ARRAY, ggufs.array(STRING, [], 1 << 23)), "left"),
        ("an array of a type that is none", entry(ARRAY, ggufs.array(77, [], 1)), "0 to 12"),
        ("a bool of two", entry(BOOL, b"\2"), "must be 0 or 1"),
        ("a key twice", twin_entry, "has the key of entry 0"),
        ("a tensor twice", twin_tensor, "has the name of tensor 0"),
        ("no alignment", entry(U32, bytes(4), "general.alignment"), "power of two"),
        ("an odd alignment", entry(U32, b"\x18\0\0\0", "general.alignment"), "power of two"),
        ("a huge alignment", entry(U32, b"\0\0\0\x40", "general.alignment"), "power of two"),
        ("an alignment in words", entry(STRING, ggufs.text("32"), "general.alignment"), "integer"),
        ("tensors that overlap", overlap, "overlap"),
        ("a long name", first(name="n" * 65), "the limit is 64"),
        ("a name of control characters", first(name="n\r\n"), "control character"),
        ("no dimensions", first(dims=[]), "it must be 1 to 4"),
        ("five dimensions", first(dims=[32, 1, 1, 1, 1]), "it must be 1 to 4"),
        ("a dimension of nothing", first(dims=[64, 0]), "it must be 1 to"),
        ("a dimension of 63 bits", first(dims=[64, 1 << 62]), "it must be 1 to"),
        ("a product beyond 64 bits", first(dims=[1 << 30, 1 << 30, 1 << 30, 2]), "64 bits"),
        ("a part of a block", first(dims=[33, 10]), "no multiple of the 32 columns"),
    )


class Containers(hostile.Case):
    """The file's own structure."""

    def test_lies(self):
        good, lies = hostile.good(), []
        for name, change, words in container_lies():
            bad = good.copy()
            change(bad)
            lies.append(Lie(name, bad.bytes(), words=(words,)))
        self.try_all(lies)

    def test_what_is_unusual_but_true(self):
        """The same answer, however the file is laid out."""
        good, files = hostile.good(), {}
        want = self.answer(good)
        files["version 2"] = good.copy()
        files["version 2"].version = 2
        for alignment in (8, 64, 4096):
            files[f"aligned to {alignment}"] = file = good.copy()
            file.alignment = alignment
            file.set("general.alignment", U32, alignment)
        files["tensors in another order"] = file = good.copy()
        random.Random(1).shuffle(file.tensors)
        files["data in another order"] = file = good.copy()
        file.layout = file.tensors[::-1]
        files["an entry that nobody knows"] = good.copy().set("lie.known", I32, [1, 2, 3])
        for name, file in files.items():
            with self.subTest(name):
                self.assertEqual(self.answer(file), want)

    def answer(self, file):
        """What the model in a file says."""
        path = support.FOLDER / "unusual.gguf"
        path.write_bytes(file.bytes())
        return self.good(support.dunlin("run", path, "in the", "-n", "8", "--temperature", "0"))

    def test_vocabulary_alone(self):
        """A file without weights tokenizes, and says why it does not run."""
        file = hostile.good()
        path = support.FOLDER / "vocabulary.gguf"
        want = self.good(support.dunlin("tokenize", support.tiny_model(), "the end"))
        file.tensors = []
        path.write_bytes(file.bytes())
        self.assertEqual(self.good(support.dunlin("tokenize", path, "the end")), want)
        self.bad(support.dunlin("run", path, "x"), support.FAILED, "no weights")


def tokenizer_lies():
    """Name, key, type, value's bytes, whether it is refused."""
    tokens = "tokenizer.ggml.tokens"
    types = "tokenizer.ggml.token_type"
    merges = "tokenizer.ggml.merges"
    return (
        ("no tokens", tokens, ARRAY, ggufs.array(STRING, []), True),
        ("numbers for tokens", tokens, ARRAY, ggufs.array(U32, [1, 2]), True),
        ("a text for tokens", tokens, STRING, ggufs.text("the"), True),
        ("one token", tokens, ARRAY, ggufs.array(STRING, ["a"]), True),
        ("the same token often", tokens, ARRAY, ggufs.array(STRING, ["a"] * 299), True),
        ("more tokens than rows", tokens, ARRAY, ggufs.array(STRING, map_names(4000)), True),
        ("many empty tokens", tokens, ARRAY, ggufs.array(STRING, [""] * 299), True),
        ("few types", types, ARRAY, ggufs.array(I32, [1]), True),
        ("many types", types, ARRAY, ggufs.array(I32, [1] * 100000), True),
        ("texts for types", types, ARRAY, ggufs.array(STRING, ["1"] * 299), True),
        ("types that are none", types, ARRAY, ggufs.array(I32, [-7] * 299), False),
        ("all control tokens", types, ARRAY, ggufs.array(I32, [3] * 299), False),
        ("merges of what is no token", merges, ARRAY, ggufs.array(STRING, ["qqq zzz"]), False),
        ("merges without a space", merges, ARRAY, ggufs.array(STRING, ["ab"]), True),
        ("numbers for merges", merges, ARRAY, ggufs.array(U32, [1, 2]), True),
        ("the same merge often", merges, ARRAY, ggufs.array(STRING, ["e r"] * 65536), False),
        ("a model that is none", "tokenizer.ggml.model", STRING, ggufs.text("magic"), True),
        ("a number for a model", "tokenizer.ggml.model", U32, bytes(4), True),
        ("a long name of a model", "tokenizer.ggml.model", STRING, ggufs.text("m" * 9999), True),
        ("a number for a pre", "tokenizer.ggml.pre", U32, bytes(4), True),
        ("eos beyond the end", "tokenizer.ggml.eos_token_id", U32, b"\xff" * 4, True),
        ("bos beyond the end", "tokenizer.ggml.bos_token_id", U32, b"\xff\xff\0\0", True),
        ("a negative eos", "tokenizer.ggml.eos_token_id", I32, b"\xff" * 4, True),
        ("a text for bos", "tokenizer.ggml.bos_token_id", STRING, ggufs.text("1"), True),
        ("a number for add_bos", "tokenizer.ggml.add_bos_token", U32, bytes(4), True),
    )


def map_names(count):
    """So many tokens that differ."""
    return [f"token {number}" for number in range(count)]


class Tokenizers(hostile.Case):
    """The vocabulary's arrays and ids."""

    def test_lies(self):
        good = hostile.good()
        verbs = (RUN, INSPECT, ("tokenize", "{}", "the end"))
        self.try_all(
            Lie(name, good.copy().set_raw(key, kind, data).bytes(), must, verbs=verbs)
            for name, key, kind, data, must in tokenizer_lies()
        )


LONG = "{% set s = 'a' * 9000000 %}{% set l = range(100000)|list %}"
LOOP = LONG + "{% for i in range(100000) %}{% if WALK %}{% endif %}{% endfor %}"
TEMPLATES = (
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{{ 'a' * 1000000000 }}",
    "{{ ('a' * 100000).split('a')|join('b' * 100000) }}",
    "{{ ('a' * 30000000)|replace('a', 'b' * 1000) }}",
    "{{ 'x'|indent(999999999) }}",
    "{{ '%0999999999d' % 1 }}",
    "{% set n = namespace(x='aaaa') %}"
    "{% for i in range(64) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[1]) %}"
    "{% for i in range(64) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[]) %}"
    "{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "[" * 5000 + "]" * 5000 + " }}",
    "{% if true %}" * 5000 + "{% endif %}" * 5000,
    "{{ 1" + "|abs" * 5000 + " }}",
    "{{ 2 ** 100000000 }}",
    "{{ 1 / 0 }}",
    "{{ messages[99] .content }}",
    "{% include '/etc/passwd' %}",
    "{{ ''.__class__.__mro__ }}",
    "{% if %}",
    "{#",
    "\udcff",
    *(
        LOOP.replace("WALK", walk)
        for walk in ("l|sum", "l|max", "l == l[:]", "l < l[:]", "{s: 1}", "s|int")
    ),
)


class Templates(hostile.Case):
    """A chat template is a program of the file's author."""

    # Its values may take 64 MiB, its output 32 more.
    memory = hostile.MEMORY + (96 << 20)

    def test_lies(self):
        good, lies = hostile.good(), []
        for source in TEMPLATES:
            data = ggufs.text(source.encode(errors="surrogateescape"))
            bad = good.copy().set_raw("tokenizer.chat_template", STRING, data)
            lies.append(Lie(f"{source[:60]!r}", bad.bytes(), verbs=(RUN,)))
        self.try_all(lies)


if __name__ == "__main__":
    support.main()
