# SPDX-License-Identifier: MIT
"""A worker that is not ours: it speaks <dunlin/channel.h>, and repeats what it is told, a character
a token; in a chat, its last message, or with the variable "tell" all of the variables, as JSON. With
"fail", what comes behind that is an error. Of what a model is, it knows that its file begins with
"PARROT", and that a chat template follows; what it renders is the template's variables as JSON, and
behind them the text of "end".

A letter that the server would not take ends this, and so the test; its errors are on stderr."""

import fcntl
import json
import mmap
import os
import socket
import struct

VERSION, FRAME, HEAD = 5, 1024, struct.Struct("<IIQQQ")
LOAD, DESCRIBE, TOKENIZE, RENDER, SUBMIT, CANCEL = 1, 2, 3, 5, 6, 7
PREPARE, PLAN, RESET, VOCABULARY, GRAMMAR = 16, 18, 19, 20, 21
HELLO, LOADED, TEXT, TOKENS, ACCEPTED, OUTPUT, DONE, READY = 100, 101, 102, 103, 104, 105, 106, 112
ERROR, PREPARED, PLANNED = 114, 116, 117
NO_TOKEN, EOS, LENGTH, EINVAL, CHAT, CONTEXT = 0xFFFFFFFF, 0, 2, 22, 2, 4096
EIO, F_ADD_SEALS, ALL_SEALS = 5, 1033, 0xF

parent = socket.socket(fileno=3)
model = b""


def say(kind, request, body=b"", data=b""):
    fds = []
    if data:
        fd = os.memfd_create("parrot", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.write(fd, data)
        fcntl.fcntl(fd, F_ADD_SEALS, ALL_SEALS)
        fds.append(fd)
    frame = (HEAD.pack(VERSION, kind, request, len(data), 0) + body).ljust(FRAME, b"\0")
    socket.send_fds(parent, [frame], fds)
    for fd in fds:
        os.close(fd)


def load(request, body, fd):
    global model
    model = os.pread(fd, 1 << 16, 0)
    if not model.startswith(b"PARROT"):
        return say(ERROR, request, struct.pack("<iIQ", EINVAL, 0, 0) + b"this is no parrot")
    depth = struct.unpack_from("<I", body)[0]
    whole = depth == 2
    return say(LOADED, request, struct.pack(
        "<16I4Q16s32s16s128s", depth, 256, CONTEXT * whole, 0, 0, 1, NO_TOKEN, NO_TOKEN, 0, 1,
        0, 0, 0, 0, 1, 0, 0, 1 << 20, 0, 0, b"any", b"parrot", b"none", b"Polly"))


def prepare(request, fd):
    os.write(fd, model)
    say(PREPARED, request, struct.pack("<Q", 6))


def describe(request):
    metadata = {"tokenizer.chat_template": model[6:].decode()}
    say(TEXT, request, b"", json.dumps({"metadata": metadata}).encode())


def render(request, text):
    variables = json.loads(text)
    say(TEXT, request, b"", (json.dumps(variables) + variables.get("end", "")).encode())


def prompt(kind, data):
    if kind != CHAT:
        return data.decode()
    variables = json.loads(data)
    return json.dumps(variables) if "tell" in variables else variables["messages"][-1]["content"]


def tokenize(request, body, data):
    _, kind = struct.unpack_from("<II", body)
    ids = [ord(character) for character in prompt(kind, data)]
    say(TOKENS, request, b"", struct.pack(f"<{len(ids)}I", *ids))


def answer(request, body, data):
    kind, most = struct.unpack_from("<II", body)
    text = prompt(kind, data)
    said = text[:most or CONTEXT]
    say(ACCEPTED, request, struct.pack("<4I2Q", len(text), 0, len(said), 0, 0, 0))
    for character in said:
        coded = character.encode()
        say(OUTPUT, request, struct.pack("<3If160x", coded[0], len(coded), 0, -0.5) + coded)
    if kind == CHAT and "fail" in json.loads(data):
        return say(ERROR, request, struct.pack("<iIQ", EIO, 0, 0) + b"the parrot choked")
    end = EOS if len(said) == len(text) else LENGTH
    return say(DONE, request, struct.pack("<4I4Q4I2Q", end, len(text), 0, len(said), *[0] * 10))


def take(kind, request, body, data, fd):
    if kind == LOAD:
        load(request, body, fd)
    elif kind == PLAN:
        say(PLANNED, request, struct.pack("<3Q2I", 1 << 20, 16, 0, CONTEXT, 0))
    elif kind == PREPARE:
        prepare(request, fd)
    elif kind == DESCRIBE:
        describe(request)
    elif kind == RENDER:
        render(request, data)
    elif kind == TOKENIZE:
        tokenize(request, body, data)
    elif kind == VOCABULARY:
        say(TEXT, request, b"", struct.pack("<257I", *range(257)) + bytes(range(256)))
    elif kind == SUBMIT:
        answer(request, body, data)
    elif kind in (RESET, GRAMMAR):
        say(READY, request)
    elif kind != CANCEL:
        say(ERROR, request, struct.pack("<iIQ", EINVAL, 0, 0) + b"a parrot cannot do that")


def main():
    say(HELLO, 0, struct.pack("<III32s", VERSION, 0, 0, b"parrot 1"))
    while True:
        frame, fds, _, _ = socket.recv_fds(parent, FRAME, 1)
        if not frame:
            return
        _, kind, request, size, _ = HEAD.unpack_from(frame)
        fd = fds[0] if fds else -1
        data = b""
        if size:
            with mmap.mmap(fd, size, prot=mmap.PROT_READ) as mapped:
                data = mapped[:]
        take(kind, request, frame[HEAD.size:], data, fd)
        for one in fds:
            os.close(one)


main()
