"""Models with random weights for ``--synthetic``, made once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import platformdirs

from g3n_cli.bench.case import BenchModel
from g3n_cli.bench.synthetic import SHAPES, Quant, ShapeName, list_tensors, make_model
from g3n_cli.errors import UsageError
from g3n_cli.ui.progress import ProgressBar
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import format_bytes, make_visible

_ASK_FROM = 100_000_000


def find_or_make(text: str, terminal: Terminal, *, is_agreed: bool) -> BenchModel:
    """The model that ``SHAPE[:TYPE]`` names, made if it is not there yet.

    Args:
        text: For example ``e2b:q8_0``.
        terminal: Where the person is asked for the disk space.
        is_agreed: Do not ask.

    Raises:
        UsageError: there is no such shape or type, or the person does not agree.
        G3nError: the disk is too full.
    """
    shape, quant = _parse(text)
    name = f"{shape}-{quant}"
    path = Path(platformdirs.user_cache_dir("g3n")) / "synthetic" / f"{name}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = sum(tensor.n_bytes for tensor in list_tensors(SHAPES[shape], quant))
        if needed >= _ASK_FROM and not is_agreed:
            _ask(f"{name} takes {format_bytes(needed)} in {path.parent}", terminal)
        bar = ProgressBar(terminal, f"making {path.stem}", format_bytes)
        try:
            make_model(shape, quant, path, bar)
        finally:
            bar.clear()
    return BenchModel(name, path)


def _parse(text: str) -> tuple[ShapeName, Quant]:
    name, _, kind = text.partition(":")
    shapes: tuple[ShapeName, ...] = get_args(ShapeName)
    quants: tuple[Quant, ...] = get_args(Quant)
    shape = next((each for each in shapes if each == name), None)
    quant = next((each for each in quants if each == (kind or "q4_0")), None)
    if shape is None or quant is None:
        raise UsageError(
            f"--synthetic {text!r} is no shape",
            f"there is {', '.join(shapes)}, each with :{', :'.join(quants)}",
        )
    return shape, quant


def _ask(what: str, terminal: Terminal) -> None:
    if not terminal.stdin.isatty():
        raise UsageError(what, "agree with --yes")
    terminal.stderr.write(f"{make_visible(what)}. Make it? [y/N] ")
    terminal.stderr.flush()
    if terminal.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("no model was made", "name one with -m")
