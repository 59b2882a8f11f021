"""``g3n slice``: a nested model as a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from g3n_cli.errors import UsageError

PleType: TypeAlias = Literal["f16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0"]


def slice_model(
    *,
    model: Annotated[str, typer.Argument(help="A model's name, or the path of a GGUF file.")],
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="Which of the nested models; see g3n chat --help.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="GGUF file to write.")
    ],
    ple_type: Annotated[
        PleType | None,
        typer.Option(
            show_default="as it is",
            help="Type of the per-layer embeddings, the largest part of the file.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a model that is nested in a Gemma 3n as a file of its own.

    Its weights are those of the parent, bit for bit, but for what --ple-type changes. llama.cpp
    runs it if layers are equally wide.
    """
    from g3n_cli.convert.slice import write_slice
    from g3n_cli.engine.gguf_types import GgmlType
    from g3n_cli.engine.hparams import HParams
    from g3n_cli.engine.matformer import SizeResolver, find_width_multiple
    from g3n_cli.engine.validate import open_model
    from g3n_cli.registry.models import read_sizes, resolve
    from g3n_cli.ui.progress import ProgressBar
    from g3n_cli.ui.terminal import Terminal
    from g3n_cli.units import format_bytes

    gguf = open_model(resolve(model).path)
    hparams = HParams.from_gguf(gguf)
    if output.exists() and output.samefile(gguf.path):
        raise UsageError(f"{output} is the model itself", "choose another name")
    if output.exists() and not force:
        raise UsageError(f"{output} exists", "--force replaces it")
    multiple = find_width_multiple(gguf, repack=False)
    chosen = SizeResolver(gguf, hparams, read_sizes(), multiple).resolve(size)
    bar = ProgressBar(Terminal.of_process(), "writing", format_bytes)
    try:
        kind = None if ple_type is None else GgmlType[ple_type.upper()]
        write_slice(gguf, hparams, chosen, output, kind, bar)
    finally:
        bar.clear()
