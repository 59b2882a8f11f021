"""Opening a model: the file decides which engine runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil

from g3n_cli.config import AUTO, EngineSettings
from g3n_cli.engine.api import Engine
from g3n_cli.engine.fit import check_fits
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import ARCHITECTURE, HParams
from g3n_cli.engine.matformer import SizeResolver, find_width_multiple
from g3n_cli.engine.runner import Gemma3nEngine
from g3n_cli.engine.summary import compute_kv_bytes
from g3n_cli.engine.tensors import PLE_TENSOR
from g3n_cli.engine.validate import check_tokenizer, open_model

RESERVE_BYTES = 400_000_000
"""What ``auto`` leaves free beside weights and K/V: for compute buffers and for other programs."""


def open_engine(path: Path, name: str, settings: EngineSettings) -> Engine:
    """Open a GGUF: Gemma 3n on g3n's own graph, everything else on llama.cpp's.

    Raises:
        ModelError: the file is missing, broken or of a kind that cannot be run.
        UsageError: a setting the model does not allow, or no device of this name.
        ServerError: the server that lends the device does not answer.
        DoesNotFitError: there is not enough memory.
    """
    gguf = open_model(path)
    if gguf.architecture == ARCHITECTURE:
        hparams = HParams.from_gguf(gguf)
        if settings.size == AUTO:
            settings = replace(settings, size=find_fitting_size(gguf, hparams, settings))
        check_fits(gguf, settings, path.name)
        return Gemma3nEngine(gguf, hparams, name, settings)
    check_fits(gguf, settings, path.name)
    from g3n_cli.engine.llama import LlamaEngine  # of no use to Gemma 3n

    check_tokenizer(gguf)
    return LlamaEngine(path, name, settings)


def find_fitting_size(gguf: GgufFile, hparams: HParams, settings: EngineSettings) -> str:
    """The largest nested model on offer that leaves some of the free memory to others."""
    spare = compute_kv_bytes(hparams, min(settings.n_ctx, hparams.n_ctx_train)) + RESERVE_BYTES
    if settings.ple == "ram":
        spare += gguf.tensors[PLE_TENSOR].n_bytes
    available = psutil.virtual_memory().available - spare
    return _make_resolver(gguf, hparams, settings).find_fitting(available).name


def _make_resolver(gguf: GgufFile, hparams: HParams, settings: EngineSettings) -> SizeResolver:
    multiple = find_width_multiple(gguf, repack=settings.repack)
    return SizeResolver(gguf, hparams, settings.named_sizes, multiple)
