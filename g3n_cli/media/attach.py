"""From what a person names to what goes with a message."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from g3n_cli.errors import InputError
from g3n_cli.media.detect import FileKind, detect
from g3n_cli.media.document import read_document
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment
from g3n_cli.media.reference import refer
from g3n_cli.media.source import Source

MOST_FILES = 100
"""Of a folder or a pattern."""

_PATTERN = re.compile(r"[*?\[]")
_ADDRESS = re.compile(r"https?://")
_HOW_TO_FETCH = "fetch it first, or pipe it in: curl -L ADDRESS | g3n chat -f - ..."
_SKIPPED_FOLDERS = {"__pycache__", "node_modules"}


def find_files(name: str, most: int = MOST_FILES) -> list[Path]:
    """Files that a path, a pattern or a folder stands for, in the order of their names.

    Of a folder, hidden files and folders are left out, and links are not followed.

    Raises:
        InputError: there are none, or more than ``most``.
    """
    try:
        path = Path(name).expanduser()
        if os.path.isdir(path):
            found = list(islice(_walk(path), most + 1))
            empty = f"{name} has no files that could be read"
        elif _ADDRESS.match(name):
            raise InputError(f"{name} is an address, and nothing is fetched", _HOW_TO_FETCH)
        elif not os.path.lexists(path) and _PATTERN.search(name):
            found = [p for p in map(Path, sorted(glob.glob(str(path)))) if p.is_file()]
            empty = f"no file matches {name}"
        else:
            return [path]
    except RuntimeError as error:  # ~somebody who is not known
        raise InputError(f"cannot read {name}: {error}") from None
    if not found:
        raise InputError(empty)
    if len(found) > most:
        raise InputError(f"{name} stands for more than {most} files", "name those that matter")
    return found


def read_all(name: str, options: MediaOptions) -> list[Attachment]:
    """What a path, a pattern or a folder stands for, read.

    In folders, files that are neither text nor a medium are left out, and counted in the
    description of the last attachment.

    Raises:
        InputError: one of the files cannot be used.
    """
    paths = find_files(name)
    if not os.path.isdir(os.path.expanduser(name)):
        return [read_attachment(Source.of_path(path), options) for path in paths]
    attachments: list[Attachment] = []
    n_skipped = 0
    for path in paths:
        if path.stat().st_size == 0 or detect(source := Source.of_path(path)) == "unknown":
            n_skipped += 1
        else:
            attachments.append(read_attachment(source, options))
    if not attachments:
        raise InputError(f"{name} has no files that could be read")
    if n_skipped:
        last = attachments[-1]
        files = "file" if n_skipped == 1 else "files"
        what = f"{last.description}; {n_skipped} binary or empty {files} of {name} left out"
        attachments[-1] = replace(last, description=what)
    return attachments


def read_attachment(source: Source, options: MediaOptions) -> Attachment:
    """A file as parts of a message, with the time that took.

    Raises:
        InputError: it is broken, empty, or of a kind that cannot be read.
    """
    started = time.perf_counter()
    kind = detect(source)
    attachment = _read(source, kind, options)
    reference = None if source.path is None else refer(source.path, kind, options)
    return replace(attachment, read_s=time.perf_counter() - started, reference=reference)


def _read(source: Source, kind: FileKind, options: MediaOptions) -> Attachment:
    # Imported when needed: each brings a library that takes a while to load.
    if kind == "text":
        return read_document(source)
    if kind == "image":
        from g3n_cli.media.image import read_image

        return read_image(source, options)
    if kind == "pdf":
        from g3n_cli.media.pdf import read_pdf

        return read_pdf(source, options)
    from g3n_cli.media.video import read_sound_or_video

    return read_sound_or_video(source, options, is_certain=kind == "av")


def read_each(names: Sequence[str], options: MediaOptions) -> list[Attachment]:
    """All that several names stand for, in their order.

    Raises:
        InputError: one of the files cannot be used.
    """
    return [attachment for name in names for attachment in read_all(name, options)]


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name[0] != "." and name not in _SKIPPED_FOLDERS
        )
        for name in sorted(files):
            path = Path(root, name)
            if name[0] != "." and path.is_file() and not path.is_symlink():
                yield path
