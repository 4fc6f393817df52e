# SPDX-License-Identifier: MIT
"""Forward passes in plain Python, in double precision, from F32 weights: slow and easy to check
against the papers. What they compute is the truth for engines that are neither.

A vector is a list of numbers, a sequence a list of vectors; a matrix has a row for each output, as
in a GGUF file.
"""

import math

import gguf_file


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


def add(a, b):
    return [x + y for x, y in zip(a, b)]


def multiply(a, b):
    return [x * y for x, y in zip(a, b)]


def silu(x):
    return x / (1 + math.exp(-x))


def softplus(x):
    return x if x > 30 else math.log1p(math.exp(x))


def gelu(x):
    """With the error function, as BERT has it (Hendrycks and Gimpel, arXiv:1606.08415)."""
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def rms_norm(x, weight, epsilon):
    scale = 1 / math.sqrt(dot(x, x) / len(x) + epsilon)
    return [scale * v * w for v, w in zip(x, weight)]


def layer_norm(x, weight, bias, epsilon):
    mean = math.fsum(x) / len(x)
    x = [v - mean for v in x]
    scale = 1 / math.sqrt(dot(x, x) / len(x) + epsilon)
    return [scale * v * w + b for v, w, b in zip(x, weight, bias)]


def softmax(scores):
    top = max(scores)
    weights = [math.exp(s - top) for s in scores]
    total = math.fsum(weights)
    return [w / total for w in weights]


def rotate(head, position, base, halves):
    """Rotary embedding (Su et al., arXiv:2104.09864) of one head. @halves: dimension i turns with
    i + n/2 (GPT-NeoX) instead of 2i with 2i + 1."""
    n = len(head) // 2
    result = list(head)
    for i in range(n):
        a, b = (i, i + n) if halves else (2 * i, 2 * i + 1)
        angle = position * base ** (-i / n)
        cos, sin = math.cos(angle), math.sin(angle)
        result[a] = head[a] * cos - head[b] * sin
        result[b] = head[a] * sin + head[b] * cos
    return result


def attend(queries, keys, values, scale, causal):
    """One head. Return: for each query the weighted mean of the values."""
    result = []
    for i, query in enumerate(queries):
        seen = i + 1 if causal else len(keys)
        weights = softmax([scale * dot(query, key) for key in keys[:seen]])
        columns = zip(*values[:seen])
        result.append([dot(weights, column) for column in columns])
    return result


def heads_of(sequence, size):
    """The sequence of each head."""
    count = len(sequence[0]) // size
    return [[x[h * size : (h + 1) * size] for x in sequence] for h in range(count)]


class Model:
    """A GGUF file with F32 weights; @adapter is applied at @strength."""

    def __init__(self, data, adapter=None, strength=0.0):
        self.file = gguf_file.Reader(data)
        self.arch = self.file.entries["general.architecture"]
        self.adapter = gguf_file.Reader(adapter) if adapter else None
        self.kept = {}
        if self.adapter:
            self.alpha = strength * self.adapter.entries["adapter.lora.alpha"]

    def number(self, key, default=None):
        return self.file.entries.get(f"{self.arch}.{key}", default)

    def rows(self, name):
        if name not in self.kept:
            self.kept[name] = self.file.floats(name)
        return self.kept[name]

    def vector(self, name):
        rows = self.rows(name)
        return None if rows is None else [x for row in rows for x in row]

    def linear(self, name, x):
        """W x + b, and with an adapter of rank r alpha/r B A x (Hu et al., arXiv:2106.09685)."""
        result = [dot(row, x) for row in self.rows(f"{name}.weight")]
        bias = self.vector(f"{name}.bias")
        if bias:
            result = add(result, bias)
        if self.adapter:
            down = self.adapter.floats(f"{name}.weight.lora_a")
            up = self.adapter.floats(f"{name}.weight.lora_b")
            if down:
                inner = [self.alpha / len(down) * dot(row, x) for row in down]
                result = add(result, [dot(row, inner) for row in up])
        return result

    def norm(self, name, x):
        if self.number("attention.layer_norm_rms_epsilon") is not None:
            return rms_norm(x, self.vector(f"{name}.weight"),
                            self.number("attention.layer_norm_rms_epsilon"))
        return layer_norm(x, self.vector(f"{name}.weight"), self.vector(f"{name}.bias"),
                          self.number("attention.layer_norm_epsilon"))

    def projections(self, at, sequence):
        """Queries, keys and values of each position."""
        if self.rows(f"{at}.attn_qkv.weight") is None:
            return [[self.linear(f"{at}.attn_{part}", x) for x in sequence] for part in "qkv"]
        joined = [self.linear(f"{at}.attn_qkv", x) for x in sequence]
        size = len(joined[0]) // 3
        return [[x[i * size : (i + 1) * size] for x in joined] for i in range(3)]

    def attention(self, at, sequence, causal, rotary):
        """@rotary: None, or whether halves turn."""
        size = self.number("embedding_length") // self.number("attention.head_count")
        queries, keys, values = (heads_of(p, size) for p in self.projections(at, sequence))
        if rotary is not None:
            base = self.number("rope.freq_base")
            queries, keys = ([[rotate(x, i, base, rotary) for i, x in enumerate(head)]
                              for head in part] for part in (queries, keys))
        scale = self.number("attention.scale", 1 / math.sqrt(size))
        shared = len(queries) // len(keys)
        heads = [attend(q, keys[h // shared], values[h // shared], scale, causal)
                 for h, q in enumerate(queries)]
        joined = ([x for head in heads for x in head[i]] for i in range(len(sequence)))
        return [self.linear(f"{at}.attn_output", x) for x in joined]

    def gated(self, at, x):
        """SwiGLU (Shazeer, arXiv:2002.05202)."""
        gate = map(silu, self.linear(f"{at}.ffn_gate", x))
        return self.linear(f"{at}.ffn_down", multiply(gate, self.linear(f"{at}.ffn_up", x)))


class Encoder(Model):
    """BERT (Devlin et al., arXiv:1810.04805): norms after the sums, every position sees all.
    Nomic's (arXiv:2402.01613) has rotary positions, SwiGLU, and no biases but the norms'."""

    def hidden(self, tokens, types):
        words, kinds = self.rows("token_embd.weight"), self.rows("token_types.weight")
        places = self.rows("position_embd.weight")
        sequence = []
        for i, (token, kind) in enumerate(zip(tokens, types)):
            x = add(words[token], kinds[kind])
            sequence.append(self.norm("token_embd_norm", add(x, places[i]) if places else x))
        for layer in range(self.number("block_count")):
            sequence = self.layer(f"blk.{layer}", sequence)
        return sequence

    def layer(self, at, sequence):
        rotary = None if self.arch == "bert" else True
        attended = self.attention(at, sequence, False, rotary)
        result = []
        for x, y in zip(sequence, attended):
            x = self.norm(f"{at}.attn_output_norm", add(x, y))
            if self.arch == "bert":
                inner = [gelu(v) for v in self.linear(f"{at}.ffn_up", x)]
                y = self.linear(f"{at}.ffn_down", inner)
            else:
                y = self.gated(at, x)
            result.append(self.norm(f"{at}.layer_output_norm", add(x, y)))
        return result

    def pooled(self, tokens, types, pooling):
        """One vector for the whole; under "rank" the scores of the head."""
        sequence = self.hidden(tokens, types)
        if pooling == "mean":
            return [math.fsum(column) / len(sequence) for column in zip(*sequence)]
        if pooling == "last":
            return sequence[-1]
        if pooling == "cls":
            return sequence[0]
        return self.linear("cls.output", [math.tanh(v) for v in self.linear("cls", sequence[0])])


class Decoder(Model):
    """Llama, and Granite 4.0 H: Mamba-2 in most layers, attention without positions in the others,
    factors on the embedding, the sums and the logits."""

    def logits(self, tokens):
        scale = self.number("embedding_scale", 1.0)
        words = self.rows("token_embd.weight")
        sequence = [[scale * v for v in words[token]] for token in tokens]
        for layer in range(self.number("block_count")):
            sequence = self.layer(f"blk.{layer}", sequence)
        output = self.rows("output.weight") or words
        scale = 1 / self.number("logit_scale", 1.0)
        normed = (self.norm("output_norm", x) for x in sequence)
        return [[scale * dot(row, x) for row in output] for x in normed]

    def layer(self, at, sequence):
        scale = self.number("residual_scale", 1.0)
        normed = [self.norm(f"{at}.attn_norm", x) for x in sequence]
        if self.rows(f"{at}.ssm_in.weight") is None:
            mixed = self.attention(at, normed, True, False if self.arch == "llama" else None)
        else:
            mixed = self.mamba2(at, normed)
        result = []
        for x, y in zip(sequence, mixed):
            x = add(x, [scale * v for v in y])
            y = self.gated(at, self.norm(f"{at}.ffn_norm", x))
            result.append(add(x, [scale * v for v in y]))
        return result

    def convolved(self, at, sequence):
        """Each channel's causal convolution, then SiLU."""
        kernel, bias = self.rows(f"{at}.ssm_conv1d.weight"), self.vector(f"{at}.ssm_conv1d.bias")
        width = len(kernel[0])
        padded = [[0.0] * len(sequence[0])] * (width - 1) + sequence
        result = []
        for i in range(len(sequence)):
            window = list(zip(*padded[i : i + width]))
            result.append([silu(dot(w, x) + b) for w, x, b in zip(kernel, window, bias)])
        return result

    def mamba2(self, at, sequence):
        """Dao and Gu, arXiv:2405.21060, as a recurrence: state = exp(step A) state + step B x."""
        inner, size = self.number("ssm.inner_size"), self.number("ssm.state_size")
        heads, groups = self.number("ssm.time_step_rank"), self.number("ssm.group_count")
        mixed = inner + 2 * groups * size
        projected = [self.linear(f"{at}.ssm_in", x) for x in sequence]
        convolved = self.convolved(at, [x[inner : inner + mixed] for x in projected])
        decay, skip = self.vector(f"{at}.ssm_a"), self.vector(f"{at}.ssm_d")
        bias = self.vector(f"{at}.ssm_dt.bias")
        state = [[0.0] * size for _ in range(inner)]
        result = []
        for whole, x in zip(projected, convolved):
            steps = [softplus(v + b) for v, b in zip(whole[inner + mixed :], bias)]
            y = []
            for channel in range(inner):
                head = channel * heads // inner
                begin = inner + head * groups // heads * size
                gain = steps[head] * x[channel]
                keep = math.exp(steps[head] * decay[head])
                fed = x[begin : begin + size]
                state[channel] = [keep * s + gain * b for s, b in zip(state[channel], fed)]
                read = x[begin + groups * size : begin + (groups + 1) * size]
                y.append(dot(state[channel], read) + skip[head] * x[channel])
            y = multiply(y, map(silu, whole[:inner]))
            result.append(self.linear(f"{at}.ssm_out", self.norm_groups(at, y, inner // groups)))
        return result

    def norm_groups(self, at, x, size):
        epsilon = self.number("attention.layer_norm_rms_epsilon")
        weights = self.rows(f"{at}.ssm_norm.weight")
        groups = (x[i : i + size] for i in range(0, len(x), size))
        return [v for group, w in zip(groups, weights) for v in rms_norm(group, w, epsilon)]
