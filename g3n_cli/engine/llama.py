"""Any GGUF that is not Gemma 3n, on llama.cpp's own graphs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from g3n_cli.config import AUTO, EngineSettings
from g3n_cli.engine.api import Logits, ManyLogits, ModelInfo, Progress, SizeInfo
from g3n_cli.engine.offload import make_leave
from g3n_cli.engine.parked import Parked
from g3n_cli.engine.prompt import NO_TOKEN, Key, Prompt, check_length, count_common
from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.engine.worker import Worker
from g3n_cli.errors import InputError, UsageError
from g3n_cli.ggml.abort import AbortFlag
from g3n_cli.ggml.device_backend import prepare_device
from g3n_cli.ggml.llama import Model
from g3n_cli.ggml.llama_context import LlamaContext

ONLY_SIZE = "full"


class LlamaEngine:
    """An open model of any architecture. Implements ``g3n_cli.engine.api.Engine``.

    Args:
        path: The file, opened and its vocabulary checked by ``open_engine``.
        name: What the person calls the model.
        settings: How to run it; ``ple`` and ``prefill`` are Gemma 3n's alone.

    Raises:
        ModelError: llama.cpp cannot load or run the file.
        UsageError: a setting this model does not allow, or no device of this name.
        ServerError: the server that lends the device does not answer.
    """

    def __init__(self, path: Path, name: str, settings: EngineSettings) -> None:
        if not {settings.size, settings.prefill_size} <= {ONLY_SIZE, AUTO, None}:
            raise _has_one_size(name)
        if settings.act != "q8":
            raise UsageError(f"--act {settings.act} is for Gemma 3n; {name} runs on llama.cpp")
        device = None if settings.is_on_cpu else prepare_device(settings.device)
        self._keys: list[Key] = []
        self._abort = AbortFlag()
        with ExitStack() as stack:
            self._worker = Worker(self._abort.set, make_leave(settings))
            stack.callback(self._worker.close)
            model = self._worker.run(
                lambda: Model(
                    path,
                    repack=settings.repack,
                    abort=self._abort,
                    device=device,
                    gpu_layers=settings.gpu_layers,
                )
            )
            stack.callback(model.close)
            settings = settings.limit_context(model.n_ctx_train)
            self._settings = settings
            self._tokenizer = LlamaTokenizer(model)
            self._context = self._worker.run(lambda: LlamaContext(model, settings, self._abort))
            stack.callback(self._context.close)
            self._owned = stack.pop_all()
        self._info = ModelInfo(
            name=name,
            path=path,
            architecture=model.architecture,
            size=ONLY_SIZE,
            n_vocab=self._tokenizer.n_vocab,
            n_ctx_train=model.n_ctx_train,
            chat_template=self._tokenizer.chat_template,
            end_ids=self._tokenizer.end_ids,
        )

    @property
    def info(self) -> ModelInfo:
        """What is known of the model."""
        return self._info

    @property
    def sizes(self) -> tuple[SizeInfo, ...]:
        """None: only Gemma 3n has models nested in it."""
        return ()

    def resize(
        self, name: str, *, recompute: bool = False, on_progress: Progress | None = None
    ) -> None:
        """Refuse all sizes but the only one; see ``Engine.resize``."""
        del recompute, on_progress
        if name != ONLY_SIZE:
            raise _has_one_size(self._info.name)

    @property
    def tokenizer(self) -> LlamaTokenizer:
        """The model's own tokenizer."""
        return self._tokenizer

    @property
    def n_ctx(self) -> int:
        """Positions the context holds."""
        return self._settings.n_ctx

    @property
    def n_past(self) -> int:
        """Positions computed and kept."""
        return len(self._keys)

    @property
    def state_identity(self) -> None:
        """None: only Gemma 3n's K/V is kept."""

    def count_computed(self, prompt: Prompt) -> int:
        """First positions of ``prompt`` that are there already."""
        return count_common(self._keys, prompt.keys)

    def prefill(self, prompt: Prompt, on_progress: Progress | None = None) -> Logits:
        """Make ``prompt`` the content of the context; see ``Engine.prefill``."""
        self._check(prompt)
        self.trim(min(self.count_computed(prompt), len(prompt) - 1))
        start, total = self.n_past, len(prompt) - self.n_past
        while self.n_past < len(prompt):
            if on_progress:
                on_progress(self.n_past - start, total)
            self._append(prompt.ids[self.n_past : self.n_past + self._settings.n_batch])
        if on_progress:
            on_progress(total, total)
        return self._context.read_logits()

    def decode(self, token: int) -> Logits:
        """Append one token and return its logits; see ``Engine.decode``."""
        if self.n_past >= self.n_ctx:
            raise InputError(f"the context of {self.n_ctx} positions is full")
        self.trim(self.n_past)
        self._append(np.array([token], np.int32))
        return self._context.read_logits()

    @property
    def n_speculate(self) -> int:
        """None: ``extend`` takes one token after the other."""
        return 0

    def extend(self, tokens: Sequence[int]) -> ManyLogits:
        """Append tokens and return the logits of each; see ``Engine.extend``."""
        return np.stack([self.decode(token) for token in tokens])

    def trim(self, n_past: int) -> None:
        """Keep at most the first ``n_past`` positions; none where llama.cpp cannot take back.

        Also takes back what an aborted step of a recurrent model has left behind.
        """
        del self._keys[self._context.trim(n_past) :]

    def save_state(self, path: Path, beginning: Path | None = None) -> int:
        """Nothing: only Gemma 3n's K/V is kept."""
        del path, beginning
        return 0

    def load_state(self, path: Path) -> int:
        """Nothing; see ``save_state``."""
        del path
        return 0

    def park(self) -> None:
        """Nothing; see ``save_state``."""

    def count_parked_bytes(self) -> int:
        """None; see ``save_state``."""
        return 0

    def unpark(self, parked: Parked) -> None:
        """Nothing; see ``save_state``."""
        del parked

    def count_left(self, n_past: int) -> int:
        """How many positions ``trim(n_past)`` would leave, unless llama.cpp cannot take back."""
        return min(n_past, self.n_past)

    def close(self) -> None:
        """Free the model; closing twice is harmless."""
        self._owned.close()

    def _append(self, ids: npt.NDArray[np.int32]) -> None:
        """Compute up to a batch of tokens. An interrupt leaves things as they were."""

        def evaluate() -> None:
            self._context.evaluate(ids)
            self._keys.extend(ids.tolist())

        self._abort.clear()
        self._worker.run(evaluate)

    def _check(self, prompt: Prompt) -> None:
        check_length(prompt, self.n_ctx)
        if NO_TOKEN in prompt.ids:
            raise InputError(f"{self.info.name} reads text only")


def _has_one_size(name: str) -> UsageError:
    return UsageError(f"{name} has one size only", "Gemma 3n models have several")
