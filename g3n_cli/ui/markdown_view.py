"""An answer as Markdown on a screen, drawn while it comes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from g3n_cli.ui.blocks import Block, BlockStream
from g3n_cli.ui.live import LiveRegion
from g3n_cli.ui.markdown import BLANK, Line, Renderer
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import make_visible

FRAME_S = 1 / 12
MAX_WIDTH = 100


class MarkdownView:
    """Shows an answer that grows: complete blocks once and for all, the last one anew each time.

    Code that grows beyond the screen settles line by line. What is on the screen in the end is
    what the complete text would have looked like at once.

    Args:
        terminal: Whose stdout is a screen.
        clock: Seconds, from anywhere.
    """

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        self._region = LiveRegion(terminal)
        self._renderer = Renderer()
        self._clock = clock
        self._stream = BlockStream()
        self._complete: list[Block] = []
        self._last: Block | None = None
        self._n_settled = 0  # groups of the growing block that are settled
        self._drawn = float("-inf")

    def write(self, piece: str) -> None:
        """Add a piece; drawn at once, unless something was drawn a moment ago."""
        self._complete += self._stream.feed(make_visible(piece))
        if (now := self._clock()) - self._drawn >= FRAME_S:
            self._drawn = now
            self._draw(self._stream.unfinished())

    def finish(self) -> None:
        """Draw all that is left and end the last line."""
        self._complete += self._stream.unfinished()
        self._draw([])
        self._region.update([BLANK], [])

    def _draw(self, growing: list[Block]) -> None:
        size = shutil.get_terminal_size()
        width = min(MAX_WIDTH, size.columns - 1)
        settled: list[Line] = []
        for block in self._complete:
            settled += self._render(block, self._last, width, self._n_settled)
            self._last, self._n_settled = block, 0
        self._complete = []
        if growing and growing[0].kind == "fence":
            settled += self._settle_code(growing[0], width, size.lines // 2)
        live: list[Line] = []
        last, n_settled = self._last, self._n_settled
        for block in growing:
            live += self._render(block, last, width, n_settled)
            last, n_settled = block, 0
        self._region.update(settled, live)

    def _render(self, block: Block, before: Block | None, width: int, skip: int) -> list[Line]:
        """Lines of a block after ``skip`` groups, and the space before it."""
        lines = [line for group in self._renderer.render(block, width)[skip:] for line in group]
        is_apart = skip == 0 and before is not None and not block.continues(before)
        return [BLANK, *lines] if is_apart else lines

    def _settle_code(self, block: Block, width: int, n_kept: int) -> list[Line]:
        """Lines of growing code that are more than ``n_kept`` above its end."""
        groups = self._renderer.render(block, width)
        n_lines = sum(len(group) for group in groups[self._n_settled :])
        stop = self._n_settled
        while n_lines > n_kept:
            n_lines -= len(groups[stop])
            stop += 1
        if stop == self._n_settled:
            return []
        lines = self._render(block, self._last, width, self._n_settled)
        n_settled_lines = len(lines) - n_lines
        self._n_settled = stop
        return lines[:n_settled_lines]
