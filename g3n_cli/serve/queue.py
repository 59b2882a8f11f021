"""Requests that wait for the one thread that computes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from g3n_cli.chat.transcribe import Segment
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.serve.refusal import RefusedError
from g3n_cli.serve.requests import Request

RETRY_S = 2

Event: TypeAlias = str | Segment | GenerationStats | RefusedError
"""A piece of an answer, or of what is said in a file; the figures that end it; or why there is
none, or no more of it."""


class Job:
    """A request on its way through the queue.

    Args:
        request: What is asked.
        deliver: Given the answer's events, on the thread that computes.
    """

    def __init__(self, request: Request, deliver: Callable[[Event], None]) -> None:
        self.request = request
        self.deliver = deliver
        self._cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants the answer any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._cancelled.set()


class JobQueue:
    """Jobs in the order in which they came. All methods may be called from any thread.

    Lock and waiting are C's, as in ``engine/worker.py``: signals interrupt the thread that takes.

    Args:
        most: So many may wait beside the one that is computed.
        on_change: Told how many are done, and how many wait or are computed; on any thread, but
            on one at a time.
    """

    def __init__(self, most: int, on_change: Callable[[int, int], None] | None = None) -> None:
        self._most = most
        self._on_change = on_change
        self._n_done = 0
        self._waiting: deque[Job] = deque()
        self._is_computing = False
        self._is_closed = False
        self._lock = threading.Lock()
        self._came: SimpleQueue[None] = SimpleQueue()

    @property
    def n_waiting(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    def put(self, job: Job) -> None:
        """Add a job.

        Raises:
            RefusedError: too many wait, or the server is ending.
        """
        with self._lock:
            if self._is_closed:
                raise make_ending()
            if len(self._waiting) + self._is_computing > self._most:
                message = f"{len(self._waiting)} requests are waiting already; try again later"
                raise RefusedError(429, message, code="rate_limit_exceeded", retry_s=RETRY_S)
            self._waiting.append(job)
            self._tell()
        self._came.put(None)

    def take(self, timeout_s: float) -> Job | None:
        """The next job, or None if none comes; the one taken before is done."""
        with self._lock:
            if self._is_computing:
                self._is_computing = False
                self._n_done += 1
                self._tell()
            is_idle = not self._waiting
        if is_idle:
            with suppress(Empty):  # also woken for one that was cancelled since
                self._came.get(timeout=timeout_s)
        with self._lock:
            if not self._waiting:
                return None
            self._is_computing = True
            return self._waiting.popleft()

    def cancel(self, job: Job) -> None:
        """Nobody wants this job's answer any more; harmless where it is done."""
        job.cancel()
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                self._tell()

    def close(self) -> None:
        """Take no more, and refuse what waits."""
        with self._lock:
            self._is_closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
        for job in waiting:
            job.deliver(make_ending())

    def _tell(self) -> None:
        if self._on_change is not None:
            self._on_change(self._n_done, len(self._waiting) + self._is_computing)


def make_ending() -> RefusedError:
    """What is told to clients when the server ends."""
    return RefusedError(503, "the server is ending")
