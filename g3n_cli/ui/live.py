"""The end of the screen that still changes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from g3n_cli.ui.markdown import BLANK, Line
from g3n_cli.ui.terminal import Terminal

BEGIN_FRAME = "\x1b[?2026h"  # terminals that know it show what follows at once
CLEAR_REST_OF_LINE = "\x1b[K"
CLEAR_REST_OF_SCREEN = "\x1b[J"
END_FRAME = "\x1b[?2026l"


class LiveRegion:
    """Lines at the end of the output that can be replaced, the cursor behind the last.

    Only what changed is written again, so nothing flickers. The window may be resized in
    between: a terminal that became narrower has wrapped the lines, which is counted in.

    Args:
        terminal: Whose stdout is a screen.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._live: Sequence[Line] = ()
        self._is_begun = False
        self._n_columns = 0

    def update(self, settled: Sequence[Line], live: Sequence[Line]) -> None:
        """Replace the live lines.

        Args:
            settled: Lines that will not change any more; they scroll away.
            live: Lines after them; of too many for the screen only the last are shown.
        """
        size = shutil.get_terminal_size()
        live = live[-(size.lines - 1) :]
        new = [*settled, *live] or ([BLANK] if self._live else [])
        keep = _count_common(self._live, new) if size.columns == self._n_columns else 0
        keep = min(keep, len(new) - 1) if keep < len(self._live) else keep
        frame = f"{CLEAR_REST_OF_LINE}\n".join(line.ansi for line in new[keep:])
        if keep < len(new):
            start = self._go_to(keep, size.columns)
            frame = BEGIN_FRAME + start + frame + CLEAR_REST_OF_SCREEN + END_FRAME
            self._terminal.write(frame)
            self._is_begun = True
        self._live, self._n_columns = live, size.columns

    def _go_to(self, keep: int, n_columns: int) -> str:
        """Move to where the line after the first ``keep`` live ones belongs."""
        n_rows = sum(max(1, -(-line.n_cells // n_columns)) for line in self._live[keep:])
        if n_rows == 0:
            return "\n" if self._is_begun else ""
        up = f"\x1b[{n_rows - 1}A" if n_rows > 1 else ""
        return f"\r{up}"


def _count_common(a: Sequence[Line], b: Sequence[Line]) -> int:
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
