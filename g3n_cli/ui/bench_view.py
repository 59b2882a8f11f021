"""What ``g3n bench`` shows: a table that grows while it runs, and at last the whole result."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from g3n_cli.ui.progress import BAR_WIDTH
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import make_visible

UNLIMITED = 1000
"""Columns where nobody looks at a screen: no line is wrapped."""

_GAP = 2
_LINES_BESIDE_ROWS = 4
"""Head, rule, an empty line and the progress."""


class TextTable(Protocol):
    """Text in columns; ``g3n_cli.bench.table.Table`` is one."""

    @property
    def head(self) -> tuple[str, ...]:
        """Of the columns."""
        ...

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """As many cells each."""
        ...

    @property
    def n_text(self) -> int:
        """Columns that are text, from the first on; the others are numbers."""
        ...

    @property
    def dispensable(self) -> tuple[str, ...]:
        """Heads of columns that may be left out, the first of them first."""
        ...


class BenchView:
    """The end of the screen while a run goes on; nothing where lines cannot be taken back.

    Args:
        terminal: Drawn on its stderr.

    Attributes:
        is_live: Whether anything is drawn.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.is_live = terminal.can_animate
        console = Console(file=terminal.stderr, force_terminal=True)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self.is_live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_live:
            self._live.stop()

    def update(self, table: TextTable | None, share: float, status: str) -> None:
        """Draw again.

        Args:
            table: What there is so far.
            share: How much of the work is done, 0 to 1.
            status: What goes on.
        """
        if not self.is_live:
            return
        filled = round(BAR_WIDTH * share)
        bar = "━" * filled + "─" * (BAR_WIDTH - filled)
        line = Text(f"{bar} {make_visible(status)}", no_wrap=True, overflow="ellipsis")
        width, height = shutil.get_terminal_size()
        most_rows = max(1, height - _LINES_BESIDE_ROWS)
        shown = Group(_make_table(table, width, most_rows), Text(), line) if table else line
        self._live.update(shown, refresh=True)


def render(terminal: Terminal, tables: Sequence[TextTable]) -> str:
    """Tables as text for standard output, a blank line between them.

    Under a table stands which columns a narrow screen does without: parts would seem not to add up.
    """
    is_screen = terminal.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_screen else UNLIMITED
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal.can_draw)
    with console.capture() as capture:
        for index, table in enumerate(tables):
            if index:
                console.print()
            shown = _make_table(table, width)
            console.print(shown)
            heads = {str(column.header) for column in shown.columns}
            if left_out := [head for head in table.head if make_visible(head) not in heads]:
                console.print(Text(f"no room for: {', '.join(left_out)} (-o md has them)"))
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _make_table(source: TextTable, width: int, most_rows: int | None = None) -> Table:
    """The table without the columns that it must do without on a screen of this width.

    Args:
        source: What it holds.
        width: Columns of the screen.
        most_rows: How many of the last rows are shown; None for all.
    """
    lines = [[make_visible(cell) for cell in line] for line in (source.head, *source.rows)]
    kept = _choose_columns(source, lines, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for index in kept:
        title = Text(lines[0][index])
        if index < source.n_text:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, justify="right", overflow="fold")
    for line in lines[1:][-most_rows if most_rows else None :]:
        table.add_row(*(Text(line[index]) for index in kept))
    return table


def _choose_columns(source: TextTable, lines: list[list[str]], width: int) -> list[int]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    kept = list(range(len(widths)))
    for head in source.dispensable:
        if sum(widths[index] + _GAP for index in kept) - _GAP <= width:
            break
        kept = [index for index in kept if source.head[index] != head]
    return kept
