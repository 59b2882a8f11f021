"""One repetition of one case in a process of its own.

``runner.py`` starts it, writes the job to its standard input as JSON, and reads one JSON object a
line: ``{"phase": ...}`` as it goes on, and at last ``{"sample": ...}`` or ``{"error": ...}``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from g3n_cli.bench import memory
from g3n_cli.bench.case import Case
from g3n_cli.bench.media import LoadedMedium, load_medium
from g3n_cli.bench.sample import Sample
from g3n_cli.bench.tokens import Source
from g3n_cli.bench.watch import Watch
from g3n_cli.chat.media import MediaStore
from g3n_cli.engine.api import Engine
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.runner import Gemma3nEngine
from g3n_cli.errors import DoesNotFitError, G3nError
from g3n_cli.ggml.libc import die_with
from g3n_cli.registry.models import read_sizes

_N_WARM_STEPS = 2
_OTHER = 1_000_000
"""Added to a seed: tokens that no repetition measures."""


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        case: What to measure.
        source: Of the tokens.
        seed: Of the tokens; the number of the repetition.
        is_cold: Nothing is computed before what is measured.
    """

    case: Case
    source: Source
    seed: int
    is_cold: bool = False

    def to_json(self) -> str:
        """One line that ``from_json`` reads."""
        values = {"case": self.case.to_json(), "source": dataclasses.asdict(self.source)}
        return json.dumps({**values, "seed": self.seed, "is_cold": self.is_cold})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that ``to_json`` wrote."""
        values = json.loads(text)
        case = Case.from_json(values["case"], read_sizes())
        return cls(case, Source(**values["source"]), values["seed"], values["is_cold"])


def measure(job: Job, on_phase: Callable[[str], None]) -> Sample:
    """Open the model, compute, close it.

    Args:
        job: What to do.
        on_phase: Told what begins.
    """
    case = job.case
    python_bytes = memory.read_anonymous_bytes()
    on_phase("loading")
    started = time.perf_counter()
    engine = open_engine(case.path, case.model.name, case.settings)
    try:
        load_s = time.perf_counter() - started
        peak_load_rss_bytes = memory.read_peak_rss_bytes()
        with contextlib.suppress(OSError):  # not allowed everywhere: then it counts from the start
            memory.forget_peak()
        ids = _make_ids(engine, job, job.seed)
        if not job.is_cold:
            on_phase("warming up")
            other = _make_ids(engine, job, job.seed + _OTHER)
            # A common beginning would be reused.
            _warm_up(engine, case, _begin_without(ids[0], other))
        if case.n_before:
            on_phase("reading what is there before")
            engine.prefill(Prompt.of_ids(ids[: case.n_before]))
        medium = _Medium(engine, job)
        on_phase("measuring")
        timed = _time_tokens(engine, case, ids, medium)
        peak_run_rss_bytes = memory.read_peak_rss_bytes()
        ranges = engine.memory_ranges if isinstance(engine, Gemma3nEngine) else {}
        ledger = memory.read_ledger(ranges, case.path, python_bytes)
        return Sample(
            load_s=load_s,
            peak_load_rss_bytes=peak_load_rss_bytes,
            # The kernel counts the peak in steps of some pages, the ledger each page.
            peak_run_rss_bytes=max(peak_run_rss_bytes, ledger.rss_bytes),
            ledger=ledger,
            **timed,
        )
    finally:
        engine.close()


class _Medium:
    """What the prompt begins with, read from its file but not encoded."""

    def __init__(self, engine: Engine, job: Job) -> None:
        medium, settings = job.case.medium, job.case.settings
        self._loaded = LoadedMedium((), None) if medium is None else load_medium(medium, job.seed)
        # No rows are kept on disk: the next repetition would find them.
        projector = Projector(job.case.model.mmproj, settings.n_threads)
        self._store = MediaStore(engine.info, projector.open)
        self._encode_s = 0.0

    def build_prompt(self, before: Sequence[int], ids: Sequence[int]) -> Prompt:
        """Encode it, and put it between the tokens."""
        parts = self._loaded.parts
        self._encode_s = self._store.encode(parts)
        return self._store.build_prompt([tuple(before), *parts, tuple(ids)])

    @property
    def sample(self) -> dict[str, Any]:
        """The fields of a ``Sample`` about it, once it is encoded."""
        loaded = self._loaded
        if not loaded.parts:
            return {}
        return {
            "read_s": loaded.read_s,
            "encode_s": self._encode_s,
            "media_tokens": sum(map(self._store.count, loaded.parts)),
            "sound_s": loaded.sound_s,
        }


def _make_ids(engine: Engine, job: Job, seed: int) -> list[int]:
    n = job.case.settings.n_ctx
    return job.source.make_ids(engine.tokenizer, engine.info.n_vocab, n, seed)


def _begin_without(first: int, ids: Sequence[int]) -> list[int]:
    """The same tokens, another one than ``first`` in front if there is any."""
    at = next((at for at, token in enumerate(ids) if token != first), 0)
    return [ids[at], *ids[:at], *ids[at + 1 :]]


def _warm_up(engine: Engine, case: Case, ids: Sequence[int]) -> None:
    """Have made what is made once: buffers, plans of prompts and of single tokens."""
    n_medium = case.medium.n_positions if case.medium else 0
    n_prompt = min(case.settings.n_batch, max(1, n_medium + case.n_prompt))
    engine.prefill(Prompt.of_ids(ids[:n_prompt]))
    for token in ids[:_N_WARM_STEPS]:
        if engine.n_past < engine.n_ctx:
            engine.decode(token)


def _time_tokens(engine: Engine, case: Case, ids: Sequence[int], medium: _Medium) -> dict[str, Any]:
    """The fields of a ``Sample`` that come from computing the prompt and what follows."""
    n_before, n_prompt = case.n_before, case.n_before + case.n_prompt
    ttft_s = prefill_s = None
    gaps_s: list[float] = []
    watch, before = Watch(), memory.read_counters()
    if case.has_prompt:
        start = time.perf_counter()
        prompt = medium.build_prompt(ids[:n_before], ids[n_before:n_prompt])
        begun = time.perf_counter()
        logits = engine.prefill(prompt)
        prefill_s = time.perf_counter() - begun
        logits.argmax()
        ttft_s = time.perf_counter() - start
    between = memory.read_counters()
    for token in ids[n_prompt : n_prompt + case.n_gen]:
        start = time.perf_counter()
        engine.decode(token).argmax()
        gaps_s.append(time.perf_counter() - start)
    after, surroundings = memory.read_counters(), watch.stop()
    return {
        "ttft_s": ttft_s,
        "prefill_s": prefill_s,
        "gaps_s": tuple(gaps_s),
        "prefill": between.since(before),
        "decode": after.since(between),
        **medium.sample,
        **dataclasses.asdict(surroundings),
    }


def main() -> int:
    """Do the job on standard input; the exit code of the process.

    Its argument is the id of the process that wants the sample, with which this one ends.
    """
    die_with(int(sys.argv[1]))
    job = Job.from_json(sys.stdin.read())
    # C libraries may write to standard output: what they write goes to standard error.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def tell(**message: Any) -> None:  # noqa: ANN401  anything that JSON has
        channel.write(json.dumps(message) + "\n")

    try:
        tell(sample=dataclasses.asdict(measure(job, lambda phase: tell(phase=phase))))
    except (G3nError, MemoryError) as error:
        known = error if isinstance(error, G3nError) else DoesNotFitError("not enough memory")
        tell(error=[known.exit_code, known.message, known.hint])
        return known.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
