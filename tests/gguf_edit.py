"""Small GGUF files for tests: read one, change it, write it; right or deliberately wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = dict(zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True))
_ALIGNMENT = 32


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind: int, value: float) -> bytes:
    """A value with its type in front, as it follows a key."""
    return struct.pack(f"<I{_FORMATS[kind]}", kind, value)


def text(value: str | bytes) -> bytes:
    return struct.pack("<I", STRING) + string(value)


def array(kind: int, values: Iterable, *, length: int | None = None) -> bytes:
    """An array with its type in front; ``length`` to lie about it."""
    items = list(values)
    if kind == STRING:
        raw = b"".join(map(string, items))
    else:
        raw = struct.pack(f"<{len(items)}{_FORMATS[kind]}", *items)
    return struct.pack("<IIQ", ARRAY, kind, len(items) if length is None else length) + raw


@dataclass(frozen=True)
class DraftTensor:
    """A tensor to be written; ``offset`` None puts it behind the one before."""

    name: str
    ne: tuple[int, ...]
    type: int
    data: bytes
    offset: int | None = None


@dataclass
class Draft:
    """What a file will hold. ``keys`` are encoded values with their types, by name."""

    keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    tensors: list[DraftTensor] = field(default_factory=list, repr=False)

    def tensor(self, name: str) -> DraftTensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def drop(self, name: str) -> None:
        self.tensors.remove(self.tensor(name))

    def change(self, name: str, /, **fields: object) -> None:
        at = self.tensors.index(self.tensor(name))
        self.tensors[at] = replace(self.tensors[at], **fields)

    def header(self) -> bytes:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys))
        pairs = b"".join(string(key) + value for key, value in self.keys.items())
        infos, end = [], 0
        for tensor in self.tensors:
            offset = end if tensor.offset is None else tensor.offset
            extents = struct.pack(f"<I{len(tensor.ne)}Q", len(tensor.ne), *tensor.ne)
            infos.append(string(tensor.name) + extents + struct.pack("<IQ", tensor.type, offset))
            end = _pad(end + len(tensor.data))
        return head + pairs + b"".join(infos)

    def encode(self) -> bytes:
        header = self.header()
        data = b"".join(t.data.ljust(_pad(len(t.data)), b"\0") for t in self.tensors)
        return header.ljust(_pad(len(header)), b"\0") + data

    def write(self, path: Path) -> Path:
        path.write_bytes(self.encode())
        return path


def _pad(n: int) -> int:
    return -(-n // _ALIGNMENT) * _ALIGNMENT


@dataclass(frozen=True)
class Field:
    """Some bytes of a header: a ``key``, ``type``, ``value``, ``length``, ``extent`` or such."""

    what: str
    start: int
    end: int

    @property
    def is_integer(self) -> bool:
        """Whether the bytes are a number that an overwritten integer fits."""
        return self.what not in ("key", "text", "name")


class _Walker:
    """Walks the header of a sound file and notes where everything is."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def number(self, what: str, form: str) -> tuple[Field, int]:
        size = struct.calcsize(f"<{form}")
        (value,) = struct.unpack_from(f"<{form}", self.raw, self.at)
        self.at += size
        return Field(what, self.at - size, self.at), value

    def string(self, what: str) -> Iterator[Field]:
        length, n = self.number("length", "Q")
        self.at += n
        yield length
        yield Field(what, self.at - n, self.at)

    def value(self, shown: int) -> Iterator[Field]:
        """Of arrays only the first ``shown`` elements are noted."""
        kind, code = self.number("type", "I")
        yield kind
        if code == ARRAY:
            kind, code = self.number("type", "I")
            length, n = self.number("length", "Q")
            yield from (kind, length)
            for i in range(n):
                fields = list(self.element(code))
                yield from fields if i < shown else ()
        else:
            yield from self.element(code)

    def element(self, code: int) -> Iterator[Field]:
        if code == STRING:
            yield from self.string("text")
        else:
            yield self.number("value", _FORMATS[code])[0]

    def tensor(self) -> Iterator[Field]:
        yield from self.string("name")
        dims, n = self.number("dims", "I")
        yield dims
        for _ in range(n):
            yield self.number("extent", "Q")[0]
        yield self.number("type", "I")[0]
        yield self.number("offset", "Q")[0]


def find_fields(raw: bytes, shown: int = 4) -> list[Field]:
    """Every field of a sound header, in order; the last ends where the header does."""
    walker = _Walker(raw)
    walker.at = 4
    fields = [Field("magic", 0, 4), walker.number("version", "I")[0]]
    n_tensors_field, n_tensors = walker.number("count", "Q")
    n_keys_field, n_keys = walker.number("count", "Q")
    fields += [n_tensors_field, n_keys_field]
    for _ in range(n_keys):
        fields += walker.string("key")
        fields += walker.value(shown)
    for _ in range(n_tensors):
        fields += walker.tensor()
    return fields


def read_draft(path: Path) -> Draft:
    """A sound file, ready to be changed."""
    raw = path.read_bytes()
    walker = _Walker(raw)
    walker.at = 8
    n_tensors, n_keys = walker.number("count", "Q")[1], walker.number("count", "Q")[1]
    draft = Draft()
    for _ in range(n_keys):
        *_, key = walker.string("key")
        start = walker.at
        for _field in walker.value(0):
            pass
        draft.keys[raw[key.start : key.end].decode()] = raw[start : walker.at]
    found = []
    for _ in range(n_tensors):
        fields = list(walker.tensor())
        name = raw[fields[1].start : fields[1].end].decode()
        *ne, kind, offset = (int.from_bytes(raw[f.start : f.end], "little") for f in fields[3:])
        found.append((name, tuple(ne), kind, offset))
    data = raw[_pad(walker.at) :]
    ends = [offset for *_, offset in found[1:]] + [len(data)]
    for (name, ne, kind, offset), end in zip(found, ends, strict=True):
        draft.tensors.append(DraftTensor(name, ne, kind, data[offset:end]))
    return draft
