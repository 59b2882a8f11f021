"""Every failure g3n can name, each with its exit code and a hint for the person who meets it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the ``g3n`` program; documented in README.md.

    From 128 on they are 128 + the number of a signal, as a shell reports it.
    """

    OK = 0
    FAILURE = 1
    USAGE = 2
    MODEL = 3
    INPUT = 4
    MEMORY = 5
    ANSWER = 6
    INTERRUPTED = 130
    CLOSED_PIPE = 141
    TERMINATED = 143


class G3nError(Exception):
    """A failure with one clear line to say, shown as ``error:`` and an optional ``hint:``.

    Args:
        message: One line, no trailing period, naming the thing that is wrong.
        hint: What the person can do about it, or None.
    """

    exit_code = ExitCode.FAILURE

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(G3nError):
    """A flag or setting that makes no sense."""

    exit_code = ExitCode.USAGE


class ModelError(G3nError):
    """A model that is missing, broken or of a kind g3n cannot run."""

    exit_code = ExitCode.MODEL


class InputError(G3nError):
    """Input that cannot be used: binary text, a prompt longer than the context."""

    exit_code = ExitCode.INPUT


class PromptTooLongError(InputError):
    """A prompt that the context has no room for."""


class DoesNotFitError(G3nError):
    """Not enough memory for what was asked."""

    exit_code = ExitCode.MEMORY


MEMORY_HINT = "close other programs, or raise the limit of memory (ulimit -v)"


class AnswerError(G3nError):
    """An answer that is not what was asked for: cut off, or not as its schema wants it."""

    exit_code = ExitCode.ANSWER


class ServerError(G3nError):
    """A server that cannot be reached, refuses, or breaks off."""


class ContextFullError(ServerError):
    """A conversation that is longer than a server's context."""


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, not an Exception, so that nothing swallows it."""
