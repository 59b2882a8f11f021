"""PDF as text, page by page; pages without text as pictures."""

from __future__ import annotations

import pypdfium2

from g3n_cli.errors import InputError
from g3n_cli.media.image import squash
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, MediumPart, Part, TextPart
from g3n_cli.media.source import Source

MOST_BYTES = 256 << 20
MOST_PAGES = 2000
RENDERED_SIDE = 1536
"""Pixels of the longer side of a page before it is squashed."""

_PASSWORD = 4  # FPDF_ERR_PASSWORD
_LEAST_CHARACTERS = 8
"""A page with fewer of them is taken for a picture of a page."""


def read_pdf(source: Source, options: MediaOptions) -> Attachment:
    """A document's pages, each after a line with its number.

    Raises:
        InputError: it is broken, protected by a password, or too long.
    """
    content = source.read(MOST_BYTES)
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD:
            raise InputError(f"{source.name} is protected by a password") from None
        raise InputError(f"{source.name} is no PDF that can be read") from None
    try:
        n_pages = len(document)
        if not 0 < n_pages <= MOST_PAGES:
            raise InputError(f"{source.name} has {n_pages:,} pages; 1 to {MOST_PAGES:,} are read")
        parts: list[Part] = []
        for i in range(n_pages):
            parts += _read_page(source.name, document[i], i + 1, options)
    except pypdfium2.PdfiumError as error:
        raise InputError(f"{source.name} is a broken PDF: {error}") from None
    finally:
        document.close()
    n_pictures = sum(isinstance(part, MediumPart) for part in parts)
    what = f"PDF, {n_pages:,} page{'s' if n_pages != 1 else ''}"
    if n_pictures:
        what += f", {n_pictures:,} as picture{'s' if n_pictures != 1 else ''}"
    return Attachment(source.name, what, tuple(_join_texts(parts)))


def _read_page(
    name: str, page: pypdfium2.PdfPage, number: int, options: MediaOptions
) -> list[Part]:
    title = f"{name}, page {number}:"
    text_page = page.get_textpage()
    text = text_page.get_text_bounded().replace("\r\n", "\n").replace("\0", "").strip()
    text_page.close()
    if len(text) >= _LEAST_CHARACTERS or (text and next(page.get_objects(), None) is None):
        return [TextPart(f"{title}\n{text}")]
    if next(page.get_objects(), None) is None:
        return []  # an empty page
    longest = max(page.get_size())
    bitmap = page.render(scale=RENDERED_SIDE / max(1.0, longest), fill_color=(255, 255, 255, 255))
    pixels = squash(bitmap.to_pil().convert("RGB"), options.image_size)
    return [TextPart(title), MediumPart("image", pixels, f"{name} page {number}")]


def _join_texts(parts: list[Part]) -> list[Part]:
    """Neighbouring texts as one, with blank lines between."""
    joined: list[Part] = []
    for part in parts:
        if joined and isinstance(part, TextPart) and isinstance(joined[-1], TextPart):
            joined[-1] = TextPart(f"{joined[-1].text}\n\n{part.text}")
        else:
            joined.append(part)
    return joined
