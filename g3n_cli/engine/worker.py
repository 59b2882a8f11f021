"""The one thread that computes, so that the thread that waits can be interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from g3n_cli.errors import MEMORY_HINT, DoesNotFitError, Terminated

T = TypeVar("T")

INSIST_S = 1.0
"""A second interruption that comes sooner may be the same press of a key."""

POLL_S = 0.1
"""A signal that arrives in the instant before a wait starts does not end that wait, hence many."""


class Worker:
    """Runs functions one after another on a thread of its own.

    A C call that computes for seconds keeps Python from running signal handlers while the main
    thread is inside it; a main thread that waits here runs them at once. It is always the same
    thread that computes, because OpenMP keeps a team of threads per calling thread.

    The queue and the locks are those that C implements: an interruption inside a ``Condition`` or
    a ``Semaphore``, and so inside ``ThreadPoolExecutor.submit``, can leave it locked for good.

    Args:
        on_abort: Tells the computation to give up soon, typically by setting the flag its abort
            callback reads. Called by the waiting thread, maybe more than once and maybe after the
            function has returned. So clear that flag right before ``run``, not inside ``fn``:
            there a request made before ``fn`` starts would be lost.
        on_insist: Called where the person interrupts once more, ``INSIST_S`` after that or later,
            and the computation has not ended: for those that may never end. It need not return.

    Raises:
        DoesNotFitError: the system starts no more threads.
    """

    def __init__(
        self, on_abort: Callable[[], None], on_insist: Callable[[], None] | None = None
    ) -> None:
        self._on_abort, self._on_insist = on_abort, on_insist
        self._tasks: SimpleQueue[Task[Any] | None] = SimpleQueue()
        self._is_closed = False
        self._serving = Task(partial(_serve, self._tasks))
        self._thread = threading.Thread(target=self._serving.compute, name="compute")
        self._thread.daemon = True  # one that nobody closed must not keep the program from ending
        try:
            self._thread.start()
        except RuntimeError as error:  # the system refuses
            raise DoesNotFitError("not enough memory to start a thread", MEMORY_HINT) from error

    def run(self, fn: Callable[[], T]) -> T:
        """Run ``fn`` on the worker's thread and return what it returns or raise what it raises.

        Interrupted while it waits, ``run`` asks the computation to abort and re-raises only once
        ``fn`` has ended (its result or error is dropped); further interrupts do not shorten that,
        unless ``on_insist`` ends the process.
        So nothing computes after ``run``, and state that ``fn`` keeps up to date is consistent.

        Raises:
            KeyboardInterrupt, Terminated: a signal arrived during the wait.
            RuntimeError: the worker is closed.
        """
        try:
            return self.start(fn).result()
        except (KeyboardInterrupt, Terminated):
            self._abort_and_wait()
            raise

    def start(self, fn: Callable[[], T]) -> Task[T]:
        """Have ``fn`` run while the caller goes on; nothing aborts it.

        Raises:
            RuntimeError: the worker is closed.
        """
        if self._is_closed:
            raise RuntimeError("the worker is closed")
        task = Task(fn)
        self._tasks.put(task)
        return task

    def close(self) -> None:
        """Wait for the thread to end. Closing twice is harmless.

        Raises:
            KeyboardInterrupt, Terminated: a signal arrived; the thread has ended even so.
        """
        self._is_closed = True
        self._tasks.put(None)
        signalled = None
        # Not join, which takes a thread for ended once it was interrupted (Python 3.11).
        while not self._serving.is_ended:
            try:
                self._serving.wait()
            except (KeyboardInterrupt, Terminated) as error:
                signalled = error
        if signalled:
            raise signalled
        self._thread.join()

    def _abort_and_wait(self) -> None:
        is_idle, is_first, began = False, True, time.monotonic()
        while not is_idle:
            with suppress(KeyboardInterrupt, Terminated):
                is_again, is_first = not is_first, False
                if self._on_insist and is_again and time.monotonic() - began >= INSIST_S:
                    self._on_insist()
                self._on_abort()
                # Served in order, so its end tells that whatever was put before it has ended.
                marker = Task(int)
                self._tasks.put(marker)
                marker.wait()
                is_idle = True


class Task(Generic[T]):
    """A function that a worker runs, and in the end what came of it."""

    def __init__(self, fn: Callable[[], T]) -> None:
        self._fn: Callable[[], T] | None = fn
        self._result: Any = None
        self._error: BaseException | None = None
        self._running = threading.Lock()
        self._running.acquire()

    @property
    def is_ended(self) -> bool:
        """Whether the function has ended."""
        return self._fn is None

    def compute(self) -> None:
        """Run the function."""
        assert self._fn is not None
        try:
            self._result = self._fn()
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            self._error = error
        self._fn = None  # what it holds is free once it has ended
        self._running.release()

    def wait(self) -> None:
        """Wait for the end, once."""
        while not self._running.acquire(timeout=POLL_S):
            pass

    def result(self) -> T:
        """Wait for the end, once, and return what the function returns or raise what it raises."""
        self.wait()
        error, self._error = self._error, None
        if error is None:
            result: T = self._result
            return result
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


def _serve(tasks: SimpleQueue[Task[Any] | None]) -> None:
    while (task := tasks.get()) is not None:
        task.compute()
        del task  # or it would live, with its result, until the next one comes
