"""Run the cases of a sweep in turn: here in processes of their own, or on servers."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from g3n_cli.bench.advice import find_noise
from g3n_cli.bench.case import Case
from g3n_cli.bench.memory import read_rss_bytes
from g3n_cli.bench.page_cache import chill, warm
from g3n_cli.bench.remote import find_remote_faults, measure_remote
from g3n_cli.bench.result import CaseResult
from g3n_cli.bench.sample import Sample
from g3n_cli.bench.tokens import Source
from g3n_cli.bench.worker import Job
from g3n_cli.errors import DoesNotFitError, G3nError, InputError, ModelError, UsageError

TICK_S = 0.5
MOST_TRACE = 200
_CHARACTERS = 32
"""Of text for each token: enough for two prompts. A process that had read all of a long text would
take megabytes more while it runs, as glibc then keeps larger blocks on its heap."""

_ERRORS: tuple[type[G3nError], ...] = (UsageError, ModelError, InputError, DoesNotFitError)


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        cases: Each is repeated.
        repetitions: How often.
        source: Of the tokens.
        is_cold: Drop the model's files from the page cache before each repetition.
    """

    cases: tuple[Case, ...]
    repetitions: int
    source: Source
    is_cold: bool = False

    def order(self) -> Iterator[tuple[int, Job]]:
        """Index of the case and job, in the order of running: there and back again."""
        indices = range(len(self.cases))
        for seed in range(self.repetitions):
            for index in indices if seed % 2 == 0 else reversed(indices):
                case = self.cases[index]
                source = self.source.cut(_CHARACTERS * case.settings.n_ctx, seed)
                yield index, Job(case, source, seed, self.is_cold)


@dataclass(frozen=True)
class Status:
    """Where a run is.

    Attributes:
        case: The one that runs.
        repetition: Its number, from 1.
        phase: What it does.
        n_done: Repetitions of all cases that are done.
        n_total: Those there will be.
        left_s: Seconds left as far as can be told; None before the first repetition has ended.
    """

    case: Case
    repetition: int
    phase: str
    n_done: int
    n_total: int
    left_s: float | None


OnPhase = Callable[[str], None]
Measure = Callable[[Job, OnPhase], Sample]


class Runner:
    """One run.

    Args:
        plan: What to do.
        on_sample: Called after each repetition; ``results`` has it.
        on_status: Called several times a second.
        measure: Runs a job.
    """

    def __init__(
        self,
        plan: Plan,
        on_sample: Callable[[], None],
        on_status: Callable[[Status], None],
        measure: Measure | None = None,
    ) -> None:
        self._plan = plan
        self._on_sample, self._on_status = on_sample, on_status
        self._measure = measure or run_job
        self._samples: list[list[Sample]] = [[] for _ in plan.cases]
        self._seconds: list[list[float]] = [[] for _ in plan.cases]

    @property
    def results(self) -> tuple[CaseResult, ...]:
        """Cases that have run at least once, in the order of the sweep."""
        return tuple(
            CaseResult.of(case, samples, tuple(_find_warnings(case, samples)))
            for case, samples in zip(self._plan.cases, self._samples, strict=True)
            if samples
        )

    def run(self) -> None:
        """Run everything; what is measured when this is interrupted stays in ``results``.

        Raises:
            G3nError: a case failed.
        """
        n_total = len(self._plan.cases) * self._plan.repetitions
        for n_done, (index, job) in enumerate(self._plan.order()):
            started = time.monotonic()
            status = Status(job.case, job.seed + 1, "starting", n_done, n_total, None)

            def tell(phase: str, status: Status = status, started: float = started) -> None:
                left_s = self._estimate_left(time.monotonic() - started)
                self._on_status(replace(status, phase=phase, left_s=left_s))

            tell("starting")
            if not job.case.is_remote:
                for path in job.case.files:
                    (chill if job.is_cold else warm)(path)
            self._samples[index].append(self._measure(job, tell))
            self._seconds[index].append(time.monotonic() - started)
            self._on_sample()

    def _estimate_left(self, elapsed: float) -> float | None:
        """Seconds, the running repetition being ``elapsed`` old; new cases count as average."""
        known = [sum(each) / len(each) for each in self._seconds if each]
        if not known:
            return None
        usual = sum(known) / len(known)
        left = sum(
            (self._plan.repetitions - len(each)) * (sum(each) / len(each) if each else usual)
            for each in self._seconds
        )
        return max(0.0, left - elapsed)


def _find_warnings(case: Case, samples: Sequence[Sample]) -> Iterator[str]:
    yield from find_noise(samples, case.settings.n_threads, len(os.sched_getaffinity(0)))
    if case.is_remote:
        yield from find_remote_faults(case, samples)


def run_job(job: Job, on_phase: OnPhase) -> Sample:
    """The sample of a job, from a process of its own or from a server.

    Raises:
        G3nError: it cannot be measured.
    """
    if not job.case.is_remote:
        return run_process(job, on_phase)
    return measure_remote(job.case, job.source, job.seed, on_phase)


def run_process(job: Job, on_phase: OnPhase) -> Sample:
    """The sample of a job, run by ``worker.py``.

    Raises:
        G3nError: what the worker says, or how it died.
    """
    command = [sys.executable, "-P", "-m", "g3n_cli.bench.worker", str(os.getpid())]
    with tempfile.TemporaryFile() as order, tempfile.TemporaryFile() as errors:
        order.write(job.to_json().encode())
        order.seek(0)
        process = subprocess.Popen(
            command,
            stdin=order,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,  # Ctrl+C is for this process, which ends the other one
        )
        try:
            answer, trace = _listen(process, on_phase)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()
        if "sample" in answer:
            return replace(Sample.from_json(answer["sample"]), rss_trace=tuple(_thin(trace)))
        raise _explain(answer, code, errors, job.case)


Trace = list[tuple[float, int]]


def _listen(process: subprocess.Popen[bytes], on_phase: OnPhase) -> tuple[dict[str, Any], Trace]:
    """The last message of a worker; its resident memory meanwhile."""
    assert process.stdout
    started, phase, trace, text = time.monotonic(), "starting", Trace(), b""
    message: dict[str, Any] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(TICK_S):
                if not (read := os.read(process.stdout.fileno(), 1 << 16)):
                    return message, trace
                *lines, text = (text + read).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    phase = message.get("phase", phase)
            if rss := read_rss_bytes(process.pid):
                trace.append((round(time.monotonic() - started, 3), rss))
            on_phase(phase)


def _thin(trace: Trace) -> Trace:
    """At most ``MOST_TRACE`` points, evenly spaced."""
    return trace[:: -(-len(trace) // MOST_TRACE) or 1]


def _explain(answer: dict[str, Any], code: int, errors: IO[bytes], case: Case) -> G3nError:
    """Why a worker has no sample."""
    if "error" in answer:
        exit_code, message, hint = answer["error"]
        kind = next((kind for kind in _ERRORS if kind.exit_code == exit_code), G3nError)
        return kind(message, hint)
    if code == -signal.SIGKILL:
        return DoesNotFitError(f"{case.label} was killed: most likely there was not enough memory")
    errors.seek(0)
    said = errors.read().decode(errors="replace").strip().splitlines()
    return G3nError(f"{case.label} ended with code {code}: {said[-1] if said else 'no message'}")
