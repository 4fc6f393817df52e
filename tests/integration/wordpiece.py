# SPDX-License-Identifier: MIT
"""WordPiece from its publication (BERT's tokenization.py), and a vocabulary file to try it on."""

import random
import struct
import unicodedata

BEGINS = "\u2581"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
# Blocks that have not changed for many versions of Unicode, so any Python knows them.
BLOCKS = [(0x20, 0x7F), (0x20, 0x7F), (0x00, 0x20), (0x7F, 0x180), (0x1E00, 0x1F00), (0x370, 0x460),
          (0x5D0, 0x5EB), (0x901, 0x940), (0x9C7, 0x9CD), (0x1100, 0x1113), (0x2000, 0x2030),
          (0x3000, 0x3020), (0x3041, 0x3097), (0x4E00, 0x4E20), (0xAC00, 0xAC60), (0xD700, 0xD7A4),
          (0xF900, 0xF910), (0xFF01, 0xFF5F), (0x2F800, 0x2F810), (0xE000, 0xE004)]


def is_ideograph(c):
    return any(a <= ord(c) <= b for a, b in [
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F)])


def is_space(c):
    return c in "\t\n\r" or unicodedata.category(c)[0] == "Z"


def is_dropped(c):
    return not is_space(c) and (unicodedata.category(c) in ("Cc", "Cf", "Co") or c == "\ufffd")


def is_punctuation(c):
    return unicodedata.category(c)[0] == "P" or (c.isascii() and unicodedata.category(c)[0] == "S")


def words(text, lowercase):
    text = "".join(" " if is_space(c) else c for c in text if not is_dropped(c))
    text = "".join(f" {c} " if is_ideograph(c) else c for c in text)
    if lowercase:
        text = "".join(c for c in unicodedata.normalize("NFD", text)
                       if unicodedata.category(c) != "Mn").lower()
    return "".join(f" {c} " if is_punctuation(c) else c for c in text).split(" ")


def pieces(word, ids):
    """BERT's greedy longest match; [UNK] for the word where it does not reach the end."""
    if len(word) > 100:
        return [ids["[UNK]"]]
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            name = ("##" if start else "") + word[start:end]
            if name in ids:
                break
        else:
            return [ids["[UNK]"]]
        found.append(ids[name])
        start = end
    return found


def encode(text, names, lowercase):
    ids = {name: number for number, name in enumerate(names)}
    return [token for word in words(text, lowercase) if word for token in pieces(word, ids)]


def vocabulary(lowercase, rng):
    """BERT's spelling: characters that begin a word and that go on, and some longer ones."""
    letters = [chr(p) for a, b in BLOCKS for p in range(a, b)]
    letters += list(unicodedata.normalize("NFD", "".join(letters)))
    letters = sorted(set("".join(letters).lower() if lowercase else letters))
    # A few letters are missing, so that words become unknown.
    letters = [c for c in letters
               if not is_space(c) and not is_dropped(c) and c not in "qx\u3042\u0434"]
    names = SPECIALS + letters + ["##" + c for c in letters]
    for _ in range(400):
        word = "".join(rng.choice("etaoinshrdlu" + "".join(rng.sample(letters, 4)))
                       for _ in range(rng.randint(2, 6)))
        names.append(rng.choice(["", "##"]) + word)
    return list(dict.fromkeys(names))


def texts(names, rng, count):
    """Some are words that exist; most are not."""
    for _ in range(count):
        text = ""
        for _ in range(rng.randint(0, 14)):
            kind = rng.random()
            if kind < 0.4:
                text += rng.choice(names[4:]).removeprefix("##")
            elif kind < 0.6:
                text += " "
            else:
                text += chr(rng.randrange(*rng.choice(BLOCKS)))
        yield text + rng.choice(["", "", "", "e" * rng.randint(95, 105)])


def write(path, names, lowercase):
    """A GGUF file as the converters write it: U+2581 ahead of what begins a word, no "##"."""
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def entry(key, kind, body):
        return text(key) + struct.pack("<I", kind) + body

    spelt = [name if name in SPECIALS else name[2:] if name.startswith("##") else BEGINS + name
             for name in names]
    kinds = [2 if name == "[UNK]" else 3 if name in SPECIALS else 1 for name in names]
    entries = [
        entry("general.architecture", 8, text("bert")),
        entry("tokenizer.ggml.model", 8, text("bert")),
        entry("tokenizer.ggml.tokens", 9,
              struct.pack("<IQ", 8, len(spelt)) + b"".join(map(text, spelt))),
        entry("tokenizer.ggml.token_type", 9, struct.pack(f"<IQ{len(kinds)}i", 5, len(kinds), *kinds)),
        entry("tokenizer.ggml.unknown_token_id", 4, struct.pack("<I", 1)),
        entry("tokenizer.ggml.cls_token_id", 4, struct.pack("<I", 2)),
        entry("tokenizer.ggml.seperator_token_id", 4, struct.pack("<I", 3)),
        entry("tokenizer.ggml.normalizer.lowercase", 7, struct.pack("<?", lowercase)),
    ]
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries)) + b"".join(entries))


def cases(path, lowercase, count=3000):
    """Writes a vocabulary; texts and their ids."""
    rng = random.Random(7 + lowercase)
    names = vocabulary(lowercase, rng)
    write(path, names, lowercase)
    return [(text, encode(text, names, lowercase)) for text in texts(names, rng, count)]
