# SPDX-License-Identifier: MIT
"""Random weights in each type of a GGUF file, fast: a block is random bytes, of which the few that
hold a scale are overwritten from tables. The layouts are those of ggml's block_* structures."""

import math
import random
import statistics
import struct

PIECE = 1 << 20  # bytes made at a time
K = 256  # columns a block of the k-quants and of IQ4_XS
IQ4_RMS = 66.6  # of IQ4_NL's sixteen values

# The quantiles of a distribution at 256 places: a random byte picks one.
NORMAL = [statistics.NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)]
EVEN = [(i + 0.5) / 128 - 1 for i in range(256)]


class Type:
    """@number: in a tensor's entry; @file_type: general.file_type; @columns and @size: of a block;
    @rms: of a random weight where the scale is 1; @scales: offset of each half-precision scale and
    its ratio to the first; @signed: whether the scale may be negative."""

    def __init__(self, number, file_type, columns, size, rms, scales, signed=False):
        self.number = number
        self.file_type = file_type
        self.columns = columns
        self.size = size
        self.rms = rms
        self.scales = scales
        self.signed = signed


# Minima are chosen so that the mean weight is about zero; a type without minima, whose numbers are
# not symmetric about zero, has scales of either sign instead.
TYPES = {
    "F32": Type(0, 0, 1, 4, 1, []),
    "F16": Type(1, 1, 1, 2, 1, []),
    "BF16": Type(30, 32, 1, 2, 1, []),
    "Q4_0": Type(2, 2, 32, 18, 4.64, [(0, 1)], True),
    "Q4_1": Type(3, 3, 32, 20, 4.61, [(0, 1), (2, -7.5)]),
    "Q5_0": Type(6, 8, 32, 22, 9.25, [(0, 1)], True),
    "Q5_1": Type(7, 9, 32, 24, 9.23, [(0, 1), (2, -15.5)]),
    "Q8_0": Type(8, 7, 32, 34, 73.9, [(0, 1)], True),
    "Q2_K": Type(10, 10, K, 84, 13.9, [(80, 1), (82, 1.5)]),
    "Q3_K": Type(11, 11, K, 110, 43.3, [(108, 1)], True),
    "Q4_K": Type(12, 14, K, 144, 258, [(0, 1), (2, 7.5)]),
    "Q5_K": Type(13, 16, K, 176, 527, [(0, 1), (2, 15.5)]),
    "Q6_K": Type(14, 18, K, 210, 1366, [(208, 1)], True),
    "IQ4_NL": Type(20, 25, 32, 18, IQ4_RMS, [(0, 1)], True),
    "IQ4_XS": Type(23, 30, K, 136, 18.5 * IQ4_RMS, [(0, 1)], True),
}
# What llama-quantize takes instead where the columns do not fill a block.
FALLBACKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
             "IQ4_XS": "IQ4_NL"}
# Mixtures: general.file_type, most tensors, the output's, those of attn_v and ffn_down that matter.
MIXTURES = {
    "Q3_K_M": (12, "Q3_K", "Q6_K", "Q5_K"),
    "Q4_K_M": (15, "Q4_K", "Q6_K", "Q6_K"),
    "Q5_K_M": (17, "Q5_K", "Q6_K", "Q6_K"),
}
NAMES = [*TYPES, *MIXTURES]


def file_type(name):
    return MIXTURES[name][0] if name in MIXTURES else TYPES[name].file_type


def needs_wide_rows(name):
    """Whether the type has blocks that a small model's rows do not fill."""
    return name in MIXTURES or TYPES[name].columns == K


def gets_more_bits(layer, layers):
    """The layers that a mixture of llama-quantize favours: both ends, and each third between."""
    edge = layers // 8
    return layer < edge or layer >= 7 * layers // 8 or (layer - edge) % 3 == 2


def choose(name, tensor, columns, layers, is_output):
    """The type that a matrix gets under --type @name."""
    if name in MIXTURES:
        _, most, output, more = MIXTURES[name]
        parts = tensor.split(".")
        name = most
        if is_output:
            name = output
        elif parts[0] == "blk" and parts[2].startswith(("attn_v", "attn_qkv", "ffn_down")):
            name = more if gets_more_bits(int(parts[1]), layers) else most
    if columns % TYPES[name].columns:
        name = FALLBACKS.get(name, name)
    return "F16" if columns % TYPES[name].columns else name


def high_bytes(values, form):
    """Tables from a random byte to the upper two bytes of a number: lower one first."""
    packed = [struct.pack(form, value) for value in values]
    return bytes(p[-2] for p in packed), bytes(p[-1] for p in packed)


def spread(scale, signed):
    """256 scales within a quarter of @scale: one for each random byte."""
    values = [scale * (1 + 0.25 * x) for x in EVEN]
    return [-v if signed and i % 2 else v for i, v in enumerate(values)]


def overwritten(kind, quantiles, std):
    """What of a block does not stay random: offset and table."""
    if TYPES[kind].scales:
        scales = spread(std / TYPES[kind].rms, TYPES[kind].signed)
        fields = [(at, [ratio * s for s in scales]) for at, ratio in TYPES[kind].scales]
        form = "<e"
    else:
        fields = [(TYPES[kind].size - 2, quantiles)]
        form = "<e" if kind == "F16" else "<f"
    result = []
    for at, values in fields:
        result += zip((at, at + 1), high_bytes(values, form))
    if kind == "F16":
        # A random low byte under a high one that follows the distribution.
        del result[0]
    return result


def size_of(kind, shape):
    return math.prod(shape) // TYPES[kind].columns * TYPES[kind].size


def pieces(kind, shape, quantiles, seed):
    """A tensor's data, a piece at a time. @quantiles: 256 values that the weights are drawn from;
    their spread about zero is what the weights of a quantised type get."""
    rng = random.Random(seed)
    size = TYPES[kind].size
    blocks = math.prod(shape) // TYPES[kind].columns
    std = math.sqrt(statistics.fmean(q * q for q in quantiles))
    tables = overwritten(kind, quantiles, std)
    while blocks:
        count = min(blocks, max(1, PIECE // size))
        data = bytearray(rng.randbytes(count * size))
        picks = rng.randbytes(count)
        for at, table in tables:
            data[at::size] = picks.translate(table)
        yield data
        blocks -= count
