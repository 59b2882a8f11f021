"""Opening a model: the file decides which engine runs it."""

from __future__ import annotations

from pathlib import Path

import psutil

from g3n_cli.config import EngineSettings
from g3n_cli.engine.api import Engine
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import ARCHITECTURE, HParams
from g3n_cli.engine.runner import Gemma3nEngine
from g3n_cli.engine.summary import PLE_TENSOR, find_unused
from g3n_cli.engine.validate import check_tokenizer, open_model
from g3n_cli.errors import DoesNotFitError


def open_engine(path: Path, name: str, settings: EngineSettings) -> Engine:
    """Open a GGUF: Gemma 3n on g3n's own graph, everything else on llama.cpp's.

    Raises:
        ModelError: the file is missing, broken or of a kind that cannot be run.
        UsageError: a setting the model does not allow.
        DoesNotFitError: there is not enough memory.
    """
    gguf = open_model(path)
    check_memory(count_needed_bytes(gguf, settings), path.name)
    if gguf.architecture == ARCHITECTURE:
        return Gemma3nEngine(gguf, HParams.from_gguf(gguf), name, settings)
    from g3n_cli.engine.llama import LlamaEngine  # of no use to Gemma 3n

    check_tokenizer(gguf)
    return LlamaEngine(path, name, settings)


def count_needed_bytes(gguf: GgufFile, settings: EngineSettings) -> int:
    """RAM that the weights of a model take while it runs."""
    tensors = set(gguf.tensors)
    if gguf.architecture == ARCHITECTURE:
        tensors -= find_unused(gguf, HParams.from_gguf(gguf))
        if settings.ple == "disk":
            tensors -= {PLE_TENSOR}
    return sum(gguf.tensors[name].n_bytes for name in tensors)


def check_memory(n_bytes: int, what: str) -> None:
    """Refuse what does not fit into the memory that is free now.

    Raises:
        DoesNotFitError: it does not.
    """
    available = psutil.virtual_memory().available
    if n_bytes > available:
        raise DoesNotFitError(
            f"{what} needs {n_bytes / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are free",
            "close other programs or choose a smaller model",
        )
