"""``g3n convert``: published weights as GGUF files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from g3n_cli.errors import UsageError

if TYPE_CHECKING:
    from g3n_cli.ui.progress import ProgressBar

Kind: TypeAlias = Literal["q4_0", "q8_0", "f16", "bf16", "f32"]

HELP = """Make GGUF files from a Gemma 3n as published on Hugging Face.

\b
  g3n convert gemma-3n-E2B-it -o gemma.gguf      the text model, in 4 bits
  g3n convert gemma-3n-E2B-it -o mmproj.gguf     its vision and audio part
  g3n convert theirs.gguf -o mmproj.gguf         repair a projector of llama.cpp's

The folder holds config.json, the tokenizer and *.safetensors. A projector made by llama.cpp's
converter is repaired: as it is, libmtmd aborts on it.
"""


def convert(
    *,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Folder of the model, or a projector file.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="GGUF file to write.")
    ],
    mmproj: Annotated[
        bool | None,
        typer.Option(
            "--mmproj/--text",
            show_default="by the file's name: --mmproj if it contains mmproj",
            help="Write the vision and audio part, or the text model.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--type",
            show_default="q4_0, f16 with --mmproj",
            help="Type of the matrices; with --mmproj f32, f16 or q8_0.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """See HELP."""
    is_projector = "mmproj" in output.name.lower() if mmproj is None else mmproj
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output} is the source itself", "choose another name")
    if output.exists() and not force:
        raise UsageError(f"{output} exists", "--force replaces it")
    if source.is_file():
        if mmproj is False or kind is not None:
            raise UsageError(
                f"{source} is a file, which can only be repaired", "leave out --text and --type"
            )
        _repair(source, output)
    else:
        _convert(source, output, kind, is_projector=is_projector)


def _convert(source: Path, output: Path, kind: Kind | None, *, is_projector: bool) -> None:
    from g3n_cli.convert.plan import write_plan
    from g3n_cli.convert.projector import KINDS, plan_projector
    from g3n_cli.convert.text import plan_text

    if not source.is_dir():
        raise UsageError(f"{source} is neither a folder nor a file")
    if not is_projector:
        plan = plan_text(source, kind or "q4_0")
    elif kind is None or kind in KINDS:
        plan = plan_projector(source, kind or "f16")
    else:
        raise UsageError(f"--mmproj has no type {kind}", f"choose {', '.join(KINDS)}")
    with _show_progress() as bar:
        write_plan(plan, output, bar)


def _repair(source: Path, output: Path) -> None:
    from g3n_cli.convert.repair import write_repaired
    from g3n_cli.engine.gguf import GgufFile

    gguf = GgufFile.open(source)
    with _show_progress() as bar:
        write_repaired(gguf, output, bar)


@contextmanager
def _show_progress() -> Iterator[ProgressBar]:
    """A bar of the bytes written, its clock started now."""
    from g3n_cli.ui.progress import ProgressBar
    from g3n_cli.ui.terminal import Terminal
    from g3n_cli.units import format_bytes

    bar = ProgressBar(Terminal.of_process(), "writing", format_bytes)
    try:
        yield bar
    finally:
        bar.clear()
