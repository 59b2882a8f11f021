"""Forms with files in them. Source: RFC 7578; RFC 2046, section 5.1, for what delimits parts."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser
from typing import NoReturn

from g3n_cli.serve.refusal import RefusedError

MOST_PARTS = 64
MOST_HEADER_BYTES = 1 << 13
"""Of a part."""


def parse_form(content_type: str, content: bytes) -> dict[str, list[bytes]]:
    """Values of a form's fields by name, in order.

    The standard library's parser of e-mail reads the headers only: it would take files, which may
    hold anything, apart by lines.

    Args:
        content_type: ``Content-Type`` of the request.
        content: Its body.

    Raises:
        RefusedError: it is no form, or broken.
    """
    head = Message()
    head["Content-Type"] = content_type
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise RefusedError(400, "the body must be multipart/form-data")
    delimiter = f"\r\n--{boundary}".encode(errors="replace")
    _, *parts = (b"\r\n" + content).split(delimiter, MOST_PARTS + 1)
    if len(parts) > MOST_PARTS:
        raise RefusedError(400, f"the form has more than {MOST_PARTS} parts")
    if not parts or not parts.pop().startswith(b"--"):
        _refuse()  # the last delimiter is missing
    fields: dict[str, list[bytes]] = {}
    for part in parts:
        # Blanks after a delimiter, an empty line's end, the headers, an empty line, the value.
        headers, gap, value = part.partition(b"\r\n\r\n")
        if not gap or len(headers) > MOST_HEADER_BYTES:
            _refuse()
        parsed = BytesHeaderParser().parsebytes(headers.lstrip())
        name = parsed.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            _refuse()
        fields.setdefault(name, []).append(value)
    return fields


def _refuse() -> NoReturn:
    raise RefusedError(400, "the form is broken")
