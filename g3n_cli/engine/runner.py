"""Running a Gemma 3n model: steps, prefill with prefix reuse, decode."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.config import EngineSettings, Widths
from g3n_cli.engine.api import Logits, ModelInfo, Progress, SizeInfo
from g3n_cli.engine.gemma3n import Gemma3n, StepShape
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.kv_cache import STEP_MULTIPLE, KvCache, RingSnapshot
from g3n_cli.engine.matformer import SizeResolver, find_width_multiple
from g3n_cli.engine.offload import open_offload
from g3n_cli.engine.parked import Parked
from g3n_cli.engine.plan import CpuExecutor, Inputs, Plans
from g3n_cli.engine.ple import PleCounters, PleTable
from g3n_cli.engine.products import check_activations
from g3n_cli.engine.prompt import NO_TOKEN, Key, Prompt, check_length, count_common
from g3n_cli.engine.snapshot import (
    State,
    StateError,
    check_rows,
    identify,
    read_state,
    write_state,
)
from g3n_cli.engine.summary import PLE_TENSOR, find_unused
from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.engine.validate import N_TEXT_TOKENS, check_tokenizer
from g3n_cli.engine.weights import Weights
from g3n_cli.engine.worker import Worker
from g3n_cli.errors import InputError, ModelError
from g3n_cli.ggml.backend import Aborted, CpuBackend
from g3n_cli.ggml.device_backend import Scheduler
from g3n_cli.ggml.handles import MemoryRange, trim_heap
from g3n_cli.kernels.library import load_kernels

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
        kernels = load_kernels(settings.kernels) if settings.repack else None
        check_activations(gguf, hparams, kernels, settings.act)
        self._gguf, self._hparams, self._settings = gguf, hparams, settings
        self._keys: list[Key] = []
        self._widths: list[Widths] = []  # that each position was computed with
        self._n_kept = 0  # first positions that count whatever size computed them
        with ExitStack() as stack, closing(Worker(lambda: None)) as reader:
            # The vocabulary takes as long as the weights; C code does both, so they overlap.
            vocabulary = reader.start(functools.partial(_load_vocabulary, gguf))
            backend = CpuBackend(settings.n_threads)
            stack.callback(backend.close)
            worker = Worker(backend.abort.set)
            stack.callback(worker.close)
            self._backend, self._worker = backend, worker
            offload = open_offload(gguf, hparams, settings)
            if offload:
                stack.callback(offload.close)
            weights = Weights(
                gguf,
                gguf.tensors.keys() - find_unused(gguf, hparams) - {PLE_TENSOR},
                hparams,
                settings,
                kernels,
                offload,
            )
            stack.callback(weights.close)
            self._weights = weights
            multiple = find_width_multiple(gguf, repack=settings.repack)
            resolver = SizeResolver(gguf, hparams, settings.named_sizes, multiple)
            self._size = resolver.resolve(settings.size)
            self._prefill_size = resolver.resolve(settings.prefill_size or settings.size)
            self._load_weights()
            cache = KvCache(hparams, settings.n_ctx, settings.n_batch, settings.kv, offload)
            stack.callback(cache.close)
            ple = PleTable(gguf.path, gguf.tensors[PLE_TENSOR], settings.ple)
            stack.callback(ple.close)
            is_skipping = settings.prefill == "skip"
            model = Gemma3n(hparams, weights, cache, ple.type, is_skipping, settings.act)
            executor = (
                Scheduler(offload.device, backend, model.n_nodes)
                if offload
                else CpuExecutor(backend)
            )
            plans = Plans(executor, lambda shape: model.build(shape, taps))
            stack.callback(plans.close)
            tokenizer = vocabulary.result()
            stack.callback(tokenizer.close)
            if tokenizer.n_vocab != hparams.n_vocab:
                raise ModelError(
                    f"{gguf.path}: llama.cpp reads {tokenizer.n_vocab} tokens where the file"
                    f" lists {hparams.n_vocab}"
                )
            self._owned = stack.pop_all()
        trim_heap()  # reading the vocabulary leaves 10 MB behind
        self._cache, self._ple, self._plans = cache, ple, plans
        self._tokenizer, self._resolver = tokenizer, resolver
        self._info = ModelInfo(
            name=name,
            path=gguf.path,
            architecture=gguf.architecture,
            size=self._size.name,
            n_vocab=hparams.n_vocab,
            n_ctx_train=hparams.n_ctx_train,
            chat_template=tokenizer.chat_template,
            end_ids=tokenizer.end_ids,
            kernels=kernels.variant if kernels else "ggml",
            n_embd=hparams.n_embd,
        )

    @property
    def info(self) -> ModelInfo:
        """What is known of the model."""
        return replace(self._info, size=self._size.name)

    @property
    def sizes(self) -> tuple[SizeInfo, ...]:
        """The nested models on offer, the largest first."""
        return self._resolver.describe()

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
        return self._cache.n_past

    @property
    def ple_counters(self) -> PleCounters:
        """What reading per-layer embeddings has cost."""
        return self._ple.counters

    @property
    def memory_ranges(self) -> dict[str, list[MemoryRange]]:
        """Where in this process's memory its parts lie, but for the mapped file."""
        return {
            "weights": self._weights.memory_ranges,
            "kv": self._cache.memory_ranges,
            "compute": self._plans.memory_ranges,
            "ple": self._ple.memory_ranges,
        }

    def close(self) -> None:
        """Free the model; closing twice is harmless."""
        self._owned.close()

    # ----------------------------------------------------------------------------------- set aside

    def save_state(self, path: Path) -> int:
        """Write what is computed to a file; see ``Engine.save_state``."""
        return write_state(path, self._identity, self._export())

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
        return f"{self._identity} {self._size.widths} {self._prefill_size.widths}"

    @functools.cached_property
    def _identity(self) -> str:
        return identify(self._gguf, self._settings, self._info.kernels)

    # ----------------------------------------------------------------------------------- computing

    def prefill(self, prompt: Prompt, on_progress: Progress | None = None) -> Logits:
        """Make ``prompt`` the content of the context; see ``Engine.prefill``."""
        check_length(prompt, self.n_ctx)
        self._load_weights()  # nothing to do, unless a change of size was interrupted
        self.trim(min(self.count_computed(prompt), len(prompt) - 1))
        self._cache.save_snapshot()
        start, total = self.n_past, len(prompt) - self.n_past
        self._ple.prefetch(self._ple_rows(prompt.ple_ids[start:]))
        logits = np.empty((0, 0), np.float32)
        while self.n_past < len(prompt):
            if on_progress:
                on_progress(self.n_past - start, total)
            stop = self._find_chunk_end(prompt, self.n_past, self._settings.n_batch)
            widths = self._prefill_size.widths
            if stop == len(prompt) and widths != self._size.widths:
                # What the answer begins with is for the size that goes on with it.
                stop = max(stop - 1, self.n_past + 1)
                widths = widths if stop < len(prompt) else self._size.widths
            wanted = [stop - self.n_past - 1] if stop == len(prompt) else []
            logits = self.step(prompt.slice(self.n_past, stop), wanted, widths)
        if on_progress:
            on_progress(total, total)
        return np.ravel(logits)

    def decode(self, token: int) -> Logits:
        """Append one token and return its logits; see ``Engine.decode``."""
        if self.n_past >= self.n_ctx:
            raise InputError(f"the context of {self.n_ctx} positions is full")
        return np.ravel(self.step(Prompt.of_ids([token]), [0]))

    def compute_all_logits(self, prompt: Prompt) -> npt.NDArray[np.float32]:
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
    ) -> npt.NDArray[np.float32]:
        """Append the positions of ``chunk`` and return the logits of those asked for.

        Args:
            chunk: 1 to ``n_batch`` positions, all by id or all by row.
            wanted: Increasing indices into ``chunk``.
            widths: Of the nested model that computes; the current one's if not given.

        Returns:
            ``[len(wanted), n_vocab]`` float32.
        """
        n, padded = len(chunk), self._pad(chunk)
        widths = widths or self._size.widths
        shape = self._shape_of(padded, len(wanted), widths)
        inputs = self._inputs_of(padded, wanted, shape)
        self._backend.abort.clear()
        logits = self._worker.run(lambda: self._plans.replay(shape, inputs))
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
        before = self._size, self._prefill_size
        size = self._resolver.resolve(name)
        is_one = before[0].widths == before[1].widths
        self._size, self._prefill_size = size, size if is_one else before[1]
        try:
            self._load_weights(on_progress)
        except BaseException:
            self._size, self._prefill_size = before  # whose weights the next prefill completes
            raise
        self.trim(0 if recompute else self._count_with_kv(size.widths))
        self._n_kept = self.n_past

    def _load_weights(self, on_progress: Progress | None = None) -> None:
        """Have in memory what the sizes use; an interrupt ends that after the parts under way."""

        def go_on(done: int, total: int) -> None:
            if self._backend.abort.is_set():
                raise Aborted
            if on_progress:
                on_progress(done, total)

        self._backend.abort.clear()
        self._worker.run(lambda: self._weights.resize(self._used_widths(), go_on))

    def _used_widths(self) -> Widths:
        """What must be in memory for both sizes."""
        return tuple(map(max, zip(self._size.widths, self._prefill_size.widths, strict=True)))

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
        valid = (self._size.widths, self._prefill_size.widths)
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


def _load_vocabulary(gguf: GgufFile) -> LlamaTokenizer:
    check_tokenizer(gguf)
    return LlamaTokenizer.open(gguf.path)
