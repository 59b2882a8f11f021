"""Running a Gemma 3n model: steps, prefill with prefix reuse, decode."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.config import EngineSettings, Widths
from g3n_cli.engine.api import Logits, ManyLogits, ModelInfo, Progress, SizeInfo
from g3n_cli.engine.gemma3n import StepShape
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.kv_cache import STEP_MULTIPLE, RingSnapshot
from g3n_cli.engine.load import LoadedModel
from g3n_cli.engine.parked import Parked
from g3n_cli.engine.plan import Inputs
from g3n_cli.engine.ple import PleCounters
from g3n_cli.engine.prompt import NO_TOKEN, Key, Prompt, check_length, count_common
from g3n_cli.engine.snapshot import (
    State,
    StateError,
    check_rows,
    identify,
    read_state,
    write_state,
)
from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.engine.validate import N_TEXT_TOKENS
from g3n_cli.errors import InputError
from g3n_cli.ggml.handles import MemoryRange

_BUCKET = 256
_LOGITS_BYTES = 64 << 20


class Gemma3nEngine:
    """An open Gemma 3n model. Implements ``g3n_cli.engine.api.Engine``.

    Args:
        gguf: The validated file.
        hparams: Read from it.
        name: What the person calls the model.
        settings: How to run it.
        taps: Names of graph nodes to keep readable after each step, for comparisons.

    Raises:
        ModelError: the vocabulary does not load.
        DoesNotFitError: there is not enough memory.
        UsageError: a setting this model does not allow, or no device of this name.
        ServerError: the server that lends the device does not answer.
    """

    def __init__(
        self,
        gguf: GgufFile,
        hparams: HParams,
        name: str,
        settings: EngineSettings,
        taps: frozenset[str] = frozenset(),
    ) -> None:
        settings = settings.limit_context(hparams.n_ctx_train)
        self._gguf, self._hparams, self._settings = gguf, hparams, settings
        self._keys: list[Key] = []
        self._widths: list[Widths] = []  # that each position was computed with
        self._n_kept = 0  # first positions that count whatever size computed them
        self._model = LoadedModel(gguf, hparams, settings, taps)
        self._cache, self._ple, self._plans = self._model.cache, self._model.ple, self._model.plans
        tokenizer = self._model.tokenizer
        self._info = ModelInfo(
            name=name,
            path=gguf.path,
            architecture=gguf.architecture,
            size=self._model.size.name,
            n_vocab=hparams.n_vocab,
            n_ctx_train=hparams.n_ctx_train,
            chat_template=tokenizer.chat_template,
            end_ids=tokenizer.end_ids,
            kernels=self._model.kernels,
            n_embd=hparams.n_embd,
        )

    @property
    def info(self) -> ModelInfo:
        """What is known of the model."""
        return replace(self._info, size=self._model.size.name)

    @property
    def sizes(self) -> tuple[SizeInfo, ...]:
        """The nested models on offer, the largest first."""
        return self._model.resolver.describe()

    @property
    def tokenizer(self) -> LlamaTokenizer:
        """The model's own tokenizer."""
        return self._model.tokenizer

    @property
    def n_ctx(self) -> int:
        """Positions the context holds."""
        return self._settings.n_ctx

    @property
    def n_past(self) -> int:
        """Positions computed and kept."""
        return self._cache.n_past

    @property
    def ple_counters(self) -> PleCounters:
        """What reading per-layer embeddings has cost."""
        return self._ple.counters

    @property
    def memory_ranges(self) -> dict[str, list[MemoryRange]]:
        """Where in this process's memory its parts lie, but for the mapped file."""
        return self._model.memory_ranges

    def close(self) -> None:
        """Free the model; closing twice is harmless."""
        self._model.close()

    # ----------------------------------------------------------------------------------- set aside

    def save_state(self, path: Path, beginning: Path | None = None) -> int:
        """Write what is computed to a file; see ``Engine.save_state``."""
        return write_state(path, self._identity, self._export(), beginning)

    def load_state(self, path: Path) -> int:
        """Take what a file holds as computed; see ``Engine.load_state``."""
        state = read_state(path, self._identity)
        n = len(state.keys)
        if n > self.n_ctx:
            raise StateError(f"{n:,} positions are saved, the context holds {self.n_ctx:,}")
        check_rows(state.rows, self._cache.describe_rows(n))
        self._import(state)
        return self.n_past

    def park(self) -> Parked:
        """A copy of what is computed; see ``Engine.park``."""
        return Parked(self._export(), self._cache.last_snapshot, self._cache.is_whole)

    def count_parked_bytes(self) -> int:
        """Memory of what ``park`` would make; see ``Engine.count_parked_bytes``."""
        return self._cache.count_bytes()

    def unpark(self, parked: Parked) -> None:
        """Take a copy as computed; see ``Engine.unpark``."""
        self._import(parked.state, parked.snapshot)

    def count_left(self, n_past: int) -> int:
        """How many positions ``trim(n_past)`` would leave."""
        return self._cache.count_left(n_past)

    def _export(self) -> State:
        rows = self._cache.export_rows()
        return State(tuple(self._keys), tuple(self._widths), self._n_kept, rows)

    def _import(self, state: State, snapshot: RingSnapshot | None = None) -> None:
        self._cache.import_rows(len(state.keys), state.rows, snapshot)
        self._keys, self._widths, self._n_kept = list(state.keys), list(state.widths), state.n_kept
        self.trim(self._count_computed_alike(state.n_kept))

    @property
    def state_identity(self) -> str:
        """What K/V depends on besides tokens; see ``Engine.state_identity``."""
        return f"{self._identity} {self._model.size.widths} {self._model.prefill_size.widths}"

    @functools.cached_property
    def _identity(self) -> str:
        return identify(self._gguf, self._settings, self._info.kernels)

    # ----------------------------------------------------------------------------------- computing

    def prefill(self, prompt: Prompt, on_progress: Progress | None = None) -> Logits:
        """Make ``prompt`` the content of the context; see ``Engine.prefill``."""
        check_length(prompt, self.n_ctx)
        self._model.load()  # nothing to do, unless a change of size was interrupted
        self.trim(min(self.count_computed(prompt), len(prompt) - 1))
        self._model.run(self._cache.save_snapshot)  # a device may never send it
        start, total = self.n_past, len(prompt) - self.n_past
        self._ple.prefetch(self._ple_rows(prompt.ple_ids[start:]))
        logits = np.empty((0, 0), np.float32)
        while self.n_past < len(prompt):
            if on_progress:
                on_progress(self.n_past - start, total)
            stop = self._find_chunk_end(prompt, self.n_past, self._settings.n_batch)
            widths = self._model.prefill_size.widths
            if stop == len(prompt) and widths != self._model.size.widths:
                # What the answer begins with is for the size that goes on with it.
                stop = max(stop - 1, self.n_past + 1)
                widths = widths if stop < len(prompt) else self._model.size.widths
            wanted = [stop - self.n_past - 1] if stop == len(prompt) else []
            logits = self.step(prompt.slice(self.n_past, stop), wanted, widths)
        if on_progress:
            on_progress(total, total)
        return np.ravel(logits)

    def decode(self, token: int) -> Logits:
        """Append one token and return its logits; see ``Engine.decode``."""
        return np.ravel(self.extend([token]))

    @property
    def n_speculate(self) -> int:
        """Most guessed tokens beside one that is certain; see ``Engine.n_speculate``."""
        return min(self._settings.speculate, self._settings.n_batch - 1)

    def extend(self, tokens: Sequence[int]) -> ManyLogits:
        """Append tokens and return the logits of each; see ``Engine.extend``."""
        if self.n_past + len(tokens) > self.n_ctx:
            raise InputError(f"the context of {self.n_ctx} positions is full")
        return self.step(Prompt.of_ids(tokens), range(len(tokens)))

    def compute_all_logits(self, prompt: Prompt) -> ManyLogits:
        """Logits ``[n, n_vocab]`` of every position of ``prompt``, computed afresh."""
        check_length(prompt, self.n_ctx)
        self.trim(0)
        logits = np.empty((len(prompt), self._hparams.n_vocab), np.float32)
        most = max(1, min(self._settings.n_batch, _LOGITS_BYTES // logits.strides[0]))
        while (start := self.n_past) < len(prompt):
            stop = self._find_chunk_end(prompt, start, most)
            logits[start:stop] = self.step(prompt.slice(start, stop), range(stop - start))
        return logits

    def step(
        self, chunk: Prompt, wanted: Sequence[int], widths: Widths | None = None
    ) -> ManyLogits:
        """Append the positions of ``chunk`` and return the logits of those asked for.

        Args:
            chunk: 1 to ``n_batch`` positions, all by id or all by row.
            wanted: Increasing indices into ``chunk``.
            widths: Of the nested model that computes; the current one's if not given.

        Returns:
            ``[len(wanted), n_vocab]`` float32.
        """
        n, padded = len(chunk), self._pad(chunk)
        widths = widths or self._model.size.widths
        shape = self._shape_of(padded, len(wanted), widths)
        inputs = self._inputs_of(padded, wanted, shape)
        logits = self._model.run(lambda: self._plans.replay(shape, inputs))
        self._cache.commit(n)
        self._keys.extend(chunk.keys)
        self._widths.extend([widths] * n)
        return logits

    def trim(self, n_past: int) -> None:
        """Keep at most the first ``n_past`` positions; fewer where rings have lost their window."""
        n_past = self._cache.trim(n_past)
        del self._keys[n_past:], self._widths[n_past:]
        self._n_kept = min(self._n_kept, n_past)

    # --------------------------------------------------------------------------------------- sizes

    def resize(
        self, name: str, *, recompute: bool = False, on_progress: Progress | None = None
    ) -> None:
        """Go on as another of the nested models; see ``Engine.resize``."""
        self._model.resize(name, on_progress)
        self.trim(0 if recompute else self._count_with_kv(self._model.size.widths))
        self._n_kept = self.n_past

    def _count_with_kv(self, widths: Widths) -> int:
        """First positions that have K/V in all layers that ``widths`` uses."""
        owners = [layer for layer in range(self._hparams.n_layer_kv) if widths[layer]]
        for position, computed in enumerate(self._widths):
            if not all(computed[layer] for layer in owners):
                return position
        return len(self._widths)

    def count_computed(self, prompt: Prompt) -> int:
        """First positions of ``prompt`` that are there already; see ``Engine.count_computed``.

        Those from before a change of size count too while the prompt continues them all.
        """
        common = count_common(self._keys, prompt.keys)
        if common >= self._n_kept:
            return common
        return min(common, self._count_computed_alike())

    def _count_computed_alike(self, start: int = 0) -> int:
        """First positions that the sizes in use have computed; from ``start`` on, at least."""
        valid = (self._model.size.widths, self._model.prefill_size.widths)
        widths = self._widths[start:]
        return next((i for i, used in enumerate(widths, start) if used not in valid), self.n_past)

    # -------------------------------------------------------------------------------------- inputs

    def _pad(self, chunk: Prompt) -> Prompt:
        """``chunk``, filled up to a multiple of ``STEP_MULTIPLE`` where there is room.

        Nothing sees the K/V of a filler: the position's real token overwrites it first.
        """
        room = self.n_ctx - self.n_past - len(chunk)
        n_fill = min(-len(chunk) % STEP_MULTIPLE, room)
        if len(chunk) == 1 or n_fill == 0 or chunk.rows is not None:
            return chunk
        filler = np.zeros(n_fill, np.int32)
        ids, ple_ids = (np.concatenate([a, filler]) for a in (chunk.ids, chunk.ple_ids))
        return Prompt((*chunk.keys, *filler.tolist()), ids, ple_ids)

    def _shape_of(self, chunk: Prompt, n_out: int, widths: Widths) -> StepShape:
        end = self.n_past + len(chunk)
        n_kv = min(self.n_ctx, -(-end // _BUCKET) * _BUCKET)
        has_rows = bool(chunk.ids[0] == NO_TOKEN)
        n_ring = min(n_kv, self._cache.n_ring)
        return StepShape(len(chunk), n_kv, n_ring, n_out, widths, has_rows)

    def _inputs_of(self, chunk: Prompt, wanted: Sequence[int], shape: StepShape) -> Inputs:
        n, out = len(chunk), np.asarray(wanted, np.int32)
        positions = np.arange(self.n_past, self.n_past + n, dtype=np.int32)
        full_mask = self._cache.full_mask(n, shape.n_kv)
        ring_mask = self._cache.ring_mask(n, shape.n_ring)
        inputs: dict[str, npt.NDArray[Any]] = {
            "identity": np.eye(self._hparams.n_altup, dtype=np.float32),
            "ids": chunk.ids,
            "ple": self._ple.read(self._ple_rows(chunk.ple_ids)),
            "ple_order": np.arange(n, dtype=np.int32),
            "positions": positions,
            "full_rows": positions.astype(np.int64),
            "ring_rows": self._cache.reserve(n),
            "full_mask": full_mask,
            "ring_mask": ring_mask,
            "out": out,
            "out_positions": positions[out],
            "out_full_mask": full_mask[out],
            "out_ring_mask": ring_mask[out],
        }
        if chunk.rows is not None:
            inputs["rows"] = chunk.rows
        return inputs

    def _ple_rows(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        limit = min(N_TEXT_TOKENS, self._ple.n_rows)
        return np.where((ids >= 0) & (ids < limit), ids, 0).astype(np.int32)

    def _find_chunk_end(self, prompt: Prompt, start: int, most: int) -> int:
        """End of the longest chunk from ``start`` that is all ids or all rows."""
        is_row = prompt.ids[start : start + most] == NO_TOKEN
        return start + int(np.argmin(is_row == is_row[0]) or len(is_row))
