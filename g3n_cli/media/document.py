"""Documents as text: source code, tables, notebooks; PDF in its own file."""

from __future__ import annotations

import json
import re
from typing import Any

from g3n_cli.errors import InputError
from g3n_cli.media.parts import Attachment, TextPart
from g3n_cli.media.source import Source
from g3n_cli.media.text import decode_text, fence

MOST_TEXT_BYTES = 32 << 20
MOST_NOTEBOOK_BYTES = 256 << 20
"""Pictures in a notebook's output are left out, but are most of its bytes."""

_LANGUAGE = re.compile(r"[a-z0-9+]{1,12}")


def read_document(source: Source) -> Attachment:
    """A text file, or a notebook's cells, as a block with its name.

    Raises:
        InputError: it is binary, too long, or text in no known encoding.
    """
    is_notebook = source.suffix == "ipynb"
    most = MOST_NOTEBOOK_BYTES if is_notebook else MOST_TEXT_BYTES
    text = decode_text(source.read(most), source.name)
    if not text.strip():
        raise InputError(f"{source.name} is empty")
    if is_notebook:
        block, n_cells = _show_notebook(source.name, text)
        return Attachment(source.name, f"notebook, {n_cells} cells", (TextPart(block),))
    language = source.suffix if _LANGUAGE.fullmatch(source.suffix) else ""
    block = fence(source.name, text, language)
    n_lines = text.count("\n") + (not text.endswith("\n"))
    lines = "1 line" if n_lines == 1 else f"{n_lines:,} lines"
    return Attachment(source.name, f"text, {lines}", (TextPart(block),))


def _show_notebook(name: str, text: str) -> tuple[str, int]:
    """Cells of a notebook: prose as it is, code and what it printed as blocks."""
    try:
        notebook = json.loads(text)
        cells = notebook["cells"]
        metadata = notebook.get("metadata", {})
        language = str(metadata.get("language_info", {}).get("name", "python"))
        parts = [f"{name}:"]
        for cell in cells:
            body = _join(cell["source"]).strip()
            if cell["cell_type"] == "code":
                parts.append(fence("Code", body, language))
                parts += [fence("Output", out) for out in map(_show_output, cell["outputs"]) if out]
            elif body:
                parts.append(body)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{name} is no Jupyter notebook that can be read") from None
    return "\n\n".join(parts), len(cells)


def _show_output(output: dict[str, Any]) -> str:
    """What a cell printed, as text; nothing of pictures and markup."""
    if output["output_type"] == "stream":
        return _join(output["text"]).strip()
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    return _join(output["data"].get("text/plain", "")).strip()


def _join(text: str | list[str]) -> str:
    """Text of a notebook, which may be stored line by line."""
    return text if isinstance(text, str) else "".join(text)
