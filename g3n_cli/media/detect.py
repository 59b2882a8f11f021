"""What a file is, by its content; its name only serves to notice a contradiction."""

from __future__ import annotations

from typing import Literal

from g3n_cli.errors import InputError
from g3n_cli.media.source import Source

FileKind = Literal["image", "av", "pdf", "text", "unknown"]

_STARTS: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF87a", "image"),
    (b"GIF89a", "image"),
    (b"BM", "image"),
    (b"II*\0", "image"),
    (b"MM\0*", "image"),
    (b"OggS", "av"),
    (b"fLaC", "av"),
    (b"ID3", "av"),
    (b"\x1aE\xdf\xa3", "av"),  # Matroska, WebM
    (b"FLV", "av"),
    (b"#!AMR", "av"),
    (b".snd", "av"),
    (b"caff", "av"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "av"),  # ASF
    (b"\0\0\1\xba", "av"),  # MPEG program stream
)
_RIFF: dict[bytes, FileKind] = {b"WEBP": "image", b"WAVE": "av", b"AVI ": "av"}
_PICTURE_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
_MEDIA_SUFFIXES: dict[str, str] = {
    **dict.fromkeys(
        ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif"],
        "picture",
    ),
    **dict.fromkeys(["wav", "mp3", "flac", "ogg", "opus", "m4a", "aac", "wma", "aiff"], "sound"),
    **dict.fromkeys(["mp4", "mov", "mkv", "webm", "avi", "m4v", "mpg", "mpeg"], "video"),
    "pdf": "PDF",
}
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_MOST_CONTROL = 0.1
_TEXT_CONTROLS = b"\t\n\v\f\r\x1b\b"


def detect(source: Source) -> FileKind:
    """Kind of a file; "unknown" for bytes that may still be of a container PyAV knows.

    Raises:
        InputError: it holds text, but its name promises something else.
    """
    head = source.head()
    kind = _find_kind(head)
    promised = _MEDIA_SUFFIXES.get(source.suffix)
    if kind == "text" and promised:
        raise InputError(f"{source.name} holds text, no {promised}")
    return kind


def _find_kind(head: bytes) -> FileKind:
    if head[:4] in (b"RIFF", b"RF64", b"FORM"):
        return _RIFF.get(head[8:12], "av")
    if head[4:8] == b"ftyp":
        return "image" if head[8:12] in _PICTURE_BRANDS else "av"
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if is_text(head) and not head.startswith((b"ID3", b"OggS\0")):
        return "text"
    return next((kind for start, kind in _STARTS if head.startswith(start)), "unknown")


def is_text(head: bytes) -> bool:
    """Whether bytes look like text in some encoding."""
    if head.startswith(_BOMS):
        return True
    if b"\0" in head:
        return False
    n_control = sum(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in head)
    if n_control > _MOST_CONTROL * len(head):
        return False
    try:
        head[: len(head) - 3].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return True
        return n_control == 0 and not any(head.startswith(start) for start, _ in _STARTS)
    return True
