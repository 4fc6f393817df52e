# SPDX-License-Identifier: MIT
"""Small vocabularies of each kind of tokenizer, filled up to any size, as a file's metadata."""

from gguf_file import BOOL, F32, I32, STRING, U32, entry

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # tokenizer.ggml.token_type
SPACE = "\u2581"  # SentencePiece's letter for a space; in a WordPiece file it begins a word

# Pairs as in GPT-2's merges file, in the order of their ranks; "_" stands for the space's letter.
MERGES = """
_ t|_ a|i n|h e|r e|o n|e r|_t he|a t|_ s|_ o|e n|_ c|e s|_ w|n d|i t|o r|i s|a l|_ p|in g|_ f|e d
_ b|_ m|o u|a n|l e|_ d|_t o|_a nd|_ _|l l|_ h|e l|_h el|_w or|u s|us er|_ __|__ __
"""
CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a test.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TURNS = (
    "{% for message in messages %}"
    "{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)

# The kind of each family, and for BPE the name of the rule that cuts text into words. Gemma 4's own
# kind has the pieces of SentencePiece: that is what its files get here.
FAMILIES = {
    "llama": ("bpe", "smollm"), "qwen2": ("bpe", "qwen2"), "qwen3": ("bpe", "qwen2"),
    "qwen3moe": ("bpe", "qwen2"), "qwen35": ("bpe", "qwen35"), "granite": ("bpe", "dbrx"),
    "granitehybrid": ("bpe", "dbrx"), "smollm3": ("bpe", "smaug-bpe"), "lfm2": ("bpe", "lfm2"),
    "gemma2": ("spm", None), "gemma3": ("spm", None), "gemma4": ("spm", None),
    "phi3": ("spm", None), "bert": ("wordpiece", None), "nomic-bert": ("wordpiece", None),
}
KINDS = ["none", "bpe", "spm", "wordpiece"]
NO_TOKENIZER_SIZE = 320


def byte_letters():
    """GPT-2's alphabet: a printable character for each byte, those that print for themselves."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in own)
    letters = {byte: chr(byte) for byte in own}
    letters.update((byte, chr(256 + i)) for i, byte in enumerate(others))
    return [letters[byte] for byte in range(256)]


def merges(space):
    """The pairs, in order: each makes a piece of two that were there before."""
    lines = MERGES.split("\n")
    return [pair.split(" ") for pair in "|".join(lines).strip("|").replace("_", space).split("|")]


def filled(tokens, kinds, size):
    """@size tokens: those that nothing merges to are ordinary words."""
    if size and size < len(tokens):
        raise ValueError(f"--vocab must be at least {len(tokens)} for this tokenizer")
    more = max(0, size - len(tokens))
    tokens += [f"w{i:06}" for i in range(more)]
    kinds += [NORMAL] * more
    return tokens, kinds


def listed(model, tokens, kinds):
    return [
        entry("tokenizer.ggml.model", STRING, model),
        entry("tokenizer.ggml.tokens", STRING, tokens),
        entry("tokenizer.ggml.token_type", I32, kinds),
    ]


def ids(**tokens):
    return [entry(f"tokenizer.ggml.{key}_token_id", U32, n) for key, n in tokens.items()]


def bpe(size, pre):
    letters = byte_letters()
    pairs = merges(letters[0x20])
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, *map("".join, pairs)]
    kinds = [CONTROL] * 3 + [NORMAL] * (len(tokens) - 3)
    tokens, kinds = filled(tokens, kinds, size)
    return len(tokens), [
        *listed("gpt2", tokens, kinds),
        entry("tokenizer.ggml.pre", STRING, pre or "gpt-2"),
        entry("tokenizer.ggml.merges", STRING, [" ".join(pair) for pair in pairs]),
        *ids(bos=1, eos=2, unknown=0, padding=2),
        entry("tokenizer.ggml.add_bos_token", BOOL, False),
        entry("tokenizer.ggml.add_space_prefix", BOOL, False),
        entry("tokenizer.chat_template", STRING, CHATML),
    ]


def spm(size, _):
    controls = ["<unk>", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>"]
    pieces = [*map("".join, merges(SPACE)), SPACE, *map(chr, range(0x21, 0x7F))]
    tokens = [*controls, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    kinds = [UNKNOWN] + [CONTROL] * 4 + [BYTE] * 256 + [NORMAL] * len(pieces)
    scores = [0.0] * (len(tokens) - len(pieces)) + [-float(i) for i in range(len(pieces))]
    tokens, kinds = filled(tokens, kinds, size)
    scores += [-1e6] * (len(tokens) - len(scores))
    return len(tokens), [
        *listed("llama", tokens, kinds),
        entry("tokenizer.ggml.pre", STRING, "default"),
        entry("tokenizer.ggml.scores", F32, scores),
        *ids(bos=1, eos=2, unknown=0, padding=2, eot=4),
        entry("tokenizer.ggml.add_bos_token", BOOL, True),
        entry("tokenizer.ggml.add_space_prefix", BOOL, False),
        entry("tokenizer.chat_template", STRING, TURNS),
    ]


def wordpiece(size, _):
    controls = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(0x21, 0x7F) if not 0x41 <= c <= 0x5A]
    pieces = [piece for piece in map("".join, merges(SPACE)) if SPACE not in piece[1:]]
    pieces = [*(SPACE + letter for letter in letters), *letters, *pieces]
    pieces = list(dict.fromkeys(pieces))
    tokens, kinds = filled([*controls, *pieces], [CONTROL] * 5 + [NORMAL] * len(pieces), size)
    return len(tokens), [
        *listed("bert", tokens, kinds),
        *ids(bos=2, eos=3, unknown=1, seperator=3, padding=0, cls=2, mask=4),  # llama.cpp's word
    ]


def none(size, _):
    return size or NO_TOKENIZER_SIZE, [
        entry("tokenizer.ggml.model", STRING, "none"),
        *ids(bos=1, eos=2),
    ]


def vocabulary(arch, kind, size):
    """@kind: one of KINDS, or None for the family's; @size: 0 for as few as the kind has.
    Return: the number of tokens, the entries."""
    own, pre = FAMILIES[arch]
    kind = kind or own
    count, entries = {"bpe": bpe, "spm": spm, "wordpiece": wordpiece, "none": none}[kind](size, pre)
    if arch in ("bert", "nomic-bert"):
        entries.append(entry("tokenizer.ggml.token_type_count", U32, 2))
    return count, entries
