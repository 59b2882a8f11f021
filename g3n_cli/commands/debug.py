"""``g3n debug``: ways to compare this build with another implementation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.commands.options import (
    ActOption,
    BatchOption,
    CtxOption,
    KernelsOption,
    KvOption,
    PleOption,
    PrefillOption,
    PrefillSizeOption,
    RepackOption,
    SizeOption,
    ThreadsOption,
)
from g3n_cli.config import EngineSettings, count_physical_cores
from g3n_cli.errors import G3nError, InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from g3n_cli.engine.api import Engine

app = typer.Typer()


@app.callback()
def debug() -> None:
    """Look inside the engine."""


@app.command("logits")
def write_logits(  # noqa: PLR0913  one parameter for each flag
    *,
    model: Annotated[str, typer.Argument(help="A model's name, or the path of a GGUF file.")],
    ids: Annotated[
        str, typer.Option(metavar="N,N,...", help="Token ids to compute, as in 2,10,11.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="NumPy file to write.")
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Logits of every position instead of the last.")
    ] = False,
    ctx: CtxOption = EngineSettings.n_ctx,
    threads: ThreadsOption = None,
    batch: BatchOption = EngineSettings.n_batch,
    kv: KvOption = EngineSettings.kv,
    ple: PleOption = EngineSettings.ple,
    prefill: PrefillOption = EngineSettings.prefill,
    repack: RepackOption = EngineSettings.repack,
    kernels: KernelsOption = EngineSettings.kernels,
    size: SizeOption = EngineSettings.size,
    prefill_size: PrefillSizeOption = EngineSettings.prefill_size,
    act: ActOption = EngineSettings.act,
) -> None:
    """Write the float32 logits [positions, vocabulary] of a sequence of token ids."""
    from g3n_cli.registry.models import read_sizes, resolve

    settings = EngineSettings(
        n_ctx=ctx,
        n_batch=batch,
        n_threads=count_physical_cores() if threads is None else threads,
        kv=kv,
        ple=ple,
        prefill=prefill,
        repack=repack,
        kernels=kernels,
        size=size,
        prefill_size=prefill_size,
        act=act,
        named_sizes=read_sizes(),
    )
    tokens = parse_ids(ids)

    import numpy as np

    from g3n_cli.engine.open import open_engine

    spec = resolve(model)
    engine = open_engine(spec.path, spec.name, settings)
    try:
        logits = compute_logits(engine, tokens, every=every)
    finally:
        engine.close()
    try:
        with output.open("wb") as file:
            np.save(file, logits)
    except OSError as error:
        raise G3nError(f"cannot write {output}: {error.strerror}") from error


def parse_ids(text: str) -> list[int]:
    """Token ids from ``2,10,11``.

    Raises:
        UsageError: it is no such list.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--ids must be whole numbers with commas between, not {text!r}") from None


def compute_logits(engine: Engine, tokens: list[int], *, every: bool) -> npt.NDArray[np.float32]:
    """Logits [n, n_vocab] of all tokens, or [1, n_vocab] of the last.

    Raises:
        InputError: a token the vocabulary does not have, or too many of them.
    """
    import numpy as np

    from g3n_cli.engine.prompt import Prompt
    from g3n_cli.engine.runner import Gemma3nEngine

    for token in tokens:
        if not 0 <= token < engine.info.n_vocab:
            raise InputError(f"token {token} is not one of the {engine.info.n_vocab} there are")
    prompt = Prompt.of_ids(tokens)
    if not every:
        return engine.prefill(prompt)[None]
    if isinstance(engine, Gemma3nEngine):
        return engine.compute_all_logits(prompt)
    first = engine.prefill(prompt.slice(0, 1))
    return np.stack([first, *(engine.decode(token) for token in tokens[1:])])
