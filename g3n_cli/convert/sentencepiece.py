"""The pieces of a SentencePiece model: the one field of its protobuf that a vocabulary needs.

Source: ``sentencepiece_model.proto``: ``ModelProto.pieces`` is field 1, with ``piece`` 1, ``score``
2 and ``type`` 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TypeAlias

from g3n_cli.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT = struct.Struct("<f")
_Field: TypeAlias = tuple[int, int | bytes]


class PieceType(IntEnum):
    """``ModelProto.SentencePiece.Type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One piece; its place in the list is its id."""

    text: str
    score: float
    type: PieceType


def read_pieces(path: Path) -> list[Piece]:
    """All pieces of ``tokenizer.model``.

    Raises:
        ModelError: it cannot be read, or is no such file.
    """
    try:
        pieces = [
            _make_piece(raw)
            for number, raw in _walk(path.read_bytes())
            if number == 1 and isinstance(raw, bytes)
        ]
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, IndexError, struct.error) as error:
        raise ModelError(f"{path} is not a SentencePiece model") from error
    if not pieces:
        raise ModelError(f"{path} is not a SentencePiece model")
    return pieces


def _make_piece(raw: bytes) -> Piece:
    text, score, kind = "", 0.0, PieceType.NORMAL
    for field in _walk(raw):
        match field:
            case 1, bytes(value):
                text = value.decode()
            case 2, bytes(value):
                score = float(_FLOAT.unpack(value)[0])
            case 3, int(value):
                kind = PieceType(value)
    return Piece(text, score, kind)


def _walk(raw: bytes) -> Iterator[_Field]:
    """(number, value) of a message's fields; numbers of fixed width come as their bytes."""
    at = 0
    while at < len(raw):
        key, at = _read_varint(raw, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _read_varint(raw, at)
            yield number, value
            continue
        if wire == _BYTES:
            n, at = _read_varint(raw, at)
        else:
            n = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
        if not 0 <= n <= len(raw) - at:
            raise ValueError("a field ends behind the end")
        yield number, raw[at : at + n]
        at += n


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where the next field is."""
    value, shift = 0, 0
    while shift < 70:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number has no end")
