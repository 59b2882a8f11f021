"""Many inputs for one prompt: lines, records, files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import mimetypes
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias, get_args

from g3n_cli.chat.conversation import Question
from g3n_cli.errors import InputError
from g3n_cli.media.attach import read_attachment
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, MediumKind, TextPart
from g3n_cli.media.source import Source

InputFormat = Literal["lines", "jsonl", "csv", "tsv"]

_KINDS: tuple[MediumKind, ...] = get_args(MediumKind)
_MOST_FIELD = 1 << 30
_MARK = "\0"  # no command line can hold one
_NAME = r"(?:\w[\w .-]*)?"
_PLACE = re.compile(rf"\{{(\{{{_NAME}\}})\}}|\{{({_NAME})\}}")


@dataclass(frozen=True)
class TextInput:
    """A line, or a record of a line or a row.

    Attributes:
        index: Which of all lines, rows or files it is, from 0.
        text: The line; of a row, its fields as a JSON object.
        fields: What ``{name}`` stands for; None where only ``{}`` stands for something.
    """

    index: int
    text: str
    fields: Mapping[str, object] | None = None

    @property
    def shown(self) -> dict[str, object]:
        """How a result names it."""
        return {"input": self.text if self.fields is None else self.fields}


@dataclass(frozen=True)
class BlankInput:
    """A line without text: nothing is asked."""

    index: int


@dataclass(frozen=True)
class BrokenInput:
    """A line that cannot be used, and why."""

    index: int
    text: str
    why: str

    @property
    def shown(self) -> dict[str, object]:
        """How a result names it."""
        return {"input": self.text}


@dataclass(frozen=True)
class FileInput:
    """A file that was named."""

    index: int
    path: Path

    @property
    def shown(self) -> dict[str, object]:
        """How a result names it."""
        return {"file": str(self.path)}


AskedInput: TypeAlias = TextInput | BrokenInput | FileInput
Input: TypeAlias = AskedInput | BlankInput


@dataclass(frozen=True)
class Form:
    """A prompt with places for inputs.

    ``{}`` stands for the input, ``{name}`` for a field of a record; ``{{}}`` and ``{{name}}`` are
    these characters themselves. All other braces are text.

    Attributes:
        text: As a person wrote it.
    """

    text: str

    def find_names(self) -> list[str]:
        """Fields that the prompt asks for."""
        return [match[2] for match in _PLACE.finditer(self.text) if match[2]]

    def fill(self, text: str, fields: Mapping[str, object] | None = None) -> str:
        """The prompt with an input in its places; without any the input follows a blank line.

        Raises:
            InputError: there is no such field.
        """
        filled, n_places = self._put(text, fields)
        if n_places:
            return filled
        return "\n\n".join(part for part in (filled, text) if part.strip())

    def surround(self, attachment: Attachment) -> Question:
        """The prompt with a file in its places; without any the file comes first, as in a chat."""
        filled, n_places = self._put(_MARK)
        if not n_places:
            return Question(filled, (attachment,))
        *texts, last = filled.split(_MARK)
        attachments: list[Attachment] = []
        for text in texts:
            if text.strip():
                attachments.append(Attachment("prompt", "text", (TextPart(text),)))
            attachments.append(attachment)
        return Question(last, tuple(attachments))

    def _put(self, text: str, fields: Mapping[str, object] | None = None) -> tuple[str, int]:
        """The prompt with an input in its places, and how many there are."""
        n_places = 0

        def put(match: re.Match[str]) -> str:
            nonlocal n_places
            escaped, name = match.groups()
            if fields is None and (name or escaped not in (None, "{}")):
                return match[0]
            if escaped is not None:
                return str(escaped)
            n_places += 1
            if fields is None or not name:
                return text
            if name not in fields:
                raise InputError(f"there is no field {name!r}")
            return _show(fields[name])

        return _PLACE.sub(put, self.text), n_places


def read_lines(content: bytes) -> Iterator[Input]:
    """Each line is an input."""
    for index, line in enumerate(_split(content)):
        yield _check(TextInput(index, line))


def read_json_lines(content: bytes) -> Iterator[Input]:
    """Each line is an object whose fields the prompt may ask for."""
    for index, line in enumerate(_split(content)):
        checked = _check(TextInput(index, line))
        yield _parse(checked) if isinstance(checked, TextInput) else checked


def read_table(content: bytes, form: Form, delimiter: str) -> Iterator[Input]:
    """Each row is a record; the first one names the fields.

    Raises:
        InputError: the prompt asks for a field that there is not, or the table cannot be read.
    """
    csv.field_size_limit(_MOST_FIELD)
    rows = csv.reader(io.StringIO(_decode(content), newline=""), delimiter=delimiter)
    try:
        names = next(rows, [])
        for name in form.find_names():
            if name not in names:
                raise InputError(f"there is no column {name!r}", "there are " + ", ".join(names))
        for index, row in enumerate(row for row in rows if row):
            fields = dict(zip(names, row, strict=False))
            text = json.dumps(fields, ensure_ascii=False)
            if len(row) == len(names):
                yield _check(TextInput(index, text, fields))
            else:
                why = f"the row has {len(row)} fields, the first one {len(names)}"
                yield BrokenInput(index, _replace_broken(text), why)
    except csv.Error as error:
        raise InputError(f"line {rows.line_num} is not CSV: {error}") from None


READERS: dict[InputFormat, Callable[[bytes, Form], Iterator[Input]]] = {
    "lines": lambda content, _: read_lines(content),
    "jsonl": lambda content, _: read_json_lines(content),
    "csv": lambda content, form: read_table(content, form, ","),
    "tsv": lambda content, form: read_table(content, form, "\t"),
}


def make_question(form: Form, asked: AskedInput, options: MediaOptions) -> Question:
    """What is asked about an input.

    Raises:
        InputError: the input cannot be used.
    """
    if isinstance(asked, BrokenInput):
        raise InputError(asked.why)
    if isinstance(asked, FileInput):
        return form.surround(read_attachment(Source.of_path(asked.path), options))
    text = form.fill(asked.text, asked.fields)
    if not text.strip():
        raise InputError("the prompt is empty")
    return Question(text)


def find_shared_kinds(inputs: Iterable[AskedInput]) -> set[MediumKind]:
    """Kinds of media that every single input is, going by the names of files."""
    kinds: list[set[MediumKind]] = []
    for each in inputs:
        name = each.path.name if isinstance(each, FileInput) else ""
        family = (mimetypes.guess_type(name)[0] or "").partition("/")[0]
        kinds.append({kind for kind in _KINDS if kind == family})
    return set.intersection(*kinds) if kinds else set()


def make_key(settings: Sequence[object], asked: AskedInput) -> str:
    """Equal for equal inputs that are asked for in the same way.

    Args:
        settings: All that answers depend on, as JSON can hold it.
        asked: The input; of a file its content counts.
    """
    seen = hashlib.sha256(json.dumps([settings, asked.shown]).encode())
    if isinstance(asked, FileInput):
        try:
            if asked.path.is_file():
                with asked.path.open("rb") as file:
                    seen.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            seen.update(str(error.errno).encode())
    return seen.hexdigest()[:16]


def _decode(content: bytes) -> str:
    """Text in which bytes that are not UTF-8 are lone surrogates."""
    return content.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")


def _split(content: bytes) -> list[str]:
    lines = _decode(content).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _check(each: TextInput) -> Input:
    """The input, unless it is blank or not text."""
    if not each.text.strip():
        return BlankInput(each.index)
    if "\0" in each.text:
        return BrokenInput(each.index, each.text, "the input is binary, not text")
    try:
        each.text.encode()
    except UnicodeEncodeError:
        return BrokenInput(each.index, _replace_broken(each.text), "the input is not UTF-8 text")
    return each


def _replace_broken(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _parse(line: TextInput) -> Input:
    try:
        fields = json.loads(line.text, parse_constant=_refuse)
        json.dumps(fields, ensure_ascii=False).encode()  # JSON can name half a character
    except (ValueError, RecursionError):
        return BrokenInput(line.index, line.text, "the input is not JSON")
    if not isinstance(fields, dict):
        return BrokenInput(line.index, line.text, "the input is no JSON object")
    return TextInput(line.index, line.text, fields)


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _show(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
