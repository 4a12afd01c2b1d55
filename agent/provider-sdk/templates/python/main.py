#!/usr/bin/env python3
"""A provider of notes: text files with one line. Needs Python 3.9 and nothing else.

Change the first part to what yours keeps in a state; the second part is the protocol and can stay. It is all one file, because a
provider is known by the digest of its file.
"""

import hashlib
import os
import stat
import struct
import sys

NAME = "writ-provider-template"
RELEASE = "0.1.0"
CAPABILITIES = ["progress"]
KINDS = [
    {
        "name": "note",
        "schema": {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "absolute path of the note"},
                "text": {"type": ["string", "null"], "description": "its line; no note where this is null"},
            },
            "required": ["path", "text"],
            "additionalProperties": False,
        },
    }
]
TEXT_MAX = 4096


class Problem(Exception):
    """Why a question came to nothing: reason is invalid, refused, failed or cancelled."""

    def __init__(self, reason, detail):
        super().__init__(detail)
        self.reason = reason


def wanted(subject):
    """What is wanted, after a look at every rule that the schema cannot say."""
    spec = subject["spec"]
    if set(spec) != {"path", "text"}:
        raise Problem("invalid", f"{subject['id']}: the fields are path and text")
    path, text = spec["path"], spec["text"]
    if not isinstance(path, str) or not (text is None or isinstance(text, str)):
        raise Problem("invalid", f"{subject['id']}: path is text, and text is text or null")
    parts = path.split("/")
    if parts[0] != "" or any(part in ("", ".", "..") for part in parts[1:]):
        raise Problem("invalid", f"{subject['id']}: path is not absolute, or has an empty, . or .. part")
    if "\0" in path:
        raise Problem("invalid", f"{subject['id']}: path has a zero byte")
    if text is not None and len(text.encode()) > TEXT_MAX:
        raise Problem("invalid", f"{subject['id']}: text is too long")
    return path, text


def observe(subject, lent):
    """What is there; equal states give equal values. Changes nothing."""
    path, _ = wanted(subject)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return {"text": None}
    if not stat.S_ISREG(found.st_mode) or found.st_size > 2 * TEXT_MAX:
        raise Problem("refused", f"{path!r} is no regular file, or too long for a note; move it away")
    with open(path, "rb") as file:
        return {"text": file.read().decode(errors="replace")}


def diff(subject, observation):
    """What differs from what is wanted. Changes nothing."""
    _, text = wanted(subject)
    if not isinstance(observation, dict) or set(observation) != {"text"}:
        raise Problem("invalid", "not an observation of ours")
    seen = observation["text"]
    if text == seen:
        return []
    shown = lambda text: "no note" if text is None else text
    return [{"attribute": "text", "want": shown(text), "got": shown(seen)}]


def apply(subject, changes, lent, say):
    """Makes the changes that a diff said; nothing where there are none."""
    path, text = wanted(subject)
    if not changes:
        return
    if text is None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        return
    say("writing the note")
    # Appears under its name whole or not at all, so that being killed in the middle does no harm.
    with open(path + ".new", "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)


# The protocol: frames of four bytes of length and a MessagePack map of one entry.

VERSION = 1
FRAME_MAX = 17 << 20
DEPTH_MAX = 32
DETAIL_MAX = 2048


class Broken(Exception):
    """The host cannot be understood."""


def pack(value):
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value < 128:
            return struct.pack("B", value)
        return b"\xcf" + struct.pack(">Q", value) if value > 0 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode(errors="replace")
        return b"\xdb" + struct.pack(">I", len(raw)) + raw
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    pairs = b"".join(pack(key) + pack(value[key]) for key in sorted(value))
    return b"\xdf" + struct.pack(">I", len(value)) + pairs


class Reader:
    """Reads one MessagePack value; every byte must belong to it."""

    NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
               0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    LENGTHS = {0xC4: (">B", "bin"), 0xC5: (">H", "bin"), 0xC6: (">I", "bin"),
               0xD9: (">B", "str"), 0xDA: (">H", "str"), 0xDB: (">I", "str"),
               0xDC: (">H", "array"), 0xDD: (">I", "array"), 0xDE: (">H", "map"), 0xDF: (">I", "map")}

    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, count):
        end = self.at + count
        if end > len(self.raw):
            raise Broken("a frame ends too early")
        part, self.at = self.raw[self.at:end], end
        return part

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self, depth=0):
        if depth > DEPTH_MAX:
            raise Broken("a frame nests too deep")
        byte = self.number(">B")
        if byte < 0x80:
            return byte
        if byte >= 0xE0:
            return byte - 256
        if byte in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[byte]
        if byte in self.NUMBERS:
            return self.number(self.NUMBERS[byte])
        if byte in self.LENGTHS:
            form, kind = self.LENGTHS[byte]
            return self.long(kind, self.number(form), depth)
        if byte < 0x90:
            return self.long("map", byte & 15, depth)
        if byte < 0xA0:
            return self.long("array", byte & 15, depth)
        if byte < 0xC0:
            return self.long("str", byte & 31, depth)
        raise Broken("a frame is no MessagePack")

    def long(self, kind, count, depth):
        if kind == "bin":
            return bytes(self.take(count))
        if kind == "str":
            return self.take(count).decode()
        if count > len(self.raw) - self.at:
            raise Broken("a frame ends too early")
        if kind == "array":
            return [self.value(depth + 1) for _ in range(count)]
        pairs = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, str) or key in pairs:
                raise Broken("a key is no text, or stands twice")
            pairs[key] = self.value(depth + 1)
        return pairs


def read():
    """The next word and what belongs to it; None where the host closed the pipe."""
    prefix = sys.stdin.buffer.read(4)
    if not prefix:
        return None
    if len(prefix) < 4:
        raise Broken("the pipe ended inside a frame")
    (length,) = struct.unpack(">I", prefix)
    if length > FRAME_MAX:
        raise Broken("a frame is too long")
    raw = sys.stdin.buffer.read(length)
    if len(raw) < length:
        raise Broken("the pipe ended inside a frame")
    reader = Reader(raw)
    word = reader.value()
    if reader.at != length or not isinstance(word, dict) or len(word) != 1:
        raise Broken("a frame is not one word")
    return next(iter(word.items()))


def write(word, **fields):
    raw = pack({word: fields})
    sys.stdout.buffer.write(struct.pack(">I", len(raw)) + raw)
    sys.stdout.buffer.flush()


SUBJECT = {"id", "kind", "spec", "notified", "wallMs"}
FIELDS = {
    "observe": {"id", "subject"},
    "diff": {"id", "subject", "observation"},
    "apply": {"id", "subject", "changes"},
}


def answer(word, said, lent):
    number, subject = said["id"], said["subject"]
    try:
        if subject["kind"] not in [kind["name"] for kind in KINDS]:
            raise Problem("invalid", f"{subject['id']}: no kind {subject['kind']!r} here")
        if word == "observe":
            write("observed", id=number, observation=observe(subject, lent))
        elif word == "diff":
            write("differs", id=number, changes=diff(subject, said["observation"]))
        else:
            apply(subject, said["changes"], lent, lambda text: write("progress", id=number, text=text))
            write("applied", id=number)
    except Problem as problem:
        fail(number, problem.reason, str(problem))
    except (OSError, ValueError) as error:
        fail(number, "failed", f"{subject['id']}: {error}")


def fail(number, reason, detail):
    cut = detail.encode(errors="replace")[:DETAIL_MAX].decode(errors="ignore")
    write("failed", id=number, problem={"reason": reason, "detail": cut})


def serve():
    first = read()
    if first is None:
        return
    word, said = first
    if word != "hello" or set(said) != {"versions", "host"}:
        raise Broken("its first word is no hello")
    if VERSION not in said["versions"]:
        write("unfit", versions=[VERSION])
        return
    write("welcome", version=VERSION, name=NAME, release=RELEASE, capabilities=CAPABILITIES, kinds=KINDS)
    lent = {}
    for word, said in iter(read, None):
        if word == "lend" and set(said) == {"digest", "bytes"}:
            if hashlib.sha256(said["bytes"]).digest() != said["digest"]:
                raise Broken("content that it lent is not what it is called")
            lent[said["digest"]] = said["bytes"]
        elif word == "cancel" and set(said) == {"id"}:
            # A question is worked on to its end here, and this came after it.
            pass
        elif set(said) == FIELDS.get(word) and set(said["subject"]) == SUBJECT:
            answer(word, said, lent)
            lent = {}
        else:
            raise Broken(f"it said {word!r}, which does not belong there")


if __name__ == "__main__":
    try:
        serve()
    except (Broken, UnicodeDecodeError, struct.error, TypeError, KeyError) as error:
        # Standard output belongs to the host; what is said here is for whoever looks for a fault.
        sys.exit(f"{NAME}: {error}")
