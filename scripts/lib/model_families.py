# SPDX-License-Identifier: MIT
"""Metadata and tensors of each architecture, as llama.cpp's loader and converter name them.

A tensor is (name, shape with the columns first, what its values are): MATRIX takes the type that
was asked for, everything else stays F32; a list is 256 quantiles that values are drawn from; a
tuple is the values themselves.
"""

import math

from gguf_file import BOOL, F32, I32, STRING, U32, entry
from model_weights import EVEN, NORMAL

MATRIX = "matrix"
EXACT = "exact"  # a matrix that llama-quantize leaves alone
NORM = [1 + 0.1 * x for x in EVEN]
BIAS = [0.1 * x for x in NORMAL]
DECAY = [-math.exp2(2 * x) for x in EVEN]  # -exp(A_log): what a state keeps of itself
STEP = [0.5 * x - 1 for x in NORMAL]  # before the softplus
ROPE_FACTORS = [2.5 + 1.5 * x for x in EVEN]
POOLING = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}


def norm(name, size, bias=False):
    yield f"{name}.weight", (size,), NORM
    if bias:
        yield f"{name}.bias", (size,), BIAS


def linear(name, columns, rows, bias=False):
    yield f"{name}.weight", (columns, rows), MATRIX
    if bias:
        yield f"{name}.bias", (rows,), BIAS


def attention(s, at, bias=False, qk_norm=False, gated=False, output_bias=False):
    """Queries, keys, values and the output; @gated: each query comes with a gate of its size."""
    q, kv = s["head_dim"] * s["heads"], s["head_dim"] * s["kv_heads"]
    yield from linear(f"{at}.attn_q", s["dim"], 2 * q if gated else q, bias)
    yield from linear(f"{at}.attn_k", s["dim"], kv, bias)
    yield from linear(f"{at}.attn_v", s["dim"], kv, bias)
    if qk_norm:
        yield from norm(f"{at}.attn_q_norm", s["head_dim"])
        yield from norm(f"{at}.attn_k_norm", s["head_dim"])
    yield from linear(f"{at}.attn_output", q, s["dim"], output_bias)


def feed_forward(s, at, ffn=None):
    ffn = ffn or s["ffn"]
    yield from linear(f"{at}.ffn_gate", s["dim"], ffn)
    yield from linear(f"{at}.ffn_up", s["dim"], ffn)
    yield from linear(f"{at}.ffn_down", ffn, s["dim"])


def experts(s, at):
    n, ffn = s["experts"], s["expert_ffn"]
    yield f"{at}.ffn_gate_inp.weight", (s["dim"], n), EXACT
    yield f"{at}.ffn_gate_exps.weight", (s["dim"], ffn, n), MATRIX
    yield f"{at}.ffn_up_exps.weight", (s["dim"], ffn, n), MATRIX
    yield f"{at}.ffn_down_exps.weight", (ffn, s["dim"], n), MATRIX


def delta_net(s, at):
    """Qwen3.5's linear attention: keys and values of one size, fewer heads of keys."""
    keys, values = s["ssm_state"] * s["ssm_groups"], s["ssm_state"] * s["ssm_heads"]
    yield from linear(f"{at}.attn_qkv", s["dim"], 2 * keys + values)
    yield from linear(f"{at}.attn_gate", s["dim"], values)
    yield f"{at}.ssm_conv1d.weight", (s["ssm_conv"], 2 * keys + values), EXACT
    yield f"{at}.ssm_dt.bias", (s["ssm_heads"],), STEP
    yield f"{at}.ssm_a", (s["ssm_heads"],), DECAY
    yield from linear(f"{at}.ssm_beta", s["dim"], s["ssm_heads"])
    yield from linear(f"{at}.ssm_alpha", s["dim"], s["ssm_heads"])
    yield from norm(f"{at}.ssm_norm", s["ssm_state"])
    yield from linear(f"{at}.ssm_out", values, s["dim"])


def mamba2(s, at):
    inner, heads = s["ssm_inner"], s["ssm_heads"]
    mixed = inner + 2 * s["ssm_groups"] * s["ssm_state"]
    yield from linear(f"{at}.ssm_in", s["dim"], inner + mixed + heads)
    yield f"{at}.ssm_conv1d.weight", (s["ssm_conv"], mixed), EXACT
    yield f"{at}.ssm_conv1d.bias", (mixed,), BIAS
    yield f"{at}.ssm_dt.bias", (heads,), STEP
    yield f"{at}.ssm_a", (1, heads), DECAY
    yield f"{at}.ssm_d", (1, heads), NORM
    yield f"{at}.ssm_norm.weight", (inner // s["ssm_groups"], s["ssm_groups"]), NORM
    yield from linear(f"{at}.ssm_out", inner, s["dim"])


def short_convolution(s, at):
    yield f"{at}.shortconv.conv.weight", (s["conv"], s["dim"]), EXACT
    yield from linear(f"{at}.shortconv.in_proj", s["dim"], 3 * s["dim"])
    yield from linear(f"{at}.shortconv.out_proj", s["dim"], s["dim"])


def plain_layer(s, i, at):
    arch = s["arch"]
    yield from norm(f"{at}.attn_norm", s["dim"])
    yield from attention(s, at, bias=arch == "qwen2", qk_norm=arch in ("qwen3", "qwen3moe"))
    yield from norm(f"{at}.ffn_norm", s["dim"])
    yield from experts(s, at) if arch == "qwen3moe" else feed_forward(s, at)


def phi3_layer(s, i, at):
    q, kv = s["head_dim"] * s["heads"], s["head_dim"] * s["kv_heads"]
    yield from norm(f"{at}.attn_norm", s["dim"])
    yield from linear(f"{at}.attn_qkv", s["dim"], q + 2 * kv)
    yield from linear(f"{at}.attn_output", q, s["dim"])
    yield from norm(f"{at}.ffn_norm", s["dim"])
    yield from linear(f"{at}.ffn_up", s["dim"], 2 * s["ffn"])
    yield from linear(f"{at}.ffn_down", s["ffn"], s["dim"])


def gemma_layer(s, i, at):
    yield from norm(f"{at}.attn_norm", s["dim"])
    yield from attention(s, at, qk_norm=s["arch"] == "gemma3")
    yield from norm(f"{at}.post_attention_norm", s["dim"])
    yield from norm(f"{at}.ffn_norm", s["dim"])
    yield from feed_forward(s, at)
    yield from norm(f"{at}.post_ffw_norm", s["dim"])


def is_full(s, i):
    """Whether a layer attends to everything, where most have a window or no attention."""
    return (i + 1) % s["full_every"] == 0


def gemma4_ffn(s, i):
    shares = i >= s["layers"] - s["shared_layers"]
    return s["ffn"] * s["wide_ffn"] if shares else s["ffn"]


def gemma4_layer(s, i, at):
    head_dim = s["head_dim"] if is_full(s, i) else s["window_head_dim"]
    kv = head_dim * s["kv_heads"]
    yield from norm(f"{at}.attn_norm", s["dim"])
    yield from linear(f"{at}.attn_q", s["dim"], head_dim * s["heads"])
    yield from norm(f"{at}.attn_q_norm", head_dim)
    if i < s["layers"] - s["shared_layers"]:
        yield from linear(f"{at}.attn_k", s["dim"], kv)
        yield from norm(f"{at}.attn_k_norm", head_dim)
        yield from linear(f"{at}.attn_v", s["dim"], kv)
    yield from linear(f"{at}.attn_output", head_dim * s["heads"], s["dim"])
    yield from norm(f"{at}.post_attention_norm", s["dim"])
    yield from norm(f"{at}.ffn_norm", s["dim"])
    yield from feed_forward(s, at, gemma4_ffn(s, i))
    yield from norm(f"{at}.post_ffw_norm", s["dim"])
    yield from linear(f"{at}.inp_gate", s["dim"], s["per_layer"])
    yield from linear(f"{at}.proj", s["per_layer"], s["dim"])
    yield from norm(f"{at}.post_norm", s["dim"])
    yield f"{at}.layer_output_scale.weight", (1,), (0.8,)


def qwen35_layer(s, i, at):
    yield from norm(f"{at}.attn_norm", s["dim"])
    yield from attention(s, at, qk_norm=True, gated=True) if is_full(s, i) else delta_net(s, at)
    yield from norm(f"{at}.post_attention_norm", s["dim"])
    yield from feed_forward(s, at)


def hybrid_layer(s, i, at):
    """Attention in a few layers, in the others what the family has instead."""
    instead, qk_norm = (short_convolution, True) if s["arch"] == "lfm2" else (mamba2, False)
    yield from norm(f"{at}.attn_norm", s["dim"])
    yield from attention(s, at, qk_norm=qk_norm) if i in s["attention_layers"] else instead(s, at)
    yield from norm(f"{at}.ffn_norm", s["dim"])
    yield from feed_forward(s, at)


def bert_layer(s, i, at):
    if s["arch"] == "bert":
        yield from attention(s, at, bias=True, output_bias=True)
    else:
        yield from linear(f"{at}.attn_qkv", s["dim"], 3 * s["dim"])
        yield from linear(f"{at}.attn_output", s["dim"], s["dim"])
    yield from norm(f"{at}.attn_output_norm", s["dim"], bias=True)
    if s["arch"] == "bert":
        yield from linear(f"{at}.ffn_up", s["dim"], s["ffn"], bias=True)
        yield from linear(f"{at}.ffn_down", s["ffn"], s["dim"], bias=True)
    else:
        yield from feed_forward(s, at)
    yield from norm(f"{at}.layer_output_norm", s["dim"], bias=True)


LAYERS = {"phi3": phi3_layer, "gemma2": gemma_layer, "gemma3": gemma_layer,
          "gemma4": gemma4_layer, "qwen35": qwen35_layer, "granitehybrid": hybrid_layer,
          "lfm2": hybrid_layer, "bert": bert_layer, "nomic-bert": bert_layer}


def is_encoder(s):
    return s["arch"] in ("bert", "nomic-bert")


def encoder_ends(s):
    yield from norm("token_embd_norm", s["dim"], bias=True)
    yield "token_types.weight", (s["dim"], 2), EXACT
    if s["arch"] == "bert":
        yield "position_embd.weight", (s["dim"], s["context"]), EXACT
    if s["pooling"] == "rank":
        yield from linear("cls", s["dim"], s["dim"], bias=True)
        yield from linear("cls.output", s["dim"], 1, bias=True)


def decoder_ends(s):
    """Before and after the layers, beside the embedding of the tokens."""
    yield from norm("token_embd_norm" if s["arch"] == "lfm2" else "output_norm", s["dim"])
    if s.get("untied"):
        yield "output.weight", (s["dim"], s["vocab"]), MATRIX
    pairs = s["head_dim"] // 2
    if s.get("rope_factors"):
        yield "rope_freqs.weight", (pairs,), ROPE_FACTORS
    if s["arch"] == "gemma4":
        # A quarter of each head turns; the others have a period that no context reaches.
        turning = max(1, pairs // 4)
        yield "rope_freqs.weight", (pairs,), (1.0,) * turning + (1e30,) * (pairs - turning)
        every = s["per_layer"] * s["layers"]
        yield "per_layer_token_embd.weight", (every, s["vocab"]), MATRIX
        yield "per_layer_model_proj.weight", (s["dim"], every), EXACT
        yield from norm("per_layer_proj_norm", s["per_layer"])
    if s["arch"] == "phi3" and s["original_context"] != s["context"]:
        yield "rope_factors_long.weight", (pairs,), ROPE_FACTORS
        yield "rope_factors_short.weight", (pairs,), [1 + 0.1 * (x + 1) for x in EVEN]


def tensors(s):
    yield "token_embd.weight", (s["dim"], s["vocab"]), MATRIX
    yield from encoder_ends(s) if is_encoder(s) else decoder_ends(s)
    layer = LAYERS.get(s["arch"], plain_layer)
    for i in range(s["layers"]):
        yield from layer(s, i, f"blk.{i}")


def attention_metadata(s):
    arch = s["arch"]
    if "attention_layers" in s:
        heads = [s["kv_heads"] if i in s["attention_layers"] else 0 for i in range(s["layers"])]
        yield "attention.head_count_kv", I32, heads
    else:
        yield "attention.head_count_kv", U32, s["kv_heads"]
    if arch.startswith(("qwen3", "gemma")) or s["head_dim"] * s["heads"] != s["dim"]:
        yield "attention.key_length", U32, s["head_dim"]
        yield "attention.value_length", U32, s["head_dim"]
    if "window" in s:
        yield "attention.sliding_window", U32, s["window"]
    if is_encoder(s):
        yield "attention.layer_norm_epsilon", F32, 1e-12
        yield "attention.causal", BOOL, False
        yield "pooling_type", U32, POOLING[s["pooling"]]
        return
    yield "attention.layer_norm_rms_epsilon", F32, 1e-6 if arch.startswith("gemma") else 1e-5


def rotary_metadata(s):
    arch = s["arch"]
    if arch == "bert":
        return
    yield "rope.freq_base", F32, s["base"]
    if arch == "gemma4":
        yield "rope.freq_base_swa", F32, 10000.0
        yield "rope.dimension_count", U32, s["head_dim"]
        yield "rope.dimension_count_swa", U32, s["window_head_dim"]
    elif not arch.startswith(("gemma", "qwen2", "nomic")) and arch not in ("qwen3", "qwen3moe"):
        yield "rope.dimension_count", U32, s.get("rotary", s["head_dim"])


def own_metadata(s):
    """What one family alone has."""
    for key, name in (("attention_scale", "attention.scale"), ("logit_scale", "logit_scale"),
                      ("residual_scale", "residual_scale"), ("embedding_scale", "embedding_scale")):
        if key in s:
            yield name, F32, s[key]
    for key, name in (("ssm_conv", "conv_kernel"), ("ssm_state", "state_size"),
                      ("ssm_groups", "group_count"), ("ssm_heads", "time_step_rank"),
                      ("ssm_inner", "inner_size")):
        if key in s:
            yield f"ssm.{name}", U32, s[key]
    if "experts" in s:
        yield "expert_count", U32, s["experts"]
        yield "expert_used_count", U32, s["used_experts"]
        yield "expert_feed_forward_length", U32, s["expert_ffn"]
    arch = s["arch"]
    if arch == "qwen35":
        yield "full_attention_interval", U32, s["full_every"]
        yield "rope.dimension_sections", I32, s["sections"]
    elif arch == "gemma2":
        yield "attn_logit_softcapping", F32, 50.0
        yield "final_logit_softcapping", F32, 30.0
    elif arch == "gemma4":
        windows = [not is_full(s, i) for i in range(s["layers"])]
        yield "final_logit_softcapping", F32, 30.0
        yield "attention.sliding_window_pattern", BOOL, windows
        yield "attention.key_length_swa", U32, s["window_head_dim"]
        yield "attention.value_length_swa", U32, s["window_head_dim"]
        yield "attention.shared_kv_layers", U32, s["shared_layers"]
        yield "embedding_length_per_layer_input", U32, s["per_layer"]
    elif arch == "phi3":
        yield "rope.scaling.original_context_length", U32, s["original_context"]
        if s["original_context"] != s["context"]:
            stretch = s["context"] / s["original_context"]
            factor = math.sqrt(1 + math.log(stretch) / math.log(s["original_context"]))
            yield "rope.scaling.attn_factor", F32, factor
    elif arch == "granitehybrid":
        # Granite 4.0 H has no positions: its converter writes this.
        yield "rope.scaling.finetuned", BOOL, False
    elif arch == "lfm2":
        yield "shortconv.l_cache", U32, s["conv"]


def metadata(s):
    """Entries of the architecture, without general.* and tokenizer.*."""
    ffn = s["ffn"]
    if s["arch"] == "gemma4" and s["wide_ffn"] > 1:
        ffn = [gemma4_ffn(s, i) for i in range(s["layers"])]
    pairs = [
        ("block_count", U32, s["layers"]),
        ("context_length", U32, s["context"]),
        ("embedding_length", U32, s["dim"]),
        ("feed_forward_length", I32 if isinstance(ffn, list) else U32, ffn),
        ("attention.head_count", U32, s["heads"]),
        *attention_metadata(s),
        *rotary_metadata(s),
        *own_metadata(s),
        ("vocab_size", U32, s["vocab"]),
    ]
    return [entry(f"{s['arch']}.{key}", kind, value) for key, kind, value in pairs]


def general(name, file_type, arch, kind="model"):
    return [
        entry("general.architecture", STRING, arch),
        entry("general.type", STRING, kind),
        entry("general.name", STRING, name),
        entry("general.file_type", U32, file_type),
        entry("general.quantization_version", U32, 2),
    ]
