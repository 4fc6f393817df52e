# SPDX-License-Identifier: MIT
"""GGUF files taken apart and put together again, for tests that spoil one thing at a time.

What is written need not make sense: counts, types, shapes and offsets can be lied about."""

import copy
import dataclasses
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {
    U8: "<B",
    I8: "<b",
    U16: "<H",
    I16: "<h",
    U32: "<I",
    I32: "<i",
    F32: "<f",
    BOOL: "<B",
    U64: "<Q",
    I64: "<q",
    F64: "<d",
}


def text(value):
    """A string with its length before it."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def scalar(kind, value):
    """The bytes of a value that is no array."""
    return text(value) if kind == STRING else struct.pack(FORMATS[kind], value)


def array(kind, values, count=None):
    """The bytes of an array's value; count may lie."""
    head = struct.pack("<IQ", kind, len(values) if count is None else count)
    return head + b"".join(scalar(kind, value) for value in values)


@dataclasses.dataclass
class Entry:
    """A key and its value's bytes, whatever they are."""

    key: str
    kind: int
    data: bytes


@dataclasses.dataclass
class Tensor:
    """A tensor: offset None is placed by the writer."""

    name: str
    dims: list
    kind: int
    data: bytes
    offset: int = None


class Reader:
    """The fields of a good file, front to back."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        """The next bytes."""
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, kind):
        """The next number."""
        return struct.unpack(FORMATS[kind], self.take(struct.calcsize(FORMATS[kind])))[0]

    def text(self):
        """The next string."""
        return self.take(self.number(U64)).decode()

    def value(self, kind):
        """The bytes of the next value."""
        begin = self.at
        if kind == STRING:
            self.take(self.number(U64))
        elif kind == ARRAY:
            element, count = self.number(U32), self.number(U64)
            for _ in range(count):
                self.value(element)
        else:
            self.number(kind)
        return self.data[begin : self.at]


class Gguf:
    """A file as lists of entries and tensors."""

    def __init__(self):
        self.magic = b"GGUF"
        self.version = 3
        self.alignment = 32
        self.n_entries = None  # None: as many as there are
        self.n_tensors = None
        self.entries = []
        self.tensors = []
        self.layout = None  # the tensors in the order of their data; None: as they are listed

    @classmethod
    def parse(cls, data):
        """Of a good file with the usual alignment."""
        self = cls()
        reader = Reader(data)
        reader.take(4)
        self.version = reader.number(U32)
        n_tensors, n_entries = reader.number(U64), reader.number(U64)
        for _ in range(n_entries):
            key, kind = reader.text(), reader.number(U32)
            self.entries.append(Entry(key, kind, reader.value(kind)))
        for _ in range(n_tensors):
            name, n_dims = reader.text(), reader.number(U32)
            dims = [reader.number(U64) for _ in range(n_dims)]
            kind, offset = reader.number(U32), reader.number(U64)
            self.tensors.append(Tensor(name, dims, kind, b"", offset))
        begin = reader.at + -reader.at % self.alignment
        order = sorted(self.tensors, key=lambda tensor: tensor.offset)
        ends = [tensor.offset for tensor in order[1:]] + [len(data) - begin]
        for tensor, end in zip(order, ends):
            tensor.data = data[begin + tensor.offset : begin + end]
            tensor.offset = None
        return self

    def copy(self):
        """One to spoil."""
        return copy.deepcopy(self)

    def entry(self, key):
        """The entry with a key, or None."""
        return next((entry for entry in self.entries if entry.key == key), None)

    def tensor(self, name):
        """The tensor with a name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def set(self, key, kind, value):
        """Changes or adds an entry; a list is an array of its kind."""
        if isinstance(value, list):
            return self.set_raw(key, ARRAY, array(kind, value))
        return self.set_raw(key, kind, scalar(kind, value))

    def set_raw(self, key, kind, data):
        """The same with a value's bytes."""
        entry = self.entry(key)
        if entry:
            entry.kind, entry.data = kind, data
        else:
            self.entries.append(Entry(key, kind, data))
        return self

    def drop(self, key):
        """Removes an entry."""
        self.entries = [entry for entry in self.entries if entry.key != key]
        return self

    def bytes(self):
        """The file."""
        infos, data, offsets = b"", b"", {}
        for tensor in self.layout or self.tensors:
            offsets[id(tensor)] = len(data)
            data += tensor.data + bytes(-len(tensor.data) % self.alignment)
        for tensor in self.tensors:
            offset = offsets[id(tensor)] if tensor.offset is None else tensor.offset
            infos += text(tensor.name) + struct.pack("<I", len(tensor.dims))
            infos += b"".join(struct.pack("<Q", dim) for dim in tensor.dims)
            infos += struct.pack("<IQ", tensor.kind, offset)
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_entries = len(self.entries) if self.n_entries is None else self.n_entries
        head = self.magic + struct.pack("<IQQ", self.version, n_tensors, n_entries)
        for entry in self.entries:
            head += text(entry.key) + struct.pack("<I", entry.kind) + entry.data
        head += infos
        return head + bytes(-len(head) % self.alignment) + data

    def split(self, counts):
        """Parts with so many tensors each, as llama.cpp's gguf-split makes them."""
        parts, at = [], 0
        for number, count in enumerate(counts):
            part = Gguf()
            part.entries = copy.deepcopy(self.entries) if number == 0 else []
            part.set("split.no", U16, number)
            part.set("split.count", U16, len(counts))
            part.set("split.tensors.count", I32, len(self.tensors))
            part.tensors = copy.deepcopy(self.tensors[at : at + count])
            parts.append(part)
            at += count
        return parts
