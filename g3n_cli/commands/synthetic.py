"""Models with random weights for ``--synthetic``, made once and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import platformdirs

from g3n_cli.bench.case import BenchModel
from g3n_cli.bench.synthetic import SHAPES, Quant, ShapeName, list_tensors, make_model
from g3n_cli.bench.synthetic_audio import list_audio_tensors
from g3n_cli.bench.synthetic_vision import ENCODERS, list_vision_tensors, make_vision_mmproj
from g3n_cli.engine.gguf_writer import TensorSpec
from g3n_cli.errors import UsageError
from g3n_cli.ui.progress import ProgressBar
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import make_visible
from g3n_cli.units import format_bytes

_ASK_FROM = 100_000_000


@dataclass(frozen=True)
class _Draft:
    """A file to make, and what it will hold."""

    path: Path
    tensors: list[TensorSpec]
    make: Callable[[Path, ProgressBar], None]

    @property
    def n_bytes(self) -> int:
        return sum(tensor.n_bytes for tensor in self.tensors)


def has_encoders(text: str) -> bool:
    """Whether the model that ``SHAPE[:TYPE]`` names can have encoders.

    Raises:
        UsageError: there is no such shape or type.
    """
    return _parse(text)[0] in ENCODERS


def find_or_make(
    text: str, terminal: Terminal, *, with_encoders: bool, is_agreed: bool
) -> BenchModel:
    """The model that ``SHAPE[:TYPE]`` names, made if it is not there yet.

    Args:
        text: For example ``e2b:q8_0``.
        terminal: Where the person is asked for the disk space.
        with_encoders: Make its projector file too.
        is_agreed: Do not ask.

    Raises:
        UsageError: there is no such shape or type, or the person does not agree.
        G3nError: the disk is too full.
    """
    shape, quant = _parse(text)
    folder = Path(platformdirs.user_cache_dir("g3n")) / "synthetic"
    model = _draft_model(folder, shape, quant)
    encoders = _draft_encoders(folder, shape) if with_encoders else None
    missing = [each for each in (model, encoders) if each and not each.path.exists()]
    needed = sum(each.n_bytes for each in missing)
    if needed >= _ASK_FROM and not is_agreed:
        names = " with ".join(each.path.stem for each in missing)
        _ask(f"{names} takes {format_bytes(needed)} in {folder}", terminal)
    for each in missing:
        folder.mkdir(parents=True, exist_ok=True)
        bar = ProgressBar(terminal, f"making {each.path.stem}", format_bytes)
        try:
            each.make(each.path, bar)
        finally:
            bar.clear()
    return BenchModel(model.path.stem, model.path, encoders.path if encoders else None)


def _draft_model(folder: Path, shape: ShapeName, quant: Quant) -> _Draft:
    def make(out: Path, bar: ProgressBar) -> None:
        make_model(shape, quant, out, bar)

    return _Draft(folder / f"{shape}-{quant}.gguf", list_tensors(SHAPES[shape], quant), make)


def _draft_encoders(folder: Path, shape: ShapeName) -> _Draft:
    """A projector file beside the model, so that a chat finds it."""
    vision, audio = ENCODERS[shape]

    def make(out: Path, bar: ProgressBar) -> None:
        make_vision_mmproj(out, "f16", vision, audio=audio, on_progress=bar)

    tensors = [*list_vision_tensors(vision, "f16"), *list_audio_tensors(audio, "f16")]
    return _Draft(folder / f"mmproj-{shape}-f16.gguf", tensors, make)


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
