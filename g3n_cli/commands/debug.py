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
from g3n_cli.config import EngineSettings, KernelsName, count_physical_cores
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

    from g3n_cli.engine.open import open_engine

    spec = resolve(model)
    engine = open_engine(spec.path, spec.name, settings)
    try:
        logits = compute_logits(engine, tokens, every=every)
    finally:
        engine.close()
    save_array(output, logits)


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


@app.command("embed")
def write_embeddings(
    *,
    mmproj: Annotated[Path, typer.Argument(help="A projector file with the encoder.")],
    file: Annotated[Path, typer.Argument(help="Sound: WAV, 16 kHz, at most 30 s.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="NumPy file to write.")
    ],
    threads: ThreadsOption = None,
    kernels: KernelsOption = EngineSettings.kernels,
) -> None:
    """Write the float32 soft tokens [n_tokens, n_embd] of a file, without padding."""
    n_threads = count_physical_cores() if threads is None else threads
    save_array(output, embed_file(mmproj, file, n_threads, kernels))


def embed_file(
    mmproj: Path, file: Path, n_threads: int, kernels: KernelsName
) -> npt.NDArray[np.float32]:
    """Soft tokens [n_tokens, n_embd] of a file of a kind that there is an encoder for.

    Raises:
        InputError: the file is of no such kind, or broken, or the projector has no encoder for it.
        ModelError: the projector file is broken.
    """
    from g3n_cli.media.wav import is_wav

    if is_wav(file):
        return _embed_sound(mmproj, file, n_threads, kernels)
    raise InputError(f"{file} is nothing that can be encoded", "sound is read from WAV files")


def _embed_sound(
    mmproj: Path, file: Path, n_threads: int, kernels: KernelsName
) -> npt.NDArray[np.float32]:
    from g3n_cli.engine.encoders.api import MOST_SAMPLES, SAMPLE_RATE
    from g3n_cli.engine.encoders.audio import open_audio_encoder
    from g3n_cli.media.wav import read_wav

    samples = read_wav(file, SAMPLE_RATE, MOST_SAMPLES + 1)
    encoder = open_audio_encoder(mmproj, n_threads, kernels=kernels)
    try:
        return encoder.encode(samples)
    finally:
        encoder.close()


def save_array(path: Path, values: npt.NDArray[np.float32]) -> None:
    """Write a NumPy file.

    Raises:
        G3nError: it cannot be written.
    """
    import numpy as np

    try:
        with path.open("wb") as file:
            np.save(file, values)
    except OSError as error:
        raise G3nError(f"cannot write {path}: {error.strerror}") from error
