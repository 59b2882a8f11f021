"""The one thread that owns the model: it answers what waits, one request after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import NoReturn

from g3n_cli.errors import G3nError, Terminated
from g3n_cli.serve.model import ServedModel
from g3n_cli.serve.queue import Job, JobQueue, make_ending
from g3n_cli.serve.refusal import RefusedError

POLL_S = 0.2
"""A signal that arrives in the instant before a wait starts does not end that wait."""


class _CancelledError(Exception):
    """Nobody wants the answer any more."""


def compute_all(
    queue: JobQueue,
    model: ServedModel,
    log: Callable[[str], None],
    check: Callable[[], None],
) -> NoReturn:
    """Answer what comes, until an interruption.

    Args:
        queue: Where requests come from.
        model: Answers them.
        log: Told of failures that nobody expected.
        check: Called before each request, and now and then; what it raises ends this.

    Raises:
        KeyboardInterrupt, Terminated: a signal arrived; whoever waits has been told.
    """
    while True:
        check()
        if job := queue.take(POLL_S):
            compute(job, model, log)


def compute(job: Job, model: ServedModel, log: Callable[[str], None]) -> None:
    """Answer one request; every failure but an interruption goes to its client alone."""

    def check() -> None:
        if job.is_cancelled:
            raise _CancelledError

    try:
        check()
        with closing(model.answer(job.request, check)) as events:
            for event in events:
                job.deliver(event)
                check()
    except _CancelledError:
        pass
    except G3nError as error:
        job.deliver(RefusedError.of_error(error))
    except (KeyboardInterrupt, Terminated):
        job.deliver(make_ending())
        raise
    except Exception as error:  # noqa: BLE001  one request must not end the others
        log(f"error: {type(error).__name__}: {error}")
        job.deliver(RefusedError(500, "the answer failed; the server's output tells why"))
