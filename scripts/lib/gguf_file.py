# SPDX-License-Identifier: MIT
"""Write GGUF v3 files, whole or split, tensor by tensor (ggml's docs/gguf.md), and read back small
ones: tensors as lists of numbers, metadata as Python values."""

import os
import pathlib
import struct

U16, U32, I32, F32, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9
ALIGNMENT = 32
FORMS = {0: "<B", 1: "<b", U16: "<H", 3: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?",
         10: "<Q", 11: "<q", 12: "<d"}


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, value):
    """One entry of metadata; a list is an array of its kind."""
    def pack(element):
        return text(element) if kind == STRING else struct.pack(FORMS[kind], element)

    if isinstance(value, list):
        body = b"".join(map(pack, value))
        return text(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + body
    return text(key) + struct.pack("<I", kind) + pack(value)


def padding(size):
    return bytes(-size % ALIGNMENT)


def write_one(path, entries, tensors):
    """@tensors: name, shape (columns first), number of the type, size in bytes, and a function that
    yields the data in pieces. The file appears under its name when it is whole."""
    infos = []
    offset = 0
    for name, shape, number, size, _ in tensors:
        info = text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos.append(info + struct.pack("<IQ", number, offset))
        offset += size + len(padding(size))
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(entries))
    head += b"".join(entries) + b"".join(infos)

    part = f"{path}.part"
    with open(part, "wb") as file:
        file.write(head + padding(len(head)))
        for name, _, _, size, pieces in tensors:
            written = sum(map(file.write, pieces()))
            if written != size:
                raise ValueError(f"tensor '{name}': {written} bytes, not {size}")
            file.write(padding(size))
    os.replace(part, path)


def split_paths(path, count):
    """Names as llama.cpp's loader wants them: STEM-00001-of-00003.gguf."""
    stem = str(path).removesuffix(".gguf")
    return [pathlib.Path(f"{stem}-{i + 1:05}-of-{count:05}.gguf") for i in range(count)]


def write(path, entries, tensors, split=1):
    """Return: the paths of what was written; @split files get about as many tensors each."""
    tensors = list(tensors)
    if split == 1:
        write_one(path, entries, tensors)
        return [pathlib.Path(path)]
    paths = split_paths(path, split)
    for i, one in enumerate(paths):
        own = [entry("split.no", U16, i), entry("split.count", U16, split),
               entry("split.tensors.count", I32, len(tensors))]
        first, end = i * len(tensors) // split, (i + 1) * len(tensors) // split
        write_one(one, (entries if i == 0 else []) + own, tensors[first:end])
    return paths


class Reader:
    """A small file read whole. .entries: metadata; .tensors: name to (shape, number, offset)."""

    def __init__(self, data):
        self.data = data
        self.at = 0
        magic, version, n_tensors, n_entries = self.take("<4sIQQ")
        if magic != b"GGUF" or version != 3:
            raise ValueError("not a GGUF v3 file")
        self.entries = {self.text(): self.value(self.take("<I")[0]) for _ in range(n_entries)}
        self.tensors = {}
        for _ in range(n_tensors):
            name = self.text()
            shape = self.take(f"<{self.take('<I')[0]}Q")
            self.tensors[name] = (shape, *self.take("<IQ"))
        self.start = self.at + len(padding(self.at))

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def text(self):
        (size,) = self.take("<Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            element, count = self.take("<IQ")
            return [self.value(element) for _ in range(count)]
        return self.take(FORMS[kind])[0]

    def floats(self, name):
        """An F32 tensor's rows (a vector is one row); None where there is no such tensor."""
        if name not in self.tensors:
            return None
        (columns, *rest), number, offset = self.tensors[name]
        if number != 0:
            raise ValueError(f"tensor '{name}' is not F32")
        count = columns
        for n in rest:
            count *= n
        values = struct.unpack_from(f"<{count}f", self.data, self.start + offset)
        return [values[i : i + columns] for i in range(0, count, columns)]
