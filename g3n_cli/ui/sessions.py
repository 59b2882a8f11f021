"""Saved conversations as text."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from markdown_it import MarkdownIt

from g3n_cli.chat.saved_files import SavedFile
from g3n_cli.chat.store import SavedSession, SessionInfo
from g3n_cli.ui.text import escape_json, make_visible

ExportFormat = Literal["md", "json", "html"]
EXPORT_FORMATS: dict[str, ExportFormat] = {
    "md": "md",
    "markdown": "md",
    "json": "json",
    "html": "html",
    "htm": "html",
}
"""By the ending of a file's name."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; }}
.user {{ white-space: pre-wrap; border-left: 3px solid #4a7dbd; padding-left: .8rem; }}
.system {{ white-space: pre-wrap; opacity: .7; }}
pre {{ overflow-x: auto; padding: .6rem; background: #8881; }}
</style>
<h1>{title}</h1>
<p>{about}</p>
{body}
</html>
"""


def format_sessions(sessions: Sequence[SessionInfo], current: int | None = None) -> str:
    """One line a conversation: number, when, turns, model, name and title."""
    rows = [
        (
            ("* " if info.id == current else "  ") + str(info.id),
            _format_time(info.changed),
            f"{info.n_turns} turn{'' if info.n_turns == 1 else 's'}",
            make_visible(info.model),
            make_visible(": ".join(filter(None, (info.name, info.title)))),
        )
        for info in sessions
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def show_session(saved: SavedSession, form: ExportFormat) -> str:
    """A whole conversation as ``export_session`` has it, but safe to print."""
    text = export_session(saved, form)
    return escape_json(text) if form == "json" else make_visible(text)


def export_session(saved: SavedSession, form: ExportFormat) -> str:
    """A whole conversation as Markdown, JSON, or a page of its own."""
    match form:
        case "md":
            return _to_markdown(saved)
        case "json":
            return json.dumps(to_dict(saved), indent=2, ensure_ascii=False) + "\n"
        case "html":
            return _to_html(saved)


def to_dict(saved: SavedSession) -> dict[str, object]:
    """A conversation for programs; tokens are left out."""
    turns = [
        {
            "user": turn.user,
            "answer": turn.text,
            "stats": asdict(turn.stats),
            "files": [file.describe() for file in files],
        }
        for turn, files in zip(saved.turns, saved.files, strict=True)
    ]
    return {**asdict(saved.info), "system": saved.system, "turns": turns, "draft": saved.draft}


def _to_markdown(saved: SavedSession) -> str:
    parts = [f"# {_title(saved)}", _about(saved)]
    if saved.system:
        parts.append(f"**System**\n\n{saved.system}")
    for turn, files in zip(saved.turns, saved.files, strict=True):
        you = f"**You**{_name_files(files)}"
        parts += [f"{you}\n\n{turn.user}", f"**{saved.info.model}**\n\n{turn.text}"]
    if saved.draft:
        parts.append(f"**You**{_name_files(saved.draft_files)}\n\n{saved.draft}")
    return "\n\n".join(parts) + "\n"


def _to_html(saved: SavedSession) -> str:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    parts = [f'<p class="system">{html.escape(saved.system)}</p>'] if saved.system else []
    for turn, files in zip(saved.turns, saved.files, strict=True):
        said = html.escape(turn.user + _name_files(files))
        parts.append(f'<p class="user">{said}</p>')
        parts.append(f"<div>{markdown.render(turn.text)}</div>")
    if saved.draft:
        said = html.escape(saved.draft + _name_files(saved.draft_files))
        parts.append(f'<p class="user">{said}</p>')
    title, about = html.escape(_title(saved)), html.escape(_about(saved))
    return _PAGE.format(title=title, about=about, body="\n".join(parts))


def _name_files(files: Sequence[SavedFile]) -> str:
    return f" ({', '.join(file.name for file in files)})" if files else ""


def _title(saved: SavedSession) -> str:
    return saved.info.name or saved.info.title or f"Conversation {saved.info.id}"


def _about(saved: SavedSession) -> str:
    return f"{saved.info.model}, {_format_time(saved.info.created)}"


def _format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
