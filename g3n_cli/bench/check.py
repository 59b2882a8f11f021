"""What would fail after minutes of measuring is refused before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from g3n_cli.bench.case import BenchModel, Case
from g3n_cli.config import AUTO, EngineSettings
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.engine.fit import check_fits
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import ARCHITECTURE, HParams
from g3n_cli.engine.kv_cache import check_kv_type
from g3n_cli.engine.matformer import SizeResolver, find_width_multiple
from g3n_cli.engine.products import check_activations
from g3n_cli.engine.summary import summarize
from g3n_cli.engine.validate import check_tokenizer, open_model
from g3n_cli.errors import InputError, UsageError
from g3n_cli.kernels.library import load_kernels

_ANYWHERE = frozenset({"n_ctx", "n_batch", "n_threads", "kv", "repack", "device", "gpu_layers"})
"""Settings that mean something to every model; the others are Gemma 3n's."""

_MOST_THREADS = 512  # GGML_MAX_N_THREADS


def check_cases(cases: Sequence[Case]) -> None:
    """Refuse cases that cannot run.

    Raises:
        ModelError: a file is missing, broken or of a kind that cannot be run.
        UsageError: a setting that a model does not allow.
        InputError: a model without an encoder for a medium.
        DoesNotFitError: there is not enough memory.
    """
    local = [case for case in cases if not case.is_remote]
    models = {case.model: [c for c in local if c.model == case.model] for case in local}
    for model, found in models.items():
        gguf = open_model(found[0].path)
        check_tokenizer(gguf)
        for case in found:
            _check_threads(case)
            _check_medium(gguf, case)
        if gguf.architecture == ARCHITECTURE:
            _check_gemma3n(gguf, found)
        else:
            _check_other(gguf, model, found)


def _check_medium(gguf: GgufFile, case: Case) -> None:
    if case.medium is None:
        return
    if gguf.architecture != ARCHITECTURE:
        raise InputError(f"{case.model.name} reads text only")
    Projector(case.model.mmproj, case.settings.n_threads).check(*case.medium.kinds)


def _check_threads(case: Case) -> None:
    if case.settings.n_threads > _MOST_THREADS:
        raise UsageError(f"--threads {case.settings.n_threads} is more than {_MOST_THREADS}")


def _check_gemma3n(gguf: GgufFile, cases: Iterable[Case]) -> None:
    hparams = HParams.from_gguf(gguf)
    for case in cases:
        settings = case.settings
        _check_context(case, hparams.n_ctx_train)
        if AUTO in (settings.size, settings.prefill_size):
            raise UsageError("--size auto changes with the free memory", "name a size")
        multiple = find_width_multiple(gguf, repack=settings.repack)
        resolver = SizeResolver(gguf, hparams, settings.named_sizes, multiple)
        for size in (settings.size, settings.prefill_size):
            if size is not None:
                resolver.resolve(size)
        kernels = load_kernels(settings.kernels)
        check_activations(gguf, hparams, kernels if settings.repack else None, settings.act)
        check_kv_type(hparams, settings.kv)
        check_fits(gguf, settings, case.model.name)


def _check_other(gguf: GgufFile, model: BenchModel, cases: Iterable[Case]) -> None:
    n_ctx_train = gguf.metadata.get(f"{gguf.architecture}.context_length")
    summary, usual = summarize(gguf), EngineSettings()
    for case in cases:
        check_fits(gguf, case.settings, model.name)
        if isinstance(n_ctx_train, int):
            _check_context(case, n_ctx_train)
        for field in fields(usual):
            if field.name in _ANYWHERE or field.name == "named_sizes":
                continue
            if getattr(case.settings, field.name) != getattr(usual, field.name):
                flag = field.name.replace("_", "-")
                hint = f"leave it out, or measure {model.name} in a run of its own"
                raise UsageError(f"--{flag} means nothing to {model.name}, no Gemma 3n", hint)
        width = gguf.metadata.get(f"{gguf.architecture}.attention.key_length")
        if not isinstance(width, int) and summary.n_embd and summary.n_head:
            width = summary.n_embd // max(summary.n_head)
        if case.settings.kv.startswith("q") and isinstance(width, int) and width % 32:
            raise UsageError(f"--kv {case.settings.kv} needs heads of a multiple of 32 values")


def _check_context(case: Case, n_ctx_train: int) -> None:
    if case.settings.n_ctx > n_ctx_train:
        raise UsageError(
            f"{case.label} takes {case.settings.n_ctx:,} tokens, {case.model.name} was made for"
            f" {n_ctx_train:,}",
            "lower -p, -n or -d",
        )
