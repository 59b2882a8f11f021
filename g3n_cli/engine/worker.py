"""The one thread that computes, so that the thread that waits can be interrupted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

from g3n_cli.errors import Terminated

T = TypeVar("T")

POLL_S = 0.1
"""A signal that arrives in the instant before a wait starts does not end that wait, hence many."""


class Worker:
    """Runs functions one after another on a thread of its own.

    A C call that computes for seconds keeps Python from running signal handlers while the main
    thread is inside it; a main thread that waits here runs them at once. It is always the same
    thread that computes, because OpenMP keeps a team of threads per calling thread.

    Args:
        on_abort: Tells the computation to give up soon, typically by setting the flag its abort
            callback reads. Called by the waiting thread, maybe more than once and maybe after the
            function has returned. So clear that flag right before ``run``, not inside ``fn``:
            there a request made before ``fn`` starts would be lost.
    """

    def __init__(self, on_abort: Callable[[], None]) -> None:
        self._on_abort = on_abort
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        # Start the thread now: the executor forgets a thread it was interrupted in starting, and
        # the next call would get a second one.
        self._executor.submit(int).result()

    def run(self, fn: Callable[[], T]) -> T:
        """Run ``fn`` on the worker's thread and return what it returns or raise what it raises.

        Interrupted while it waits, ``run`` asks the computation to abort and re-raises only once
        ``fn`` has ended (its result or error is dropped); further interrupts do not shorten that.
        So nothing computes after ``run``, and state that ``fn`` keeps up to date is consistent.

        Raises:
            KeyboardInterrupt, Terminated: a signal arrived during the wait.
            RuntimeError: the worker is closed.
        """
        try:
            future = self._executor.submit(fn)
            while not wait([future], timeout=POLL_S).done:
                pass
            return future.result()
        except (KeyboardInterrupt, Terminated):
            self._abort_and_wait()
            raise

    def close(self) -> None:
        """Wait for the thread to end. Closing twice is harmless."""
        self._executor.shutdown()

    def _abort_and_wait(self) -> None:
        idle = False
        while not idle:
            with suppress(KeyboardInterrupt, Terminated):
                self._on_abort()
                # The queue is served in order, so this returns when whatever was submitted has
                # ended, also if the interrupt came before `run` held a future to wait for.
                self._executor.submit(int).result()
                idle = True
