#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What published files have that ours have not: keys and tensors that converters of other versions
write. A file that says the same in another way gives the same logits to the bit; one that says
something else is run as it says, or refused by name."""

import struct
import subprocess
import sys

import ggufs
import support
from ggufs import BOOL, F32, I32, STRING, U32
from support import dunlin

TOKENS = ",".join(str(3 + 7 * i % 40) for i in range(40))
F32_TENSOR = 0


def made(family):
    """A small model of the family, to change."""
    path = support.FOLDER / f"{family}.gguf"
    if not path.exists():
        script = support.ROOT / "scripts" / "make-test-model"
        arguments = ["--arch", family, "--type", "Q8_0", "--tokenizer", "none"]
        subprocess.run(
            [sys.executable, "-B", str(script), *arguments, "--output", str(path)], check=True
        )
    return ggufs.Gguf.parse(path.read_bytes())


def floats(name, values):
    """A vector."""
    return ggufs.Tensor(name, [len(values)], F32_TENSOR, struct.pack(f"<{len(values)}f", *values))


def count(gguf, key):
    """The number under a key."""
    return struct.unpack("<I", gguf.entry(key).data[:4])[0]


class Published(support.Case):
    """Each model beside itself, changed."""

    def done(self, gguf):
        """What computing some logits gave."""
        path = support.FOLDER / "changed.gguf"
        path.write_bytes(gguf.bytes())
        return dunlin("logits", path, "--tokens", TOKENS)

    def logits(self, gguf):
        """The logits' bytes."""
        data = self.good(self.done(gguf))
        self.assertGreater(len(set(data)), 100)
        return data

    def same(self, one, other):
        """Two ways to say one thing."""
        self.assertEqual(self.logits(one), self.logits(other))

    def differ(self, one, other):
        """Two things."""
        self.assertNotEqual(self.logits(one), self.logits(other))

    def test_scaling_without_a_type_is_linear(self):
        plain = made("llama").drop("llama.rope.scaling.type").drop("llama.rope.scaling.factor")
        factor = plain.copy().set("llama.rope.scaling.factor", F32, 4.0)
        typed = factor.copy().set("llama.rope.scaling.type", STRING, "linear")
        self.same(factor, typed)
        self.same(factor, plain.copy().set("llama.rope.scale_linear", F32, 4.0))
        self.differ(factor, plain)
        self.same(plain, typed.copy().set("llama.rope.scaling.factor", F32, 0.0))
        self.same(plain, typed.copy().set("llama.rope.scaling.type", STRING, "none"))

    def test_factors_of_two_kinds(self):
        plain = made("llama").copy()
        plain.tensors = [t for t in plain.tensors if t.name != "rope_freqs.weight"]
        heads = count(plain, "llama.attention.head_count")
        pairs = count(plain, "llama.embedding_length") // heads // 2
        values = [1.0 + 0.25 * i for i in range(pairs)]
        freqs, long = plain.copy(), plain.copy()
        freqs.tensors.append(floats("rope_freqs.weight", values))
        long.tensors.append(floats("rope_factors_long.weight", values))
        long.tensors.append(floats("rope_factors_short.weight", [1.0] * pairs))
        long.set("llama.rope.scaling.type", STRING, "longrope")
        self.same(long, plain)
        long.set("llama.rope.scaling.original_context_length", U32, 8)
        self.same(long, freqs)
        self.differ(long, plain)

    def test_what_sees_whole_texts_is_refused(self):
        for family in ("llama", "qwen2", "gemma3"):
            changed = made(family).set(f"{family}.attention.causal", BOOL, False)
            self.bad(self.done(changed), support.FAILED, f"{family}.attention.causal is false")
            self.same(made(family), changed.set(f"{family}.attention.causal", BOOL, True))

    def test_recurrent_layers_as_a_list(self):
        plain = made("qwen35")
        layers = count(plain, "qwen35.block_count")
        interval = count(plain, "qwen35.full_attention_interval")
        kinds = [(i + 1) % interval != 0 for i in range(layers)]
        listed = plain.copy().drop("qwen35.full_attention_interval")
        self.same(plain, listed.set("qwen35.attention.recurrent_layers", BOOL, kinds))
        wrong = listed.copy().set("qwen35.attention.recurrent_layers", BOOL, [True] * layers)
        self.bad(self.done(wrong), support.FAILED, "attn_")

    def test_layers_that_predict_further_tokens_are_left_out(self):
        plain = made("qwen35")
        layers = count(plain, "qwen35.block_count")
        interval = count(plain, "qwen35.full_attention_interval")
        more = plain.copy().set("qwen35.block_count", U32, layers + 1)
        more.set("qwen35.nextn_predict_layers", U32, 1)
        for tensor in plain.tensors:
            if tensor.name.startswith(f"blk.{interval - 1}."):
                name = tensor.name.replace(f"blk.{interval - 1}.", f"blk.{layers}.")
                more.tensors.append(ggufs.Tensor(name, tensor.dims, tensor.kind, tensor.data))
        more.tensors.append(floats(f"blk.{layers}.nextn.enorm.weight", [1.0] * 64))
        self.same(plain, more)
        kinds = [(i + 1) % interval != 0 for i in range(layers)] + [False]
        self.same(plain, more.set("qwen35.attention.recurrent_layers", BOOL, kinds))
        # One behind those is no layer of this model.
        more.tensors.append(floats(f"blk.{layers + 1}.nextn.enorm.weight", [1.0] * 64))
        self.bad(self.done(more), support.FAILED, f"'blk.{layers + 1}.nextn.enorm.weight'")

    def test_experts_without_a_width(self):
        plain = made("qwen3moe")
        width = count(plain, "qwen3moe.expert_feed_forward_length")
        used = count(plain, "qwen3moe.expert_used_count")
        bare = plain.copy().drop("qwen3moe.expert_feed_forward_length")
        self.same(plain, bare.set("qwen3moe.feed_forward_length", U32, width * used))

    def test_keys_that_layers_of_gemma4_do_not_read(self):
        plain = made("gemma4")
        shared = count(plain, "gemma4.attention.shared_kv_layers")
        last = count(plain, "gemma4.block_count") - 1
        self.assertGreater(shared, 0)
        more = plain.copy()
        for name in ("attn_k.weight", "attn_v.weight", "attn_k_norm.weight"):
            tensor = plain.tensor(f"blk.0.{name}")
            more.tensors.append(
                ggufs.Tensor(f"blk.{last}.{name}", tensor.dims, tensor.kind, tensor.data)
            )
        self.same(plain, more)
        more.tensors[-1].name = f"blk.{last}.attn_k_norm.bias"
        self.bad(self.done(more), support.FAILED, f"'blk.{last}.attn_k_norm.bias'")

    def test_keys_that_are_values_too(self):
        plain = made("gemma4")
        twice, once = plain.copy(), plain.copy()
        twice.tensor("blk.0.attn_v.weight").data = plain.tensor("blk.0.attn_k.weight").data
        once.tensors.remove(once.tensor("blk.0.attn_v.weight"))
        self.same(once, twice)
        self.differ(once, plain)
        bare = made("gemma3")
        bare.tensors.remove(bare.tensor("blk.0.attn_v.weight"))
        self.bad(self.done(bare), support.FAILED, "lacks tensor 'blk.0.attn_v.weight'")

    def test_what_gemma4_may_not_lack_or_have(self):
        bare = made("gemma4")
        bare.tensors.remove(bare.tensor("rope_freqs.weight"))
        self.bad(self.done(bare), support.FAILED, "lacks tensor 'rope_freqs.weight'")
        experts = made("gemma4").set("gemma4.expert_count", U32, 8)
        self.bad(self.done(experts), support.FAILED, "gemma4.expert_count is 8")

    def test_counts_by_layer(self):
        for family in ("llama", "qwen3", "gemma3"):
            plain = made(family)
            layers = count(plain, f"{family}.block_count")
            arrays = plain.copy()
            for key in ("feed_forward_length", "attention.head_count", "attention.head_count_kv"):
                value = count(plain, f"{family}.{key}")
                arrays.set(f"{family}.{key}", I32, [value] * layers)
            self.same(plain, arrays)


if __name__ == "__main__":
    support.main()
