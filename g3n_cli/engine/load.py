"""A Gemma 3n in memory: loading it, and what its sizes use of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import TypeVar

from g3n_cli.config import EngineSettings, Widths
from g3n_cli.engine.api import Progress
from g3n_cli.engine.gemma3n import Gemma3n
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.kv_cache import KvCache
from g3n_cli.engine.matformer import SizeResolver, find_width_multiple
from g3n_cli.engine.offload import make_leave, open_offload
from g3n_cli.engine.plan import CpuExecutor, Plans
from g3n_cli.engine.ple import PleTable
from g3n_cli.engine.products import check_activations
from g3n_cli.engine.tensors import PLE_TENSOR, find_unused
from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.engine.validate import check_tokenizer
from g3n_cli.engine.weights import Weights
from g3n_cli.engine.worker import Worker
from g3n_cli.errors import ModelError
from g3n_cli.ggml.backend import Aborted, CpuBackend
from g3n_cli.ggml.device_backend import Scheduler
from g3n_cli.ggml.handles import MemoryRange, trim_heap
from g3n_cli.kernels.library import load_kernels

T = TypeVar("T")


class LoadedModel:
    """All that computes a Gemma 3n, opened and closed together.

    Args:
        gguf: The validated file.
        hparams: Read from it.
        settings: How to run it, its context no longer than the model was trained for.
        taps: Names of graph nodes to keep readable after each step, for comparisons.

    Attributes:
        kernels: What multiplies: the variant of g3n's own, or ``ggml``.
        backend: Of the CPU.
        weights: In memory, as far as the two sizes use them.
        resolver: Of the sizes that there are.
        size: The nested model that answers.
        prefill_size: The one that reads prompts.
        cache: K/V.
        ple: The per-layer embeddings.
        plans: The graphs.
        tokenizer: The model's own.

    Raises:
        ModelError: the vocabulary does not load.
        DoesNotFitError: there is not enough memory.
        UsageError: a setting this model does not allow, or no device of this name.
        ServerError: the server that lends the device does not answer.
    """

    def __init__(
        self, gguf: GgufFile, hparams: HParams, settings: EngineSettings, taps: frozenset[str]
    ) -> None:
        kernels = load_kernels(settings.kernels) if settings.repack else None
        check_activations(gguf, hparams, kernels, settings.act)
        with ExitStack() as stack, closing(Worker(lambda: None)) as reader:
            # The vocabulary takes as long as the weights; C code does both, so they overlap.
            vocabulary = reader.start(functools.partial(_load_vocabulary, gguf))
            backend = CpuBackend(settings.n_threads)
            stack.callback(backend.close)
            worker = Worker(backend.abort.set, make_leave(settings))
            stack.callback(worker.close)
            self.backend, self._worker = backend, worker
            offload = open_offload(gguf, hparams, settings)
            if offload:
                stack.callback(offload.close)
            is_here = offload is None or offload.n_layer < hparams.n_layer
            self.kernels = kernels.variant if kernels and is_here else "ggml"
            weights = Weights(
                gguf,
                gguf.tensors.keys() - find_unused(gguf, hparams) - {PLE_TENSOR},
                hparams,
                settings,
                kernels,
                offload,
            )
            stack.callback(weights.close)
            self.weights = weights
            multiple = find_width_multiple(gguf, repack=settings.repack)
            self.resolver = SizeResolver(gguf, hparams, settings.named_sizes, multiple)
            self.size = self.resolver.resolve(settings.size)
            self.prefill_size = self.resolver.resolve(settings.prefill_size or settings.size)
            self.load()
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
        self.cache, self.ple, self.plans, self.tokenizer = cache, ple, plans, tokenizer

    @property
    def memory_ranges(self) -> dict[str, list[MemoryRange]]:
        """Where in this process's memory its parts lie, but for the mapped file."""
        return {
            "weights": self.weights.memory_ranges,
            "kv": self.cache.memory_ranges,
            "compute": self.plans.memory_ranges,
            "ple": self.ple.memory_ranges,
        }

    def run(self, fn: Callable[[], T]) -> T:
        """Run ``fn`` on the thread that computes and return what it returns; see ``Worker.run``."""
        self.backend.abort.clear()
        return self._worker.run(fn)

    def load(self, on_progress: Progress | None = None) -> None:
        """Have in memory what the sizes use; an interrupt ends that after the parts under way."""

        def go_on(done: int, total: int) -> None:
            if self.backend.abort.is_set():
                raise Aborted
            if on_progress:
                on_progress(done, total)

        self.run(lambda: self.weights.resize(self._used_widths(), go_on))

    def resize(self, name: str, on_progress: Progress | None = None) -> None:
        """Answer as another size, and read prompts as it too if both were one.

        An interrupt leaves the sizes as they were; the next ``load`` completes their weights.

        Raises:
            UsageError: there is no such size.
        """
        before = self.size, self.prefill_size
        size = self.resolver.resolve(name)
        is_one = before[0].widths == before[1].widths
        self.size, self.prefill_size = size, size if is_one else before[1]
        try:
            self.load(on_progress)
        except BaseException:
            self.size, self.prefill_size = before
            raise

    def close(self) -> None:
        """Free the model; closing twice is harmless."""
        self._owned.close()

    def _used_widths(self) -> Widths:
        """What must be in memory for both sizes."""
        return tuple(map(max, zip(self.size.widths, self.prefill_size.widths, strict=True)))


def _load_vocabulary(gguf: GgufFile) -> LlamaTokenizer:
    check_tokenizer(gguf)
    return LlamaTokenizer.open(gguf.path)
