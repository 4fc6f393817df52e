# SPDX-License-Identifier: MIT
"""Sizes of published models (from their config.json), and of tiny ones for tests."""

# Every shape: layers, dim, ffn, heads, kv_heads, vocab, context; head_dim where it is not
# dim / heads; base of the rotary embedding; what its family alone has.
SHAPES = {
    "llama-3.2-1b": dict(
        arch="llama", layers=16, dim=2048, ffn=8192, heads=32, kv_heads=8, vocab=128256,
        context=131072, base=500000.0, rope_factors=True),
    "smollm2-135m": dict(
        arch="llama", layers=30, dim=576, ffn=1536, heads=9, kv_heads=3, vocab=49152, context=8192,
        base=100000.0),
    "smollm2-360m": dict(
        arch="llama", layers=32, dim=960, ffn=2560, heads=15, kv_heads=5, vocab=49152,
        context=8192, base=100000.0),
    "tinyllama-1.1b": dict(
        arch="llama", layers=22, dim=2048, ffn=5632, heads=32, kv_heads=4, vocab=32000,
        context=2048, base=10000.0, untied=True),
    "qwen2.5-0.5b": dict(
        arch="qwen2", layers=24, dim=896, ffn=4864, heads=14, kv_heads=2, vocab=151936,
        context=32768, base=1e6),
    "qwen2.5-1.5b": dict(
        arch="qwen2", layers=28, dim=1536, ffn=8960, heads=12, kv_heads=2, vocab=151936,
        context=32768, base=1e6),
    "qwen3-0.6b": dict(
        arch="qwen3", layers=28, dim=1024, ffn=3072, heads=16, kv_heads=8, head_dim=128,
        vocab=151936, context=40960, base=1e6),
    "qwen3-1.7b": dict(
        arch="qwen3", layers=28, dim=2048, ffn=6144, heads=16, kv_heads=8, head_dim=128,
        vocab=151936, context=40960, base=1e6),
    "qwen3-30b-a3b": dict(
        arch="qwen3moe", layers=48, dim=2048, ffn=6144, heads=32, kv_heads=4, head_dim=128,
        vocab=151936, context=40960, base=1e6, untied=True, experts=128, used_experts=8,
        expert_ffn=768),
    # The same widths with few layers and experts: what a test machine has room for.
    "qwen3moe-small": dict(
        arch="qwen3moe", layers=6, dim=2048, ffn=6144, heads=32, kv_heads=4, head_dim=128,
        vocab=32768, context=40960, base=1e6, untied=True, experts=16, used_experts=4,
        expert_ffn=768),
    "qwen3.5-0.8b": dict(
        arch="qwen35", layers=24, dim=1024, ffn=3584, heads=8, kv_heads=2, head_dim=256,
        vocab=248320, context=262144, base=1e7, rotary=64, sections=[11, 11, 10, 0], full_every=4,
        ssm_state=128, ssm_groups=16, ssm_heads=16, ssm_inner=2048, ssm_conv=4),
    "gemma-2-2b": dict(
        arch="gemma2", layers=26, dim=2304, ffn=9216, heads=8, kv_heads=4, head_dim=256,
        vocab=256000, context=8192, base=10000.0, window=4096),
    "gemma-3-270m": dict(
        arch="gemma3", layers=18, dim=640, ffn=2048, heads=4, kv_heads=1, head_dim=256,
        vocab=262144, context=32768, base=1e6, window=512),
    "gemma-3-1b": dict(
        arch="gemma3", layers=26, dim=1152, ffn=6912, heads=4, kv_heads=1, head_dim=256,
        vocab=262144, context=32768, base=1e6, window=512),
    "gemma-4-e2b": dict(
        arch="gemma4", layers=35, dim=1536, ffn=6144, heads=8, kv_heads=1, head_dim=512,
        vocab=262144, context=131072, base=1e6, window=512, window_head_dim=256, full_every=5,
        shared_layers=20, per_layer=256, wide_ffn=2),
    "phi-3.5-mini": dict(
        arch="phi3", layers=32, dim=3072, ffn=8192, heads=32, kv_heads=32, vocab=32064,
        context=131072, base=10000.0, original_context=4096, untied=True),
    "granite-4.0-350m": dict(
        arch="granite", layers=28, dim=1024, ffn=2048, heads=16, kv_heads=4, vocab=100352,
        context=32768, base=1e7, embedding_scale=12.0, residual_scale=0.263, logit_scale=4.0,
        attention_scale=0.015625),
    "granite-4.0-1b": dict(
        arch="granite", layers=40, dim=2048, ffn=4096, heads=16, kv_heads=4, vocab=100352,
        context=131072, base=1e7, embedding_scale=12.0, residual_scale=0.22, logit_scale=8.0,
        attention_scale=0.0078125),
    "granite-4.0-h-350m": dict(
        arch="granitehybrid", layers=32, dim=768, ffn=2048, heads=12, kv_heads=4, vocab=100352,
        context=32768, base=10000.0, embedding_scale=12.0, residual_scale=0.246, logit_scale=3.0,
        attention_scale=0.015625, attention_layers=[10, 13, 17, 27], ssm_state=128, ssm_groups=1,
        ssm_heads=48, ssm_inner=1536, ssm_conv=4),
    "granite-4.0-h-1b": dict(
        arch="granitehybrid", layers=40, dim=1536, ffn=4096, heads=12, kv_heads=4, vocab=100352,
        context=131072, base=10000.0, embedding_scale=12.0, residual_scale=0.22, logit_scale=6.0,
        attention_scale=0.0078125, attention_layers=[5, 15, 25, 35], ssm_state=128, ssm_groups=1,
        ssm_heads=48, ssm_inner=3072, ssm_conv=4),
    "smollm3-3b": dict(
        arch="smollm3", layers=36, dim=2048, ffn=11008, heads=16, kv_heads=4, vocab=128256,
        context=65536, base=5e6),
    "lfm2-350m": dict(
        arch="lfm2", layers=16, dim=1024, ffn=4608, heads=16, kv_heads=8, vocab=65536,
        context=128000, base=1e6, attention_layers=[2, 5, 8, 10, 12, 14], conv=3),
    "all-minilm-l6": dict(
        arch="bert", layers=6, dim=384, ffn=1536, heads=12, kv_heads=12, vocab=30522, context=512,
        pooling="mean"),
    "nomic-embed-text-v1.5": dict(
        arch="nomic-bert", layers=12, dim=768, ffn=3072, heads=12, kv_heads=12, vocab=30522,
        context=2048, base=1000.0, pooling="mean"),
    "minilm-reranker-l6": dict(
        arch="bert", layers=6, dim=384, ffn=1536, heads=12, kv_heads=12, vocab=30522, context=512,
        pooling="rank"),
}

# What a tiny model of each family has beside the sizes that all share.
TINY = {
    "llama": dict(layers=2),
    "qwen2": dict(layers=2, base=1e6),
    "qwen3": dict(layers=2, base=1e6),
    "qwen3moe": dict(layers=2, experts=8, used_experts=2),
    "qwen35": dict(layers=4, base=1e7, full_every=4, ssm_conv=4),
    "gemma2": dict(layers=2, window=32),
    "gemma3": dict(layers=6, window=32, base=1e6),
    "gemma4": dict(layers=8, window=32, base=1e6, full_every=4, shared_layers=4, wide_ffn=2),
    "phi3": dict(layers=2, untied=True),
    "granite": dict(layers=2, embedding_scale=1.7, residual_scale=0.5, logit_scale=6.0,
                    attention_scale=0.1),
    "granitehybrid": dict(layers=3, embedding_scale=1.7, residual_scale=0.5, logit_scale=6.0,
                          attention_scale=0.1, attention_layers=[1], ssm_groups=1, ssm_conv=4),
    "smollm3": dict(layers=4),
    "lfm2": dict(layers=4, attention_layers=[2], conv=3),
    "bert": dict(layers=2, kv_heads=4, pooling="mean"),
    "nomic-bert": dict(layers=2, kv_heads=4, pooling="mean", base=1000.0),
}
ARCHS = list(TINY)


def tiny(arch, wide):
    """@wide: rows of 256 columns, which k-quants fill; else 64."""
    dim = 256 if wide else 64
    shape = dict(arch=arch, dim=dim, ffn=2 * dim, heads=4, kv_heads=2, context=256, vocab=0,
                 base=10000.0)
    return {**shape, **TINY[arch]}


def complete(shape):
    """Fill in what follows from the sizes: call it once the user's have been set."""
    dim = shape["dim"]
    shape.setdefault("head_dim", dim // shape["heads"])
    arch = shape["arch"]
    if arch == "qwen3moe":
        shape.setdefault("expert_ffn", shape["ffn"] // 2)
    elif arch == "qwen35":
        rotary = shape.setdefault("rotary", shape["head_dim"] // 2)
        pairs = rotary // 2
        third = pairs // 3
        shape.setdefault("sections", [third, third, pairs - 2 * third, 0])
        shape.setdefault("ssm_inner", dim)
        shape.setdefault("ssm_state", dim // 8)
        shape.setdefault("ssm_heads", 8)
        shape.setdefault("ssm_groups", 4)
    elif arch == "granitehybrid":
        shape.setdefault("ssm_inner", 2 * dim)
        shape.setdefault("ssm_state", dim // 4)
        shape.setdefault("ssm_heads", 8)
    elif arch == "gemma4":
        shape.setdefault("window_head_dim", shape["head_dim"] // 2)
        shape.setdefault("per_layer", dim)
        # The layers that keep keys and values include one of each kind.
        kept = shape["layers"] - shape["full_every"]
        shape["shared_layers"] = max(0, min(shape["shared_layers"], kept))
    elif arch == "phi3":
        shape.setdefault("original_context", shape["context"])
    if "attention_layers" in shape:
        # A model cut short keeps at least one of them.
        layers = [i for i in shape["attention_layers"] if i < shape["layers"]]
        shape["attention_layers"] = layers or [shape["layers"] // 2]
    return shape
