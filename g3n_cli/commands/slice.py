"""``g3n slice``: a nested model as a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from g3n_cli.errors import UsageError


def slice_model(
    *,
    model: Annotated[str, typer.Argument(help="A model's name, or the path of a GGUF file.")],
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="Which of the nested models; see g3n chat --help.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="GGUF file to write.")
    ],
) -> None:
    """Write a model that is nested in a Gemma 3n as a file of its own.

    Its weights are those of the parent, bit for bit. llama.cpp runs it if layers are equally wide.
    """
    from g3n_cli.convert.slice import write_slice
    from g3n_cli.engine.hparams import HParams
    from g3n_cli.engine.matformer import SizeResolver, find_width_multiple
    from g3n_cli.engine.validate import open_model
    from g3n_cli.registry.models import read_sizes, resolve
    from g3n_cli.ui.progress import ProgressBar
    from g3n_cli.ui.terminal import Terminal
    from g3n_cli.ui.text import format_bytes

    gguf = open_model(resolve(model).path)
    hparams = HParams.from_gguf(gguf)
    if output.exists() and output.samefile(gguf.path):
        raise UsageError(f"{output} is the model itself", "choose another name")
    multiple = find_width_multiple(gguf, repack=False)
    chosen = SizeResolver(gguf, hparams, read_sizes(), multiple).resolve(size)
    bar = ProgressBar(Terminal.of_process(), "writing", format_bytes)
    try:
        write_slice(gguf, hparams, chosen, output, bar)
    finally:
        bar.clear()
