"""Files of saved messages: by reference, as JSON in the store; read again to go on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from g3n_cli.chat.conversation import Conversation
from g3n_cli.errors import G3nError, InputError
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, FileReference

_OPTIONS = ("image_size", "fps", "frames", "most_frames", "start_s", "end_s", "has_sound")
"""Those that flags set."""


@dataclass(frozen=True)
class SavedFile:
    """A file that went with a message.

    Attributes:
        name: As the person named it.
        reference: Where it was and how to know it; None for what came through a pipe.
    """

    name: str
    reference: FileReference | None

    def describe(self) -> dict[str, object]:
        """The file for programs."""
        known = {} if self.reference is None else asdict(self.reference)
        return {"name": self.name} | {
            key: known.get(key) for key in ("path", "kind", "sha256", "n_bytes")
        }


def write_files(attachments: Iterable[Attachment]) -> str:
    """Files of a message as JSON; of ASCII alone, since names may be any bytes."""
    return json.dumps([{"name": a.name, **_write(a.reference)} for a in attachments])


def read_files(text: str) -> tuple[SavedFile, ...]:
    """Files of a message; what makes no sense counts as one that cannot be read again."""
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    entries = listed if isinstance(listed, list) else []
    return tuple(
        SavedFile(str(entry.get("name", "")), _read(entry))
        for entry in entries
        if isinstance(entry, dict)
    )


class FileReader:
    """Reads files of earlier messages again, each once.

    Args:
        conversation: Who is going to be told what they hold.

    Attributes:
        notes: Why files could not be read.
    """

    def __init__(self, conversation: Conversation) -> None:
        self.notes: list[str] = []
        self._conversation = conversation
        self._known: dict[SavedFile, Attachment | None] = {}

    def read_all(self, files: Iterable[SavedFile]) -> tuple[Attachment, ...]:
        """Files of one message, without those that are gone, changed, or not for this model."""
        found = []
        for file in files:
            if file not in self._known:
                self._known[file] = self._read(file)
            if (attachment := self._known[file]) is not None:
                found.append(attachment)
        return tuple(found)

    def _read(self, file: SavedFile) -> Attachment | None:
        try:
            return self._load(file)
        except G3nError as error:
            self.notes.append(f"{error.message}; its message goes on as text alone")
            return None

    def _load(self, file: SavedFile) -> Attachment:
        from g3n_cli.media.reference import read_again

        if file.reference is None:
            raise InputError(f"{file.name} was not kept")
        options = file.reference.options
        if self._conversation.engine is None:  # servers take pictures in their own shape
            options = replace(options, image_size=None)
        attachment = replace(read_again(file.reference, options), name=file.name)
        for medium in attachment.media:
            if not self._conversation.can_read(medium.kind):
                raise InputError(f"{self._conversation.name} reads no {medium.kind}: {file.name}")
        return attachment


def _write(reference: FileReference | None) -> dict[str, Any]:
    if reference is None:
        return {}
    options = asdict(reference.options)
    return {**asdict(reference), "options": {name: options[name] for name in _OPTIONS}}


def _read(entry: dict[str, Any]) -> FileReference | None:
    match entry:
        case {
            "path": str(path),
            "kind": str(kind),
            "sha256": str(sha256),
            "n_bytes": int(n_bytes),
            "options": dict(options),
        }:
            try:
                values = {name: options[name] for name in _OPTIONS}
                if not all(isinstance(value, float | int | None) for value in values.values()):
                    return None
                wanted = MediaOptions(**values)
            except (G3nError, KeyError, TypeError):
                return None
            return FileReference(path, kind, sha256, n_bytes, wanted)
        case _:
            return None
